package record

import (
	"log/slog"
	"sync"
	"time"

	"github.com/hookline/hookline/internal/format/fmp4"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
)

// sink is one recording.
type sink struct {
	*stream.Inbox
	rec   *Recorder
	job   stream.Job
	cfg   *Config
	log   *slog.Logger
	root  string
	slice time.Duration
	clip  *Clip            // what is recorded, when it is one clip and no slices
	until time.Duration    // DTS at which a clip ends
	late  <-chan time.Time // when it ends although nothing comes; nil: never

	// Owned by run.
	program stream.Program
	mux     *fmp4.Muxer
	file    *file // nil while none is open
	next    int   // number of the next slice
	since   time.Duration
	last    sync.WaitGroup // the completion of the slice before
	done    chan struct{}  // closed when the slice before was reported; nil at first
	failed  bool
}

// run writes until the recording is closed or fails.
func (s *sink) run() {
	defer s.finish()
	s.program = s.job.Program
	s.mux = fmp4.NewMuxer(s.program.Tracks)
	tick := time.NewTicker(s.cfg.SyncEvery)
	defer tick.Stop()
	var work []stream.Order
	for {
		select {
		case <-s.Ready():
		case <-tick.C:
			if s.file != nil && !s.check(s.file.sync()) {
				return
			}
			continue
		case <-s.late:
			s.Close()
		}
		var closed bool
		work, closed = s.Take(work)
		for _, o := range work {
			if !s.do(o) {
				return
			}
		}
		if closed {
			if s.file != nil {
				s.cut(nil)
			}
			return
		}
	}
}

// do carries out one order. It is false when the recording can't go on.
func (s *sink) do(o stream.Order) bool {
	if o.Program != nil {
		return s.change(*o.Program)
	}
	f := o.Frame
	if s.clip != nil && f.DTS > s.until {
		if s.file != nil {
			s.cut(f)
		}
		return false
	}
	if s.file != nil && o.Key && f.DTS-s.since >= s.slice && !s.cut(f) {
		return false
	}
	if s.file == nil {
		if !o.Key { // nobody could play it from here
			return true
		}
		if !s.check(s.open()) {
			return false
		}
		s.since = f.DTS
	}
	// A fragment is at most about a second long, so that no more than that is lost with the process.
	if s.mux.Pending() > 0 && (f.Key || f.DTS-s.file.begun >= fragment) {
		if !s.check(s.file.append(s.mux, f)) {
			return false
		}
	}
	if s.mux.Pending() == 0 {
		s.file.begun = f.DTS
	}
	s.mux.Add(f)
	return true
}

const (
	fragment = time.Second
	// reserveFor is the length for whose index there is room in front. More would make short files large.
	reserveFor = 20 * time.Second
)

// change takes new tracks: a file has one configuration.
func (s *sink) change(p stream.Program) bool {
	s.program = p
	if s.file == nil {
		s.mux.SetTracks(p.Tracks)
		return true
	}
	probe := fmp4.NewMuxer(s.file.tracks)
	if !probe.SetTracks(p.Tracks) {
		return true
	}
	return s.cut(nil) && s.clip == nil
}

// check notes a failure. The recording ends with what was written.
func (s *sink) check(err error) bool {
	if err == nil {
		return true
	}
	s.failed = true
	s.rec.failures.Add(1)
	s.log.Error("recording ends", "err", err)
	if s.file != nil {
		s.file.reason = reasonOf(err)
		s.complete(s.file)
		s.file = nil
	}
	return false
}

// open begins a slice.
func (s *sink) open() error {
	s.mux = fmp4.NewMuxer(s.program.Tracks)
	f, err := s.create(time.Now())
	if err != nil {
		return err
	}
	s.file = f
	return f.begin(s.mux, min(s.slice, reserveFor))
}

// cut ends the slice. next is the frame that follows, when it is known.
func (s *sink) cut(next *media.Frame) bool {
	f := s.file
	if s.mux.Pending() > 0 && !s.check(f.append(s.mux, next)) {
		return false
	}
	s.file = nil
	s.complete(f)
	return true
}

// finish ends the recording behind the report of its last slice.
func (s *sink) finish() {
	s.Close() // nothing more is kept for it
	s.last.Wait()
	if dropped := s.Dropped(); dropped > 0 {
		s.rec.dropped.Add(uint64(dropped))
		s.log.Warn("frames were not recorded: the disk was too slow", "frames", dropped)
	}
	s.rec.recording.Add(-1)
	s.job.Done()
}
