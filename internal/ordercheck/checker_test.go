package ordercheck

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const epoch = 1767319445678

type object = map[string]any

// ev makes the body of an event of live/a. The id, hook_index and time follow from seq; set changes members, a name
// with "event." belongs to the event member, nil removes it.
func ev(typ event.Type, seq, prev uint64, set object) object {
	e := object{
		"id": fmt.Sprintf("id-%d", seq), "type": string(typ), "source": "srv", "incarnation": "run-1", "epoch": epoch,
		"stream": "__defaultVhost__/live/a", "publication": "p1", "seq": seq, "prev": prev,
		"time": t0.Add(time.Duration(seq) * time.Second).Format(time.RFC3339Nano),
	}
	b := object{
		"hook_index": 100 + seq, "mediaServerId": "srv", "vhost": "__defaultVhost__", "app": "live", "stream": "a",
		"schema": "rtmp", "params": "n=1", "event": e,
	}
	for k, v := range set {
		m, name := b, k
		if rest, ok := strings.CutPrefix(k, "event."); ok {
			m, name = e, rest
		}
		if v == nil {
			delete(m, name)
		} else {
			m[name] = v
		}
	}
	return b
}

func register(seq, prev uint64, set object) object {
	return ev(event.OnStreamChanged, seq, prev, with(set, "regist", true))
}

func unregister(seq, prev uint64, set object) object {
	return ev(event.OnStreamChanged, seq, prev, with(set, "regist", false))
}

func ended(seq, prev uint64, set object) object { return ev(event.OnPublicationEnded, seq, prev, set) }

func report(seq, prev uint64, player bool, set object) object {
	return ev(event.OnFlowReport, seq, prev, with(set, "player", player))
}

func play(seq, prev uint64) object { return report(seq, prev, true, nil) }

func notice(id string, from, to, count uint64) object {
	return ev(event.OnEventGap, 0, 0, object{
		"event.id": id, "event.seq": nil, "event.prev": nil, "event.publication": nil, "hook_index": nil,
		"from": from, "to": to, "count": count, "types": []string{"on_flow_report"}, "reason": "expired",
	})
}

func question(typ event.Type, id string, index int, set object) object {
	return ev(typ, 0, 0, with(with(with(with(set, "event.seq", nil), "event.prev", nil), "event.id", id), "hook_index", index))
}

func with(set object, k string, v any) object {
	out := object{k: v}
	maps.Copy(out, set)
	return out
}

func parse(t testing.TB, o object) *Body {
	t.Helper()
	raw, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Parse(raw)
	if err != nil {
		t.Fatalf("Parse(%s): %v", raw, err)
	}
	return b
}

func feed(t testing.TB, c *Checker, bodies ...object) {
	t.Helper()
	for _, o := range bodies {
		c.Add(Delivery{Body: parse(t, o)})
	}
}

