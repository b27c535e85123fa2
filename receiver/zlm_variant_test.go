package receiver_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/receiver/receivertest"
)

// shot is an attempt of an event of a variant.
type shot struct {
	e      *fact
	body   map[string]any
	at     int64 // arrival, Unix ns
	sent   int64 // when it was sent at the latest, by its own hook_index and those above
	was    int64 // its hook_index in the recording; the order of what is sent at the same time
	status int   // 0: it does not arrive
	run    int   // of the process
	of     *shot // that something on the way repeats: it has its hook_index
	index  int64
}

// variant is what another ZLMediaKit, or this one on another day, would have sent.
type variant struct {
	shots    []*shot
	lives    []*truth
	how      replaying
	slack    time.Duration // of the clocks
	noIndex  bool
	restarts int
	gaps     bool // indexes keep their gaps: what is not here went elsewhere
}

// variantOf is a recording as it is.
func variantOf(t *testing.T, tr *trace) *variant {
	t.Helper()
	_, of := tr.facts(t)
	v := &variant{how: replaying{faithful: true}}
	for i := range tr.hooks {
		q := &tr.hooks[i]
		v.shots = append(v.shots, &shot{e: of[q], body: decode(t, q.Body), at: q.At, status: q.Status})
	}
	for i := range tr.missed {
		m := &tr.missed[i]
		v.shots = append(v.shots, &shot{e: m.e, body: decode(t, m.Body), at: m.at})
	}
	for _, stream := range slices.Sorted(maps.Keys(tr.lives)) {
		v.lives = append(v.lives, tr.lives[stream]...)
	}
	for _, s := range v.shots {
		s.was, _ = s.body["hook_index"].(json.Number).Int64()
		delete(s.body, "hook_index")
	}
	slices.SortStableFunc(v.shots, func(a, b *shot) int { return cmp.Compare(a.was, b.was) })
	least := int64(1) << 62
	for _, s := range slices.Backward(v.shots) {
		least = min(least, s.at)
		s.sent = least
	}
	return v
}

func decode(t *testing.T, body []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

// scene makes requests of the attempts.
func (v *variant) scene(t *testing.T) *scene {
	t.Helper()
	slices.SortStableFunc(v.shots, func(a, b *shot) int {
		return cmp.Or(cmp.Compare(a.run, b.run), cmp.Compare(a.sent, b.sent), cmp.Compare(a.was, b.was))
	})
	type both struct {
		q receivertest.Request
		e *fact
	}
	var all []both
	index := map[int]int64{}
	seen := map[*fact]bool{}
	sc := &scene{of: map[*receivertest.Request]*fact{}, slack: v.slack}
	for _, s := range v.shots {
		n := index[s.run]
		switch {
		case s.of != nil:
			n = s.of.index
		case v.gaps:
			n = s.was
		default:
			index[s.run]++
		}
		s.index = n
		s.e.seen = s.e.seen && seen[s.e] || s.status == 200
		if !seen[s.e] {
			seen[s.e] = true
			s.e.f.Index = n
			sc.list = append(sc.list, s.e)
		}
		if s.status == 0 {
			continue
		}
		body := maps.Clone(s.body)
		if !v.noIndex {
			body["hook_index"] = n
		}
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, both{receivertest.Request{At: s.at, Path: "/index/hook/" + s.e.typ, Status: s.status, Body: b}, s.e})
	}
	slices.SortStableFunc(all, func(a, b both) int { return cmp.Compare(a.q.At, b.q.At) })
	for _, a := range all {
		sc.hooks = append(sc.hooks, a.q)
	}
	for i, a := range all {
		sc.of[&sc.hooks[i]] = a.e
	}
	return sc
}

// drop removes events as if they had never been raised.
func (v *variant) drop(pred func(*shot) bool) { v.shots = slices.DeleteFunc(v.shots, pred) }

// each changes bodies, each a copy of its own.
func (v *variant) each(f func(s *shot)) {
	for _, s := range v.shots {
		f(s)
	}
}

func num(n int64) json.Number { return json.Number(fmt.Sprint(n)) }

// decision says that the sender waits for the answer: what follows would come later, or not at all.
func (e *fact) decision() bool { return e.typ == "on_publish" || e.typ == "on_server_started" }

