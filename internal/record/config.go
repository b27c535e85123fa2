package record

import (
	"log/slog"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hookline/hookline/internal/fact"
)

// Config configures a Recorder.
type Config struct {
	// AppName is a directory level of every file (record.appName). Default "record".
	AppName string
	// Vhosts adds the vhost as the first directory level (general.enableVhost). Default false.
	Vhosts bool
	// Fragmented leaves complete files in fragments (record.enableFmp4). Default false: an ordinary file with one index.
	Fragmented bool
	// FastStart puts the index of long files in front, too, at the cost of copying them once (record.fastStart). That of
	// short ones is in front anyway. Default false: behind the data.
	FastStart bool
	// SHA256 adds the hash of the file to its report. Default false.
	SHA256 bool
	// Ledger is the directory of notes. It must be set.
	Ledger string
	// SyncEvery is the time between two syncs of an open file. Default 5 s.
	SyncEvery time.Duration
	// QueueBytes bounds the frames that wait for the disk, of one recording. Default 32 MiB.
	QueueBytes int
	// Workers is the number of files that are completed at the same time. Default 2.
	Workers int
	// Settled waits until everything that was raised for a key is durable; it returns false when that can't be known any
	// more. Default nil: it is durable.
	Settled func(key string) bool
	// Logger gets one line a thing that happened. Default slog.Default().
	Logger *slog.Logger
}

// MinSize is the size in bytes below which a slice is not worth keeping, as in ZLMediaKit.
const MinSize = 1024

func (c Config) withDefaults() Config {
	if c.AppName == "" {
		c.AppName = "record"
	}
	if c.SyncEvery <= 0 {
		c.SyncEvery = 5 * time.Second
	}
	if c.QueueBytes <= 0 {
		c.QueueBytes = 32 << 20
	}
	if c.Workers <= 0 {
		c.Workers = 2
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Folder returns the directory of a stream's MP4 files below root.
func (c *Config) Folder(root string, name fact.Stream) (string, error) {
	rel := filepath.Join(c.AppName, name.App, filepath.FromSlash(name.Stream))
	if c.Vhosts {
		rel = filepath.Join(name.Vhost, rel)
	}
	return filepath.Abs(filepath.Join(root, rel))
}

// fileName is the name of slice n that was opened at t, in local time.
func fileName(t time.Time, n int) string {
	return t.Format("2006-01-02-15-04-05") + "-" + strconv.Itoa(n) + ".mp4"
}
