package e2e

import (
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/ordercheck"
)

// told is one event as a receiver has it, or as the journal says that the receiver must have it.
type told struct {
	id         string
	typ        event.Type
	seq, prev  uint64
	index      uint64
	unixNano   int64
	compensate bool
}

// ofRecord is what must be told of a record, prev apart.
func ofRecord(r *journal.Record) told {
	return told{id: r.ID, typ: r.Type, seq: r.Seq, index: r.Index, unixNano: r.Time.UnixNano(), compensate: r.Compensation}
}

func ofBody(b *ordercheck.Body) told {
	e := &b.Event
	x := told{id: e.ID, typ: e.Type, seq: e.Seq, index: b.Index, unixNano: e.Time.UnixNano(), compensate: e.Compensation}
	if e.Prev != nil {
		x.prev = *e.Prev
	}
	return x
}

// owed reckons from the whole journal, by a filter of its own, what a receiver must have of each stream, and the prev
// of each. It knows nothing of subscriptions and marks: prev is the seq of what stands before in the list.
func owed(recs []*journal.Record, wants func(*journal.Record) bool) map[string][]told {
	out := map[string][]told{}
	for _, r := range recs {
		if !wants(r) {
			continue
		}
		x, list := ofRecord(r), out[r.Key]
		if len(list) > 0 {
			x.prev = list[len(list)-1].seq
		}
		out[r.Key] = append(list, x)
	}
	return out
}

// compare demands that a receiver has of each stream what it is owed, in that order, and nothing else.
func compare(t *testing.T, name string, got, want map[string][]told) {
	t.Helper()
	n := 0
	for stream, list := range got {
		n += len(list)
		if want[stream] == nil {
			t.Errorf("%s: %d events of %q, which are not for it", name, len(list), stream)
		}
	}
	for stream, list := range want {
		if slices.Equal(got[stream], list) {
			continue
		}
		at := 0
		for at < min(len(list), len(got[stream])) && got[stream][at] == list[at] {
			at++
		}
		t.Errorf("%s: %q: %d events of %d; from event %d on:\n got %+v\nwant %+v", name, stream, len(got[stream]), len(list), at,
			head(got[stream][at:]), head(list[at:]))
	}
	t.Logf("%s: %d events of %d streams", name, n, len(got))
}

func head[T any](list []T) []T { return list[:min(3, len(list))] }

// trouble is what a station does to a request.
type trouble uint8

const (
	none  trouble = iota
	fails         // 500
	hangs         // no answer
	cuts          // accepted, and the answer is lost
)

// station is a receiver of one [endpoint.NAME]: it verifies each request with the reference library of Standard
// Webhooks, reads every format, does harm by dice, and keeps what it has accepted.
type station struct {
	t       *testing.T
	name    string
	hook    *standardwebhooks.Webhook
	checker *ordercheck.Checker
	jitter  time.Duration
	harm    map[trouble]float64 // of a request, from 0 to 1
	addr    string
	hold    int // file descriptor of a socket that is bound and does not listen
	srv     *httptest.Server

	mu     sync.Mutex // guards everything below
	dice   *rand.Rand
	done   map[trouble]int
	got    map[string][]told
	ended  int // publications
	change chan struct{}
}

