package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hookline/hookline/internal/format/flv"
	"github.com/hookline/hookline/internal/media"
)

// strain is what a server uses while it has many of something.
type strain struct {
	carried
	base, rss float64 // resident memory before and at the end, in bytes
}

// share returns how much of a core was used, in percent.
func (s strain) share() float64 { return 100 * s.cpu.Seconds() / s.took.Seconds() }

// strained measures a fresh server, with some keys of its configuration set, with publishers, and with viewers when there
// are any.
func (e *env) strained(ctx context.Context, keys map[string]string, pub publishArgs, watch playArgs) (out strain, err error) {
	p, err := e.startServer(ctx, keys)
	if err != nil {
		return out, err
	}
	out.base, _, err = rssAtRest(ctx, p.pid(), e.idleFor)
	if err != nil {
		return out, errors.Join(err, p.stop())
	}
	pub.URL = protoRTMP.url(p.rtmp)
	s, err := openStream(ctx, p, pub)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var v *child
	if watch.Viewers > 0 {
		watch.URL = s.url(protoFLV)
		if v, err = startViewers(ctx, watch); err != nil {
			return out, err
		}
		defer func() {
			_, failed := endViewers(v, watch.Viewers)
			err = errors.Join(err, failed)
		}()
	}
	if out.carried, err = e.over(ctx, p.pid()); err != nil {
		return out, err
	}
	rss, err := procField(p.pid(), "status", "VmRSS:")
	out.rss = float64(rss << 10)
	return out, err
}

// over measures a process for sizes.crowdFor, after what begins has settled.
func (e *env) over(ctx context.Context, pid int) (out carried, err error) {
	const turns = 3 // of sizes.settle: groups of pictures fill, and memory with them
	if err := pause(ctx, turns*e.settle); err != nil {
		return out, err
	}
	return e.span(ctx, pid, e.crowdFor)
}

func streamsUnwatched(ctx context.Context, e *env) ([]Result, error) {
	s, err := e.strained(ctx, nil, publishArgs{Bitrate: e.bitrate, Streams: e.streams}, playArgs{})
	if err != nil {
		return nil, err
	}
	return []Result{
		{Name: "streams_50_unwatched_cpu", Value: s.share(), Unit: "% of a core", Note: fmt.Sprintf(
			"%d publishers of %.2f Mbit/s without viewers", e.streams, float64(e.bitrate)/1e6)},
		{Name: "streams_50_unwatched_rss", Value: s.rss / mib, Unit: "MiB", Note: fmt.Sprintf(
			"VmRSS of the server; %.1f MiB before they came", s.base/mib)},
	}, nil
}

// everyPackager has all formats made all the time. Those of RTMP, RTSP, TS and fMP4 are made on demand; a stream that nobody
// watches keeps its frames for them.
func everyPackager(ctx context.Context, e *env) ([]Result, error) {
	keys := map[string]string{"protocol.enable_hls": "1", "protocol.enable_hls_fmp4": "1", "protocol.enable_mp4": "1"}
	s, err := e.strained(ctx, keys, publishArgs{Bitrate: e.bitrate, Streams: e.streams}, playArgs{})
	if err != nil {
		return nil, err
	}
	return []Result{
		{Name: "streams_50_packaged_cpu", Value: s.share(), Unit: "% of a core", Note: fmt.Sprintf(
			"%d publishers of %.2f Mbit/s without viewers, each written as HLS with TS, as HLS with fMP4 and as MP4", e.streams, float64(e.bitrate)/1e6)},
		{Name: "streams_50_packaged_rss", Value: s.rss / mib, Unit: "MiB"},
	}, nil
}

// recordings measures what a recording costs: a server that records against one that does not.
func recordings(ctx context.Context, e *env) ([]Result, error) {
	pub := publishArgs{Bitrate: e.bitrate, Streams: e.recorded100}
	plain, err := e.strained(ctx, nil, pub, playArgs{})
	if err != nil {
		return nil, err
	}
	s, err := e.strained(ctx, map[string]string{"protocol.enable_mp4": "1"}, pub, playArgs{})
	if err != nil {
		return nil, err
	}
	n := float64(e.recorded100)
	return []Result{
		{Name: "recordings_100_cpu", Value: s.share() / n, Unit: "% of a core each", Note: fmt.Sprintf(
			"%d streams of %.2f Mbit/s, each recorded as MP4; %.2f %% of a core each when none is", e.recorded100, float64(e.bitrate)/1e6, plain.share()/n)},
		{Name: "recordings_100_memory", Value: (s.rss - s.base) / n / 1024, Unit: "KiB each", Note: fmt.Sprintf(
			"VmRSS of the server; %.0f KiB each when none is recorded", (plain.rss-plain.base)/n/1024)},
	}, nil
}

func manyPublishers(ctx context.Context, e *env) ([]Result, error) {
	const bitrate = 200_000
	s, err := e.strained(ctx, nil, publishArgs{Bitrate: bitrate, Streams: e.publishers}, playArgs{})
	if err != nil {
		return nil, err
	}
	n := float64(e.publishers)
	return []Result{
		{Name: "publishers_1000_cpu", Value: s.share() / n, Unit: "% of a core each", Note: fmt.Sprintf(
			"%d publishers of %d kbit/s without viewers; %.0f %% of a core together", e.publishers, bitrate/1000, s.share())},
		{Name: "publishers_1000_memory", Value: (s.rss - s.base) / n / 1024, Unit: "KiB each", Note: fmt.Sprintf(
			"VmRSS of the server, %.0f MiB, less the %.0f MiB before they came", s.rss/mib, s.base/mib)},
	}, nil
}

// quietFile writes a stream with one frame in a second: G.711, for it needs no configuration.
func quietFile(dir string) (string, error) {
	track := &media.Track{Codec: media.PCMA, SampleRate: 8000, Channels: 1, SampleBits: 16}
	b := flv.AppendFileHeader(nil, true, false)
	b = flv.AppendTag(b, flv.TagData, 0, flv.AppendMetadataBody(nil, nil, []*media.Track{track}, true))
	for i := range 10 {
		at := time.Duration(i) * time.Second
		b = flv.AppendFrameTag(b, &media.Frame{Track: track, DTS: at, PTS: at, Data: make([]byte, 1_000)}, true)
	}
	file := filepath.Join(dir, "quiet.flv")
	return file, os.WriteFile(file, b, 0o600)
}

func manyViewers(ctx context.Context, e *env) ([]Result, error) {
	file, err := quietFile(e.dir)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	s, err := e.strained(ctx, nil, publishArgs{File: file, Streams: e.channels}, playArgs{Viewers: e.manyWatch, Streams: e.channels})
	if err != nil {
		return nil, err
	}
	n := float64(e.manyWatch)
	return []Result{
		{Name: "viewers_5000_cpu", Value: s.share(), Unit: "% of a core", Note: fmt.Sprintf(
			"%d HTTP-FLV viewers of %d streams of about %.0f kbit/s; %.1f writes for each viewer and second",
			e.manyWatch, e.channels, s.rate(e.manyWatch)*8/1000, s.writeRate(e.manyWatch))},
		{Name: "viewers_5000_memory", Value: (s.rss - s.base) / n / 1024, Unit: "KiB each", Note: fmt.Sprintf(
			"VmRSS of the server, %.0f MiB, less the %.0f MiB before the streams came, for each viewer", s.rss/mib, s.base/mib)},
	}, nil
}
