package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
)

// skewPackager writes key frames and the place in the source that they are of.
type skewPackager struct{ textPackager }

func (k *skewPackager) Append(dst []byte, f *media.Frame) []byte {
	return fmt.Appendf(dst, "%d@%d ", f.DTS.Milliseconds(), (f.DTS + f.Skew).Milliseconds())
}

// taken returns what is there for a viewer now.
func taken(t *testing.T, v *Viewer) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var b strings.Builder
	for {
		bufs, err := v.Next(ctx)
		if errors.Is(err, context.Canceled) {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range bufs {
			b.Write(x)
		}
	}
}

// TestJump: behind a jump the stamps go on, with the place in the source as their skew, and who has not begun yet begins
// there. A splice goes on likewise and changes the skew of nothing.
func TestJump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		formats := []Format{{Name: "rtmp", Schema: "rtmp", New: func(p Program) Packager { return &skewPackager{} }}}
		h := New(DefaultConfig(), w, w, formats)
		opts := defaultOptions()
		opts.ModifyStamp = stampKeep
		p, err := h.Publish(t.Context(), PublishRequest{
			MediaInfo: named("file"), OriginType: fact.OriginMP4VOD, OriginURL: "/file", Options: &opts, Bytes: &atomic.Uint64{}, Quiet: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		p.Metadata(nil, true, false, 0, 0, 0)
		write := func(ms int, key bool) {
			t.Helper()
			if err := p.WriteFrame(picture(time.Duration(ms)*time.Millisecond, key)); err != nil {
				t.Error(err)
			}
		}
		play := func() *Viewer {
			t.Helper()
			v, err := h.Play(t.Context(), PlayRequest{MediaInfo: named("file"), Format: "rtmp"})
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		write(0, true)
		write(40, false)
		playing, waits := play(), play()
		if got := taken(t, playing); got != "<>0@0 40@40 " {
			t.Errorf("%q", got)
		}
		p.Jump()
		late := play()
		if got := taken(t, waits) + taken(t, late); got != "" {
			t.Errorf("who has not begun gets %q, which is from before the jump", got)
		}
		write(60000, true)
		write(60040, false)
		for _, v := range []*Viewer{waits, late} {
			if got := taken(t, v); got != "<>60@60000 100@60040 " {
				t.Errorf("%q", got)
			}
		}
		if got := taken(t, playing); !strings.HasSuffix(got, "60@60000 100@60040 ") {
			t.Errorf("%q", got)
		}
		p.Splice()
		write(0, true)
		if got := taken(t, playing); !strings.HasSuffix(got, "120@60060 ") {
			t.Errorf("%q", got)
		}
		if i, _ := h.Get(Filter{}); i.OriginSock != nil || i.OriginTypeStr != "mp4_vod" {
			t.Errorf("%+v", i)
		}
		for _, v := range []*Viewer{playing, waits, late} {
			v.Close()
		}
		time.Sleep(DefaultConfig().NoneReaderDelay)
		synctest.Wait()
		if err := p.WriteFrame(picture(0, true)); !errors.Is(err, ErrEnded) {
			t.Error("nobody reads, and it goes on:", err)
		}
		p.Close(fact.EndUnpublish)
		p.Jump()
		p.Splice()
		for _, f := range w.take() {
			switch f := f.(type) {
			case *fact.FlowReport:
				if !f.Player {
					t.Error("a source of the server has a flow report")
				}
			case *fact.PublicationEnded:
				if f.Reason != fact.EndNoReader {
					t.Error(f.Reason)
				}
			}
		}
		if err := h.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
