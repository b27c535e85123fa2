package pebble

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/journal/journaltest"
)

const memDir = "/var/journal"

// testMachine has one boot id and no inodes, and makes Pebble rotate, flush and compact after little data.
func testMachine() machine {
	return machine{
		bootID: func() string { return "boot" },
		number: func(vfs.FileInfo) (uint64, uint64) { return 0, 0 },
		now:    func() time.Time { return time.UnixMilli(1767319445678) },
		tune: func(o *pebbledb.Options) {
			o.MemTableSize = 16 << 10
			o.L0CompactionThreshold = 2
			o.LBaseMaxBytes = 16 << 10
			o.TargetFileSizes[0] = 8 << 10
			o.FlushDelayDeleteRange = time.Millisecond
		},
	}
}

// crashClone returns what a crash may leave of fs: what was synced and a random part of the rest.
func crashClone(fs *vfs.MemFS, seed uint64) *vfs.MemFS {
	rnd := rand.New(rand.NewPCG(seed, 1))
	percent := []int{0, 10, 50, 90, 100}[rnd.IntN(5)]
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rnd})
}

// workload writes a journal and remembers what it wrote and what was acknowledged.
type workload struct {
	mu      sync.Mutex
	known   []*journal.Record // guarded by mu; by position, from 1
	acked   atomic.Uint64     // position up to which Wait returned nil
	trimMin atomic.Uint64     // Trim up to here has returned
	trimMax atomic.Uint64     // Trim up to here was asked for
	setMin  atomic.Uint64     // SetState with sync has returned for this number
	setMax  atomic.Uint64     // SetState was called with this number
}

