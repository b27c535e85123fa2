package vod

import (
	"log/slog"
	"time"

	"github.com/hookline/hookline/internal/stream"
)

// Limits.
const (
	// MaxStreams is the most streams at a time.
	MaxStreams = 1000
	// MaxSamples bounds the frames of all files that are open, because their indexes are in memory: 24 bytes for each.
	MaxSamples = 32 << 20
	// MaxFiles is the most files of one time line.
	MaxFiles = 2048
	// MinSpeed and MaxSpeed are the bounds of the speed.
	MinSpeed = 0.1
	// MaxSpeed see MinSpeed.
	MaxSpeed = 20
	// openers is how many files are opened at the same time: an index may have 100 MB.
	openers = 4
)

// Config configures a Server. A zero value of a field means its default.
type Config struct {
	// AppName is the app whose streams are files (record.appName). Default "record".
	AppName string
	// Root is the directory that holds the directory AppName (protocol.mp4_save_path). Default "./www".
	Root string
	// Vhosts adds the vhost as the first directory level (general.enableVhost). Default false.
	Vhosts bool
	// Tick is the time between two reads (record.sampleMS). Default 500 ms.
	Tick time.Duration
	// Buffer is the size of a read in bytes (record.fileBufSize). Default 0: each frame is a read of its own.
	Buffer int
	// Repeat begins again at the end (record.fileRepeat); it is asked for at each end. Default false.
	Repeat bool
	// Options are those of the streams. Recording and HLS are switched off for what is opened on demand.
	Options stream.Options
	// Logger gets one line a thing that happened. Default slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.AppName == "" {
		c.AppName = "record"
	}
	if c.Root == "" {
		c.Root = "./www"
	}
	if c.Tick <= 0 {
		c.Tick = 500 * time.Millisecond
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}
