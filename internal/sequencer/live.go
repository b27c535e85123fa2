package sequencer

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/journal"
)

// Keys of the journal's state.
const (
	stateIndex    = "seq/index"    // first hook_index that was never reserved, be64
	stateAlive    = "seq/alive"    // last sign of life, Unix ms, be64
	stateIdentity = "seq/identity" // identity as JSON
	stateLive     = "live/"        // + publication: livePublication as JSON
)

// identity is what the events of a journal have in common.
type identity struct {
	Source string `json:"source"`
	Epoch  int64  `json:"epoch"`
}

// livePublication is what a crash would leave to be ended.
type livePublication struct {
	Publication string      `json:"publication"`
	Stream      fact.Stream `json:"stream"` // after stream_replace
	Params      string      `json:"params"`
	OriginType  int         `json:"originType"`
	Protocol    string      `json:"protocol,omitempty"`
	Publisher   fact.Client `json:"publisher,omitzero"`
	Start       int64       `json:"start"`   // Unix ms
	Schemas     []string    `json:"schemas"` // registered now, in order; replaced, never changed: snapshots share it
	All         []string    `json:"all"`     // ever registered, in order; likewise
	// Recordings are the files that were reported, and Omitted counts those before them.
	Recordings []fact.Recording `json:"recordings,omitempty"`
	Omitted    int              `json:"omitted,omitempty"`
}

// has says whether a file was reported.
func (lp *livePublication) has(path string) bool {
	return slices.ContainsFunc(lp.Recordings, func(r fact.Recording) bool { return r.Path == path })
}

// liveLocked applies the fact to the set of live publications and returns the change for the journal.
func (sh *shard) liveLocked(meta fact.Meta, f fact.Fact) []journal.Op {
	lp := sh.live[meta.Publication]
	switch f := f.(type) {
	case *fact.PublicationStarted:
		lp = &livePublication{
			Publication: f.Publication, Stream: f.Live, Params: f.Params, OriginType: f.OriginType, Start: f.Start,
			Protocol: f.Protocol, Publisher: f.Client,
		}
		sh.live[meta.Publication] = lp
	case *fact.Registered:
		if lp == nil {
			return nil
		}
		lp.Schemas = with(lp.Schemas, f.Schema)
		if !slices.Contains(lp.All, f.Schema) {
			lp.All = with(lp.All, f.Schema)
		}
	case *fact.Unregistered:
		if lp == nil {
			return nil
		}
		lp.Schemas = slices.DeleteFunc(slices.Clone(lp.Schemas), func(s string) bool { return s == f.Schema })
	case *fact.Recorded:
		if lp == nil {
			return nil
		}
		all := fact.Recordings{List: lp.Recordings, Omitted: lp.Omitted}
		all.Add(f.Recording())
		lp.Recordings, lp.Omitted = all.List, all.Omitted
	default: // the end
		delete(sh.live, meta.Publication)
		return []journal.Op{{Key: stateLive + meta.Publication}}
	}
	v, err := json.Marshal(lp)
	if err != nil { // strings and numbers only
		return nil
	}
	return []journal.Op{{Key: stateLive + meta.Publication, Value: v}}
}

// with returns a new slice that ends with v.
func with(s []string, v string) []string { return append(s[:len(s):len(s)], v) }

// restore reads identity, reservation and live set, and decides about the epoch.
func (s *Sequencer) restore() error {
	st, err := s.j.State("seq/")
	if err != nil {
		return fmt.Errorf("sequencer: read state: %w", err)
	}
	if v := st[stateIndex]; len(v) == 8 {
		s.claimed = binary.BigEndian.Uint64(v)
	}
	s.index.Store(s.claimed)
	s.reserved.Store(s.claimed)

	if err := s.restoreIdentity(st[stateIdentity]); err != nil {
		return err
	}
	live, err := s.j.State(stateLive)
	if err != nil {
		return fmt.Errorf("sequencer: read live publications: %w", err)
	}
	for k, v := range live {
		lp := &livePublication{}
		if err := json.Unmarshal(v, lp); err != nil {
			return fmt.Errorf("sequencer: live publication %s: %w: %w", k, journal.ErrCorrupt, err)
		}
		s.shardOf(lp.Stream.Key()).live[lp.Publication] = lp
	}
	return nil
}