func TestKinds(t *testing.T) {
	pub2 := object{"event.publication": "p2"}
	tests := []struct {
		name   string
		opt    Options
		bodies []object
		want   map[Kind]int
	}{
		{"a publication", Options{}, []object{
			register(1, 0, nil), register(2, 1, object{"schema": "rtsp"}), play(3, 2), report(4, 3, false, nil),
			unregister(5, 4, object{"schema": "rtsp"}), unregister(6, 5, nil),
			ev(event.OnRecordMP4, 7, 6, nil), ended(8, 7, nil),
		}, nil},
		{"a second publication, a late viewer of the first, a record of the first in between", Options{}, []object{
			register(1, 0, nil), unregister(2, 1, nil), register(3, 2, pub2), ev(event.OnRecordMP4, 4, 3, nil),
			ended(5, 4, nil), play(6, 5), unregister(7, 6, pub2), ended(8, 7, pub2),
		}, nil},
		{"only what the endpoint subscribed to", Options{}, []object{register(2, 0, nil), unregister(7, 2, nil)}, nil},
		{"a re-sent tail", Options{}, []object{register(1, 0, nil), play(2, 1), register(1, 0, nil), play(2, 1), play(3, 2)}, nil},
		{"a gap that was announced", Options{}, []object{register(1, 0, nil), notice("g", 2, 3, 2), play(4, 3)}, nil},
		{"a gap announced with the next event", Options{}, []object{
			register(1, 0, nil),
			ev(event.OnFlowReport, 4, 3, object{"player": true, "event.gap": []event.Gap{{From: 2, To: 3, Count: 2, Reason: "refused"}}}),
		}, nil},
		{"a redriven event comes late", Options{}, []object{register(1, 0, nil), notice("g", 2, 2, 1), play(3, 2), play(2, 1)}, nil},
		{"a redriven event says so", Options{}, []object{
			register(1, 0, nil), play(3, 1),
			report(2, 1, true, object{"event.late": true}),
		}, nil},
		{"a replay", Options{}, []object{register(2, 0, nil), register(1, 0, object{"event.replay": "r1"})}, nil},
		{"a new epoch starts again", Options{}, []object{
			register(5, 0, nil), register(1, 0, object{"event.epoch": epoch + 1, "event.id": "n1", "event.publication": "p2"}),
		}, nil},
		{"a forgotten key", Options{}, []object{play(1, 0), play(9, 0)}, nil},
		{"a key taken up in the middle", Options{Since: t0.AddDate(0, 1, 0)}, []object{play(7, 6), unregister(8, 7, nil), ended(9, 8, nil)}, nil},
		{"decisions", Options{}, []object{
			question(event.OnPublish, "q1", 1, nil), question(event.OnPlay, "q2", 2, nil), question(event.OnPublish, "q1", 1, nil),
			question(event.OnStreamNoneReader, "q3", 3, nil), question(event.OnServerKeepalive, "q4", 4, nil),
		}, nil},

		{"swapped", Options{}, []object{unregister(2, 0, nil), register(1, 0, nil)}, map[Kind]int{OutOfOrder: 1, Lifecycle: 1}},
		{"swapped, with prev", Options{}, []object{play(2, 1), play(1, 0)}, map[Kind]int{OutOfOrder: 1, Gap: 1}},
		{"an old epoch", Options{}, []object{
			register(1, 0, object{"event.epoch": epoch + 1}), register(5, 0, object{"event.publication": "p2"}),
		}, map[Kind]int{OutOfOrder: 1}},
		{"a hole", Options{}, []object{play(1, 0), play(3, 2)}, map[Kind]int{Gap: 1}},
		{"the first is missing", Options{}, []object{play(3, 2)}, map[Kind]int{Gap: 1}},
		{"a young key taken up in the middle", Options{Since: t0.AddDate(-1, 0, 0)}, []object{play(3, 2)}, map[Kind]int{Gap: 1}},
		{"a gap notice for another run", Options{}, []object{play(1, 0), notice("g", 2, 2, 1), play(4, 3)}, map[Kind]int{Gap: 1}},
		{"a gap notice that comes too late", Options{}, []object{play(1, 0), play(3, 2), notice("g", 2, 2, 1)}, map[Kind]int{Gap: 1}},
		{"prev hides an event", Options{}, []object{play(1, 0), play(2, 1), play(3, 1)}, map[Kind]int{PrevLow: 1}},
		{"new seq", Options{}, []object{play(1, 0), report(2, 0, true, object{"event.id": "id-1", "hook_index": 101, "event.time": t0.Add(time.Second)})}, map[Kind]int{Mutated: 1}},
		{"new hook_index", Options{}, []object{play(1, 0), report(1, 0, true, object{"hook_index": 7})}, map[Kind]int{Mutated: 1}},
		{"new time", Options{}, []object{play(1, 0), report(1, 0, true, object{"event.time": t0})}, map[Kind]int{Mutated: 1}},
		{"new prev", Options{}, []object{play(1, 0), play(3, 1), play(3, 2)}, map[Kind]int{Mutated: 1}},
		{"new body", Options{}, []object{play(1, 0), report(1, 0, true, object{"params": "x"})}, map[Kind]int{Mutated: 1}},
		{"new body of a decision", Options{}, []object{
			question(event.OnPublish, "q1", 1, nil), question(event.OnPublish, "q1", 1, object{"ip": "1.2.3.4"}),
		}, map[Kind]int{Mutated: 1}},
		{"two ids with one seq", Options{}, []object{play(1, 0), report(1, 0, true, object{"event.id": "x", "hook_index": 9})}, map[Kind]int{SeqReused: 1}},
		{"two ids with one hook_index", Options{}, []object{play(1, 0), report(2, 1, true, object{"hook_index": 101})}, map[Kind]int{IndexReused: 1}},
		{"hook_index of a decision again", Options{}, []object{question(event.OnPlay, "q", 101, nil), play(1, 0)}, map[Kind]int{IndexReused: 1}},
		{"hook_index decreases", Options{}, []object{play(1, 0), report(2, 1, true, object{"hook_index": 50})}, map[Kind]int{IndexDecreased: 1}},
		{"time decreases", Options{}, []object{play(1, 0), report(2, 1, true, object{"event.time": t0})}, map[Kind]int{TimeDecreased: 1}},

		{"unregister alone", Options{}, []object{unregister(1, 0, nil)}, map[Kind]int{Lifecycle: 1}},
		{"unregister after an announced gap", Options{}, []object{notice("g", 1, 1, 1), unregister(2, 1, nil)}, nil},
		{"unregister twice", Options{}, []object{register(1, 0, nil), unregister(2, 1, nil), unregister(3, 2, nil)}, map[Kind]int{Lifecycle: 1}},
		{"register twice", Options{}, []object{register(1, 0, nil), register(2, 1, nil)}, map[Kind]int{Lifecycle: 1}},
		{"register after unregister", Options{}, []object{register(1, 0, nil), unregister(2, 1, nil), register(3, 2, nil)}, map[Kind]int{Lifecycle: 1}},
		{"end without unregister", Options{}, []object{register(1, 0, nil), ended(2, 1, nil)}, map[Kind]int{Lifecycle: 1}},
		{"record after the end", Options{}, []object{register(1, 0, nil), unregister(2, 1, nil), ended(3, 2, nil), ev(event.OnRecordMP4, 4, 3, nil)}, map[Kind]int{Lifecycle: 1}},
		{"publisher's report after the end", Options{}, []object{ev(event.OnPublish, 1, 0, nil), ended(2, 1, nil), report(3, 2, false, nil)}, map[Kind]int{Lifecycle: 1}},
		{"end twice", Options{}, []object{ev(event.OnPublish, 1, 0, nil), ended(2, 1, nil), ended(3, 2, nil)}, map[Kind]int{Lifecycle: 1}},
		{"publisher's report after unregister", Options{}, []object{register(1, 0, nil), unregister(2, 1, nil), report(3, 2, false, nil)}, map[Kind]int{Lifecycle: 1}},
		{"record before register", Options{}, []object{ev(event.OnPublish, 1, 0, nil), ev(event.OnRecordTS, 2, 1, nil), register(3, 2, nil)}, map[Kind]int{Lifecycle: 1}},
		{"record of what registers nothing", Options{}, []object{ev(event.OnPublish, 1, 0, nil), ev(event.OnRecordMP4, 2, 1, nil), ended(3, 2, nil)}, nil},
		{"hls behind a record, and again", Options{}, []object{
			ev(event.OnPublish, 1, 0, nil), ev(event.OnRecordTS, 2, 1, nil), register(3, 2, object{"schema": "hls"}), unregister(4, 3, object{"schema": "hls"}),
			register(5, 4, object{"schema": "hls"}), unregister(6, 5, object{"schema": "hls"}), ended(7, 6, nil),
		}, nil},
		{"new life before the old ended", Options{}, []object{register(1, 0, nil), register(2, 1, pub2)}, map[Kind]int{Lifecycle: 1}},
		{"question about what ended", Options{}, []object{
			register(1, 0, nil), unregister(2, 1, nil), ended(3, 2, nil), question(event.OnStreamNoneReader, "q", 1, nil),
		}, map[Kind]int{Lifecycle: 1}},

		{"no id", Options{}, []object{register(1, 0, object{"event.id": nil})}, map[Kind]int{Malformed: 1}},
		{"a dot in the id", Options{}, []object{register(1, 0, object{"event.id": "a.b"})}, map[Kind]int{Malformed: 1}},
		{"no time", Options{}, []object{register(1, 0, object{"event.time": nil})}, map[Kind]int{Malformed: 1}},
		{"no seq", Options{}, []object{register(1, 0, object{"event.seq": nil})}, map[Kind]int{Malformed: 1}},
		{"no prev", Options{}, []object{register(1, 0, object{"event.prev": nil})}, map[Kind]int{Malformed: 1}},
		{"prev is not below seq", Options{}, []object{register(1, 1, nil)}, map[Kind]int{Malformed: 1}},
		{"no hook_index", Options{}, []object{register(1, 0, object{"hook_index": nil})}, map[Kind]int{Malformed: 1}},
		{"no regist", Options{}, []object{ev(event.OnStreamChanged, 1, 0, nil)}, map[Kind]int{Malformed: 1}},
		{"a heartbeat with seq", Options{}, []object{ev(event.OnServerKeepalive, 1, 0, nil)}, map[Kind]int{Malformed: 1}},
		{"a gap notice backwards", Options{}, []object{notice("g", 5, 4, 1)}, map[Kind]int{Malformed: 1}},
		{"a gap notice that counts too much", Options{}, []object{notice("g", 4, 5, 3)}, map[Kind]int{Malformed: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := New(tt.opt)
			feed(t, c, tt.bodies...)
			r := c.Report()
			want := tt.want
			if want == nil {
				want = map[Kind]int{}
			}
			if !maps.Equal(r.Violations, want) {
				t.Errorf("got %v, want %v\n%s", r.Violations, want, r)
			}
			if r.OK() != (len(want) == 0) || len(r.Examples) != r.Total() {
				t.Errorf("OK = %v, %d examples of %d", r.OK(), len(r.Examples), r.Total())
			}
		})
	}
}

