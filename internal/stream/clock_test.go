package stream

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookline/hookline/internal/media"
)

// feedClock stamps frames given as kind and ms ("v40", "a23"), one per frame time; "R" resumes.
func feedClock(mode int, frames ...string) (out []string) {
	start := time.Unix(0, 0)
	c := &clock{mode: mode, start: start}
	now := start
	for _, f := range frames {
		if f == "R" {
			c.resume()
			continue
		}
		kind := media.Video
		if f[0] == 'a' {
			kind = media.Audio
		}
		var n, wall int
		if k, _ := fmt.Sscanf(f[1:], "%d+%d", &n, &wall); k < 2 {
			wall = 20
		}
		now = now.Add(time.Duration(wall) * ms)
		out = append(out, fmt.Sprintf("%c%d", f[0], c.stamp(kind, time.Duration(n)*ms, now).Milliseconds()))
	}
	return out
}

func TestClock(t *testing.T) {
	for _, c := range []struct {
		name    string
		mode    int
		in, out []string
	}{
		{"relative", 2, []string{"v1000", "a1010", "v1040"}, []string{"v0", "a10", "v40"}},
		{"second track begins earlier", 2, []string{"v1000", "a990", "a1013"}, []string{"v0", "a0", "a13"}},
		{"tracks with different origins", 2, []string{"v1000", "v1040", "a90000", "a90020", "v1080"}, []string{"v0", "v40", "a40", "a60", "v80"}},
		{"keep", 0, []string{"v1000", "a1010", "v9000", "a9010"}, []string{"v1000", "a1010", "v9000", "a9010"}},
		{"keep repairs a roll-back", 0, []string{"v5000", "v5040", "v0", "v40"}, []string{"v5000", "v5040", "v5080", "v5120"}},
		{"receive time", 1, []string{"v7", "a90000", "v3+40", "v3+0"}, []string{"v20", "a40", "v80", "v81"}},
		{"same stamp twice", 2, []string{"v0", "v40", "v40", "v80"}, []string{"v0", "v40", "v41", "v80"}},
		{"jitter back", 2, []string{"v0", "v80", "v40", "v120"}, []string{"v0", "v80", "v81", "v120"}},
		{"jump of both", 2, []string{"v0", "a5", "v40", "a45", "v100040", "a100045", "v100080"}, []string{"v0", "a5", "v40", "a45", "v80", "a85", "v120"}},
		{"roll-back of both", 2, []string{"v50000", "a50005", "v50040", "a50045", "v0", "a5", "v40"}, []string{"v0", "a5", "v40", "a45", "v80", "a85", "v120"}},
		{"jump while the other is still behind", 2, []string{"v0", "a5", "v40", "a45", "v100040", "a65", "v100080", "a100085"}, []string{"v0", "a5", "v40", "a45", "v80", "a65", "v120", "a125"}},
		{"silence of one track", 2, []string{"v0", "a5", "v2000", "v4000", "v6000", "a6005"}, []string{"v0", "a5", "v2000", "v4000", "v6000", "a6005"}},
		{"real gap", 2, []string{"v0", "v40", "v10040+10000"}, []string{"v0", "v40", "v10040"}},
		{"resume", 2, []string{"v0", "a5", "v40", "R", "v70000", "a70005", "v70040"}, []string{"v0", "a5", "v40", "v60", "a65", "v100"}},
		{"resume keeps", 0, []string{"v500", "v540", "R", "v0", "v40"}, []string{"v500", "v540", "v560", "v600"}},
		{"stands still, then goes on", 0, []string{"v0", "v40+40", "v40+500", "v40+501", "v40+40", "v40+40", "v80+40"}, []string{"v0", "v40", "v41", "v542", "v582", "v622", "v662"}},
		{"both stand still", 2, []string{"v0", "a0", "v0+1100", "a0+20", "v0+80", "a0+20"}, []string{"v0", "a0", "v1120", "a1120", "v1220", "a1220"}},
	} {
		if got := feedClock(c.mode, c.in...); fmt.Sprint(got) != fmt.Sprint(c.out) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.out)
		}
	}
}

// TestLongStream: ten hours of sound and pictures stay together and on time, whatever width the publisher's stamps have.
func TestLongStream(t *testing.T) {
	const hours = 10
	for _, width := range []uint{64, 24} {
		start := time.Unix(0, 0)
		c := &clock{mode: 2, start: start}
		wrap := func(d time.Duration) time.Duration {
			return d.Truncate(ms) % (ms << min(width, 40))
		}
		var out [2]time.Duration
		var at time.Duration
		for picture, sound := time.Duration(0), time.Duration(0); at < hours*time.Hour; {
			kind := media.Video
			if sound < picture {
				kind, at = media.Audio, sound
				sound += time.Second * 1024 / 44100
			} else {
				at = picture
				picture += time.Second / 25
			}
			out[kind] = c.stamp(kind, wrap(at), start.Add(at))
			if off := (out[kind] - at).Abs(); off > 100*ms {
				t.Fatalf("%d bits, after %v: a %v of %v is at %v", width, at, kind, at, out[kind])
			}
		}
		if off := (out[0] - out[1]).Abs(); off > 100*ms {
			t.Errorf("%d bits: sound and picture are %v apart", width, off)
		}
	}
}

// TestClockRises: whatever a publisher sends, the DTS of a track rises, and stays near the time that has passed.
func TestClockRises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(0, 0)
		c := &clock{mode: rapid.IntRange(0, 2).Draw(t, "mode"), start: now}
		last := [2]time.Duration{-1, -1}
		for range rapid.IntRange(1, 200).Draw(t, "n") {
			k := media.Kind(rapid.IntRange(0, 1).Draw(t, "kind"))
			now = now.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "wall")) * ms)
			dts := time.Duration(rapid.Int64Range(0, 1<<32).Draw(t, "dts")) * ms
			if rapid.IntRange(0, 20).Draw(t, "resume") == 0 {
				c.resume()
			}
			out := c.stamp(k, dts, now)
			if out <= last[k] {
				t.Fatalf("%v after %v", out, last[k])
			}
			last[k] = out
		}
	})
}
