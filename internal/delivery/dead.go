package delivery

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
)

// storedGap is a gap that the receiver has not accepted yet. All of it is fixed when it is made.
type storedGap struct {
	ID          string    `json:"id"`
	Index       uint64    `json:"index"`
	Time        time.Time `json:"time"`
	Source      string    `json:"source"`
	Incarnation string    `json:"incarnation"`
	Epoch       int64     `json:"epoch"`
	Stream      string    `json:"stream"`
	Gap         event.Gap `json:"gap"`
}

func (g *storedGap) envelope() envelope {
	return envelope{
		id: g.ID, source: g.Source, incarnation: g.Incarnation, stream: g.Stream, typ: event.OnEventGap,
		epoch: g.Epoch, index: g.Index, time: g.Time,
	}
}

// DeadLetter is an event that was given up.
type DeadLetter struct {
	Endpoint string    `json:"endpoint"`
	Position uint64    `json:"position"`
	Record   string    `json:"record"` // journal.Encode, base64: retention may remove the original
	Reason   string    `json:"reason"`
	Error    string    `json:"error"`
	Attempts int       `json:"attempts"`
	Time     time.Time `json:"time"`
}

// newGap makes the gap that names r. Its id is the same whenever it is made again.
func (e *Endpoint) newGap(key string, epoch int64, gap event.Gap) storedGap {
	h := fnv.New128a()
	fmt.Fprintf(h, "%s\x00%s\x00%d\x00%d\x00%d", e.name, key, epoch, gap.From, gap.To)
	source, inc, _ := e.deps.Stamper.Identity()
	_, index, _, now := e.deps.Stamper.Stamp(key)
	return storedGap{
		ID: "gap-" + hex.EncodeToString(h.Sum(nil)), Index: index, Time: now, Source: source, Incarnation: inc,
		Epoch: epoch, Stream: key, Gap: gap,
	}
}

func recordGap(r *journal.Record) event.Gap {
	var g event.Gap
	_ = json.Unmarshal(r.Body, &g) // written by the sequencer; an unreadable one names nothing
	return g
}