func TestWrongURL(t *testing.T) {
	c := New(Options{})
	res := c.Add(Delivery{Body: parse(t, register(1, 0, nil)), Hook: event.OnPlay})
	if len(res.Violations) != 1 || res.Violations[0].Kind != Malformed {
		t.Errorf("got %v", res.Violations)
	}
}

func TestOverlap(t *testing.T) {
	at := func(o object, from, to int) Delivery {
		d := Delivery{Body: parse(t, o)}
		d.Start, d.Finish = t0.Add(time.Duration(from)*time.Millisecond), t0.Add(time.Duration(to)*time.Millisecond)
		return d
	}
	other := object{"event.stream": "__defaultVhost__/live/b", "event.id": "b", "hook_index": 999}
	tests := []struct {
		name string
		in   []Delivery
		want int
	}{
		{"one after the other", []Delivery{at(play(1, 0), 0, 10), at(play(2, 1), 10, 20)}, 0},
		{"together", []Delivery{at(play(1, 0), 0, 10), at(play(2, 1), 9, 20)}, 1},
		{"another key", []Delivery{at(play(1, 0), 0, 10), at(report(1, 0, true, other), 5, 20)}, 0},
		{"the same event again after a time-out", []Delivery{at(play(1, 0), 5, 10), at(play(1, 0), 0, 12), at(play(2, 1), 13, 14)}, 0},
		{"the next while the one before last is answered", []Delivery{at(play(1, 0), 0, 30), at(play(1, 0), 31, 32), at(play(2, 1), 29, 40)}, 1},
		{"a decision", []Delivery{at(play(1, 0), 0, 10), at(question(event.OnPlay, "q", 1, nil), 5, 20)}, 0},
		{"a question takes its turn", []Delivery{at(play(1, 0), 0, 10), at(question(event.OnStreamNoneReader, "q", 1, nil), 5, 20)}, 1},
		{"a replay", []Delivery{at(play(1, 0), 0, 10), at(report(2, 1, true, object{"event.replay": "r"}), 5, 20)}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := New(Options{})
			for _, d := range tt.in {
				c.Add(d)
			}
			if got := c.Report().Violations[Overlap]; got != tt.want {
				t.Errorf("%d overlaps, want %d", got, tt.want)
			}
		})
	}
	t.Run("a rejected one counts too", func(t *testing.T) {
		c := New(Options{})
		c.Rejected(at(play(1, 0), 0, 10))
		c.Add(at(play(2, 1), 5, 20))
		r := c.Report()
		if r.Violations[Overlap] != 1 || r.Deliveries != 1 {
			t.Errorf("got %+v", r)
		}
	})
}