// again adds an attempt that is sent delay after s.
func (v *variant) again(rng *rand.Rand, s *shot, delay time.Duration, status int) {
	c := *s
	c.sent += int64(delay)
	c.at = max(s.at, s.sent) + int64(delay) + rng.Int64N(int64(50*time.Millisecond))
	c.sent = min(c.sent, c.at)
	c.status = status
	v.shots = append(v.shots, &c)
}

const retryDelay = 3 * time.Second

// fate changes what becomes of some of the attempts.
func (v *variant) fate(rng *rand.Rand, part float64, f func(s *shot)) {
	for _, s := range slices.Clone(v.shots) {
		if !s.e.decision() && s.status == 200 && rng.Float64() < part && s.e.typ != "on_server_exited" {
			f(s)
		}
	}
}

// types keeps only some kinds of hooks.
func (v *variant) types(keep ...string) {
	v.drop(func(s *shot) bool { return !slices.Contains(keep, s.e.typ) })
}

func (v *variant) without(types ...string) {
	v.drop(func(s *shot) bool { return slices.Contains(types, s.e.typ) })
}

func (v *variant) schemas(keep ...string) {
	v.drop(func(s *shot) bool { return s.e.f.Regist != nil && !slices.Contains(keep, s.e.f.Schema) })
}

// byLife returns the attempts of each life in the order in which they were sent.
func (v *variant) byLife() map[*truth][]*shot {
	out := map[*truth][]*shot{}
	for _, s := range v.shots {
		if s.e.life != nil {
			out[s.e.life] = append(out[s.e.life], s)
		}
	}
	return out
}

// rtsp makes RTSP publishers of all: the schema that is passed through registers first.
func (v *variant) rtsp() {
	swap := map[string]string{"rtmp": "rtsp", "rtsp": "rtmp"}
	v.each(func(s *shot) {
		s.origin(2, "rtsp_push")
		if _, ok := s.body["protocol"]; ok {
			s.body["protocol"], s.body["schema"] = "rtsp", "rtsp"
		} else if to := swap[fmt.Sprint(s.body["schema"])]; to != "" && s.e.f.Regist != nil {
			s.body["schema"], s.e.f.Schema = to, to
		}
	})
	for _, list := range v.byLife() { // the first packet registers the pass-through, the tracks the others
		for _, s := range list {
			if s.e.f.Regist != nil && *s.e.f.Regist && s.body["schema"] == "rtsp" {
				s.sent -= int64(20 * time.Millisecond)
				s.at -= int64(20 * time.Millisecond)
			}
		}
	}
}

func (s *shot) origin(typ int64, name string) {
	if _, ok := s.body["originType"]; ok {
		s.body["originType"], s.body["originTypeStr"] = num(typ), name
	}
}

// gb28181 makes RTP devices of all: their session is their stream.
func (v *variant) gb28181() {
	v.each(func(s *shot) {
		s.origin(3, "rtp_push")
		if s.e.f.Stream == "" {
			return
		}
		s.body["app"] = "rtp"
		if _, ok := s.body["id"]; ok {
			s.e.f.ID = s.e.f.Stream
			s.body["id"], s.body["schema"], s.body["protocol"] = s.e.f.Stream, "rtp", "udp"
		}
		s.identify(s.e.f.Stream)
	})
	v.reportFirst()
}

func (s *shot) identify(id string) {
	if sock, ok := s.body["originSock"].(map[string]any); ok {
		sock = maps.Clone(sock)
		sock["identifier"] = id
		s.body["originSock"] = sock
	}
}

// reportFirst: the publisher is lost; its report is raised before the unregisters.
func (v *variant) reportFirst() {
	for _, list := range v.byLife() {
		first := int64(1) << 62
		for _, s := range list {
			if s.e.vague() {
				first = min(first, s.sent)
			}
		}
		for _, s := range list {
			if d := s.sent - first; s.e.typ == "on_flow_report" && d > 0 && d < int64(time.Second) {
				s.sent, s.was, s.at = first, 0, s.at-d
			}
		}
	}
}

// pull makes pull proxies of all: nobody is asked, and nothing is reported.
func (v *variant) pull(rng *rand.Rand) {
	v.without("on_publish", "on_flow_report")
	ids := map[*truth]string{}
	v.each(func(s *shot) {
		s.origin(4, "pull")
		if s.e.life != nil {
			if ids[s.e.life] == "" {
				ids[s.e.life] = fmt.Sprintf("mediakit::RtmpPlayerImp-%d", 10+rng.IntN(60))
			}
			s.identify(ids[s.e.life])
		}
	})
}

