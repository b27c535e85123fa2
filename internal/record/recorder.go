package record

import (
	"cmp"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/internal/stream"
)

// Recorder makes MP4 recordings. Its methods are safe for concurrent use.
type Recorder struct {
	cfg     atomic.Pointer[Config]
	ledger  ledger
	workers chan struct{} // a slot for each file that is completed
	wg      sync.WaitGroup
	grace   time.Duration // clipGrace, but for tests

	recording atomic.Int64
	files     atomic.Uint64
	failures  atomic.Uint64
	dropped   atomic.Uint64
}

// Stats are counters since the start, and what is going on.
type Stats struct {
	Recording                      int
	Files, Failures, FramesDropped uint64
}

// Stats returns a snapshot.
func (r *Recorder) Stats() Stats {
	return Stats{
		Recording: int(r.recording.Load()), Files: r.files.Load(), Failures: r.failures.Load(), FramesDropped: r.dropped.Load(),
	}
}

// New returns a recorder. Its ledger's directory is made if it is not there.
func New(cfg Config) (*Recorder, error) {
	cfg = cfg.withDefaults()
	if err := os.MkdirAll(cfg.Ledger, 0o700); err != nil {
		return nil, err
	}
	r := &Recorder{ledger: ledger{cfg.Ledger}, workers: make(chan struct{}, cfg.Workers), grace: clipGrace}
	r.cfg.Store(&cfg)
	return r, nil
}

// Reconfigure replaces the configuration for files that are opened later. Ledger and Workers may not change.
func (r *Recorder) Reconfigure(cfg Config) {
	cfg = cfg.withDefaults()
	r.cfg.Store(&cfg)
}

// Wait waits for what is left to do after the last recording: notes whose reports were not durable yet.
func (r *Recorder) Wait() { r.wg.Wait() }

// Config returns the configuration.
func (r *Recorder) Config() Config { return *r.cfg.Load() }

// Format returns what the hub has to know.
func (r *Recorder) Format() stream.Recorder {
	return stream.Recorder{
		Name:   "mp4",
		Wanted: func(o *stream.Options) bool { return o.EnableMP4 },
		Counts: func(o *stream.Options) bool { return o.MP4AsPlayer },
		Start:  r.start,
	}
}

// rootOf is the directory below which a stream is recorded.
func rootOf(o *stream.Options) string { return cmp.Or(o.MP4SavePath, "./www") }

// start begins a recording.
func (r *Recorder) start(j stream.Job) stream.Sink { return r.begin(j, nil) }

// begin begins a recording, in slices or as one clip.
func (r *Recorder) begin(j stream.Job, c *Clip) stream.Sink {
	cfg := r.cfg.Load()
	s := &sink{Inbox: stream.NewInbox(cfg.QueueBytes), rec: r, job: j, cfg: cfg, slice: j.MaxSlice, clip: c}
	if s.slice <= 0 {
		s.slice = time.Duration(j.Options.MP4MaxSecond) * time.Second
	}
	if s.slice <= 0 {
		s.slice = time.Hour
	}
	s.root = cmp.Or(j.Root, rootOf(&j.Options))
	if c != nil {
		s.slice, s.until = math.MaxInt64, j.Now+c.Forward
		s.late = time.After(c.Forward + r.grace)
	}
	s.log = s.cfg.Logger.With("stream", j.Stream.Key(), "publication", j.Publication)
	r.recording.Add(1)
	go s.run()
	return s
}
