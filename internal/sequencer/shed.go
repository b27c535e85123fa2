package sequencer

import (
	"encoding/json"
	"slices"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/journal"
)

// shedLocked gives the event its seq and remembers to name it. An endpoint that was owed it sees prev pass over the
// seq and finds it in the gap notice, which the journal holds before the key's next event.
func (s *Sequencer) shedLocked(sh *shard, ks *keyState, meta fact.Meta, schema string) {
	ks.seq++
	s.shed.Add(1)
	if ks.gap == nil {
		ks.gap = &event.Gap{From: ks.seq, Reason: event.ReasonShed}
	}
	ks.gap.To = ks.seq
	ks.gap.Count++
	if !slices.Contains(ks.gap.Types, meta.Type) {
		ks.gap.Types = append(ks.gap.Types, meta.Type)
	}
	ks.marks = advance(ks.marks, &journal.Record{
		Type: meta.Type, Schema: schema, Class: meta.Class, Seq: ks.seq, Index: s.index.Load(), Epoch: s.epoch,
	})
	sh.shedKeys[meta.Key] = struct{}{}
}

// nameGapLocked queues the notice of what was shed since the key's last journaled event.
func (s *Sequencer) nameGapLocked(sh *shard, ks *keyState, key string) {
	gap := *ks.gap
	ks.gap = nil
	delete(sh.shedKeys, key)
	f := &fact.EventGap{StreamKey: key, Gap: gap}
	body, err := json.Marshal(f)
	if err != nil {
		s.log.Error("event: gap notice has no JSON form", "stream", key, "err", err)
		return
	}
	r := s.recordLocked(ks, f.Meta(), "", body)
	sh.queue = append(sh.queue, queued{record: r})
	sh.raised++
	s.pending.Add(1)
	s.raised.Add(1)
}

// flushGaps names what was shed of keys that raise nothing more, once the pressure is gone.
func (s *Sequencer) flushGaps(sh *shard) {
	if s.pending.Load() > int64(s.cfg.ShedAt/2) {
		return
	}
	for key := range sh.shedKeys {
		if ks := sh.keys[key]; ks != nil && ks.gap != nil {
			s.nameGapLocked(sh, ks, key)
		}
		delete(sh.shedKeys, key)
	}
}
