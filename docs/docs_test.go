// Package docs_test holds the documentation against the code: links lead somewhere, and every key, metric, endpoint,
// command, file and test that is named exists.
package docs_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hookline/hookline/event"
)

// root is the top of the repository.
const root = ".."

// documents returns the documents by path, relative to root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	docs := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		names, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			docs[filepath.ToSlash(strings.TrimPrefix(name, root+"/"))] = read(t, name)
		}
	}
	for _, name := range []string{"README.md", "README.zh-CN.md", "CHANGELOG.md", "docs/events.md", "docs/adr/0001-journal.md"} {
		if docs[name] == "" {
			t.Fatalf("%s is missing", name)
		}
	}
	return docs
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// source returns the text of the Go files that match, below root.
func source(t *testing.T, patterns ...string) string {
	t.Helper()
	var b strings.Builder
	for _, p := range patterns {
		names, err := filepath.Glob(filepath.Join(root, p))
		if err != nil {
			t.Fatal(err)
		}
		if len(names) == 0 {
			t.Fatalf("nothing matches %s", p)
		}
		for _, name := range names {
			b.WriteString(read(t, name))
		}
	}
	return b.String()
}

// eachMatch calls f for the groups of every match of re in every document, in the order of their names.
func eachMatch(t *testing.T, re *regexp.Regexp, f func(doc string, groups []string)) {
	t.Helper()
	docs := documents(t)
	for _, name := range slices.Sorted(maps.Keys(docs)) {
		for _, m := range re.FindAllStringSubmatch(docs[name], -1) {
			f(name, m)
		}
	}
}

// fenced matches blocks of code, in which nothing is a link or a heading.
var fenced = regexp.MustCompile("(?ms)^```.*?^```")

func TestLinks(t *testing.T) {
	docs := documents(t)
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for name, text := range docs {
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := name
			if target != "" {
				path = filepath.ToSlash(filepath.Join(filepath.Dir(name), target))
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s: link %s: %v", name, m[1], err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(docs[path]), anchor) {
				t.Errorf("%s: link %s: no such heading; there are %q", name, m[1], anchors(docs[path]))
			}
		}
	}
}

