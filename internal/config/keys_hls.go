package config

import (
	"regexp"
	"time"
)

// HLS is [hls].
type HLS struct {
	FileBuffer   int           // fileBufSize; 65536
	Segment      time.Duration // segDur; 2 s
	Count        int           // segNum; 3; 0: all
	Delay        int           // segDelay; 0
	Retain       int           // segRetain; 5
	Keep         bool          // segKeep; 0
	Report       bool          // broadcastRecordTs; 0
	DeleteDelay  time.Duration // deleteDelaySec; 10 s
	FastRegister bool          // fastRegister; 0
	Extension    string        // fmp4SegExt; .mp4
	LowLatency   bool          // lowLatency; 0. Hookline's own
	Part         time.Duration // partDur; 0.3 s. Hookline's own
}

// hlsKeys are [hls].
func hlsKeys() []Key {
	return []Key{
		intKey("hls.fileBufSize", "65536", 0, maxBuffer, New, "write buffer, bytes", func(c *Config) *int { return &c.HLS.FileBuffer }),
		durationKey("hls.segDur", "2", time.Second, 0.1, 3600, New, "a segment ends at the first key frame after so many seconds",
			func(c *Config) *time.Duration { return &c.HLS.Segment }),
		intKey("hls.segNum", "3", 0, 100000, New, "segments in the playlist; 0: all", func(c *Config) *int { return &c.HLS.Count }),
		intKey("hls.segDelay", "0", 0, 100000, Now, "segments of delay in hls_delay.m3u8", func(c *Config) *int { return &c.HLS.Delay }),
		intKey("hls.segRetain", "5", 0, 100000, Now, "files kept after leaving the playlist",
			func(c *Config) *int { return &c.HLS.Retain }),
		boolKey("hls.segKeep", "0", New, "keep files of a live playlist", func(c *Config) *bool { return &c.HLS.Keep }),
		boolKey("hls.broadcastRecordTs", "0", Now, "enable on_record_ts", func(c *Config) *bool { return &c.HLS.Report }),
		durationKey("hls.deleteDelaySec", "10", time.Second, 0, maxSeconds, Now, "delete delay at stream end",
			func(c *Config) *time.Duration { return &c.HLS.DeleteDelay }),
		boolKey("hls.fastRegister", "0", Now, "first segment is one GOP", func(c *Config) *bool { return &c.HLS.FastRegister }),
		boolKey("hls.lowLatency", "0", New, "Low-Latency HLS for the fMP4 variant (Hookline)", func(c *Config) *bool { return &c.HLS.LowLatency }),
		durationKey("hls.partDur", "0.3", time.Second, 0.1, 10, New, "about the length of the parts of Low-Latency HLS (Hookline)",
			func(c *Config) *time.Duration { return &c.HLS.Part }),
		extensionKey("hls.fmp4SegExt", ".mp4", New, "extension of fMP4 segments", func(c *Config) *string { return &c.HLS.Extension }),
	}
}

var extension = regexp.MustCompile(`^\.[A-Za-z0-9]{1,16}$`)

func extensionKey(name, def string, hot Hot, doc string, field func(*Config) *string) Key {
	return newKey(KindString, name, def, hot, doc, "a dot with letters and digits behind it", func(c *Config, v string) error {
		if !extension.MatchString(v) {
			return errNotAllowed
		}
		put(c, field, v)
		return nil
	})
}