// refused adds publishers of streams that are taken: they are allowed, and get no stream.
func (v *variant) refused(rng *rand.Rand, report bool) {
	by := v.byLife()
	for _, l := range v.lives {
		var hello, bye *shot
		for _, s := range by[l] {
			switch s.e.typ {
			case "on_publish":
				hello = s
			case "on_flow_report":
				bye = s
			}
		}
		if hello == nil || bye == nil || rng.IntN(2) == 0 || l.End-l.Start < int64(2*time.Second) {
			continue
		}
		at := hello.sent + int64(time.Second) + rng.Int64N(int64(500*time.Millisecond))
		id := fmt.Sprintf("%d-%d", 9000+rng.IntN(1000), 10+rng.IntN(90))
		add := func(like *shot, at int64, more map[string]any) {
			b := maps.Clone(like.body)
			maps.Copy(b, more)
			e := *like.e
			e.life, e.f.ID, e.f.Player = nil, id, like == bye
			v.shots = append(v.shots, &shot{e: &e, body: b, at: at + rng.Int64N(int64(20*time.Millisecond)), sent: at, status: 200, run: like.run})
		}
		add(hello, at, map[string]any{"id": id})
		if report {
			add(bye, at+int64(300*time.Millisecond), map[string]any{"id": id, "player": true, "duration": num(0)})
		}
	}
}

// retime gives every attempt another way.
func (v *variant) retime(rng *rand.Rand, most time.Duration) {
	v.each(func(s *shot) {
		if s.status == 200 { // what is refused later is retried later
			s.at = max(s.at, s.sent) + rng.Int64N(int64(most))
		}
	})
}

// join adds another recording to the same process or as another server. Its time is made that of v.
func (v *variant) join(o *variant, server string) {
	shift := v.begin() - o.begin()
	var last int64
	for _, s := range v.shots {
		last = max(last, s.sent)
	}
	for _, s := range o.shots {
		s.at, s.sent = s.at+shift, s.sent+shift
		if server != "" {
			s.body["mediaServerId"], s.run = server, 100
		} else if s.e.f.Stream == "" || s.sent > last { // of the process, or after its end
			continue
		} else {
			s.body["app"] = "other"
			for _, id := range []string{"id"} {
				if x, ok := s.body[id].(string); ok {
					s.body[id] = "9" + x
				}
			}
			if sock, ok := s.body["originSock"].(map[string]any); ok {
				s.identify("9" + fmt.Sprint(sock["identifier"]))
			}
		}
		v.shots = append(v.shots, s)
	}
	for _, l := range o.lives {
		l.Start, l.End = l.Start+shift, l.End+shift
		v.lives = append(v.lives, l)
	}
}

func (v *variant) begin() int64 {
	least := int64(1) << 62
	for _, s := range v.shots {
		least = min(least, s.at)
	}
	return least
}

// restart kills the process at a time, and has another begin two seconds later.
func (v *variant) restart(o *variant, at time.Duration, told bool, server string) {
	v.restarts = 1
	if server != "" {
		v.restarts = 0
	}
	cut := v.begin() + int64(at)
	shift := cut + int64(2*time.Second) - o.begin()
	v.drop(func(s *shot) bool {
		return s.sent >= cut || s.at >= cut+int64(100*time.Millisecond) || s.e.typ == "on_server_exited"
	})
	for _, l := range v.lives {
		l.End = min(l.End, cut)
	}
	for _, s := range o.shots {
		if s.at, s.sent, s.run = s.at+shift, s.sent+shift, 1; !told && s.e.typ == "on_server_started" {
			continue
		}
		if server != "" {
			s.body["mediaServerId"] = server
		}
		v.shots = append(v.shots, s)
	}
	for _, l := range o.lives {
		l.Start, l.End = l.Start+shift, l.End+shift
		v.lives = append(v.lives, l)
	}
}

