package stream

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
)

// TestBudget: streams whose viewers take nothing stay within the bound of all together, one stream alone may use all of
// it, and nothing is counted any more when they have ended.
func TestBudget(t *testing.T) {
	for _, streams := range []int{1, 20} {
		t.Run(fmt.Sprint(streams), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				cfg := reporting()
				cfg.MediaMaxBytes = 10 << 20
				hub := New(cfg, w, w, []Format{{Name: "raw", Schema: "rtmp", New: func(Program) Packager { return rawPackager{} }}})
				most := 0
				var pubs []*Publisher
				gate := make(chan struct{})
				for i := range streams {
					pubs = append(pubs, heavy(t, hub, fmt.Sprint("s", i), gate))
				}
				synctest.Wait()
				for i := 1; i < 200; i++ {
					for _, p := range pubs {
						f := &media.Frame{Track: videoTrack("V"), DTS: time.Duration(i) * 40 * ms, Key: i%100 == 0, Data: make([]byte, 50_000)}
						if err := p.WriteFrame(f); err != nil {
							t.Fatal(err)
						}
					}
					most = max(most, hub.Stats().MediaBytes)
				}
				if limit := cfg.MediaMaxBytes + 2*streams*(leastShare+50_000); most > limit {
					t.Errorf("%d bytes, more than %d", most, limit)
				}
				if most < 8<<20 {
					t.Errorf("only %d bytes are ever held", most)
				}
				close(gate)
				for _, p := range pubs {
					p.Close(fact.EndUnpublish)
				}
				synctest.Wait()
				settled(t, w, hub)
				if n := hub.media.holders.Load(); n != 0 {
					t.Errorf("%d holders are left", n)
				}
			})
		})
	}
}

// heavy publishes a stream with a viewer that takes nothing until gate is closed.
func heavy(t *testing.T, hub *Hub, name string, gate <-chan struct{}) *Publisher {
	t.Helper()
	p, err := hub.Publish(t.Context(), PublishRequest{MediaInfo: named(name), Bytes: &atomic.Uint64{}})
	if err != nil {
		t.Fatal(err)
	}
	p.Metadata(nil, true, false, 0, 0, 0)
	if err := p.WriteFrame(picture(0, true)); err != nil {
		t.Fatal(err)
	}
	v, err := hub.Play(t.Context(), PlayRequest{MediaInfo: named(name), Format: "raw"})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer v.Close()
		_ = v.Serve(context.Background(), &moody{t: t, block: gate}) // it is moved, or gets the end
	}()
	return p
}
