package receiver_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/receiver/receivertest"
)

// truth is one publisher process.
type truth struct {
	Stream string `json:"stream"`
	Start  int64  `json:"start_ns"`
	End    int64  `json:"end_ns"`
	Err    string `json:"err"`
}

// trace is a recording with its truth.
type trace struct {
	name   string
	hooks  []receivertest.Request
	lives  map[string][]*truth // of each stream, in order
	missed []missed
}

type missed struct {
	FailedAt string          `json:"failed_at"`
	Path     string          `json:"path"`
	Body     json.RawMessage `json:"body"`
	at       int64
	e        *fact
}

func readLines[T any](t *testing.T, name string) []T {
	t.Helper()
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) && strings.Contains(name, "missed") {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := receivertest.ReadLines[T](f)
	if err != nil {
		t.Fatal(name, err)
	}
	return lines
}

func readTraces(t *testing.T) []*trace {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(*traces, "*.hooks.jsonl.gz"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no traces in %s: %v", *traces, err)
	}
	var out []*trace
	for _, n := range names {
		base := strings.TrimSuffix(n, ".hooks.jsonl.gz")
		tr := &trace{name: filepath.Base(base), hooks: readLines[receivertest.Request](t, n), lives: map[string][]*truth{}}
		slices.SortStableFunc(tr.hooks, func(a, b receivertest.Request) int { return cmp.Compare(a.At, b.At) })
		for _, l := range readLines[truth](t, base+".lives.jsonl.gz") {
			tr.lives[l.Stream] = append(tr.lives[l.Stream], &l)
		}
		for _, l := range tr.lives {
			sort.Slice(l, func(i, j int) bool { return l[i].Start < l[j].Start })
		}
		tr.missed = readLines[missed](t, base+".missed.jsonl.gz")
		for i := range tr.missed {
			at, err := time.Parse("2006-01-02 15:04:05.999999999", tr.missed[i].FailedAt)
			if err != nil {
				t.Fatal(err)
			}
			tr.missed[i].at = at.UnixNano()
		}
		out = append(out, tr)
	}
	return out
}

// fields are the members of hooks that the truth is found by.
type fields struct {
	Stream   string                       `json:"stream"`
	Schema   string                       `json:"schema"`
	Regist   *bool                        `json:"regist"`
	ID       string                       `json:"id"`
	Create   int64                        `json:"createStamp"`
	Sock     *struct{ Identifier string } `json:"originSock"`
	Player   bool                         `json:"player"`
	TimeLen  float64                      `json:"time_len"`
	FileName string                       `json:"file_name"`
	Index    int64                        `json:"hook_index"`
}

// fact is an event with its attempts, and the life that it is really about.
type fact struct {
	typ   string
	run   string // of the process
	f     fields
	t0    int64 // first attempt, Unix ns
	life  *truth
	seen  bool // an attempt arrived that was answered with 200
	tries int
	last  int64
}

// facts groups attempts into events, by what only the truth knows: which were answered with a failure, and which were missed.
func (tr *trace) facts(t *testing.T) (list []*fact, of map[*receivertest.Request]*fact) {
	t.Helper()
	type attempt struct {
		at     int64
		path   string
		status int
		body   json.RawMessage
		q      *receivertest.Request // nil: it never arrived
		m      *missed
	}
	var all []attempt
	for i := range tr.hooks {
		h := &tr.hooks[i]
		all = append(all, attempt{h.At, h.Path, h.Status, h.Body, h, nil})
	}
	for i := range tr.missed {
		m := &tr.missed[i]
		all = append(all, attempt{m.at, m.Path, 0, m.Body, nil, m})
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].at < all[j].at })
	open := map[string]*fact{} // failed and not retried yet, by content
	of = map[*receivertest.Request]*fact{}
	for _, a := range all {
		var m map[string]any
		if err := json.Unmarshal(a.body, &m); err != nil {
			t.Fatal(err)
		}
		delete(m, "hook_index")
		b, _ := json.Marshal(m)
		content := a.path + string(b)
		e := open[content]
		if e == nil {
			e = &fact{typ: filepath.Base(a.path), run: filepath.Dir(a.path), t0: a.at}
			if err := json.Unmarshal(a.body, &e.f); err != nil {
				t.Fatal(err)
			}
			list = append(list, e)
		}
		e.tries++
		e.last = a.at
		delete(open, content)
		if a.status != 200 && e.tries < 2 {
			open[content] = e
		}
		e.seen = e.seen || a.status == 200
		if a.q != nil {
			of[a.q] = e
		} else {
			a.m.e = e
		}
	}
	tr.assign(list)
	return list, of
}

// assign finds the life of each fact.
func (tr *trace) assign(list []*fact) {
	sessions, stamps := map[string]*truth{}, map[string]*truth{}
	at := func(stream string, ns int64) *truth {
		var best *truth
		for _, l := range tr.lives[stream] {
			if l.Start <= ns {
				best = l
			}
		}
		return best
	}
	for _, e := range list {
		if e.typ == "on_publish" {
			e.life = at(e.f.Stream, e.t0)
			sessions[e.run+e.f.ID] = e.life
		}
	}
	for _, e := range list {
		switch {
		case e.f.Sock != nil:
			e.life = sessions[e.run+e.f.Sock.Identifier]
			stamps[fmt.Sprint(e.f.Stream, e.f.Create)] = e.life
		case e.typ == "on_flow_report":
			e.life = sessions[e.run+e.f.ID]
		}
	}
	for _, e := range list {
		switch {
		case e.life != nil || e.f.Stream == "":
		case e.f.Regist != nil && *e.f.Regist:
			e.life = stamps[fmt.Sprint(e.f.Stream, e.f.Create)]
		case e.f.Regist != nil: // raised when the process ended
			for _, l := range tr.lives[e.f.Stream] {
				if d := e.t0 - l.End; e.life == nil || abs(d) < abs(e.t0-e.life.End) {
					e.life = l
				}
			}
		default:
			e.life = at(e.f.Stream, e.t0-int64(e.f.TimeLen*5e8))
		}
	}
}

func abs(n int64) int64 { return max(n, -n) }