// resume sets continue_push_ms: a publisher that comes back within it goes on with the publication of the one before; one that was
// lost and does not come back is over when it has passed.
func (v *variant) resume(rng *rand.Rand, grace time.Duration, told bool) {
	v.each(func(s *shot) {
		if s.e.typ == "on_server_started" {
			s.body["protocol.continue_push_ms"] = fmt.Sprint(grace.Milliseconds())
		}
	})
	if !told {
		v.without("on_server_started")
	}
	v.how.options.ContinuePush = grace
	streams := map[string][]*truth{}
	for _, l := range v.lives {
		if l.Err == "" {
			streams[l.Stream] = append(streams[l.Stream], l)
		}
	}
	by := v.byLife()
	gone := map[*shot]bool{}
	for _, stream := range slices.Sorted(maps.Keys(streams)) {
		list := streams[stream]
		slices.SortFunc(list, func(a, b *truth) int { return cmp.Compare(a.Start, b.Start) })
		into := list[0]
		for i, l := range list {
			lost, gap := rng.IntN(2) == 0, int64(1)<<62
			if i+1 < len(list) {
				gap = list[i+1].Start - l.End
			}
			files := 0
			for _, s := range by[into] {
				if strings.HasPrefix(s.e.typ, "on_record_mp4") {
					files++
				}
			}
			switch {
			case lost && gap < int64(grace-700*time.Millisecond):
				next := list[i+1]
				for _, s := range by[l] {
					gone[s] = gone[s] || s.e.vague()
				}
				for _, s := range by[next] {
					gone[s] = gone[s] || s.e.f.Regist != nil && *s.e.f.Regist
					s.e.life = into
					if s.e.typ == "on_record_mp4" { // the recorder counts on
						s.body["file_name"] = strings.Replace(s.e.f.FileName, "-0.mp4", fmt.Sprintf("-%d.mp4", files), 1)
						s.e.f.FileName = s.body["file_name"].(string)
					}
				}
				into.End = next.End
				continue
			case lost && gap > int64(grace+time.Second):
				for _, s := range by[l] {
					if s.e.vague() || strings.HasPrefix(s.e.typ, "on_record") && s.sent > l.End-int64(700*time.Millisecond) {
						s.at, s.sent = s.at+int64(grace), s.sent+int64(grace)
					}
				}
				into.End += int64(grace)
			}
			if i+1 < len(list) {
				into = list[i+1]
			}
		}
	}
	v.drop(func(s *shot) bool { return gone[s] })
	v.reportFirst()
}

// strings makes strings of all numbers.
func asStrings(x any) any {
	switch x := x.(type) {
	case json.Number:
		return x.String()
	case map[string]any:
		m := map[string]any{}
		for k, e := range x {
			m[k] = asStrings(e)
		}
		return m
	case []any:
		l := []any{}
		for _, e := range x {
			l = append(l, asStrings(e))
		}
		return l
	}
	return x
}

