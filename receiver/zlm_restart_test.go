package receiver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/receiver"
)

var killSeeds = flag.Int("killseeds", 60, "runs of TestZLMediaKitReceiverKilled, of each kind of store")

var errDead = errors.New("the process is dead")

// host is a machine on which a receiver's process is killed and begun again.
type host struct {
	s       *zserver
	l       *ledger
	durable *receiver.Memory // outlives a process; nil: each has its own
	atOnce  bool

	mu    sync.Mutex
	r     *receiver.Receiver // guarded by mu; nil: nobody listens
	alive *atomic.Bool       // guarded by mu; of its process
	stop  func()             // guarded by mu; its reading of the list
	told  []string           // guarded by mu; files that were answered as handled
	wg    sync.WaitGroup
	kills []time.Time
	names []map[*pub]string // guarded by mu; what the processes before called the publications
}

// process is a store that dies with the process that has it.
type process struct {
	receiver.Store
	alive *atomic.Bool
}

func (p *process) Update(ctx context.Context, k receiver.Key, f func(context.Context, receiver.Mark) (receiver.Mark, error)) error {
	return p.Store.Update(ctx, k, func(ctx context.Context, m receiver.Mark) (receiver.Mark, error) {
		if !p.alive.Load() {
			return m, errDead
		}
		m, err := f(ctx, m)
		if !p.alive.Load() {
			return m, errDead // it never committed
		}
		return m, err
	})
}

// start begins a process, which reads the list of what is live.
func (h *host) start(t *testing.T) {
	t.Helper()
	alive := &atomic.Bool{}
	alive.Store(true)
	store := h.durable
	if store == nil {
		store = receiver.NewMemory()
	}
	handle := h.l.handle(h.s)
	r, err := receiver.New(
		quiet(), receiver.WithZLMediaKit(receiver.ZLMediaKit{AnswerAtOnce: h.atOnce, LifeParam: "life"}),
		receiver.WithStore(&process{store, alive}),
		receiver.OnPublish(func(context.Context, *receiver.Event, *receiver.Publish) (receiver.PublishDecision, error) {
			return receiver.AllowPublish(receiver.PublishOptions{}), nil
		}),
		receiver.OnAny(func(ctx context.Context, e *receiver.Event) error {
			time.Sleep(h.s.some(15 * time.Millisecond)) // it may be killed meanwhile
			if !alive.Load() {
				return errDead
			}
			return handle(ctx, e)
		}),
	)
	if err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	h.r, h.alive = r, alive
	h.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	h.mu.Lock()
	h.stop = cancel
	h.mu.Unlock()
	h.wg.Go(func() { _ = r.KeepReconciled(ctx, slowly{h.s}, time.Hour) }) // at once, and when it is in doubt
}

// slowly is a list whose answer takes a while.
type slowly struct{ s *zserver }

func (s slowly) Snapshot(ctx context.Context) (*receiver.Snapshot, error) {
	list, err := s.s.Snapshot(ctx)
	time.Sleep(s.s.some(200 * time.Millisecond))
	return list, err
}

// kill ends the process: nothing of it has an effect any more, and nobody gets an answer.
func (h *host) kill() {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.r
	h.alive.Store(false)
	h.stop()
	h.r = nil
	h.kills = append(h.kills, time.Now())
	h.l.mu.Lock()
	h.names = append(h.names, h.l.of)
	h.l.of = map[*pub]string{}
	h.l.mu.Unlock()
	h.wg.Go(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = r.Shutdown(ctx) // so that its goroutines end; it is dead
	})
}

// ServeHTTP implements http.Handler.
func (h *host) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	h.mu.Lock()
	r, alive := h.r, h.alive
	h.mu.Unlock()
	if r == nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	body, _ := io.ReadAll(req.Body)
	req.Body = io.NopCloser(bytes.NewReader(body))
	answer := httptest.NewRecorder()
	r.ServeHTTP(answer, req)
	if !alive.Load() {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	if answer.Code == http.StatusOK && strings.HasSuffix(req.URL.Path, string(event.OnRecordTS)) {
		h.accepted(string(body))
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

// accepted notes a file of which the sender was told that it is handled.
func (h *host) accepted(body string) {
	var f fields
	if json.Unmarshal([]byte(body), &f) != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = append(h.told, "v/live/"+f.Stream+f.FileName)
}

// renamed counts publications that the next process called the same, and otherwise.
func (h *host) renamed() (same, other int) {
	for i, names := range append(h.names[1:], h.l.of) {
		for p, id := range names {
			switch before := h.names[i][p]; before {
			case "":
			case id:
				same++
			default:
				other++
			}
		}
	}
	return same, other
}

// lost returns files that were answered as handled, and had no effect.
func (h *host) lost() (out []string) {
	for _, name := range h.told {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(h.l.seen)), func(k string) bool { return strings.HasPrefix(k, name) }) {
			out = append(out, name)
		}
	}
	return out
}