// restoreIdentity keeps the epoch of the journal, or opens a new one when seqs might be used twice (a restored
// copy, a lost tail) or the source has another name. Receivers then reset their marks.
func (s *Sequencer) restoreIdentity(stored []byte) error {
	id := identity{Source: s.source, Epoch: s.j.Info().Created}
	why := s.j.NewEpochReason()
	if len(stored) > 0 {
		var old identity
		if err := json.Unmarshal(stored, &old); err != nil {
			return fmt.Errorf("sequencer: identity: %w: %w", journal.ErrCorrupt, err)
		}
		if old.Source != s.source {
			why = "mediaServerId changed"
		}
		id.Epoch = old.Epoch
		if why != "" {
			id.Epoch = max(s.cfg.Clock().UnixMilli(), old.Epoch+1)
			s.log.Warn("events begin a new epoch; receivers reset their marks", "reason", why, "epoch", id.Epoch)
		}
	}
	s.epoch = id.Epoch
	v, err := json.Marshal(id)
	if err != nil {
		return fmt.Errorf("sequencer: identity: %w", err)
	}
	if err := s.j.SetState([]journal.Op{{Key: stateIdentity, Value: v}}, true); err != nil {
		return fmt.Errorf("sequencer: write identity: %w", err)
	}
	return nil
}

// Compensate ends what the journal says was live when the last run died: the unregisters in reverse order of
// registration, the files that were open, and the end of each publication, marked. salvage returns the files of a
// publication that were completed only now, in the order of their start; it may be nil. Compensate is called once, before
// anything new is admitted, and returns the number of publications that it ended.
func (s *Sequencer) Compensate(salvage func(publication string) []*fact.Recorded) (int, error) {
	st, err := s.j.State(stateAlive)
	if err != nil {
		return 0, fmt.Errorf("sequencer: read last sign of life: %w", err)
	}
	var alive int64
	if v := st[stateAlive]; len(v) == 8 {
		alive = int64(binary.BigEndian.Uint64(v))
	}
	var all []*livePublication
	for i := range s.shards {
		for _, lp := range s.shards[i].live {
			all = append(all, lp)
		}
	}
	slices.SortFunc(all, func(a, b *livePublication) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Publication, b.Publication))
	})
	for _, lp := range all {
		var files []*fact.Recorded
		if salvage != nil {
			files = salvage(lp.Publication)
		}
		s.compensate(lp, alive, files)
	}
	return len(all), nil
}

func (s *Sequencer) compensate(lp *livePublication, alive int64, files []*fact.Recorded) {
	end := max(lp.Start, alive, s.lastTime(lp.Stream.Key()))
	// lp itself changes while its schemas are taken away.
	for _, schema := range slices.Backward(slices.Clone(lp.Schemas)) {
		s.Raise(&fact.Unregistered{
			Publication: lp.Publication, Schema: schema, Stream: lp.Stream, Params: lp.Params, Crash: true,
		})
	}
	for _, f := range files {
		if !lp.has(f.FilePath) { // else it was reported, and the crash came before its recorder noted that
			f.Crash = true
			s.Raise(f)
		}
	}
	schemas := lp.All
	if schemas == nil {
		schemas = []string{}
	}
	s.Raise(&fact.PublicationEnded{
		Publication: lp.Publication, Stream: lp.Stream, Params: lp.Params,
		OriginType: lp.OriginType, OriginTypeStr: fact.OriginType(lp.OriginType).String(),
		Start: lp.Start, End: end, Duration: float64(end-lp.Start) / 1000,
		Reason: fact.EndServerCrash, Schemas: schemas, Recordings: lp.Recordings, RecordingsOmitted: lp.Omitted,
		Crash: true,
	})
}

// lastTime returns when the key's newest event was raised, Unix ms, 0 when there is none.
func (s *Sequencer) lastTime(key string) int64 {
	last, err := s.j.LastOfKey(key)
	if err != nil || last == nil {
		return 0
	}
	return last.Time.UnixMilli()
}
