// Command zlmtrace runs the receiver kit over recorded hooks of a plain ZLMediaKit, offline: without network, and in virtual time, so
// that a recording of an hour takes seconds.
//
//	go run ./receiver/receivertest/zlmtrace [-events] [-handled] [-settings] DIR|FILE...
//
// Of a directory it takes every file whose name ends with .hooks.jsonl or .hooks.jsonl.gz; docs/zlmediakit-sender.md describes the
// form. It prints a line of JSON for each publication that the kit found, and with -events for each hook as well. A summary goes
// to standard error; where NAME.lives.jsonl, the publishers as they really were, is beside a recording, it is compared.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/receivertest"
)

// settings are what the command line says.
type settings struct {
	events  bool
	handled bool
	kit     receiver.ZLMediaKit
}

func main() {
	var s settings
	flag.BoolVar(&s.events, "events", false, "print what each hook was taken to be about, too")
	flag.BoolVar(&s.handled, "handled", false, "handle also what the recording says was answered with a failure; without, it fails again")
	flag.StringVar(&s.kit.LifeParam, "life", "", "LifeParam: a parameter of the publishers' URLs that is new for each publication")
	flag.DurationVar(&s.kit.ContinuePush, "continue-push", 0, "protocol.continue_push_ms, when no on_server_started in the recording says it; negative: none (default 15s)")
	flag.DurationVar(&s.kit.Window, "window", 0, "how long a hook waits for those with a lower hook_index; negative: not at all (default 250ms)")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: zlmtrace [flags] DIR|FILE...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	names, err := recordings(flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "zlmtrace:", err)
		os.Exit(1)
	}
	virtually(func(t *testing.T) {
		out := bufio.NewWriter(os.Stdout)
		code := 0
		for _, name := range names {
			if err := s.run(t, name, out, os.Stderr); err != nil {
				fmt.Fprintln(os.Stderr, "zlmtrace:", err)
				code = 1
			}
		}
		if out.Flush() != nil {
			code = 1
		}
		os.Exit(code)
	})
}

// virtually runs f with what testing/synctest asks for. f ends the process.
func virtually(f func(t *testing.T)) {
	os.Args = os.Args[:1]
	testing.Init()
	testing.Main(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "zlmtrace", F: f}}, nil, nil)
}

// recordings returns the files that are named, and those in the directories that are.
func recordings(args []string) ([]string, error) {
	var out []string
	for _, a := range args {
		info, err := os.Stat(a)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			out = append(out, a)
			continue
		}
		entries, err := os.ReadDir(a)
		if err != nil {
			return nil, err
		}
		n := len(out)
		for _, e := range entries {
			if strings.HasSuffix(strings.TrimSuffix(e.Name(), ".gz"), ".hooks.jsonl") {
				out = append(out, filepath.Join(a, e.Name()))
			}
		}
		if len(out) == n {
			return nil, fmt.Errorf("%s has no file *.hooks.jsonl or *.hooks.jsonl.gz", a)
		}
	}
	return out, nil
}

func open[T any](name string, read func(io.Reader) ([]T, error)) ([]T, error) {
	f, err := os.Open(name) //nolint:gosec // the user names it
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return list, nil
}

// run replays one recording.
func (s *settings) run(t *testing.T, name string, out, summary io.Writer) error {
	trace, err := open(name, receivertest.ReadTrace)
	if err != nil {
		return err
	}
	if len(trace) == 0 {
		return fmt.Errorf("%s is empty", name)
	}
	base := strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".hooks.jsonl")
	r := &report{name: filepath.Base(base)}
	synctest.Test(t, func(t *testing.T) { err = r.replay(t.Context(), trace, s) })
	if err != nil {
		return err
	}
	lives, err := open(base+".lives.jsonl", receivertest.ReadLines[life])
	if errors.Is(err, os.ErrNotExist) {
		lives, err = open(base+".lives.jsonl.gz", receivertest.ReadLines[life])
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	e := json.NewEncoder(out)
	for _, p := range r.publications {
		if err := e.Encode(p); err != nil {
			return err
		}
	}
	if s.events {
		for _, h := range r.hooks {
			if err := e.Encode(h); err != nil {
				return err
			}
		}
	}
	_, err = fmt.Fprintln(summary, r.summary(lives))
	return err
}

// life is a publisher as it really was. One of which Err is set was refused or cut.
type life struct {
	Stream string `json:"stream"`
	Start  int64  `json:"start_ns"`
	End    int64  `json:"end_ns"`
	Err    string `json:"err"`
}

// summary says in a line what was found, and of the publishers that got through, which publications have their beginning.
func (r *report) summary(lives []life) string {
	certain, unknown := 0, 0
	for _, p := range r.publications {
		switch p.EndCertainty {
		case receiver.Exact.String():
			certain++
		case receiver.Unknown.String():
			unknown++
		}
	}
	line := fmt.Sprintf("%s: %d requests, %d publications (ends: %d exact, %d inferred, %d unknown), %d events of one (%d uncertain)",
		r.name, r.requests, len(r.publications), certain, len(r.publications)-certain-unknown, unknown, r.attributed, r.uncertain)
	if lives == nil {
		return line
	}
	found, right, wrong := 0, 0, 0
	for _, l := range lives {
		i := slices.IndexFunc(r.publications, func(p publication) bool {
			return strings.HasSuffix(p.Stream, "/"+l.Stream) && p.Since > l.Start-int64(time.Second) && p.Since < l.Start+6*int64(time.Second)
		})
		if l.Err != "" || i < 0 {
			continue
		}
		found++
		switch p := r.publications[i]; {
		case time.Duration(p.End-l.End).Abs() < 1500*time.Millisecond:
			right++
		case p.EndCertainty == receiver.Exact.String():
			wrong++
		}
	}
	refused := len(slices.DeleteFunc(slices.Clone(lives), func(l life) bool { return l.Err == "" }))
	return fmt.Sprintf("%s; of %d publishers that were not refused %d are found, %d of them with their end, %d with another that is said to be exact",
		line, len(lives)-refused, found, right, wrong)
}
