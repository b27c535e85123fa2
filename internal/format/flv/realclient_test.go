//go:build realclient

package flv

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// TestFFprobeReadsWhatWasWritten compares ffprobe's packet lists of a file before and after a way through this package.
func TestFFprobeReadsWhatWasWritten(t *testing.T) {
	for _, name := range files {
		frames, tracks, m := readFile(t, load(t, name+".flv"))
		want := parsePackets(t, string(load(t, name+".packets")))
		for _, metadata := range [][]byte{m.Raw, nil} {
			path := filepath.Join(t.TempDir(), name+".flv")
			if err := os.WriteFile(path, remux(frames, Program{Tracks: tracks, Metadata: metadata}), 0o600); err != nil {
				t.Fatal(err)
			}
			list, err := exec.CommandContext(t.Context(), "ffprobe", "-v", "error",
				"-show_entries", "packet=codec_type,pts,dts,size,flags", "-of", "compact=p=0", path).CombinedOutput()
			if err != nil {
				t.Fatalf("ffprobe: %v: %s", err, list)
			}
			if got := parsePackets(t, string(list)); !slices.Equal(got, want) {
				t.Errorf("%s: got  %v\nwant %v", name, got, want)
			}
		}
	}
}
