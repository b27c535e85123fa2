package attempts

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func all(*Attempt) bool { return true }

func ids(list []Attempt) (out []string) {
	for _, a := range list {
		out = append(out, a.ID)
	}
	return out
}

func at(n int) time.Time { return time.Unix(int64(n), 0) }

// Failures are not pushed out by successes, and both are bounded.
func TestLogKeepsFailuresApart(t *testing.T) {
	l := NewLog(Config{Recent: 700, Kept: 3, AnswerBytes: 8})
	for i := range 5 {
		l.Add(Attempt{ID: fmt.Sprint("bad", i), N: 1, Result: Retry, Answer: []byte("0123456789"), At: at(i), Err: strings.Repeat("x", 2000)})
	}
	for i := range 2000 {
		l.Add(Attempt{ID: fmt.Sprint(i), N: 1, At: at(100 + i)})
	}
	l.Add(Attempt{ID: "second", N: 2, At: at(9999)})
	got := l.Find(5000, all)
	if len(got) != 703 || got[0].ID != "bad3" || got[2].ID != "1300" || got[702].ID != "second" {
		t.Fatal(len(got), ids(got[:3]))
	}
	if string(got[0].Answer) != "01234567" || len(got[0].Err) != maxErr {
		t.Errorf("%q, %d bytes of error", got[0].Answer, len(got[0].Err))
	}
	if got := l.Find(2, all); !slices.Equal(ids(got), []string{"1999", "second"}) {
		t.Error(ids(got))
	}
	if recent, kept := l.Oldest(); !recent.Equal(at(1400)) || !kept.Equal(at(3)) {
		t.Error(recent, kept)
	}
	l.Configure(Config{Recent: 2, Kept: 1})
	l.Add(Attempt{ID: "new", N: 1, At: at(10000)})
	if got := l.Find(9, all); !slices.Equal(ids(got), []string{"1999", "second", "new"}) {
		t.Error(ids(got))
	}
	l.Configure(Config{})
	l.Add(Attempt{ID: "none", N: 1})
	if got := l.Find(9, all); len(got) != 0 {
		t.Error(ids(got))
	}
}

// A first attempt with the usual answer costs no allocation; other answers are sampled, those of decisions kept.
func TestLogAnswers(t *testing.T) {
	l := NewLog(Config{Recent: 4096, Kept: 1, AnswerBytes: 1024})
	body := []byte(`{"code":0}`)
	usual := Attempt{Endpoint: "hook", N: 1, Seq: 1, Answer: body}
	for range 4096 {
		l.Add(usual)
	}
	if n := testing.AllocsPerRun(1000, func() { l.Add(usual) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for i := range 64 {
		l.Add(Attempt{Endpoint: "hook", N: 1, Seq: 1, Answer: fmt.Appendf(nil, `{"code":0,"t":%d}`, i), Key: "odd"})
	}
	l.Add(Attempt{Endpoint: "hook", N: 1, Answer: []byte("decided"), Key: "decision"})
	kept := 0
	for _, a := range l.Find(5000, all) {
		if a.Key == "odd" && a.Answer != nil {
			kept++
		}
		if a.Key == "decision" && string(a.Answer) != "decided" || a.Key == "" && string(a.Answer) != string(body) {
			t.Errorf("%+v", a)
		}
	}
	if kept < 2 || kept > 8 {
		t.Errorf("%d of 64 answers", kept)
	}
	l.Forget("hook")
	if len(l.answers) != 0 {
		t.Error("not forgotten")
	}
}

// Attempts may be added while others look.
func TestLogConcurrently(t *testing.T) {
	l := NewLog(Config{Recent: 3000, Kept: 3000})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 50000 {
			l.Add(Attempt{N: 1 + i%2, At: at(i), Result: Result(i % 2 * int(Retry))})
		}
	}()
	for looking := true; looking; {
		select {
		case <-done:
			looking = false
		default:
		}
		got := l.Find(6000, all)
		if !slices.IsSortedFunc(got, func(a, b Attempt) int { return a.At.Compare(b.At) }) {
			t.Fatal("out of order")
		}
	}
}

func TestMask(t *testing.T) {
	for in, want := range map[string]string{
		"http://u:p@h/a?token=1#x":   "http://h/a",
		"nats://h:4222/s":            "nats://h:4222/s",
		"http://u:p ss@h/":           "***",
		"kafka://u:p@a:1,u:p@b:2/t":  "kafka://b:2/t",
		"http://h/\x00":              "***",
		"http://h/on_publish?secret": "http://h/on_publish",
	} {
		if got := ShownURL(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
	for in, want := range map[string]string{
		"plain: no url":                                    "plain: no url",
		`Get "http://u:p@h:1/x?token=abc": EOF`:            `Get "http://h:1/x": EOF`,
		`dial redis://u:p@ss@h:1/0?db=1 refused`:           `dial redis://h:1/0 refused`,
		`a https://h/?x=1 b kafka://u:p@a:1,u:q@b:2/t end`: `a https://h/ b kafka://b:2/t end`,
	} {
		if got := Masked(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestResultNames(t *testing.T) {
	seen := map[string]bool{}
	for r := range Results {
		if s := r.String(); s == "other" || seen[s] {
			t.Error(r, s)
		}
		seen[r.String()] = true
	}
	if Results.String() != "other" {
		t.Error(Results)
	}
}

func BenchmarkAdd(b *testing.B) {
	l := NewLog(Config{Recent: 16384, Kept: 8192, AnswerBytes: 1024})
	a := Attempt{Endpoint: "hook", N: 1, Seq: 1, Answer: []byte(`{"code":0,"msg":"success"}`)}
	b.ReportAllocs()
	for b.Loop() {
		l.Add(a)
	}
}
