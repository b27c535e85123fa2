package playtool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/internal/format/flv"
	"github.com/hookline/hookline/internal/media"
)

// End is why a viewer ended.
type End string

// The ends of a viewer.
const (
	EndFrames      End = "frames"      // it has the frames that it wanted
	EndDuration    End = "duration"    // it played as long as it wanted
	EndStream      End = "stream_end"  // the server says that there is no more
	EndStopped     End = "stopped"     // the context has ended
	EndRefused     End = "refused"     // the server does not let it play
	EndUnreachable End = "unreachable" // there was no connection, or it broke before the server decided
	EndStalled     End = "stalled"     // no media for Config.Stall
	EndBroken      End = "broken"      // the connection broke, or what comes is no FLV or RTMP
)

// Viewer is what one viewer has seen.
type Viewer struct {
	// Video, Audio and Keys count frames; Keys are those of video that decoding can begin with.
	Video uint64 `json:"video"`
	Audio uint64 `json:"audio"`
	Keys  uint64 `json:"keys"`
	// Bytes that came, with everything that the protocol adds.
	Bytes uint64 `json:"bytes"`
	// Backwards counts frames whose decoding time is before that of the frame before, of the same track.
	Backwards uint64 `json:"backwards"`
	// Malformed counts messages that make no frame.
	Malformed uint64 `json:"malformed"`
	// FirstFrame is the time from the first attempt to connect to the first frame, with Discard to the first byte of the
	// stream. 0: none came.
	FirstFrame time.Duration `json:"first_frame_ns"`
	End        End           `json:"end"`
	Error      string        `json:"error,omitempty"`
}

// play is a viewer at work. It belongs to one goroutine.
type play struct {
	*runner
	url     string
	out     Viewer
	start   time.Time
	feed    feed
	demux   flv.Demuxer
	last    [2]uint32 // timestamp of the newest frame, by media.Kind
	seen    [2]bool
	bad     error // of the first malformed message
	counted uint64

	progress atomic.Uint64 // changes when media comes
	mu       sync.Mutex    // guards end and timers
	end      End           // "" until something from outside ends it
	closed   bool
	stall    *time.Timer
	life     *time.Timer
}

// run plays.
func (p *play) run(ctx context.Context) {
	p.start = time.Now()
	f, err := open(ctx, &p.cfg, p.url, p.slots)
	if err != nil {
		p.finish(ctx, p.unopened(ctx, err), err)
		return
	}
	p.feed = f
	p.playing.Add(1)
	defer p.playing.Add(-1)
	defer f.close()
	stop := context.AfterFunc(ctx, func() { p.interrupt(EndStopped) })
	defer stop()
	p.watch()
	defer p.unwatch()
	if p.cfg.Discard {
		err = p.discard()
	} else {
		err = p.count()
	}
	p.finish(ctx, p.ended(err), err)
}

func (p *play) unopened(ctx context.Context, err error) End {
	switch {
	case ctx.Err() != nil:
		return EndStopped
	case errors.As(err, new(*RefusedError)):
		return EndRefused
	}
	return EndUnreachable
}

// errEnough says that a viewer has the frames that it wanted.
var errEnough = errors.New("enough")

// ended returns the end that err was of.
func (p *play) ended(err error) End {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.end != "":
		return p.end
	case errors.Is(err, errEnough):
		return EndFrames
	case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return EndStream
	}
	return EndBroken
}

// discard counts bytes.
func (p *play) discard() error {
	buf := make([]byte, 32<<10)
	for {
		n, err := p.feed.skip(buf)
		if n > 0 {
			p.arrived()
		}
		if err != nil {
			return err
		}
	}
}

