package archtest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

func TestModule(t *testing.T) {
	pkgs := list(t)
	if len(pkgs) < 5 {
		t.Fatalf("go list found only %d packages", len(pkgs))
	}
	for _, v := range Check(pkgs) {
		t.Error(v)
	}
}

func TestFormatsStartNoGoroutines(t *testing.T) {
	for _, p := range list(t) {
		rel, _ := relative(p.ImportPath)
		if tree(rel, []string{"internal/format"}) == "" {
			continue
		}
		for _, name := range p.GoFiles {
			src, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			for _, at := range goroutines(t, name, src) {
				t.Errorf("rule 4: %s starts a goroutine", at)
			}
		}
	}
}

func TestFileLength(t *testing.T) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if n := length(src); n > MaxLines {
			t.Errorf("%s has %d lines, more than %d", path, n, MaxLines)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestCheck(t *testing.T) {
	const m = Module + "/"
	tests := []struct {
		name string
		pkgs []Package
		rule int // 0: clean
	}{
		{"event with the standard library", []Package{{ImportPath: m + "event", Imports: []string{"time", "encoding/json"}}}, 0},
		{"event with a module", []Package{{ImportPath: m + "event", Imports: []string{"github.com/google/uuid"}}}, 1},
		{"event with internal", []Package{{ImportPath: m + "event", Imports: []string{m + "internal/fact"}}}, 1},
		{"receiver with event", []Package{{ImportPath: m + "receiver", Imports: []string{"net/http", m + "event"}}}, 0},
		{"receiver with a module", []Package{{ImportPath: m + "receiver", Imports: []string{"github.com/google/uuid"}}}, 1},
		{"receiver with its own store", []Package{{ImportPath: m + "receiver", Imports: []string{m + "receiver/sqlstore"}}}, 1},
		{"store with a module", []Package{{ImportPath: m + "receiver/sqlstore", Imports: []string{m + "receiver", "example.org/sql"}}}, 0},
		{"store with internal", []Package{{ImportPath: m + "receiver/sqlstore", Imports: []string{m + "internal/fact"}}}, 1},
		{"media with the journal", []Package{{ImportPath: m + "internal/rtmp", Imports: []string{m + "internal/journal/pebble"}}}, 2},
		{"hub with decisions", []Package{{ImportPath: m + "internal/stream", Imports: []string{m + "internal/decision"}}}, 2},
		{"hub with facts", []Package{{ImportPath: m + "internal/stream", Imports: []string{m + "internal/fact"}}}, 0},
		{"delivery with media", []Package{{ImportPath: m + "internal/delivery", Imports: []string{m + "internal/media"}}}, 2},
		{"a sub-package of the journal with the hub", []Package{{ImportPath: m + "internal/journal/pebble", Imports: []string{m + "internal/stream"}}}, 2},
		{"decision with the hub", []Package{
			{ImportPath: m + "internal/decision", Imports: []string{m + "internal/stream"}},
			{ImportPath: m + "internal/stream", Imports: []string{m + "internal/media"}},
		}, 0},
		{"decision with a protocol", []Package{{ImportPath: m + "internal/decision", Imports: []string{m + "internal/rtmp"}}}, 2},
		{"media reaches delivery through a bridge", []Package{
			{ImportPath: m + "internal/record", Imports: []string{m + "internal/bridge"}},
			{ImportPath: m + "internal/bridge", Imports: []string{m + "internal/delivery"}},
		}, 2},
		{"protocol with a protocol", []Package{{ImportPath: m + "internal/httplive", Imports: []string{m + "internal/rtmp/chunk"}}}, 3},
		{"protocol with its own part", []Package{{ImportPath: m + "internal/rtmp", Imports: []string{m + "internal/rtmp/chunk"}}}, 0},
		{"names with a common prefix", []Package{{ImportPath: m + "internal/hlsx", Imports: []string{m + "internal/hls"}}}, 0},
		{"hub with a protocol", []Package{{ImportPath: m + "internal/stream", Imports: []string{m + "internal/rtmp"}}}, 3},
		{"proxy with a protocol", []Package{{ImportPath: m + "internal/proxy", Imports: []string{m + "internal/rtmp"}}}, 0},
		{"format with sockets", []Package{{ImportPath: m + "internal/format/flv", Imports: []string{"net"}}}, 4},
		{"format with HTTP", []Package{{ImportPath: m + "internal/format/flv", Imports: []string{"net/http"}}}, 4},
		{"format with files", []Package{{ImportPath: m + "internal/format/mp4", Imports: []string{"os"}}}, 4},
		{"format with a reader", []Package{{ImportPath: m + "internal/format/mp4", Imports: []string{"io", m + "internal/media"}}}, 0},
		{"config from a protocol", []Package{{ImportPath: m + "internal/rtmp", Imports: []string{m + "internal/config"}}}, 5},
		{"config from the root and cmd", []Package{
			{ImportPath: m + "internal/server", Imports: []string{m + "internal/config"}},
			{ImportPath: m + "cmd/hookline", Imports: []string{m + "internal/config"}},
		}, 0},
		{"the root with both planes", []Package{
			{ImportPath: m + "internal/server", Imports: []string{m + "internal/stream", m + "internal/delivery"}},
		}, 0},
		{"another module", []Package{{ImportPath: "example.org/x", Imports: []string{m + "internal/config"}}}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Check(tt.pkgs)
			switch {
			case tt.rule == 0 && len(got) > 0:
				t.Errorf("unexpected violation: %v", got)
			case tt.rule != 0 && (len(got) != 1 || got[0].Rule != tt.rule):
				t.Errorf("got %v, want one violation of rule %d", got, tt.rule)
			}
		})
	}
}