func newWorkload() *workload {
	w := &workload{}
	w.trimMin.Store(1)
	w.trimMax.Store(1)
	return w
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// batch makes the next records of the log.
func (w *workload) batch(rnd *rand.Rand) (b journal.Batch, last uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for range 1 + rnd.IntN(6) {
		last = uint64(len(w.known) + 1)
		r := &journal.Record{
			Position: last, Key: fmt.Sprint("key-", rnd.IntN(4)), Seq: last, Index: last, Type: event.OnFlowReport,
			Time: time.Unix(int64(last), 0).UTC(), Body: bytes.Repeat([]byte{byte(last)}, 50+rnd.IntN(400)),
		}
		w.known = append(w.known, r)
		copied := *r
		copied.Position = 0
		b.Records = append(b.Records, &copied)
	}
	b.State = []journal.Op{{Key: "last", Value: number(last)}}
	return b, last
}

// run appends n batches, some in flight, with trims and state changes between, until something fails.
func (w *workload) run(j *Journal, n int, rnd *rand.Rand) error {
	type pending struct {
		ack  journal.Ack
		last uint64
	}
	var queue []pending
	wait := func() error {
		p := queue[0]
		queue = queue[1:]
		err := p.ack.Wait()
		if err == nil {
			w.acked.Store(p.last)
		}
		return err
	}
	for range n {
		b, last := w.batch(rnd)
		ack, err := j.Append(b)
		if err != nil {
			return err
		}
		queue = append(queue, pending{ack, last})
		for len(queue) > rnd.IntN(4) {
			if err := wait(); err != nil {
				return err
			}
		}
		if err := w.disturb(j, rnd); err != nil {
			return err
		}
	}
	for len(queue) > 0 {
		if err := wait(); err != nil {
			return err
		}
	}
	return nil
}

func (w *workload) disturb(j *Journal, rnd *rand.Rand) error {
	switch rnd.IntN(8) {
	case 0:
		before := w.trimMin.Load() + rnd.Uint64N(12)
		before = min(before, w.acked.Load())
		w.trimMax.Store(max(before, w.trimMax.Load()))
		if _, err := j.Trim(before); err != nil {
			return err
		}
		w.trimMin.Store(max(before, w.trimMin.Load()))
	case 1:
		n := w.setMax.Add(1)
		sync := rnd.IntN(2) == 0
		if err := j.SetState([]journal.Op{{Key: "set", Value: number(n)}}, sync); err != nil {
			return err
		}
		if sync {
			w.setMin.Store(n)
		}
	}
	return nil
}

// promise is what a crash at some moment has to keep.
type promise struct{ acked, trimMin, setMin uint64 }

func (w *workload) promise() promise {
	return promise{w.acked.Load(), w.trimMin.Load(), w.setMin.Load()}
}

// check opens what a crash has left and compares.
func (w *workload) check(fs vfs.FS, p promise) error {
	c := Config{Dir: memDir, Fsync: true, FS: fs, Logger: quiet()}
	j, err := open(c, testMachine())
	if err != nil {
		return err
	}
	err = w.compare(j, p)
	return errors.Join(err, j.Close())
}

func (w *workload) compare(j *Journal, p promise) error {
	if why := j.NewEpochReason(); why != "" {
		return fmt.Errorf("a crash gave the reason %q for a new epoch", why)
	}
	all, err := journaltest.ReadAll(j)
	if err != nil {
		return err
	}
	w.mu.Lock()
	known := w.known
	w.mu.Unlock()
	info := j.Info()
	if info.Last < p.acked || info.Last > uint64(len(known)) {
		return fmt.Errorf("%d records, %d acknowledged, %d appended", info.Last, p.acked, len(known))
	}
	if info.First < p.trimMin || info.First > w.trimMax.Load() {
		return fmt.Errorf("first %d, trimmed to %d, %d asked for", info.First, p.trimMin, w.trimMax.Load())
	}
	if info.SeqFloor != info.First-1 { // a record's seq is its position here
		return fmt.Errorf("floor %d, first %d", info.SeqFloor, info.First)
	}
	for _, r := range all {
		if !reflect.DeepEqual(r, known[r.Position-1]) {
			return fmt.Errorf("record %d is %+v, was %+v", r.Position, r, known[r.Position-1])
		}
	}
	state, err := j.State("")
	if err != nil {
		return err
	}
	if v := state["last"]; info.Last > 0 && binary.BigEndian.Uint64(v) != info.Last {
		return fmt.Errorf("state says %x records, the log has %d", v, info.Last)
	}
	var set uint64
	if v := state["set"]; v != nil {
		set = binary.BigEndian.Uint64(v)
	}
	if set < p.setMin || set > w.setMax.Load() {
		return fmt.Errorf("state %d, acknowledged %d, last set %d", set, p.setMin, w.setMax.Load())
	}
	return w.goOn(j, info.Last)
}

// goOn appends once more: positions continue where the log ends.
func (w *workload) goOn(j *Journal, last uint64) error {
	r := &journal.Record{Key: "new", Seq: 1 << 40, Type: event.OnPlay}
	ack, err := j.Append(journal.Batch{Records: []*journal.Record{r}})
	if err != nil {
		return err
	}
	if r.Position != last+1 {
		return fmt.Errorf("position %d follows %d", r.Position, last)
	}
	return ack.Wait()
}

// TestCrashAtEveryOperation lets the machine crash before each single change of a file, while a journal is made,
// written, closed and opened again.
func TestCrashAtEveryOperation(t *testing.T) {
	mem := vfs.NewCrashableMem()
	w := newWorkload()
	hook := &hookFS{FS: mem}
	ops := uint64(0)
	hook.set(func(op, name string) error {
		p := w.promise()
		if ops++; ops%stride != 0 {
			return nil
		}
		if err := w.check(crashClone(mem, ops), p); err != nil {
			t.Errorf("crash before operation %d, %s %s: %v", ops, op, name, err)
		}
		return nil
	})
	rnd := rand.New(rand.NewPCG(7, 7))
	for range 2 {
		j, err := open(Config{Dir: memDir, Fsync: true, FS: hook, Logger: quiet()}, testMachine())
		if err != nil {
			t.Fatal(err)
		}
		if err := w.run(j, 40, rnd); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d crashes, %d records", ops, len(w.known))
	if ops < 100 {
		t.Errorf("only %d operations", ops)
	}
}
