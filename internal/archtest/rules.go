package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// Module is the path of the module whose packages are checked.
const Module = "github.com/hookline/hookline"

// MaxLines is the largest number of lines of a source file that is neither a test nor generated.
const MaxLines = 600

// Package is one package of the module, as go list describes it.
type Package struct {
	ImportPath string
	Dir        string
	// Imports of the non-test files: import paths as written.
	Imports []string
	// GoFiles are the names of the non-test files in Dir.
	GoFiles []string
}

// Violation is one import that breaks a rule.
type Violation struct {
	// Rule is the number of the rule in the package comment.
	Rule int
	// Package and Import are import paths; Via is the chain between them when the import is indirect.
	Package, Import string
	Via             []string
	Reason          string
}

// String returns the violation as one line.
func (v Violation) String() string {
	via := ""
	if len(v.Via) > 0 {
		via = " (through " + strings.Join(v.Via, ", ") + ")"
	}
	return fmt.Sprintf("rule %d: %s imports %s%s: %s", v.Rule, v.Package, v.Import, via, v.Reason)
}

func protocols() []string {
	return []string{
		"internal/rtmp", "internal/rtsp", "internal/httplive", "internal/hls", "internal/webrtc", "internal/srt",
		"internal/gb28181",
	}
}

func mediaPlane() []string {
	return append(protocols(), "internal/media", "internal/format", "internal/stream", "internal/acceptor", "internal/outlet", "internal/record", "internal/vod", "internal/proxy")
}

func eventPlane() []string {
	return []string{
		"internal/sequencer", "internal/journal", "internal/delivery", "internal/decision", "internal/webhook", "internal/attempts",
		"internal/telemetry",
	}
}

// tree returns the entry of roots that holds the package rel (a path relative to the module), or "".
func tree(rel string, roots []string) string {
	for _, root := range roots {
		if rel == root || strings.HasPrefix(rel, root+"/") {
			return root
		}
	}
	return ""
}

// relative returns the path of an import within the module; ok is false for imports from elsewhere.
func relative(path string) (rel string, ok bool) {
	rel, ok = strings.CutPrefix(path, Module+"/")
	return rel, ok
}

// standard says that the import path belongs to the standard library: its first element has no dot.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

// Check returns every violation of the rules in pkgs, in the order of pkgs.
func Check(pkgs []Package) []Violation {
	g := graph{}
	for _, p := range pkgs {
		g[p.ImportPath] = p.Imports
	}
	var found []Violation
	for _, p := range pkgs {
		rel, ok := relative(p.ImportPath)
		if !ok {
			continue
		}
		for _, imp := range p.Imports {
			found = append(found, direct(p.ImportPath, rel, imp)...)
		}
		found = append(found, g.planes(p.ImportPath, rel)...)
	}
	return found
}

// direct applies the rules that look at one import.
func direct(pkg, rel, imp string) []Violation {
	var found []Violation
	add := func(rule int, reason string) {
		found = append(found, Violation{Rule: rule, Package: pkg, Import: imp, Reason: reason})
	}
	to, own := relative(imp)
	public := tree(rel, []string{"event", "receiver"})
	switch {
	case public != "" && own && tree(to, []string{"internal", "cmd"}) != "":
		add(1, "public packages import nothing internal")
	case public == "event" && !standard(imp):
		add(1, "event imports the standard library only")
	case rel == "receiver" && !standard(imp) && to != "event":
		add(1, "receiver imports the standard library and event only")
	}
	if from, other := tree(rel, protocols()), tree(to, protocols()); other != "" {
		switch {
		case from != "" && from != other:
			add(3, "protocols never import each other")
		case tree(rel, []string{"internal/stream", "internal/format", "internal/media"}) != "":
			add(3, "the hub and the formats know no protocol")
		}
	}
	if tree(rel, []string{"internal/format", "internal/media"}) != "" && input(imp) {
		add(4, "formats turn bytes into access units and back, without I/O")
	}
	root := []string{"cmd", "internal/server", "internal/config"}
	if tree(to, []string{"internal/config"}) != "" && tree(rel, root) == "" {
		add(5, "only cmd and the composition root import config")
	}
	return found
}

// input says that the standard package does input or output.
func input(imp string) bool {
	return tree(imp, []string{"net", "os", "syscall"}) != "" && imp != "net/netip"
}

// graph maps an import path to what it imports.
type graph map[string][]string

// planes applies rule 2 to everything that pkg reaches.
func (g graph) planes(pkg, rel string) []Violation {
	var forbidden []string
	var reason string
	switch {
	case tree(rel, mediaPlane()) != "":
		forbidden, reason = eventPlane(), "media states facts, it knows nothing of their delivery"
	case tree(rel, eventPlane()) != "":
		forbidden, reason = mediaPlane(), "the event plane knows facts, not media"
	default:
		return nil
	}
	var found []Violation
	g.walk(pkg, func(path []string, imp string) bool {
		to, own := relative(imp)
		if !own {
			return false
		}
		if tree(to, forbidden) == "" {
			return true
		}
		// What decision asks is declared by the hub; what the hub imports is not decision's doing.
		if tree(rel, []string{"internal/decision"}) != "" && len(path) == 1 && to == "internal/stream" {
			return false
		}
		found = append(found, Violation{Rule: 2, Package: pkg, Import: imp, Via: slices.Clone(path[1:]), Reason: reason})
		return false
	})
	return found
}

// walk visits everything that pkg reaches, each package once, and goes on below it when visit says so. path leads
// from pkg to the importer.
func (g graph) walk(pkg string, visit func(path []string, imp string) bool) {
	seen := map[string]bool{pkg: true}
	var step func(path []string)
	step = func(path []string) {
		for _, imp := range g[path[len(path)-1]] {
			if seen[imp] {
				continue
			}
			seen[imp] = true
			if visit(path, imp) {
				step(append(slices.Clone(path), imp))
			}
		}
	}
	step([]string{pkg})
}