// TestZLMediaKitReceiverKilled: the receiver is killed at any moment, also within a handler and between effect and commit, and begins
// again, with a store that outlives it and with one that does not. It reads the list of what is live at its start, and when it is in
// doubt. In the end its state is true, but for kinds of runs in which neither the list nor what came after it tells; after
// another list it is true in each. With the durable store each file has its effect once.
func TestZLMediaKitReceiverKilled(t *testing.T) {
	for _, durable := range []bool{true, false} {
		t.Run(fmt.Sprintf("durable=%t", durable), func(t *testing.T) {
			sum := &tally{kinds: map[string]int{}, count: map[receiver.Certainty]int{}, wrong: map[receiver.Certainty]int{}}
			runs := *killSeeds
			if testing.Short() {
				runs /= 5
			}
			for seed := *first; seed < *first+uint64(runs); seed++ {
				simulateKills(t, seed, durable, sum)
				if t.Failed() {
					t.Fatalf("go test ./receiver -run TestZLMediaKitReceiverKilled/durable=%t -seed %d -killseeds 1", durable, seed)
				}
			}
			t.Logf("%d of %d streams right, others by kind: %v; events %v, of these wrong %v; %d publications kept their id, %d did not", sum.right, sum.all, sum.kinds, sum.count, sum.wrong, sum.kept, sum.renamed)
			if sum.renamed*5 > sum.kept {
				t.Error("ids change with the process")
			}
			for kind := range sum.kinds {
				if !slices.Contains(unknowable, kind) {
					t.Errorf("a kind without a name: %s", kind)
				}
			}
			if sum.wrong[receiver.Inferred] > 20+sum.count[receiver.Inferred]/100 {
				t.Errorf("%d of %d inferred events are taken for another publication's", sum.wrong[receiver.Inferred], sum.count[receiver.Inferred])
			}
			if sum.right*10 < sum.all*9 {
				t.Errorf("%d of %d streams are right", sum.right, sum.all)
			}
		})
	}
}

func simulateKills(t *testing.T, seed uint64, durable bool, sum *tally) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 2))
		s := &zserver{t: t, w: weatherOf(seed, rng), rng: rng, t0: time.Now(), live: map[string]*pub{}, strays: map[string]bool{}}
		l := &ledger{seen: map[string]int{}, of: map[*pub]string{}, by: map[*pub]receiver.Certainty{}, wrong: map[receiver.Certainty][]string{}, count: sum.count}
		h := &host{s: s, l: l, atOnce: s.w.atOnce}
		if durable {
			h.durable = receiver.NewMemory()
		}
		keys, lives := 2+rng.IntN(2), 2+rng.IntN(3)
		h.start(t)
		s.h = h
		s.drive(keys, lives)
		s.wg.Go(func() {
			for range 1 + s.some(2) {
				time.Sleep(time.Second + s.some(25*time.Second))
				h.kill()
				time.Sleep(s.some(6 * time.Second))
				h.start(t)
			}
		})
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		h.compare(t, seed, sum)
		for name, n := range l.seen {
			if durable && n != 1 {
				t.Errorf("seed %d: %s had %d effects", seed, name, n)
			}
		}
		if lost := h.lost(); len(lost) > 0 && !s.w.atOnce {
			t.Errorf("seed %d: without an effect: %v", seed, lost)
		}
		for c, list := range l.wrong {
			if sum.wrong[c] += len(list); c == receiver.Exact {
				t.Errorf("seed %d %+v, killed %v: %v\n%s", seed, s.w, h.since(), list, strings.Join(l.log, "\n"))
			}
		}
		same, other := h.renamed()
		sum.kept, sum.renamed = sum.kept+same, sum.renamed+other
		h.finish(t, seed)
	})
}

// finish reads the list once more, and ends all.
func (h *host) finish(t *testing.T, seed uint64) {
	if _, err := h.r.Reconcile(t.Context(), h.s); err != nil {
		t.Error(err)
	}
	for _, stream := range []string{"a", "b", "c"} {
		if diff := difference(h.r.Live(), h.s, stream); diff != "" {
			t.Errorf("seed %d: %s of %s after the list", seed, diff, stream)
		}
	}
	h.s.kill()
	h.s.wg.Wait()
	h.stop()
	time.Sleep(time.Minute)
	h.wg.Wait()
	if err := h.r.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// compare looks at each stream when all retries are over.
func (h *host) compare(t *testing.T, seed uint64, sum *tally) {
	for _, stream := range []string{"a", "b", "c"} {
		sum.all++
		diff := difference(h.r.Live(), h.s, stream)
		if diff == "" {
			sum.right++
			continue
		}
		why := h.s.explain(stream, diff)
		if sum.kinds[diff+": "+why]++; why != "" {
			continue
		}
		t.Errorf("seed %d: %s of %s, although enough arrived: %+v, killed %v", seed, diff, stream, h.s.w, h.since())
		for _, line := range h.l.log {
			if strings.Contains(line, "v/live/"+stream) {
				t.Log(line)
			}
		}
	}
}

func (h *host) since() []time.Duration {
	var out []time.Duration
	for _, k := range h.kills {
		out = append(out, k.Sub(h.s.t0))
	}
	return out
}