func TestViolationNamesTheChain(t *testing.T) {
	const m = Module + "/internal/"
	got := Check([]Package{
		{ImportPath: m + "stream", Imports: []string{m + "a"}},
		{ImportPath: m + "a", Imports: []string{m + "b"}},
		{ImportPath: m + "b", Imports: []string{m + "journal"}},
	})
	if len(got) != 1 || !strings.Contains(got[0].String(), "(through "+m+"a, "+m+"b)") {
		t.Errorf("got %v", got)
	}
}

func TestGoroutinesAreFound(t *testing.T) {
	src := "package x\nfunc f() { for { go func() { go f() }() } }\n"
	if got := goroutines(t, "x.go", []byte(src)); len(got) != 2 {
		t.Errorf("found %v, want 2", got)
	}
}

func TestLength(t *testing.T) {
	long := strings.Repeat("\n", MaxLines+1)
	if got := length([]byte("package x" + long)); got != MaxLines+1 {
		t.Errorf("length = %d", got)
	}
	if got := length([]byte("// Code generated by x. DO NOT EDIT.\n\npackage x" + long)); got != 0 {
		t.Errorf("generated: length = %d", got)
	}
}

// list asks the go command for the packages of the module. A package that does not compile is listed all the same.
func list(t *testing.T) []Package {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Dir,Imports,GoFiles", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var pkgs []Package
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p Package
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return pkgs
		case err != nil:
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// goroutines returns the positions of the go statements of a source file.
func goroutines(t *testing.T, name string, src []byte) []string {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	ast.Inspect(file, func(n ast.Node) bool {
		if g, ok := n.(*ast.GoStmt); ok {
			found = append(found, fset.Position(g.Pos()).String())
		}
		return true
	})
	return found
}

// length returns the number of lines, 0 for a generated file.
func length(src []byte) int {
	for scan := bufio.NewScanner(bytes.NewReader(src)); scan.Scan(); {
		line := scan.Text()
		if strings.HasPrefix(line, "// Code generated ") && strings.HasSuffix(line, " DO NOT EDIT.") {
			return 0
		}
		if strings.HasPrefix(line, "package ") {
			break
		}
	}
	return bytes.Count(src, []byte("\n"))
}