func TestCounts(t *testing.T) {
	c := New(Options{})
	feed(
		t, c, question(event.OnPublish, "q", 1, nil), register(1, 0, nil), register(1, 0, nil), notice("g", 2, 4, 3), notice("g", 2, 4, 3),
		play(5, 4), play(3, 0), register(6, 5, object{"event.publication": "p2", "schema": "ts"}), play(9, 0),
	)
	r := c.Report()
	got := []int{r.Deliveries, r.Events, r.Unsequenced, r.Duplicates, r.Late, r.GapNotices, int(r.Announced), r.Keys, r.Publications, r.Open, r.PrevUnknown}
	// Seq 3 comes late and claims no predecessor, like seq 9.
	if want := []int{9, 5, 2, 2, 1, 1, 3, 1, 2, 2, 2}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if !r.OK() {
		t.Error(r)
	}
}

func TestOpen(t *testing.T) {
	c := New(Options{})
	feed(t, c, ev(event.OnPublish, 1, 0, nil))
	if r := c.Report(); r.Open != 0 {
		t.Errorf("open although ends may not be subscribed to: %v", r.OpenExamples)
	}
	feed(
		t, c, register(2, 1, nil), unregister(3, 2, nil), ended(4, 3, nil), ev(event.OnPublish, 5, 4, object{"event.publication": "p2"}),
	)
	if r := c.Report(); r.Open != 1 || !strings.HasSuffix(r.OpenExamples[0], " p2") {
		t.Errorf("open: %v", r.OpenExamples)
	}
}

