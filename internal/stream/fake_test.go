package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/media"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// world is a fake event plane and fake decisions.
type world struct {
	mu       sync.Mutex
	facts    []fact.Fact
	room     int // open admissions
	noRoom   error
	publish  func(ctx context.Context, q PublishQuestion) PublishVerdict
	play     func(ctx context.Context, q PlayQuestion) Verdict
	notFound func(ctx context.Context, q PlayQuestion) (bool, fact.Outcome)
	none     func(pub string, body fact.NoneReader, holds func() bool, answer func(bool, fact.Outcome))
}

func newWorld() *world {
	allow := fact.Outcome{Allowed: true, By: "hook"}
	return &world{
		publish: func(context.Context, PublishQuestion) PublishVerdict {
			return PublishVerdict{Outcome: allow, Options: defaultOptions()}
		},
		play: func(context.Context, PlayQuestion) Verdict { return Verdict{Outcome: allow} },
		notFound: func(context.Context, PlayQuestion) (bool, fact.Outcome) {
			return false, fact.Outcome{By: "default"}
		},
		none: func(string, fact.NoneReader, func() bool, func(bool, fact.Outcome)) {},
	}
}

func defaultOptions() Options {
	return Options{
		ModifyStamp: 2, EnableAudio: true, ContinuePush: 15 * time.Second, EnableRTMP: true, EnableRTSP: true, MaxTrack: 2,
	}
}

func (w *world) Raise(f fact.Fact) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.facts = append(w.facts, f)
}

func (w *world) Admit() (func(), error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.noRoom != nil {
		return nil, w.noRoom
	}
	w.room++
	var once sync.Once
	return func() {
		called := true
		once.Do(func() {
			called = false
			w.mu.Lock()
			w.room--
			w.mu.Unlock()
		})
		if called {
			panic("room was given back twice")
		}
	}, nil
}

func (w *world) Publish(ctx context.Context, q PublishQuestion) PublishVerdict {
	return w.publish(ctx, q)
}

func (w *world) Play(ctx context.Context, q PlayQuestion) Verdict { return w.play(ctx, q) }

func (w *world) NotFound(ctx context.Context, q PlayQuestion) (bool, fact.Outcome) {
	return w.notFound(ctx, q)
}

func (w *world) NoneReader(pub string, body fact.NoneReader, holds func() bool, answer func(bool, fact.Outcome)) {
	w.none(pub, body, holds, answer)
}

func (w *world) take() []fact.Fact {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.facts
	w.facts = nil
	return f
}

func (w *world) open() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.room
}

// show renders a fact as one line.
func show(f fact.Fact) string {
	m := f.Meta()
	at := func(pub string) string { return fmt.Sprintf("[%s %s]", m.Key, pub) }
	switch f := f.(type) {
	case *fact.PublicationStarted:
		return fmt.Sprintf("started %s asked=%s by=%s", at(f.Publication), f.Stream.Stream, f.Outcome.By)
	case *fact.Decided:
		s := fmt.Sprintf("decided %s %s allowed=%v by=%s", at(f.Publication), f.Type, f.Outcome.Allowed, f.Outcome.By)
		if f.Outcome.Message != "" {
			s += fmt.Sprintf(" %q", f.Outcome.Message)
		}
		return s
	case *fact.Registered:
		var tracks []string
		for _, t := range f.Tracks {
			tracks = append(tracks, t.CodecIDName)
		}
		return fmt.Sprintf("registered %s %s %v", at(f.Publication), f.Schema, tracks)
	case *fact.Unregistered:
		return fmt.Sprintf("unregistered %s %s", at(f.Publication), f.Schema)
	case *fact.FlowReport:
		return fmt.Sprintf("flow %s player=%v id=%s bytes=%d duration=%d", at(f.Publication), f.Player, f.ID, f.TotalBytes, f.Duration)
	case *fact.Recorded:
		return fmt.Sprintf("recorded %s %s %s", at(f.Publication), f.Type, f.FilePath)
	case *fact.PublicationEnded:
		s := fmt.Sprintf("ended %s %s after %.1fs bytes=%d %v", at(f.Publication), f.Reason, f.Duration, f.Bytes, f.Schemas)
		for _, r := range f.Recordings {
			s += " " + r.Path
		}
		return s
	}
	b, err := json.Marshal(f)
	return fmt.Sprintf("%T %s %v", f, b, err)
}

// textPackager writes readable wire bytes.
type textPackager struct{ codecs string }

func newTextPackager(p Program) Packager {
	k := &textPackager{}
	k.learn(p)
	return k
}

func (k *textPackager) learn(p Program) {
	var names []string
	for _, t := range p.Tracks {
		names = append(names, t.Codec.String()+":"+string(t.Config))
	}
	k.codecs = strings.Join(names, ",")
}

func (k *textPackager) Start() []byte { return []byte("<" + k.codecs + ">") }

func (k *textPackager) Append(dst []byte, f *media.Frame) []byte {
	c := "v"
	if f.Key {
		c = "K"
	}
	if f.Track.Codec.Kind() == media.Audio {
		c = "a"
	}
	return fmt.Appendf(dst, "%s%d ", c, f.DTS.Milliseconds())
}

func (k *textPackager) Change(dst []byte, p Program) []byte {
	k.learn(p)
	return append(dst, "{"+k.codecs+"}"...)
}

func textFormats() []Format {
	return []Format{
		{Name: "rtmp", Schema: "rtmp", New: newTextPackager},
		{Name: "flv", Schema: "rtmp", New: newTextPackager},
		{Name: "rtsp", Schema: "rtsp", New: newTextPackager},
	}
}

func videoTrack(config string) *media.Track {
	return &media.Track{Codec: media.H264, Config: []byte(config), Width: 320, Height: 240}
}

func audioTrack(config string) *media.Track {
	return &media.Track{Codec: media.AAC, Config: []byte(config), SampleRate: 44100, Channels: 2, SampleBits: 16}
}

func named(name string) fact.MediaInfo {
	name, params, _ := strings.Cut(name, "?")
	return fact.MediaInfo{
		Schema: "rtmp", Protocol: "rtmp", Params: params,
		Stream: fact.Stream{Vhost: "v", App: "live", Stream: name},
	}
}

// numbered makes publication ids p1, p2 and so on.
func numbered(h *Hub) {
	var mu sync.Mutex
	n := 0
	h.newID = func() (string, error) {
		mu.Lock()
		defer mu.Unlock()
		n++
		return fmt.Sprintf("p%d", n), nil
	}
}
