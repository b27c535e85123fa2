package record

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/stream"
)

// ClipName is the name of recordings that are clips.
const ClipName = "clip"

// clipGrace is how much longer than its length a clip waits for frames.
const clipGrace = 10 * time.Second

// ErrClipPath: there can't be a clip of that name.
var ErrClipPath = errors.New("record: bad path of a clip")

// Clip is one file of a live stream: what the hub has of it (see stream.Hub.RecordExtra), and what follows.
type Clip struct {
	// Path is absolute; see ClipPath. A file that is there is replaced when the clip is complete.
	Path string
	// Forward is how much of what follows is recorded.
	Forward time.Duration
	// Report raises on_record_mp4 for the clip, which ZLMediaKit does not.
	Report bool
}

// ClipPath returns the absolute path of a clip, which may be given relative to the directory of the stream's files, and makes
// its directory. It must not lead out of that, and no other clip may be writing there. Errors: ErrClipPath, and those of the
// file system.
func (r *Recorder) ClipPath(name fact.Stream, o *stream.Options, given string) (string, error) {
	cfg := r.cfg.Load()
	base := filepath.Base(given)
	if given == "" || strings.HasSuffix(given, "/") || strings.HasPrefix(base, ".") || strings.ContainsRune(given, 0) {
		return "", fmt.Errorf("%w: %q", ErrClipPath, given)
	}
	at := filepath.Clean(given)
	if !filepath.IsAbs(at) {
		if !filepath.IsLocal(at) {
			return "", fmt.Errorf("%w: %q leads elsewhere", ErrClipPath, given)
		}
		folder, err := cfg.Folder(rootOf(o), name)
		if err != nil {
			return "", fmt.Errorf("record: %w", err)
		}
		at = filepath.Join(folder, at)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil { //nolint:gosec // recordings are for other programs to read
		return "", fmt.Errorf("record: %w", err)
	}
	if info, err := os.Stat(at); err == nil && !info.Mode().IsRegular() {
		return "", fmt.Errorf("%w: %q is no file", ErrClipPath, given)
	}
	if _, err := os.Lstat((&note{Path: at}).temporary()); err == nil {
		return "", fmt.Errorf("%w: %q is being written", ErrClipPath, given)
	}
	return at, nil
}

// ClipFormat returns what the hub has to know to record one clip.
func (r *Recorder) ClipFormat(c Clip) stream.Recorder {
	return stream.Recorder{Name: ClipName, Start: func(j stream.Job) stream.Sink { return r.begin(j, &c) }}
}

// createClip makes the note and the hidden file of a clip.
func (s *sink) createClip(now time.Time) (*file, error) {
	folder, err := s.cfg.Folder(s.root, s.job.Stream)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	n := &note{
		Publication: s.job.Publication, Stream: s.job.Stream, Params: s.job.Params, Path: s.clip.Path, Folder: folder + "/",
		Start: now.Unix(), Quiet: !s.clip.Report,
	}
	if rel, err := filepath.Rel(folder, n.Path); err == nil && filepath.IsLocal(rel) {
		n.URL = path.Join(s.cfg.AppName, s.job.Stream.App, s.job.Stream.Stream, filepath.ToSlash(rel))
	}
	return s.openNoted(n)
}
