// Package vodtest has MP4 files for the tests of playback.
package vodtest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/format/fmp4"
	"github.com/hookline/hookline/internal/formattest"
	"github.com/hookline/hookline/internal/media"
)

// Distance is between the beginnings of the repetitions of a clip, which are a little shorter.
const Distance = 2 * time.Second

// Movie returns the clip of a name n times as an MP4 file of fragments, and its frames.
func Movie(t testing.TB, name string, n int) ([]byte, []*media.Frame) {
	t.Helper()
	c := formattest.Named(t, name)
	m := fmp4.NewMuxer(c.Tracks)
	file := m.AppendInit(nil)
	var all []*media.Frame
	for i := range n {
		for _, f := range c.Frames {
			g := *f
			g.DTS += time.Duration(i) * Distance
			g.PTS += time.Duration(i) * Distance
			all = append(all, &g)
		}
	}
	for i, f := range all {
		if m.Pending() > 0 && (f.Key || i%20 == 0) {
			file = m.AppendFragment(file, f)
		}
		m.Add(f)
	}
	return m.AppendFragment(file, nil), all
}

// Put writes a file, and the directories on its way, and returns its path.
func Put(t testing.TB, path string, data []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