// kinds are the variants. Each makes one of a recording; other returns another recording.
var kinds = []struct {
	name string
	make func(v *variant, rng *rand.Rand, other func() *variant)
}{
	{"as recorded", func(*variant, *rand.Rand, func() *variant) {}},
	{"jitter 150ms", func(v *variant, rng *rand.Rand, _ func() *variant) { v.retime(rng, 150*time.Millisecond) }},
	{"jitter 245ms", func(v *variant, rng *rand.Rand, _ func() *variant) { v.retime(rng, 245*time.Millisecond) }},
	{"refused at first", func(v *variant, rng *rand.Rand, _ func() *variant) {
		v.fate(rng, 0.15, func(s *shot) { v.again(rng, s, retryDelay, 200); s.status = 500 })
	}},
	{"refused twice", func(v *variant, rng *rand.Rand, _ func() *variant) {
		v.fate(rng, 0.1, func(s *shot) { v.again(rng, s, retryDelay, 500); s.status = 500 })
	}},
	{"connection lost", func(v *variant, rng *rand.Rand, _ func() *variant) {
		v.fate(rng, 0.15, func(s *shot) { v.again(rng, s, retryDelay, 200); s.status = 0 })
	}},
	{"lost twice", func(v *variant, rng *rand.Rand, _ func() *variant) { v.fate(rng, 0.1, func(s *shot) { s.status = 0 }) }},
	{"answer lost", func(v *variant, rng *rand.Rand, _ func() *variant) {
		v.fate(rng, 0.1, func(s *shot) { v.again(rng, s, retryDelay, 200) })
	}},
	{"timed out", func(v *variant, rng *rand.Rand, _ func() *variant) {
		v.fate(rng, 0.1, func(s *shot) { v.again(rng, s, 10*time.Second+retryDelay, 200); s.status = 0 })
	}},
	{"repeated on the way", func(v *variant, rng *rand.Rand, _ func() *variant) {
		v.fate(rng, 0.1, func(s *shot) {
			c := *s
			c.of, c.at = s, s.at+rng.Int64N(int64(100*time.Millisecond))
			v.shots = append(v.shots, &c)
		})
	}},
	{"everything", func(v *variant, rng *rand.Rand, _ func() *variant) {
		v.fate(rng, 0.05, func(s *shot) { v.again(rng, s, retryDelay, 200); s.status = 500 })
		v.fate(rng, 0.05, func(s *shot) { s.status = 0 })
		v.fate(rng, 0.03, func(s *shot) { v.again(rng, s, retryDelay, 200) })
		v.retime(rng, 80*time.Millisecond)
	}},
	{"restart told", func(v *variant, rng *rand.Rand, other func() *variant) {
		v.restart(other(), 20*time.Second+time.Duration(rng.Int64N(int64(20*time.Second))), true, "")
	}},
	{"restart not told", func(v *variant, rng *rand.Rand, other func() *variant) {
		v.restart(other(), 20*time.Second+time.Duration(rng.Int64N(int64(20*time.Second))), false, "")
	}},
	{"restart with a new name", func(v *variant, rng *rand.Rand, other func() *variant) {
		v.restart(other(), 30*time.Second, true, "another")
	}},
	{"two recordings joined", func(v *variant, _ *rand.Rand, other func() *variant) { v.join(other(), "") }},
	{"two servers", func(v *variant, _ *rand.Rand, other func() *variant) { v.join(other(), "another") }},
	{"only rtsp", func(v *variant, _ *rand.Rand, _ func() *variant) { v.schemas("rtsp") }},
	{"only hls and fmp4", func(v *variant, _ *rand.Rand, _ func() *variant) { v.schemas("hls", "fmp4") }},
	{"only rtmp and rtsp", func(v *variant, _ *rand.Rand, _ func() *variant) { v.schemas("rtmp", "rtsp") }},
	{"rtsp publishers", func(v *variant, _ *rand.Rand, _ func() *variant) { v.rtsp() }},
	{"rtsp publishers lost", func(v *variant, _ *rand.Rand, _ func() *variant) { v.rtsp(); v.reportFirst() }},
	{"gb28181", func(v *variant, _ *rand.Rand, _ func() *variant) { v.gb28181() }},
	{"gb28181 replaced", func(v *variant, _ *rand.Rand, _ func() *variant) {
		v.gb28181()
		ssrc := func(stream string) string { return "0BEBC2" + strings.TrimPrefix(stream, "s") }
		v.each(func(s *shot) {
			if _, ok := s.body["id"]; ok {
				s.body["stream"], s.body["id"] = ssrc(s.e.f.Stream), ssrc(s.e.f.Stream)
			}
			s.identify(ssrc(s.e.f.Stream))
		})
		v.how.replace = func(stream string) string { return "s" + strings.TrimPrefix(stream, "0BEBC2") }
	}},
	{"pull proxies", func(v *variant, rng *rand.Rand, _ func() *variant) { v.pull(rng) }},
	{"refused publishers", func(v *variant, rng *rand.Rand, _ func() *variant) { v.refused(rng, true) }},
	{"refused publishers, no report", func(v *variant, rng *rand.Rand, _ func() *variant) { v.refused(rng, false) }},
	{"continue_push_ms", func(v *variant, rng *rand.Rand, _ func() *variant) { v.resume(rng, 2*time.Second, true) }},
	{"continue_push_ms not told", func(v *variant, rng *rand.Rand, _ func() *variant) { v.resume(rng, 2*time.Second, false) }},
	{"continue_push_ms of 15 s", func(v *variant, rng *rand.Rand, _ func() *variant) { v.resume(rng, 15*time.Second, true) }},
	{"files late", func(v *variant, rng *rand.Rand, _ func() *variant) {
		v.each(func(s *shot) {
			if s.e.typ == "on_record_mp4" && s.status == 200 {
				d := rng.Int64N(int64(60 * time.Second))
				s.at, s.sent = s.at+d, s.sent+d
			}
		})
	}},
	{"no files", func(v *variant, _ *rand.Rand, _ func() *variant) { v.without("on_record_mp4", "on_record_ts") }},
	{"whole seconds", func(v *variant, _ *rand.Rand, _ func() *variant) {
		v.slack = time.Second
		v.each(func(s *shot) { s.at -= s.at % int64(time.Second) })
	}},
	{"no params", func(v *variant, _ *rand.Rand, _ func() *variant) {
		v.each(func(s *shot) { delete(s.body, "params") })
	}},
	{"only changes and files", func(v *variant, _ *rand.Rand, _ func() *variant) { v.types("on_stream_changed", "on_record_mp4") }},
	{"only changes and files, others elsewhere", func(v *variant, _ *rand.Rand, _ func() *variant) {
		v.types("on_stream_changed", "on_record_mp4")
		v.gaps = true
	}},
	{"only changes", func(v *variant, _ *rand.Rand, _ func() *variant) { v.types("on_stream_changed") }},
	{"no reports", func(v *variant, _ *rand.Rand, _ func() *variant) { v.without("on_flow_report") }},
	{"no on_publish", func(v *variant, _ *rand.Rand, _ func() *variant) { v.without("on_publish") }},
	{"no on_publish, elsewhere", func(v *variant, _ *rand.Rand, _ func() *variant) { v.without("on_publish"); v.gaps = true }},
	{"only on_publish and reports", func(v *variant, _ *rand.Rand, _ func() *variant) {
		v.types("on_server_started", "on_publish", "on_flow_report")
	}},
	{"no server events", func(v *variant, _ *rand.Rand, _ func() *variant) {
		v.without("on_server_started", "on_server_keepalive", "on_server_exited")
	}},
	{"no hook_index", func(v *variant, _ *rand.Rand, _ func() *variant) { v.noIndex = true }},
	{"no hook_index, no params", func(v *variant, _ *rand.Rand, _ func() *variant) {
		v.noIndex = true
		v.each(func(s *shot) { delete(s.body, "params") })
	}},
	{"numbers as strings", func(v *variant, _ *rand.Rand, _ func() *variant) {
		v.each(func(s *shot) { s.body = asStrings(s.body).(map[string]any) })
	}},
}