func TestLost(t *testing.T) {
	c := New(Options{KeepFacts: true})
	feed(
		t, c, register(1, 0, nil), register(1, 0, nil), notice("g", 2, 3, 2), unregister(4, 3, nil), play(2, 1),
		question(event.OnPublish, "q", 1, nil),
	)
	const stream = "__defaultVhost__/live/a"
	viewer := Fact{Stream: stream, Type: event.OnFlowReport, What: "player"}
	facts := []Fact{
		{Stream: stream, Params: "n=1", Type: event.OnPublish, What: "request"},
		{Stream: stream, Params: "n=1", Type: event.OnStreamChanged, What: "register:rtmp"},
		{Stream: stream, Publication: "p1", Type: event.OnStreamChanged, What: "unregister:rtmp"},
		{Stream: stream, Params: "n=2", Type: event.OnStreamChanged, What: "register:rtmp"},
		{Stream: stream, Publication: "p1", Type: event.OnPublicationEnded},
		viewer, viewer, viewer, // one came late, one is named
	}
	got := c.Lost(facts)
	want := []Fact{facts[3], facts[4], viewer}
	if got.Expected != 8 || got.Received != 4 || got.Announced != 1 || !slices.Equal(got.Lost, want) {
		t.Errorf("got %+v", got)
	}
	if got := New(Options{}).Lost(facts[:1]); len(got.Lost) != 1 {
		t.Errorf("an empty checker lost %v", got)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	c := New(Options{Window: 8, Identities: 16, Publications: 4, Examples: 3})
	for i := uint64(1); i <= 1000; i++ {
		feed(t, c, register(i, i-1, object{"event.publication": fmt.Sprint("p", i), "schema": fmt.Sprint("s", i)}))
	}
	k := c.keys[keyName{"srv", "__defaultVhost__/live/a"}]
	if len(k.events) > 16 || len(k.publications) > 4 || len(k.order) > 4 || len(c.ids.entries) > 16 || len(c.indexes.entries) > 16 {
		t.Errorf("%d events, %d publications, %d ids", len(k.events), len(k.publications), len(c.ids.entries))
	}
	for i := uint64(0); i < 2*maxRuns; i++ {
		feed(t, c, notice(fmt.Sprint("g", i), 2000+2*i, 2000+2*i, 1))
	}
	if len(k.gaps) > maxRuns || !k.gaps.covers(2000) {
		t.Errorf("%d runs", len(k.gaps))
	}
	// What is older than the window can't be told from a duplicate.
	feed(t, c, register(5, 4, nil))
	if r := c.Report(); r.Unverified != 1 || !r.OK() {
		t.Error(r)
	}
	// The id is forgotten, the seq is not.
	feed(t, c, register(993, 992, object{"event.publication": "p993", "schema": "s993"}))
	if r := c.Report(); r.Duplicates != 1 || !r.OK() {
		t.Error(r)
	}
	for i := range 10 {
		c.Unreadable(event.OnPlay, errors.New(fmt.Sprint(i)))
	}
	if r := c.Report(); len(r.Examples) != 3 || r.Violations[Malformed] != 10 {
		t.Errorf("%d examples", len(r.Examples))
	}
}

func TestRuns(t *testing.T) {
	var rs runs
	for _, r := range []run{{5, 6}, {1, 1}, {3, 3}, {2, 2}, {10, 20}, {8, 8}, {7, 9}} {
		rs.add(r)
	}
	if want := (runs{{1, 3}, {5, 20}}); !slices.Equal(rs, want) {
		t.Errorf("got %v, want %v", rs, want)
	}
	const top = ^uint64(0)
	rs.add(run{top, top})
	rs.add(run{top - 1, top - 1})
	if !rs.covers(top) || rs.covers(top-2) || rs.covers(4) || !rs.contains(run{6, 20}) || rs.contains(run{3, 5}) {
		t.Errorf("got %v", rs)
	}
}

// lives makes the events of n publications of one key, in order.
func lives(stream string, n int, index *uint64) []object {
	var out []object
	seq := uint64(0)
	add := func(make func(seq, prev uint64, set object) object, pub, schema string) {
		seq++
		*index++
		out = append(out, make(seq, seq-1, object{
			"event.id": fmt.Sprintf("%s-%d", stream, seq), "event.stream": stream, "event.publication": pub,
			"hook_index": *index, "schema": schema,
		}))
	}
	for i := range n {
		pub := fmt.Sprintf("%s-p%d", stream, i)
		add(register, pub, "rtmp")
		add(register, pub, "rtsp")
		add(unregister, pub, "rtsp")
		add(unregister, pub, "rtmp")
		add(ended, pub, "")
	}
	return out
}

// TestInterleavings: any interleaving that keeps each key's order, with duplicates, is clean; an exchange of two
// events of a key is not.
func TestInterleavings(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		index := uint64(0)
		var keys [][]object
		for k := range 5 {
			keys = append(keys, lives(fmt.Sprint("v/app/", k), 3, &index))
		}
		swapped := seed%2 == 1
		if swapped {
			k, i := keys[rng.IntN(5)], rng.IntN(14)
			k[i], k[i+1] = k[i+1], k[i]
		}
		c := New(Options{})
		for sent := 0; sent < 75; {
			k := rng.IntN(5)
			if len(keys[k]) == 0 {
				continue
			}
			feed(t, c, keys[k][0])
			if rng.IntN(4) == 0 {
				feed(t, c, keys[k][0])
			}
			keys[k] = keys[k][1:]
			sent++
		}
		r := c.Report()
		if r.OK() == swapped || r.Violations[OutOfOrder] > 1 || (swapped && r.Violations[OutOfOrder] != 1) || r.Open != 0 {
			t.Errorf("seed %d, swapped %v, open %v: %s", seed, swapped, r.OpenExamples, r)
		}
	}
}

