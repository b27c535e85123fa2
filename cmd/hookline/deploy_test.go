package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestImageHoldsTimeZones: an image from scratch has no time zones, so the binary needs them, or TZ has no effect.
func TestImageHoldsTimeZones(t *testing.T) {
	b, err := os.ReadFile("../../deploy/Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "\nFROM scratch\n") {
		t.Fatal("the image holds more than the binary: is this test needed?")
	}
	f, err := parser.ParseFile(token.NewFileSet(), "main.go", nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(f.Imports, func(s *ast.ImportSpec) bool { return s.Path.Value == `"time/tzdata"` }) {
		t.Error("main.go does not import time/tzdata")
	}
	// What listens without a file has to be reachable.
	for _, port := range []string{"1935", "8554", "8080"} {
		if !strings.Contains(string(b), port) {
			t.Errorf("port %s is not exposed", port)
		}
	}
}
