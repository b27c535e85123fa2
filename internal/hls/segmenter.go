package hls

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"sync"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
)

// segmenter is one variant of one publication.
type segmenter struct {
	*stream.Inbox
	srv     *Server
	job     stream.Job
	cfg     *Config
	log     *slog.Logger
	variant string
	dir     string
	ext     string
	demand  bool // nothing is made without viewers
	// before is closed when the publication before has left the directory, free when this one has.
	before, free chan struct{}

	mu               sync.Mutex    // guards what follows; read by those who ask
	playlist, behind []byte        // nil: there is none now; behind: that of Config.Delay
	shown            *state        // of Low-Latency HLS; nil as long as playlist is
	over             bool          // no playlist follows
	news             chan struct{} // closed when one of the above changes; nil when nobody waits for that

	// Owned by run.
	program  stream.Program
	next     *stream.Program // from the next key frame on
	mux      muxer
	file     *os.File
	cur      segment
	length   time.Duration // of cur, up to the newest frame of the track that leads
	lead     time.Duration // DTS of that frame
	step     time.Duration // distance of the newest two of them
	jumped   bool          // the times in cur are not those of one clock
	buf      []byte        // to be written
	sequence uint64
	number   uint64 // in the name of a file; sequence, unless a file was in the way
	inits    []string
	init     string
	broken   bool // a discontinuity comes next
	resets   int
	low      *lowLatency // nil: no parts
	known    []segment   // in a playlist, or not deleted yet; what is in it does not change any more
	listing  int         // of known, from the end: those in the playlist; 0: there is none now
	target   int
	reported bool // the schema is registered
	hours    map[string]*hour
	unlisted bool // a playlist could not be written
}

// start begins one. The stream's lock is held.
func (s *Server) start(variant string, j stream.Job) stream.Sink {
	cfg := s.cfg.Load()
	g := &segmenter{
		Inbox: stream.NewInbox(cfg.QueueBytes), srv: s, job: j, cfg: cfg, variant: variant, ext: ".ts",
		log:  cfg.Logger.With("stream", j.Stream.Key(), "publication", j.Publication, "variant", variant),
		free: make(chan struct{}),
	}
	g.demand = j.Options.HLSDemand && !j.Asked && !g.keeps()
	if variant == FMP4 {
		g.ext = cfg.Extension
		if cfg.LowLatency {
			g.low = newLowLatency(cfg)
		}
	}
	root := j.Root
	if root == "" {
		root = j.Options.HLSSavePath
	}
	var err error
	if g.dir, err = cfg.Folder(root, j.Stream); err == nil {
		g.before = s.claim(g)
	}
	s.wg.Go(func() { g.run(err) })
	return g
}

// run writes until the recording is closed or fails.
func (g *segmenter) run(err error) {
	defer g.job.Done()
	defer g.Close()
	if err != nil {
		g.log.Error("no HLS", "err", err)
		return
	}
	defer close(g.free)
	if g.before != nil {
		<-g.before // it may still write its last segment
	}
	g.program = g.job.Program
	g.mux = newMuxer(g.variant, g.program.Tracks, g.low)
	g.target = max(1, int((g.cfg.Segment+time.Second-1)/time.Second))
	g.announce(g.program)
	if err := g.work(); err != nil {
		g.log.Error("HLS ends", "err", err)
		g.Close()
		g.scrap()
	}
	if n := g.Dropped(); n > 0 {
		g.log.Warn("HLS: frames were dropped, the disk was too slow", "frames", n)
	}
	g.finish()
}

// scrap gives up the segment that is open.
func (g *segmenter) scrap() {
	if g.file != nil {
		_ = g.file.Close()
		_ = os.Remove(g.cur.file)
		g.file = nil
	}
}

func (g *segmenter) work() error {
	var orders []stream.Order
	for {
		<-g.Ready()
		var closed bool
		orders, closed = g.Take(orders)
		for _, o := range orders {
			if o.Program != nil {
				g.change(*o.Program)
			} else if o.Sleep {
				g.rest()
			} else if err := g.frame(o.Frame, o.Key); err != nil {
				return err
			}
		}
		if closed {
			return g.cut(nil)
		}
	}
}

// change takes new tracks: from the next key frame on, since a segment can't begin before.
func (g *segmenter) change(p stream.Program) {
	g.next = &p
	if same(g.program.Tracks, p.Tracks) {
		g.next = nil
	}
	g.announce(p)
}

// maxGap is the distance of two frames from which on their times are not those of one clock.
const maxGap = 10 * time.Second

func (g *segmenter) frame(f *media.Frame, key bool) error {
	leads := leads(g.program.Tracks, f.Track)
	if g.file != nil && leads && (f.DTS < g.lead || f.DTS-g.lead > maxGap) {
		g.jumped = true
	}
	if key {
		if err := g.key(f); err != nil {
			return err
		}
	}
	if g.file == nil || !contains(g.program.Tracks, f.Track) {
		return nil // nobody could decode it yet
	}
	if leads {
		g.measure(f)
		if err := g.endPart(f); err != nil {
			return err
		}
	}
	if g.low != nil {
		g.low.independent = g.low.independent || key
	}
	g.buf = g.mux.add(g.buf, f)
	return g.flush(g.cfg.FileBuffer)
}

