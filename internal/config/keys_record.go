package config

import "time"

// recordKeys are [record], and [recording], Hookline's own.
func recordKeys() []Key {
	return []Key{
		nameKey("record.appName", "record", Now, "directory level of MP4 files", func(c *Config) *string { return &c.Record.AppName }),
		boolKey("record.fastStart", "0", New, "the index of long files in front, too, at the cost of a copy",
			func(c *Config) *bool { return &c.Record.FastStart }),
		boolKey("record.enableFmp4", "0", New, "leave MP4 files in fragments", func(c *Config) *bool { return &c.Record.Fragmented }),
		boolKey("recording.sha256", "0", New, "the hash of each MP4 file in its event", func(c *Config) *bool { return &c.Record.SHA256 }),
		durationKey("recording.sync_ms", "5000", time.Millisecond, 100, 600000, New, "what of an open MP4 file a power loss can take, at most",
			func(c *Config) *time.Duration { return &c.Record.SyncEvery }),
		durationKey("record.sampleMS", "500", time.Millisecond, 1, 60000, New, "tick of playback",
			func(c *Config) *time.Duration { return &c.Record.Tick }),
		intKey("record.fileBufSize", "65536", 0, maxBuffer, New, "read buffer of playback, bytes",
			func(c *Config) *int { return &c.Record.FileBuffer }),
		boolKey("record.fileRepeat", "0", Now, "loop playback", func(c *Config) *bool { return &c.Record.Repeat }),
	}
}
