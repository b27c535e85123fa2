package journaltool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/sequencer"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Checked is what Check found.
type Checked struct {
	Records, States uint64
	First, Last     uint64
	// EpochReason says why the next server begins a new epoch, "" when it does not.
	EpochReason string
	Problems    []string
	Omitted     int
}

// Check reads everything in dir: tables, records, the index, and the state that sequencer and endpoints keep there. An
// error means that it could not be read at all; what was found to be wrong is in Problems.
func Check(dir string, progress Progress) (c *Checked, err error) {
	j, err := open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	info := j.Info()
	total := info.Last + 1 - info.First
	v, err := j.Verify(func(n uint64) { progress(n, total) })
	if err != nil {
		return nil, err
	}
	c = &Checked{
		Records: v.Records, First: info.First, Last: info.Last, Problems: v.Problems, Omitted: v.Omitted,
		EpochReason: j.NewEpochReason(),
	}
	st, err := j.State("")
	if err != nil {
		return nil, err
	}
	c.States = uint64(len(st))
	for _, err := range append(sequencer.CheckState(st, v.MaxIndex), delivery.CheckState(st, info.Last)...) {
		c.Problems = append(c.Problems, err.Error())
	}
	return c, nil
}

// Statistics is what is in a journal.
type Statistics struct {
	Created        time.Time
	First, Last    uint64
	Events         uint64
	Bytes          uint64 // on the disk
	BodyBytes      uint64
	Oldest, Newest time.Time
	Streams        int
	Types          map[string]uint64
	Classes        map[string]uint64
	// Epochs and Incarnations count the events of each.
	Epochs       map[int64]uint64
	Incarnations int
	// Live are the publications that have no end: those of a run that was killed.
	Live        int
	DeadLetters int
	OpenGaps    int
	// Endpoints are the places: everything up to the position is done.
	Endpoints map[string]uint64
	// States counts the entries of the state by the first part of their keys.
	States map[string]int
}

// Stats counts what is in dir.
func Stats(ctx context.Context, dir string, progress Progress) (s *Statistics, err error) {
	j, err := open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	info := j.Info()
	s = &Statistics{
		Created: time.UnixMilli(info.Created).UTC(), First: info.First, Last: info.Last, Bytes: info.Bytes,
		Types: map[string]uint64{}, Classes: map[string]uint64{}, Epochs: map[int64]uint64{}, States: map[string]int{},
	}
	st, err := j.State("")
	if err != nil {
		return nil, err
	}
	for k := range st {
		kind, _, _ := strings.Cut(k, "/")
		s.States[kind]++
	}
	s.Live, s.DeadLetters = s.States["live"], s.States["dead"]
	gaps, err := delivery.ReadGaps(j, "")
	if err != nil {
		return nil, err
	}
	s.OpenGaps = len(gaps)
	if s.Endpoints, err = delivery.Floors(st); err != nil {
		return nil, err
	}
	streams, runs := map[string]struct{}{}, map[string]struct{}{}
	for pos := info.First; pos <= info.Last; {
		recs, err := j.Read(pos, journal.Limit{})
		if err = errors.Join(err, ctx.Err()); err != nil {
			return nil, err
		}
		if len(recs) == 0 {
			return nil, fmt.Errorf("%w: record %d is missing", journal.ErrCorrupt, pos)
		}
		for _, r := range recs {
			pos = r.Position + 1
			streams[r.Key], runs[r.Incarnation] = struct{}{}, struct{}{}
			s.add(r)
		}
		progress(s.Events, info.Last+1-info.First)
	}
	s.Streams, s.Incarnations = len(streams), len(runs)
	return s, nil
}

func (s *Statistics) add(r *journal.Record) {
	if s.Events++; s.Events == 1 {
		s.Oldest = r.Time.UTC()
	}
	s.Newest = r.Time.UTC()
	s.BodyBytes += uint64(len(r.Body))
	s.Types[string(r.Type)]++
	s.Classes[r.Class.String()]++
	s.Epochs[r.Epoch]++
}

// Compact gives back the room of what was removed. It returns the size on the disk before and after.
func Compact(ctx context.Context, dir string) (before, after uint64, err error) {
	j, err := open(dir)
	if err != nil {
		return 0, 0, err
	}
	before = j.Info().Bytes
	if err := errors.Join(j.Compact(ctx), j.Close()); err != nil {
		return before, 0, err
	}
	if j, err = open(dir); err != nil {
		return before, 0, err
	}
	after = j.Info().Bytes
	return before, after, j.Close()
}
