package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCommand builds the command and runs it over the recordings of the kit's own tests, in another directory.
func TestCommand(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "zlmtrace")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	traces := filepath.Join(dir, "some where")
	if err := os.CopyFS(traces, os.DirFS("../../testdata/traces")); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), bin, "-events", traces)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	for _, want := range []string{
		"gap0-jitter20: 4504 requests, 300 publications", "order-jitter20: 3098 requests, 160 publications",
		"outage50: 3661 requests, 205 publications", "retry50: 4510 requests, 193 publications",
		"of 193 publishers that were not refused 193 are found", "0 with another that is said to be exact",
	} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("the summary has no %q", want)
		}
	}
	counts := map[string]int{}
	for d := json.NewDecoder(&stdout); d.More(); {
		var line struct {
			Kind string `json:"kind"`
		}
		if err := d.Decode(&line); err != nil {
			t.Fatal(err)
		}
		counts[line.Kind]++
	}
	if counts["publication"] != 858 || counts["event"] != 4504+3098+3661+4510 || len(counts) != 2 {
		t.Errorf("printed %v", counts)
	}
	if t.Failed() {
		t.Log(stderr.String())
	}
}

func TestRecordings(t *testing.T) {
	dir := t.TempDir()
	if _, err := recordings([]string{dir}); err == nil {
		t.Error("an empty directory has recordings")
	}
	if _, err := recordings([]string{filepath.Join(dir, "none")}); err == nil {
		t.Error("what is not there is taken")
	}
	for _, name := range []string{"a.hooks.jsonl", "b.hooks.jsonl.gz", "a.lives.jsonl"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := recordings([]string{dir, filepath.Join(dir, "a.lives.jsonl")})
	if err != nil || len(got) != 3 {
		t.Errorf("got %v, %v", got, err)
	}
}