var variantSeeds = flag.Int("variants", 1, "runs of each of TestTraceVariants")

// TestTraceVariants replays what other ZLMediaKits would have sent, made of the recordings: of a third of their streams, unless
// there is to be more than one run of each.
func TestTraceVariants(t *testing.T) {
	all := readTraces(t)
	for _, tr := range all {
		if *variantSeeds == 1 {
			tr.thin(t)
		}
	}
	for n := range *variantSeeds * len(kinds) {
		kind, seed := kinds[n%len(kinds)], *first+uint64(n/len(kinds))
		if testing.Short() && n%3 != 0 {
			continue
		}
		rng := rand.New(rand.NewPCG(seed, uint64(n%len(kinds))))
		at := rng.IntN(len(all))
		t.Run(fmt.Sprintf("%s/%s/%d", kind.name, all[at].name, seed), func(t *testing.T) {
			v := variantOf(t, copyOf(all[at]))
			kind.make(v, rng, func() *variant { return variantOf(t, copyOf(all[(at+1+rng.IntN(len(all)-1))%len(all)])) })
			sc := v.scene(t)
			p := replayTrace(t, sc.hooks, v.how)
			sc.judge(t, p).check(t)
			if n := p.stats.Restarts; n != uint64(v.restarts) {
				t.Errorf("%d restarts of %d", n, v.restarts)
			}
		})
	}
}

// thin leaves every third stream of a trace.
func (tr *trace) thin(t *testing.T) {
	t.Helper()
	gone := map[string]bool{}
	for i, stream := range slices.Sorted(maps.Keys(tr.lives)) {
		if i%3 > 0 {
			gone[stream] = true
			delete(tr.lives, stream)
		}
	}
	about := func(body []byte) bool {
		var f fields
		if err := json.Unmarshal(body, &f); err != nil {
			t.Fatal(err)
		}
		return gone[f.Stream]
	}
	tr.hooks = slices.DeleteFunc(tr.hooks, func(q receivertest.Request) bool { return about(q.Body) })
	tr.missed = slices.DeleteFunc(tr.missed, func(m missed) bool { return about(m.Body) })
}

// copyOf returns a trace whose truth may be changed.
func copyOf(tr *trace) *trace {
	out := *tr
	out.lives = map[string][]*truth{}
	for stream, list := range tr.lives {
		for _, l := range list {
			c := *l
			out.lives[stream] = append(out.lives[stream], &c)
		}
	}
	out.missed = slices.Clone(tr.missed)
	return &out
}
