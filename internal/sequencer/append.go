package sequencer

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/hookline/hookline/internal/journal"
)

// append is the journal's only appender. It ends when stop is closed and everything queued is on its way.
func (s *Sequencer) append() {
	defer s.wg.Done()
	defer close(s.flights)
	for {
		stopping := false
		select {
		case <-s.kick:
		case <-s.stop:
			stopping = true
		}
		for s.appendOnce(stopping) {
		}
		if stopping {
			return
		}
	}
}

// appendOnce sweeps the shards and appends one batch. It reports whether there may be more.
func (s *Sequencer) appendOnce(final bool) bool {
	var b journal.Batch
	more := false
	for i := range s.shards {
		if len(b.Records) >= maxBatch {
			more = true
			break
		}
		sh := &s.shards[(int(s.claimed)+i)%shardCount]
		sh.mu.Lock()
		if len(sh.shedKeys) > 0 {
			s.flushGaps(sh)
		}
		for _, q := range sh.queue {
			b.Records = append(b.Records, q.record)
			b.State = append(b.State, q.ops...)
		}
		clear(sh.queue)
		sh.queue = sh.queue[:0]
		sh.mu.Unlock()
	}
	b.State = append(b.State, s.reserve(final && !more)...)
	if len(b.Records) == 0 && len(b.State) == 0 || s.dead.Load() != nil {
		s.pending.Add(-int64(len(b.Records)))
		return more
	}
	start := time.Now()
	ack, err := s.j.Append(b)
	if err != nil {
		s.pending.Add(-int64(len(b.Records)))
		s.die(err)
		return more
	}
	s.flights <- flight{ack, b.Records, s.claimed, start}
	return more
}

// reserve claims a further block of hook_index when less than half a block is left; at a clean stop it gives back
// what was not used.
func (s *Sequencer) reserve(final bool) []journal.Op {
	next := s.index.Load()
	switch {
	case final && next != s.claimed:
		s.claimed = next
	case next+indexBlock/2 > s.claimed:
		s.claimed = next + indexBlock
	default:
		return nil
	}
	return []journal.Op{{Key: stateIndex, Value: binary.BigEndian.AppendUint64(nil, s.claimed)}}
}

// complete waits for each batch in order and shows its records.
func (s *Sequencer) complete() {
	defer s.wg.Done()
	for f := range s.flights {
		err := f.ack.Wait()
		s.pending.Add(-int64(len(f.records)))
		if err != nil {
			s.die(err)
			continue
		}
		if s.cfg.Committed != nil {
			s.cfg.Committed(time.Since(f.start))
		}
		if f.reserved > s.reserved.Load() {
			s.reserved.Store(f.reserved)
		}
		// The sink first: who waits for durability may rely on delivery having seen the record.
		if len(f.records) > 0 && s.sink != nil {
			s.sink(f.records)
		}
		for _, r := range f.records {
			s.durable(r)
		}
	}
}

func (s *Sequencer) durable(r *journal.Record) {
	sh := s.shardOf(r.Key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.writtenLocked()
	ks := sh.keys[r.Key]
	if ks == nil {
		return
	}
	ks.durable = r.Seq
	kept := ks.waiters[:0]
	for _, w := range ks.waiters {
		if w.seq <= r.Seq {
			close(w.done)
		} else {
			kept = append(kept, w)
		}
	}
	ks.waiters = kept
}

// die makes the failure of the writer terminal.
func (s *Sequencer) die(err error) {
	err = fmt.Errorf("sequencer: %w", err)
	if s.dead.CompareAndSwap(nil, &err) {
		s.log.Error("the event journal has failed: media goes on, nothing new is admitted, no event is recorded until a restart", "err", err)
	}
}

// heartbeat leaves a sign of life, so that after a crash the end of a publication can be told within 5 s.
func (s *Sequencer) heartbeat() {
	defer s.wg.Done()
	t := time.NewTicker(5 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case now := <-t.C:
			if s.anyLive() { // a failure shows at the next append
				_ = s.j.SetState([]journal.Op{{Key: stateAlive, Value: aliveValue(now)}}, true)
			}
		}
	}
}

func (s *Sequencer) anyLive() bool {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		n := len(sh.live)
		sh.mu.Unlock()
		if n > 0 {
			return true
		}
	}
	return false
}

func aliveValue(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(t.UnixMilli()))
}

// Close waits until everything raised is durable and gives back unused hook_index values. Facts raised later are
// not journaled.
func (s *Sequencer) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	close(s.stop)
	s.wg.Wait()
	if p := s.dead.Load(); p != nil {
		return *p
	}
	return nil
}
