package playtool

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hookline/hookline/internal/media"
)

// ErrFailed says that a viewer has failed.
var ErrFailed = errors.New("playing failed")

// Spread is how a figure differs between viewers.
type Spread[T cmp.Ordered] struct {
	Min    T `json:"min"`
	Median T `json:"median"`
	Max    T `json:"max"`
}

// spread returns that of what get returns for vs.
func spread[T cmp.Ordered](vs []Viewer, get func(Viewer) T) Spread[T] {
	if len(vs) == 0 {
		return Spread[T]{}
	}
	all := make([]T, len(vs))
	for i, v := range vs {
		all[i] = get(v)
	}
	slices.Sort(all)
	return Spread[T]{all[0], all[len(all)/2], all[len(all)-1]}
}

// Track is what the first viewer that played has seen of a track.
type Track struct {
	Codec      string  `json:"codec"` // ZLMediaKit's codec_id_name
	Width      int     `json:"width,omitempty"`
	Height     int     `json:"height,omitempty"`
	FPS        float64 `json:"fps,omitempty"`
	SampleRate int     `json:"sample_rate,omitempty"` // Hz
	Channels   int     `json:"channels,omitempty"`
}

func tracksOf(ts []*media.Track) []Track {
	var out []Track
	for _, t := range ts {
		out = append(out, Track{t.Codec.String(), t.Width, t.Height, t.FPS, t.SampleRate, t.Channels})
	}
	return out
}

// String returns the track in a few words.
func (t Track) String() string {
	if t.Width > 0 {
		return fmt.Sprintf("%s %dx%d %.4g fps", t.Codec, t.Width, t.Height, t.FPS)
	}
	return fmt.Sprintf("%s %d Hz %d ch", t.Codec, t.SampleRate, t.Channels)
}

// Totals are sums over all viewers.
type Totals struct {
	Video     uint64 `json:"video"`
	Audio     uint64 `json:"audio"`
	Keys      uint64 `json:"keys"`
	Bytes     uint64 `json:"bytes"`
	Backwards uint64 `json:"backwards"`
	Malformed uint64 `json:"malformed"`
}

// PerViewer says how the viewers differ that got media.
type PerViewer struct {
	Video      Spread[uint64]        `json:"video"`
	Audio      Spread[uint64]        `json:"audio"`
	Keys       Spread[uint64]        `json:"keys"`
	Bytes      Spread[uint64]        `json:"bytes"`
	FirstFrame Spread[time.Duration] `json:"first_frame_ns"`
}

// Result is what a Run has seen.
type Result struct {
	URL       string        `json:"url"`
	Elapsed   time.Duration `json:"elapsed_ns"`
	Tracks    []Track       `json:"tracks,omitempty"`
	Played    int           `json:"played"` // viewers that got media
	Failed    int           `json:"failed"`
	Ends      map[End]int   `json:"ends"`
	Totals    Totals        `json:"totals"`
	PerViewer PerViewer     `json:"per_viewer"`
	// Viewers in the order in which they ended.
	Viewers []Viewer `json:"viewers"`
}

// sum fills in what follows from Viewers.
func (r *Result) sum() {
	r.Ends = map[End]int{}
	var played []Viewer
	for _, v := range r.Viewers {
		r.Ends[v.End]++
		r.Totals.Video += v.Video
		r.Totals.Audio += v.Audio
		r.Totals.Keys += v.Keys
		r.Totals.Bytes += v.Bytes
		r.Totals.Backwards += v.Backwards
		r.Totals.Malformed += v.Malformed
		if v.Error != "" {
			r.Failed++
		}
		if v.FirstFrame > 0 {
			played = append(played, v)
		}
	}
	r.Played = len(played)
	r.PerViewer = PerViewer{
		Video:      spread(played, func(v Viewer) uint64 { return v.Video }),
		Audio:      spread(played, func(v Viewer) uint64 { return v.Audio }),
		Keys:       spread(played, func(v Viewer) uint64 { return v.Keys }),
		Bytes:      spread(played, func(v Viewer) uint64 { return v.Bytes }),
		FirstFrame: spread(played, func(v Viewer) time.Duration { return v.FirstFrame }),
	}
}

// verdict returns what Run returns.
func (r *Result) verdict() error {
	for _, v := range r.Viewers {
		if v.Error != "" {
			return fmt.Errorf("%w: %d of %d viewers, the first: %s: %s", ErrFailed, r.Failed, len(r.Viewers), v.End, v.Error)
		}
	}
	return nil
}

// report writes r for people.
func (r *Result) report(w io.Writer, discard bool) {
	var b strings.Builder
	seconds := max(r.Elapsed.Seconds(), 1e-9)
	fmt.Fprintf(&b, "%s\n", r.URL)
	for _, t := range r.Tracks {
		fmt.Fprintf(&b, "  track        %v\n", t)
	}
	var ends []string
	for _, end := range slices.Sorted(maps.Keys(r.Ends)) {
		ends = append(ends, fmt.Sprintf("%d %s", r.Ends[end], end))
	}
	fmt.Fprintf(&b, "  viewers      %d, %d got media, %d failed (%s) in %.1f s\n",
		len(r.Viewers), r.Played, r.Failed, strings.Join(ends, ", "), seconds)
	fmt.Fprintf(&b, "  %-12s %10s   %10s %10s %10s\n", "", "total", "min", "median", "max")
	row := func(name string, total uint64, s Spread[uint64]) {
		fmt.Fprintf(&b, "  %-12s %10d   %10d %10d %10d\n", name, total, s.Min, s.Median, s.Max)
	}
	if !discard {
		row("video", r.Totals.Video, r.PerViewer.Video)
		row("audio", r.Totals.Audio, r.PerViewer.Audio)
		row("key frames", r.Totals.Keys, r.PerViewer.Keys)
	}
	row("bytes", r.Totals.Bytes, r.PerViewer.Bytes)
	first := r.PerViewer.FirstFrame
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }
	fmt.Fprintf(&b, "  %-12s %10s   %10s %10s %10s\n", "first frame", "", ms(first.Min), ms(first.Median), ms(first.Max))
	if !discard {
		fmt.Fprintf(&b, "  checks       %d times back in time, %d messages without frame\n", r.Totals.Backwards, r.Totals.Malformed)
	}
	fmt.Fprintf(&b, "  rate         %.2f Mbit/s\n", float64(r.Totals.Bytes)*8/1e6/seconds)
	for _, v := range r.failures() {
		fmt.Fprintf(&b, "  failed       %s\n", v)
	}
	// Nobody is left to tell that the output is gone.
	_, _ = io.WriteString(w, b.String())
}

// failures returns the different failures with their numbers, ten at most.
func (r *Result) failures() []string {
	const most = 10
	n := map[string]int{}
	for _, v := range r.Viewers {
		if v.Error != "" {
			n[fmt.Sprintf("%s: %.200q", v.End, v.Error)]++
		}
	}
	var out []string
	for _, what := range slices.Sorted(maps.Keys(n)) {
		if len(out) == most {
			return append(out, fmt.Sprintf("and %d more reasons", len(n)-most))
		}
		out = append(out, fmt.Sprintf("%d viewers, %s", n[what], what))
	}
	return out
}