// anchors returns the names of the headings, as GitHub makes them.
func anchors(text string) []string {
	var out []string
	heading := regexp.MustCompile(`(?m)^#+ +(.+?) *$`)
	drop := regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		out = append(out, strings.ReplaceAll(drop.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return out
}

// keys returns the keys of the configuration with their defaults, out of the text of the table: only the composition
// root and cmd may import the package.
func keys(t *testing.T) map[string]string {
	t.Helper()
	text := source(t, "internal/config/keys*.go")
	out := map[string]string{}
	for _, m := range regexp.MustCompile(`Key\("([a-z_]+\.\w+)",\s*(?:"([^"]*)"|\w+)`).FindAllStringSubmatch(text, -1) {
		out[m[1]] = m[2]
	}
	for _, m := range regexp.MustCompile(`hookURL\("(on_\w+)"`).FindAllStringSubmatch(text, -1) {
		out["hook."+m[1]] = ""
	}
	for _, m := range regexp.MustCompile(`keyHookSecret = "(hook\.\w+)"`).FindAllStringSubmatch(source(t, "internal/config/endpoint.go"), -1) {
		out[m[1]] = ""
	}
	for _, m := range regexp.MustCompile(`payloadType\("(\w+)", "(\d+)"`).FindAllStringSubmatch(text, -1) {
		out["rtp_proxy."+m[1]] = m[2]
	}
	if len(out) < 150 {
		t.Fatalf("only %d keys were found", len(out))
	}
	return out
}

// own says whether a key is Hookline's own.
func own(key string) bool {
	section, _, _ := strings.Cut(key, ".")
	return slices.Contains([]string{"server", "journal", "delivery", "limits", "tls"}, section) ||
		slices.Contains([]string{"hook.on_publication_ended", "hook.on_event_gap", "hook.on_admin_action", "hook.secret", "api.allow_private_endpoints"}, key)
}

func TestKeys(t *testing.T) {
	known := keys(t)
	var sections []string
	for key := range known {
		section, _, _ := strings.Cut(key, ".")
		sections = append(sections, section)
	}
	slices.Sort(sections)
	alternatives := strings.Join(slices.Compact(sections), "|")
	mention := regexp.MustCompile(`(?:^|[^\w/.-])((?:` + alternatives + `)\.[a-z]\w*)(\*?)`)
	eachMatch(t, mention, func(doc string, m []string) {
		key, wildcard := m[1], m[2] == "*"
		if _, ok := known[key]; ok || key == "api.md" || key == "event.gap" || key == "hls.fmp4" {
			return
		}
		for k := range known {
			if wildcard && strings.HasPrefix(k, key) {
				return
			}
		}
		t.Errorf("%s: %s is no key of the configuration", doc, key)
	})
}

// TestOwnKeys: both READMEs list every key of Hookline's own with its default.
func TestOwnKeys(t *testing.T) {
	docs := documents(t)
	for key, value := range keys(t) {
		if !own(key) {
			continue
		}
		row := regexp.MustCompile("(?m)^\\| `" + regexp.QuoteMeta(key) + "` \\| (\\S+) \\|")
		for _, name := range []string{"README.md", "README.zh-CN.md"} {
			m := row.FindStringSubmatch(docs[name])
			if m == nil {
				t.Errorf("%s does not list %s", name, key)
			} else if value != "" && m[1] != "`"+value+"`" {
				t.Errorf("%s: the default of %s is %q, not %s", name, key, value, m[1])
			}
		}
	}
}

// endpointKeys returns the keys of an [endpoint.NAME] section that the code reads, beside header.NAME and those that are
// named like hooks.
func endpointKeys(t *testing.T) (keys []string) {
	t.Helper()
	_, text, _ := strings.Cut(source(t, "internal/config/endpoint.go"), "func endpointValue(")
	_, more, _ := strings.Cut(source(t, "internal/config/endpoint_transport.go"), ") transport(")
	more, _, _ = strings.Cut(more, "\nfunc ")
	for _, m := range regexp.MustCompile(`(?m)^\tcase "(\w+)":`).FindAllStringSubmatch(text+more, -1) {
		keys = append(keys, m[1])
	}
	return keys
}

// TestEndpointKeys: both READMEs list the keys of an [endpoint.NAME] section, all of them and no others.
func TestEndpointKeys(t *testing.T) {
	want := append(endpointKeys(t), "header.NAME", "on_HOOK")
	slices.Sort(want)
	docs := documents(t)
	for _, name := range []string{"README.md", "README.zh-CN.md"} {
		_, table, ok := strings.Cut(docs[name], "[endpoint.NAME]")
		table, _, _ = strings.Cut(table, "\n## ")
		var got []string
		for _, m := range regexp.MustCompile("(?m)^\\| `([\\w.]+)` \\|").FindAllStringSubmatch(table, -1) {
			got = append(got, m[1])
		}
		if slices.Sort(got); !ok || !slices.Equal(got, want) {
			t.Errorf("%s lists %q, the code reads %q", name, got, want)
		}
	}
}

// TestEndpointKeysInOpenAPI: the OpenAPI document has the keys of an [endpoint.NAME] section, all of them and no others, and
// so has the text that refuses an unknown one.
func TestEndpointKeysInOpenAPI(t *testing.T) {
	var document struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]any
			}
		}
	}
	if err := json.Unmarshal([]byte(read(t, filepath.Join(root, "internal/api/openapi.json"))), &document); err != nil {
		t.Fatal(err)
	}
	for schema, own := range map[string]string{"EndpointConfig": "header", "EndpointCreate": "header name"} {
		want := append(endpointKeys(t), strings.Fields(own)...)
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(document.Components.Schemas[schema].Properties)); !slices.Equal(got, want) {
			t.Errorf("%s has %q, the code reads %q", schema, got, want)
		}
	}
	_, text, _ := strings.Cut(source(t, "internal/config/endpoint.go"), `"one of the keys `)
	text, _, ok := strings.Cut(text, ", or a hook")
	got := regexp.MustCompile(`[\w.]+`).FindAllString(text, -1)
	want := append(endpointKeys(t), "header.NAME")
	slices.Sort(got)
	if slices.Sort(want); !ok || !slices.Equal(got, want) {
		t.Errorf("an unknown key is refused with %q, the code reads %q", got, want)
	}
}

func TestEnvironment(t *testing.T) {
	known := map[string]bool{}
	for key := range keys(t) {
		known["HOOKLINE_"+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))] = true
	}
	code := source(t, "cmd/hookline/*.go", "internal/e2e/*.go")
	eachMatch(t, regexp.MustCompile(`HOOKLINE_[A-Z0-9_]+[A-Z0-9]`), func(doc string, m []string) {
		if !known[m[0]] && !strings.Contains(code, m[0]) {
			t.Errorf("%s: %s is no variable", doc, m[0])
		}
	})
}