// key ends a segment before f, if it is time, and begins the next.
func (g *segmenter) key(f *media.Frame) error {
	if g.file != nil && (g.jumped || g.next != nil || g.length+g.since(f) >= g.wanted()) {
		next := f
		if g.jumped || g.next != nil {
			next = nil
		}
		if err := g.cut(next); err != nil {
			return err
		}
		g.publish(false)
	}
	if g.file != nil {
		return nil
	}
	if g.next != nil {
		g.program, g.next = *g.next, nil
		g.mux.tracks(g.program.Tracks)
		g.broken, g.init = g.sequence > 0, ""
	}
	if !carries(g.variant, g.program.Tracks) {
		return nil
	}
	return g.open(f)
}

// since is the time from the frame before to f, of the track that leads.
func (g *segmenter) since(f *media.Frame) time.Duration {
	if d := f.DTS - g.lead; d >= 0 && d <= maxGap {
		return d
	}
	return g.step
}

func (g *segmenter) measure(f *media.Frame) {
	d := g.since(f)
	g.length += d
	if d > 0 {
		g.step = d
	}
	g.lead = f.DTS
	if g.low != nil {
		g.low.frames++
	}
}

// wanted is the length from which on the segment may end.
func (g *segmenter) wanted() time.Duration {
	if g.cfg.FastRegister && g.listing == 0 {
		return 0
	}
	return g.cfg.Segment
}

// flush writes what has been collected, when it is at least so much.
func (g *segmenter) flush(least int) error {
	if len(g.buf) == 0 || len(g.buf) < least {
		return nil
	}
	n, err := g.file.Write(g.buf)
	g.cur.size += int64(n)
	g.buf = g.buf[:0]
	if err != nil {
		return fmt.Errorf("hls: %w", err)
	}
	return nil
}

// open begins a segment at f.
func (g *segmenter) open(f *media.Frame) error {
	now := time.Now()
	g.cur = segment{sequence: g.sequence, start: now, broken: g.broken}
	if g.low != nil {
		g.cur.date = g.low.open(now, g.broken)
	}
	var err error
	if g.file, err = g.create(now); err != nil {
		return err
	}
	g.length, g.lead, g.jumped = 0, f.DTS, false
	if g.broken {
		g.resets++
	}
	g.cur.resets, g.broken = g.resets, false
	if err := g.writeInit(); err != nil {
		return err
	}
	g.cur.init = g.init
	g.buf = g.mux.begin(g.buf[:0])
	return nil
}

// cut completes the segment, which is not shown yet: the last one of a stream is shown together with the end, so that nobody
// who waits gets it alone. next is the frame behind it, nil when nothing follows on it.
func (g *segmenter) cut(next *media.Frame) error {
	if g.file == nil {
		return nil
	}
	g.buf = g.mux.end(g.buf, next)
	err := g.flush(0)
	err = errors.Join(err, g.file.Close())
	g.file = nil
	if err != nil {
		_ = os.Remove(g.cur.file)
		return err
	}
	if next != nil {
		g.length += g.since(next)
	} else {
		g.length += g.step
		g.broken = g.jumped
	}
	g.refresh()
	g.cur.length = max(g.length, time.Millisecond)
	if g.low != nil {
		g.cur.parts = g.low.close(g.cur.parts, g.cur.length, g.cur.size)
		g.low.settle(g.cur.length)
		g.low.clock = g.low.clock.Add(g.cur.length)
	}
	g.sequence++
	g.number++
	g.target = max(g.target, seconds(g.cur.length))
	g.report()
	g.known = append(g.known, g.cur)
	g.listing++
	if n := g.cfg.Count; n > 0 && g.listing > n {
		g.listing = n
	}
	g.discard()
	if g.keeps() {
		g.keepHour()
	}
	return nil
}

// refresh takes the settings that apply at once.
func (g *segmenter) refresh() {
	n := g.srv.cfg.Load()
	c := *g.cfg
	c.Delay, c.Retain, c.Report, c.DeleteDelay, c.FastRegister = n.Delay, n.Retain, n.Report, n.DeleteDelay, n.FastRegister
	g.cfg = &c
}

// report states the segment.
func (g *segmenter) report() {
	if !g.cfg.Report {
		return
	}
	s := &g.cur
	g.job.Report(&fact.Recorded{
		Type: event.OnRecordTS, StartTime: uint64(max(s.start.Unix(), 0)), TimeLen: s.length.Seconds(), FileSize: uint64(max(s.size, 0)),
		FilePath: s.file, FileName: s.name, Folder: g.dir, URL: path.Join(g.job.Stream.App, g.job.Stream.Stream, s.name),
	}, false)
}

// keeps says whether the files stay: HLS is a recording then.
func (g *segmenter) keeps() bool { return g.cfg.Keep || g.cfg.Count == 0 }