// newStation reserves an address, at which connections are refused until it is open.
func newStation(t *testing.T, name, secret string, jitter time.Duration, harm map[trouble]float64) *station {
	t.Helper()
	hook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	s := &station{
		t: t, name: name, hook: hook, jitter: jitter, harm: harm, checker: ordercheck.New(ordercheck.Options{KeepFacts: true}),
		dice: rand.New(rand.NewPCG(1, uint64(len(name)))), done: map[trouble]int{}, got: map[string][]told{}, change: make(chan struct{}),
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.hold = fd
	t.Cleanup(s.close)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	s.addr = fmt.Sprintf("127.0.0.1:%d", at.(*syscall.SockaddrInet4).Port)
	return s
}

// open begins to take requests.
func (s *station) open() {
	s.t.Helper()
	if err := syscall.Listen(s.hold, 128); err != nil {
		s.t.Fatal(err)
	}
	f := os.NewFile(uintptr(s.hold), s.name)
	l, err := net.FileListener(f)
	if err = cmp.Or(err, f.Close()); err != nil {
		s.t.Fatal(err)
	}
	s.hold = -1
	s.srv = &httptest.Server{Listener: l, Config: &http.Server{Handler: s, ReadHeaderTimeout: patience}}
	s.srv.Start()
}

func (s *station) close() {
	if s.hold >= 0 {
		_ = syscall.Close(s.hold)
	}
	if s.srv != nil {
		s.srv.CloseClientConnections()
		s.srv.Close()
	}
	if rep := s.checker.Report(); !rep.OK() || rep.GapNotices > 0 {
		s.t.Errorf("%s: %s", s.name, rep)
	}
}

// ServeHTTP implements http.Handler.
func (s *station) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	raw, err := io.ReadAll(io.LimitReader(r.Body, 8<<20))
	if err != nil {
		return // the sender was killed
	}
	if err := s.hook.Verify(raw, r.Header); err != nil {
		s.t.Errorf("%s: %v", s.name, err)
	}
	bodies, err := parseAny(r.Header.Get("Content-Type"), raw)
	if err != nil {
		s.t.Errorf("%s: %v: %.300s", s.name, err, raw)
		return
	}
	do, wait := s.roll()
	if do == hangs {
		wait = time.Hour
	}
	select {
	case <-time.After(wait):
	case <-r.Context().Done():
		return
	}
	if r.Context().Err() != nil {
		return
	}
	s.note(bodies, do != fails, began)
	switch do {
	case fails:
		w.WriteHeader(http.StatusInternalServerError)
	case cuts:
		panic(http.ErrAbortHandler)
	default:
		_, _ = io.WriteString(w, success)
	}
}

// parseAny reads what an endpoint sends, in any of its formats.
func parseAny(contentType string, raw []byte) ([]*ordercheck.Body, error) {
	switch contentType {
	case "application/cloudevents-batch+json; charset=utf-8":
		return ordercheck.ParseCloudEvents(raw, true)
	case "application/json":
		b, err := ordercheck.Parse(raw)
		return []*ordercheck.Body{b}, err
	default:
		return ordercheck.ParseCloudEvents(raw, false)
	}
}

// roll throws the dice.
func (s *station) roll() (do trouble, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.dice.Float64()
	for _, t := range []trouble{fails, hangs, cuts} {
		if x -= s.harm[t]; x < 0 {
			do = t
			break
		}
	}
	if s.jitter > 0 {
		wait = time.Duration(s.dice.Int64N(int64(s.jitter)))
	}
	s.done[do]++
	return do, wait
}

// slow is how long a request may take until nothing is concluded from its times: the sender may have given it up.
const slow = time.Second

// note takes the events of a request, all or none.
func (s *station) note(bodies []*ordercheck.Body, accepted bool, began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[string]bool{}
	for _, b := range bodies {
		d := ordercheck.Delivery{Body: b}
		// Events of one key in one batch are in flight together by right.
		if !seen[b.Event.Stream] && time.Since(began) < slow {
			d.Start, d.Finish = began, time.Now()
		}
		seen[b.Event.Stream] = true
		if !accepted {
			s.checker.Rejected(d)
			continue
		}
		if s.checker.Add(d).Duplicate {
			continue
		}
		s.got[b.Event.Stream] = append(s.got[b.Event.Stream], ofBody(b))
		if b.Event.Type == event.OnPublicationEnded {
			s.ended++
		}
	}
	close(s.change)
	s.change = make(chan struct{})
}

// count returns the number of events that were accepted.
func (s *station) count() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, list := range s.got {
		n += len(list)
	}
	return n
}

// all returns what was accepted of each stream. Nothing may come any more.
func (s *station) all() map[string][]told {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t.Logf("%s: %d requests failed, %d hung, of %d the answer was lost, %d went well", s.name,
		s.done[fails], s.done[hangs], s.done[cuts], s.done[none])
	return s.got
}

// awaitEnds waits for the ends of n publications.
func (s *station) awaitEnds(n int) {
	s.t.Helper()
	deadline := time.After(patience)
	for {
		s.mu.Lock()
		ended, change := s.ended, s.change
		s.mu.Unlock()
		if ended >= n {
			return
		}
		select {
		case <-change:
		case <-deadline:
			s.t.Fatalf("%s: %d of %d publications have ended", s.name, ended, n)
		}
	}
}
