package attempts

import (
	"fmt"
	"math/rand/v2"
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
	if recent, kept := l.Oldest(); !recent.Equal(at(1400)) || !kept.Equal(at(2)) {
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

// An endpoint at which everything fails pushes out nothing of the others, as long as they hold no more than their share.
func TestLogShares(t *testing.T) {
	const kept = 60
	l := NewLog(Config{Kept: kept})
	n := 0
	fail := func(endpoint string) {
		l.Add(Attempt{Endpoint: endpoint, ID: fmt.Sprint(endpoint, n), N: 1, Result: Retry, At: at(n)})
		n++
	}
	of := func(endpoint string) []string {
		return ids(l.Find(2*kept, func(a *Attempt) bool { return a.Endpoint == endpoint }))
	}
	for range 100 {
		fail("alone")
	}
	if got := of("alone"); len(got) != kept || got[0] != "alone40" {
		t.Errorf("one alone has %d: %v", len(got), got)
	}
	for range 20 {
		fail("rare")
	}
	rare := of("rare")
	for range 1000 {
		fail("noisy")
		fail("alone")
	}
	if got := of("rare"); len(rare) != 20 || !slices.Equal(got, rare) {
		t.Errorf("of 20 failures of another %d are left", len(got))
	}
	if a, b := len(of("noisy")), len(of("alone")); a+b != kept-20 || a-b > 1 || b-a > 1 {
		t.Errorf("the noisy ones share %d and %d", a, b)
	}
	if _, since := l.Oldest(); !since.Equal(at(n - 41)) {
		t.Errorf("all since %v of %d", since.Unix(), n)
	}
	l.Forget("alone")
	for range 30 {
		fail("noisy")
	}
	if a, b, c := len(of("noisy")), len(of("alone")), len(of("rare")); a != 40 || b != 0 || c != 20 {
		t.Errorf("after one has gone: %d, %d, %d", a, b, c)
	}
	l.Forget("rare")
	l.Configure(Config{Kept: 10})
	if got := of("noisy"); len(got) != 10 || got[9] != fmt.Sprint("noisy", n-1) || len(of("rare")) != 0 {
		t.Errorf("with less room: %v", got)
	}
	l.Configure(Config{Kept: 12})
	fail("rare")
	fail("new")
	fail("new")
	if a, b, c := len(of("noisy")), len(of("rare")), len(of("new")); a != 9 || b != 1 || c != 2 {
		t.Errorf("with more room: %d, %d, %d", a, b, c)
	}
}

// Whatever is added, what an endpoint holds are its last ones, all together are within the bound, and who has had no
// more than its share has lost nothing.
func TestLogSharesAtRandom(t *testing.T) {
	for seed := range uint64(20) {
		dice := rand.New(rand.NewPCG(seed, 1))
		kept, endpoints := 1+dice.IntN(200), 1+dice.IntN(20)
		l := NewLog(Config{Kept: kept})
		all := map[string][]string{}
		for n := range 2000 {
			e := fmt.Sprint("e", min(dice.IntN(endpoints), dice.IntN(endpoints)))
			id := fmt.Sprint(n)
			all[e] = append(all[e], id)
			l.Add(Attempt{Endpoint: e, ID: id, N: 2, At: at(n)})
		}
		sum := 0
		for e, want := range all {
			got := ids(l.Find(kept+1, func(a *Attempt) bool { return a.Endpoint == e }))
			if !slices.Equal(got, want[len(want)-len(got):]) {
				t.Errorf("seed %d: %s holds %v", seed, e, got)
			}
			if len(got) < min(len(want), kept/endpoints) {
				t.Errorf("seed %d: %s holds %d of %d; its share of %d is %d", seed, e, len(got), len(want), kept, kept/endpoints)
			}
			sum += len(got)
		}
		if sum != min(kept, 2000) || len(l.kept.slots) != sum || len(l.kept.most) != len(l.kept.byName) {
			t.Errorf("seed %d: %d are held of at most %d", seed, sum, kept)
		}
	}
}

// Attempts may be added while others look.
func TestLogConcurrently(t *testing.T) {
	l := NewLog(Config{Recent: 3000, Kept: 3000})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 50000 {
			l.Add(Attempt{Endpoint: fmt.Sprint(i % 7), N: 1 + i%2, At: at(i), Result: Result(i % 2 * int(Retry))})
			if i%1000 == 0 {
				l.Configure(Config{Recent: 3000, Kept: 3000 + i%3})
				l.Forget(fmt.Sprint(i % 5))
			}
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

func BenchmarkAddFailed(b *testing.B) {
	l := NewLog(Config{Kept: 8192})
	list := make([]Attempt, 1000)
	for i := range list {
		list[i] = Attempt{Endpoint: fmt.Sprint(i), N: 1, Seq: 1, Result: Retry}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Add(list[i%len(list)])
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
