package hls

import (
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/hookline/hookline/internal/fact"
)

// Config configures segmenters and server. Start from DefaultConfig.
type Config struct {
	// Root is the directory below which streams without one of their own have theirs. Default "./www".
	Root string
	// Segment is the length from which on a segment ends at the next key frame (hls.segDur). Default 2 s.
	Segment time.Duration
	// Count is the number of segments in a playlist (hls.segNum); 0 keeps all, as an EVENT. Default 3.
	Count int
	// Delay adds hls_delay.m3u8, which is this many segments behind (hls.segDelay). Default 0: none.
	Delay int
	// Retain is the number of segments kept after they have left the playlist (hls.segRetain). Default 5.
	Retain int
	// Keep keeps every file and adds a playlist of each hour (hls.segKeep). Default false.
	Keep bool
	// Report states each segment (hls.broadcastRecordTs). Default false.
	Report bool
	// DeleteDelay is how long files are kept after the end of the stream (hls.deleteDelaySec). Default 10 s.
	DeleteDelay time.Duration
	// FastRegister ends the first segment with its first group of pictures (hls.fastRegister). Default false.
	FastRegister bool
	// LowLatency makes Low-Latency HLS of the fMP4 variant (hls.lowLatency). Default false.
	LowLatency bool
	// Part is about the length of its parts (hls.partDur). Default 300 ms.
	Part time.Duration
	// MaxWaiting bounds the requests that wait for a playlist or a part that is not there yet. Default 10,000.
	MaxWaiting int
	// Extension of fMP4 segments (hls.fmp4SegExt). Default ".mp4".
	Extension string
	// Vhosts adds the vhost as the first directory level (general.enableVhost). Default false.
	Vhosts bool
	// AllowCrossDomains echoes Origin (http.allow_cross_domains). Default true.
	AllowCrossDomains bool
	// Wait bounds how long a request waits for the playlist of a stream that was not watched (general.maxStreamWaitMS); more than
	// ViewerIdle counts as that. Default 15 s.
	Wait time.Duration
	// ViewerIdle is how long a viewer may not ask before it has left. Default 60 s.
	ViewerIdle time.Duration
	// FileBuffer is what is collected before it is written (hls.fileBufSize). Default 64 KiB.
	FileBuffer int
	// QueueBytes bounds the frames that wait for the disk, of one segmenter. Default 32 MiB.
	QueueBytes int
	// MaxViewers bounds the viewers that are known. Default 100,000.
	MaxViewers int
	// SessionID names a viewer, uniquely in the process. It must be set.
	SessionID func() string
	// Address returns where a request comes from. Default: its RemoteAddr.
	Address func(r *http.Request) (ip string, port int)
	// Absent answers for a playlist whose stream is not there, to somebody who may have it, and says whether it did: with
	// the file of a recording that was kept. Default: nobody does.
	Absent func(w http.ResponseWriter, r *http.Request) bool
	// Logger gets one line a thing that happened. Default slog.Default().
	Logger *slog.Logger
}

// DefaultConfig returns the defaults that are stated on the fields.
func DefaultConfig() Config {
	return Config{
		Root: "./www", FileBuffer: 64 << 10,
		Segment: 2 * time.Second, Count: 3, Retain: 5, DeleteDelay: 10 * time.Second, Extension: ".mp4",
		AllowCrossDomains: true, Wait: 15 * time.Second, ViewerIdle: time.Minute, QueueBytes: 32 << 20, MaxViewers: 100_000,
		Part: 300 * time.Millisecond, MaxWaiting: 10_000,
		Address: remote, Logger: slog.Default(),
	}
}

// Variants of HLS; the names of their schemas.
const (
	TS   = "hls"
	FMP4 = "hls.fmp4"
)

// playlistName is the file name of a variant's playlist.
func playlistName(variant string) string { return variant + ".m3u8" }

// errName: the name of a stream can't be a directory.
var errName = errors.New("hls: the name of the stream is no path below the root")

// Folder returns the directory of a stream's playlist below root. It is never outside, whatever the stream is called.
func (c *Config) Folder(root string, name fact.Stream) (string, error) {
	if root == "" {
		root = c.Root
	}
	rel := name.App + "/" + name.Stream
	if c.Vhosts {
		rel = name.Vhost + "/" + rel
	}
	for part := range strings.SplitSeq(rel, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "\x00\\") {
			return "", errName
		}
	}
	return filepath.Abs(filepath.Join(root, filepath.FromSlash(rel)))
}