func TestConcurrentKeys(t *testing.T) {
	c := New(Options{KeepFacts: true})
	var wg sync.WaitGroup
	for k := range 8 {
		index := uint64(k * 1000)
		bodies := lives(fmt.Sprint("v/app/", k), 20, &index)
		wg.Go(func() {
			for _, o := range bodies {
				raw, _ := json.Marshal(o)
				b, err := Parse(raw)
				if err != nil {
					t.Error(err)
					return
				}
				c.Add(Delivery{Body: b})
				_ = c.Report()
			}
		})
	}
	wg.Wait()
	if r := c.Report(); !r.OK() || r.Events != 800 || r.Keys != 8 || r.Publications != 160 {
		t.Error(r)
	}
}

func TestParse(t *testing.T) {
	if _, err := Parse([]byte(`{"hook_index":1,"app":"live"}`)); !errors.Is(err, ErrNoEnvelope) {
		t.Errorf("err = %v", err)
	}
	if b, _ := Parse([]byte(`{"hook_index":1,"app":"live"}`)); b == nil || b.App != "live" || b.Index != 1 {
		t.Errorf("got %+v", b)
	}
	for _, bad := range []string{"", "null", "[]", "1", `{"hook_index":-1,"event":{}}`, `{"event":1}`, `{"event":{"seq":"1"}}`} {
		if b, err := Parse([]byte(bad)); err == nil {
			t.Errorf("Parse(%q) = %+v", bad, b)
		}
	}
	// White space and the order of members are not part of the identity, values are.
	const event = `,"event":{"id":"i","type":"on_play","source":"s","epoch":1,"time":"2026-01-02T03:04:05Z"}}`
	parsed := func(s string) uint64 {
		b, err := Parse([]byte(s + event))
		if err != nil {
			t.Fatal(err)
		}
		return b.digest
	}
	if parsed(`{"a":1,"b":{"c":2}`) != parsed(`{ "b": {"c": 2 }, "a":1`) {
		t.Error("the layout changes the identity")
	}
	if parsed(`{"a":1`) == parsed(`{"a":2`) {
		t.Error("a value does not change the identity")
	}
}

func TestReportIsReadable(t *testing.T) {
	c := New(Options{})
	feed(t, c, play(2, 1), play(1, 0), register(1, 0, object{"event.stream": "", "event.id": "x", "hook_index": nil}))
	s := c.Report().String()
	for _, part := range []string{"3 VIOLATIONS: gap 1 malformed 1 out_of_order 1", `"__defaultVhost__/live/a"`, "seq 1 was accepted after seq 2"} {
		if !strings.Contains(s, part) {
			t.Errorf("%q is missing in:\n%s", part, s)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, o := range []object{register(1, 0, nil), notice("g", 2, 3, 2), question(event.OnPlay, "q", 1, nil)} {
		raw, _ := json.Marshal(o)
		f.Add(raw)
	}
	f.Add([]byte(`{"event":null}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := Parse(raw)
		if err != nil {
			return
		}
		c := New(Options{KeepFacts: true})
		c.Add(Delivery{Body: b, Start: t0, Finish: t0})
		c.Add(Delivery{Body: b, Start: t0, Finish: t0})
		_ = c.Report().String()
	})
}