// bury makes a dead letter of the lane's head, durably, and names it. It runs without the lock while the lane is in
// flight.
func (e *Endpoint) bury(l *lane, it item, reason, why string) {
	defer e.wg.Done()
	r := it.rec
	gap := e.newGap(r.Key, r.Epoch, event.Gap{
		From: r.Seq, To: r.Seq, Count: 1, Types: []event.Type{r.Type}, Reason: reason,
	})
	if err := e.store(l, it, &gap, reason, why); err != nil {
		// The journal can't take it, so the lane has to wait: nothing is given up unseen.
		e.log.Error("can't store a dead letter; the lane waits", "stream", l.key, "event", r.ID, "err", err)
		e.mu.Lock()
		defer e.mu.Unlock()
		e.storeFailed = true
		if !e.closing {
			e.delay(l, e.cfg.BackoffMin)
		}
		return
	}
	e.log.Warn("event given up: dead letter", "stream", l.key, "event", r.ID, "type", r.Type, "seq", r.Seq,
		"reason", reason, "err", why)
	if e.deps.Observer.DeadLetter != nil {
		e.deps.Observer.DeadLetter(e.name, reason)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.DeadLetters++
	e.finish(l, it)
	e.nameGap(l, gap)
	e.schedule(l)
	e.dispatchAll()
}

// store writes dead letter, gap and the lane's place behind it in one synced batch: after a crash the event is not
// sent once more behind the notice that gave it up.
func (e *Endpoint) store(l *lane, it item, gap *storedGap, reason, why string) error {
	r := it.rec
	dl, err := json.Marshal(DeadLetter{
		Endpoint: e.name, Position: r.Position, Record: base64.StdEncoding.EncodeToString(journal.Encode(nil, r)),
		Reason: reason, Error: why, Attempts: l.attempts, Time: time.Now().UTC(),
	})
	if err != nil {
		return fmt.Errorf("delivery: dead letter: %w", err)
	}
	e.save <- struct{}{}
	defer func() { <-e.save }()
	e.mu.Lock()
	after := cursor{floor: e.cursor.floor, words: slices.Clone(e.cursor.words), off: e.cursor.off}
	if !it.covered {
		after.done(r.Position)
	}
	ops := e.placeOps(&after)
	if l.parked {
		ops = append(ops, journal.Op{
			Key: "park/" + e.name + "/" + l.key, Value: binary.BigEndian.AppendUint64(nil, r.Seq+1),
		})
	}
	gapOp, err := e.gapOp(l.key, append(slices.Clone(e.gaps[l.key]), *gap))
	e.mu.Unlock()
	if err != nil {
		return err
	}
	ops = append(ops, gapOp, journal.Op{Key: deadKey(e.name, r.Position), Value: dl})
	return e.deps.Store.SetState(ops, true)
}

func (e *Endpoint) gapOp(key string, gaps []storedGap) (journal.Op, error) {
	op := journal.Op{Key: "gap/" + e.name + "/" + key}
	if len(gaps) == 0 {
		return op, nil
	}
	v, err := json.Marshal(gaps)
	if err != nil {
		return op, fmt.Errorf("delivery: gap: %w", err)
	}
	op.Value = v
	return op, nil
}

// nameGap remembers the gap; with a URL for notices it goes out before the lane's next event.
func (e *Endpoint) nameGap(l *lane, gap storedGap) {
	e.gaps[l.key] = append(e.gaps[l.key], gap)
	e.stats.Gaps++
	if e.deps.Observer.Gap != nil {
		e.deps.Observer.Gap(e.name, gap.Gap.Reason)
	}
	if e.cfg.URLs[event.OnEventGap] != "" {
		l.queue = append([]item{{notice: &gap}}, l.queue...)
		e.held++
	}
}

// keepRecordGap turns a journaled gap notice into one that is named on the next event.
func (e *Endpoint) keepRecordGap(r *journal.Record) {
	e.gaps[r.Key] = append(e.gaps[r.Key], storedGap{
		ID: r.ID, Index: r.Index, Time: r.Time, Source: r.Source, Incarnation: r.Incarnation, Epoch: r.Epoch,
		Stream: r.Key, Gap: recordGap(r),
	})
	e.gapsDirty[r.Key] = struct{}{}
}

// gapsAccepted forgets gaps of the key: the receiver has accepted what named them.
func (e *Endpoint) gapsAccepted(key string, named ...storedGap) {
	if len(named) == 0 {
		return
	}
	rest := slices.DeleteFunc(slices.Clone(e.gaps[key]), func(g storedGap) bool {
		return slices.ContainsFunc(named, func(n storedGap) bool { return n.ID == g.ID })
	})
	if len(rest) > 0 {
		e.gaps[key] = rest
	} else {
		delete(e.gaps, key)
	}
	e.gapsDirty[key] = struct{}{}
	e.dirty = true
}

// DeadLetters returns what was given up, oldest first.
func (e *Endpoint) DeadLetters() ([]DeadLetter, error) {
	return ReadDeadLetters(e.deps.Store, e.name)
}

// ReadDeadLetters returns the dead letters of an endpoint, oldest first; "" for all endpoints.
func ReadDeadLetters(s Store, endpoint string) ([]DeadLetter, error) {
	prefix := "dead/"
	if endpoint != "" {
		prefix += endpoint + "/"
	}
	st, err := s.State(prefix)
	if err != nil {
		return nil, fmt.Errorf("delivery: read dead letters: %w", err)
	}
	out := make([]DeadLetter, 0, len(st))
	for _, k := range sortedKeys(st) {
		var d DeadLetter
		if err := json.Unmarshal(st[k], &d); err != nil {
			return nil, fmt.Errorf("delivery: dead letter %s: %w: %w", strings.TrimPrefix(k, "dead/"), journal.ErrCorrupt, err)
		}
		out = append(out, d)
	}
	return out, nil
}