func TestMetrics(t *testing.T) {
	text := source(t, "internal/api/*.go")
	known := map[string]bool{}
	for _, m := range regexp.MustCompile(`"(hookline_[a-z_]+[a-z])"`).FindAllStringSubmatch(text, -1) {
		known[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`(?:gauge|count)\("([a-z_]+)", "`).FindAllStringSubmatch(text, -1) {
		known["hookline_endpoint_"+m[1]] = true
	}
	eachMatch(t, regexp.MustCompile(`\bhookline_[a-z_]+[a-z]`), func(doc string, m []string) {
		if !known[m[0]] {
			t.Errorf("%s: %s is no metric", doc, m[0])
		}
	})
}

func TestEndpoints(t *testing.T) {
	text := source(t, "internal/api/*.go")
	eachMatch(t, regexp.MustCompile(`/index/api/(\w+)`), func(doc string, m []string) {
		if !strings.Contains(text, `{name: "`+m[1]+`"`) {
			t.Errorf("%s: %s is no call", doc, m[0])
		}
	})
	eachMatch(t, regexp.MustCompile(`/api/v1/([a-z-]+(?:/[a-z]+)?)`), func(doc string, m []string) {
		if !regexp.MustCompile(`"` + regexp.QuoteMeta(m[1]) + `["/.]`).MatchString(text) {
			t.Errorf("%s: %s is no resource", doc, m[0])
		}
	})
}

func TestHooks(t *testing.T) {
	eachMatch(t, regexp.MustCompile(`\bon_[a-z0-9_]+[a-z0-9]`), func(doc string, m []string) {
		if !slices.Contains(event.Types(), event.Type(m[0])) && m[0] != "on_server" && m[0] != "on_record" {
			t.Errorf("%s: %s is no hook", doc, m[0])
		}
	})
}

// TestCommands: every command that is shown exists. Flags are left to the reader.
func TestCommands(t *testing.T) {
	text := source(t, "cmd/hookline/*.go")
	eachMatch(t, regexp.MustCompile("(?m)(?:^|`)(?:bin/)?hookline ([a-z][a-z-]+)"), func(doc string, m []string) {
		if m[1] == "is" { // "hookline is up"
			return
		}
		field := strings.ReplaceAll(m[1], "-", "")
		if !regexp.MustCompile(`(?i)\b` + field + ` +` + field + `Cmd\b`).MatchString(text) {
			t.Errorf("%s: %q is no command", doc, m[0])
		}
	})
	targets := read(t, filepath.Join(root, "Makefile"))
	eachMatch(t, regexp.MustCompile("(?m)(?:^|`)make ([a-z-]+)"), func(doc string, m []string) {
		if !strings.Contains(targets, "\n"+m[1]+":") {
			t.Errorf("%s: make %s is no target", doc, m[1])
		}
	})
}

// TestFiles: paths inside the repository exist.
func TestFiles(t *testing.T) {
	eachMatch(t, regexp.MustCompile("`((?:internal|cmd|docs|event|scripts)/[\\w./-]+)`"), func(doc string, m []string) {
		if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
			t.Errorf("%s: %v", doc, err)
		}
	})
}

// TestProofs: every test that is given as proof exists.
func TestProofs(t *testing.T) {
	text := source(t, "internal/*/*_test.go", "internal/*/*/*_test.go", "event/*_test.go", "receiver/*_test.go", "receiver/*/*_test.go",
		"examples/*/*_test.go")
	eachMatch(t, regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)`"), func(doc string, m []string) {
		if !strings.Contains(text, "func "+m[1]+"(") {
			t.Errorf("%s: there is no %s", doc, m[1])
		}
	})
}

// TestLogLines: every line of the log that is explained is written somewhere.
func TestLogLines(t *testing.T) {
	text := source(t, "internal/*/*.go", "internal/*/*/*.go")
	_, table, _ := strings.Cut(documents(t)["docs/operations.md"], "## Log lines")
	rows := regexp.MustCompile(`(?m)^\| (?:INFO|WARN|ERROR) \| (.+?) \|`).FindAllStringSubmatch(table, -1)
	if len(rows) < 10 {
		t.Fatalf("%d lines are explained", len(rows))
	}
	for _, row := range rows {
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			if !strings.Contains(text, `"`+m[1]+`"`) {
				t.Errorf("nobody logs %q", m[1])
			}
		}
	}
}