// count counts frames.
func (p *play) count() error {
	for {
		m, err := p.feed.next()
		if err != nil {
			return err
		}
		frames, err := p.frames(m)
		if err != nil {
			p.out.Malformed++
			if p.bad == nil {
				p.bad = err
			}
		}
		for _, f := range frames {
			if !f.Config {
				p.frame(f, m.ms)
			}
		}
		if p.cfg.Frames > 0 && p.out.Video+p.out.Audio >= uint64(p.cfg.Frames) {
			return errEnough
		}
	}
}

func (p *play) frames(m message) ([]*media.Frame, error) {
	at := time.Duration(m.ms) * time.Millisecond
	switch m.typ {
	case flv.TagVideo:
		return p.demux.Video(at, m.body)
	case flv.TagAudio:
		return p.demux.Audio(at, m.body)
	case flv.TagData:
		_, _, err := p.demux.Data(m.body)
		return nil, err
	}
	return nil, nil
}

func (p *play) frame(f *media.Frame, ms uint32) {
	p.arrived()
	kind := f.Track.Codec.Kind()
	switch {
	case kind == media.Audio:
		p.out.Audio++
	case f.Key:
		p.out.Keys++
		fallthrough
	default:
		p.out.Video++
	}
	if p.seen[kind] && int32(ms-p.last[kind]) < 0 { // they wrap
		p.out.Backwards++
	}
	p.seen[kind], p.last[kind] = true, ms
}

// arrived notes that media came.
func (p *play) arrived() {
	if p.progress.Add(1) == 1 {
		p.out.FirstFrame = time.Since(p.start)
		p.limit()
		if p.begun.Add(1) == int64(p.cfg.Viewers) && p.cfg.OnPlaying != nil {
			p.cfg.OnPlaying()
		}
	}
	n := p.feed.received()
	p.bytes.Add(n - p.counted)
	p.counted = n
}

// watch begins to look for stalls.
func (p *play) watch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := uint64(0)
	p.stall = time.AfterFunc(p.cfg.Stall, func() {
		now := p.progress.Load()
		if now == last {
			p.interrupt(EndStalled)
			return
		}
		last = now
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.closed {
			p.stall.Reset(p.cfg.Stall)
		}
	})
}

// limit begins Config.Duration.
func (p *play) limit() {
	if p.cfg.Duration > 0 {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.life = time.AfterFunc(p.cfg.Duration, func() { p.interrupt(EndDuration) })
	}
}

func (p *play) unwatch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.stall.Stop()
	if p.life != nil {
		p.life.Stop()
	}
}

// interrupt ends the viewer; the first reason counts. It may be called by any goroutine.
func (p *play) interrupt(end End) {
	p.mu.Lock()
	if p.end == "" {
		p.end = end
	}
	p.mu.Unlock()
	p.feed.close()
}

// finish hands over what was seen.
func (p *play) finish(ctx context.Context, end End, err error) {
	p.out.End = end
	if p.feed != nil {
		p.out.Bytes = p.feed.received()
		p.bytes.Add(p.out.Bytes - p.counted)
	}
	if failed := p.verdict(ctx, err); failed != nil {
		p.out.Error = failed.Error()
	}
	p.over(p)
}

// verdict returns why the viewer has failed, if it has.
func (p *play) verdict(ctx context.Context, err error) error {
	got := p.out.Video + p.out.Audio
	switch {
	case p.out.End == EndRefused || p.out.End == EndUnreachable || p.out.End == EndBroken:
		return err
	case p.out.End == EndStalled:
		return fmt.Errorf("no media for %v", p.cfg.Stall)
	case p.out.Backwards > 0:
		return fmt.Errorf("decoding time went back %d times", p.out.Backwards)
	case p.out.Malformed > 0:
		return fmt.Errorf("%d messages make no frame, the first: %w", p.out.Malformed, p.bad)
	case ctx.Err() != nil:
		return nil
	case p.progress.Load() == 0:
		return errors.New("the stream has no media")
	case got < uint64(p.cfg.Frames):
		return fmt.Errorf("%d frames of %d", got, p.cfg.Frames)
	}
	return nil
}
