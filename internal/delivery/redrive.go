package delivery

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hookline/hookline/internal/journal"
)

// ErrNoDeadLetter says that there is no dead letter at the position.
var ErrNoDeadLetter = errors.New("delivery: no such dead letter")

func deadKey(endpoint string, position uint64) string {
	return fmt.Sprintf("dead/%s/%016x", endpoint, position)
}

// ReadDeadLetter returns one dead letter of an endpoint with its event.
func ReadDeadLetter(s Store, endpoint string, position uint64) (DeadLetter, *journal.Record, error) {
	key := deadKey(endpoint, position)
	st, err := s.State(key)
	if err != nil {
		return DeadLetter{}, nil, fmt.Errorf("delivery: read dead letter: %w", err)
	}
	v := st[key]
	if v == nil {
		return DeadLetter{}, nil, ErrNoDeadLetter
	}
	var d DeadLetter
	if err := json.Unmarshal(v, &d); err != nil {
		return d, nil, fmt.Errorf("delivery: dead letter: %w: %w", journal.ErrCorrupt, err)
	}
	r, err := d.Event()
	return d, r, err
}

// Event decodes the event of a dead letter.
func (d *DeadLetter) Event() (*journal.Record, error) {
	b, err := base64.StdEncoding.DecodeString(d.Record)
	if err != nil {
		return nil, fmt.Errorf("delivery: dead letter: %w: %w", journal.ErrCorrupt, err)
	}
	r, err := journal.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("delivery: dead letter: %w", err)
	}
	r.Position = d.Position
	return r, nil
}

// Redrive sends a dead letter once more, in the lane of its key and flagged late. It stays a dead letter until it is
// accepted; after a restart it has to be asked for again. An event to which the endpoint has not come yet, since it was removed and
// added again with its place in the past, is not sent ahead of others: it comes in its turn, and stays a dead letter.
func (e *Endpoint) Redrive(position uint64) error {
	_, r, err := ReadDeadLetter(e.deps.Store, e.name, position)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.passed(r) {
		e.log.Info("dead letter not redriven: the endpoint comes to its event yet", "stream", r.Key, "event", r.ID)
		return nil
	}
	l := e.lane(r.Key)
	for _, it := range l.queue {
		if it.late && it.rec.Position == position {
			return nil // it is on its way
		}
	}
	l.push(item{rec: r, late: true, covered: true})
	e.held++
	if l.state == laneIdle {
		e.schedule(l)
	}
	e.dispatchAll()
	e.log.Info("dead letter redriven", "stream", r.Key, "event", r.ID)
	return nil
}

// passed says that the endpoint will not come to the record any more. The lock is held.
func (e *Endpoint) passed(r *journal.Record) bool {
	if l := e.lanes[r.Key]; l != nil && l.parked && r.Seq >= l.nextSeq {
		return false
	}
	return e.cursor.isDone(r.Position)
}

// redriven forgets a dead letter that was accepted late.
func (e *Endpoint) redriven(position uint64) {
	if err := e.deps.Store.SetState([]journal.Op{{Key: deadKey(e.name, position)}}, false); err != nil {
		e.log.Error("a redriven event was accepted, but stays a dead letter", "position", position, "err", err)
	}
}

// Discard forgets a dead letter of an endpoint for good.
func Discard(s Store, endpoint string, position uint64) error {
	if err := s.SetState([]journal.Op{{Key: deadKey(endpoint, position)}}, true); err != nil {
		return fmt.Errorf("delivery: discard: %w", err)
	}
	return nil
}

// PruneDead removes dead letters that were given up before a time and returns how many.
func PruneDead(s Store, before time.Time) (int, error) {
	list, err := ReadDeadLetters(s, "")
	if err != nil {
		return 0, err
	}
	var ops []journal.Op
	for _, d := range list {
		if d.Time.Before(before) {
			ops = append(ops, journal.Op{Key: deadKey(d.Endpoint, d.Position)})
		}
	}
	if len(ops) == 0 {
		return 0, nil
	}
	return len(ops), s.SetState(ops, true)
}

// Forget releases the place of an endpoint that was removed. Its dead letters stay.
func Forget(s Store, endpoint string) error {
	var ops []journal.Op
	for _, prefix := range []string{"cursor/", "sub/", "park/", "gap/"} {
		st, err := s.State(prefix + endpoint)
		if err != nil {
			return fmt.Errorf("delivery: forget %s: %w", endpoint, err)
		}
		for key := range st {
			if key == prefix+endpoint || strings.HasPrefix(key, prefix+endpoint+"/") {
				ops = append(ops, journal.Op{Key: key})
			}
		}
	}
	if len(ops) == 0 {
		return nil
	}
	if err := s.SetState(ops, true); err != nil {
		return fmt.Errorf("delivery: forget %s: %w", endpoint, err)
	}
	return nil
}

// Known returns the names of the endpoints that have a place in the journal.
func Known(s Store) ([]string, error) {
	st, err := s.State("cursor/")
	if err != nil {
		return nil, fmt.Errorf("delivery: endpoints: %w", err)
	}
	var out []string
	for _, key := range sortedKeys(st) {
		out = append(out, strings.TrimPrefix(key, "cursor/"))
	}
	return out, nil
}
