package vod

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hookline/hookline/internal/format/mp4"
	"github.com/hookline/hookline/internal/media"
)

// errNoFile: there is nothing that could be played.
var errNoFile = errors.New("vod: no file")

// part is one file of a time line.
type part struct {
	path         string
	from, length time.Duration
	start        time.Time // when it was recorded, as its name says; zero: it does not
}

// startOf reads the time that the names of recordings begin with, which is local: 2006-01-02-15-04-05-0.mp4.
func startOf(path string) time.Time {
	const form = "2006-01-02-15-04-05"
	name := filepath.Base(path)
	if len(name) < len(form) {
		return time.Time{}
	}
	at, err := time.ParseInLocation(form, name[:len(form)], time.Local)
	if err != nil {
		return time.Time{}
	}
	return at
}

// timeline is the frames of files, one behind the other. It is used by one goroutine at a time, and its parts do not change.
type timeline struct {
	parts  []part
	buffer int
	most   int // samples of the largest part

	cur  int // the part that is open
	file *os.File
	mp4  *mp4.File
	r    *mp4.Reader
}

// openTimeline opens files, at least one. Errors are of the file system, or wrap mp4.ErrMalformed.
func openTimeline(paths []string, buffer int) (*timeline, error) {
	t := &timeline{buffer: buffer}
	var from time.Duration
	for i, path := range paths {
		f, m, err := openFile(path, buffer)
		if err != nil {
			t.close()
			return nil, err
		}
		p := part{path: path, from: from, length: m.Duration(), start: startOf(path)}
		from += p.length
		t.parts = append(t.parts, p)
		t.most = max(t.most, m.Samples())
		if i == 0 {
			t.file, t.mp4, t.r = f, m, m.NewReader()
		} else {
			_ = f.Close()
		}
	}
	if t.file == nil {
		return nil, errNoFile
	}
	return t, nil
}

// openFile opens one file and reads its index.
func openFile(path string, buffer int) (*os.File, *mp4.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, fmt.Errorf("vod: %w", err)
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for who writes to it
		return nil, nil, fmt.Errorf("vod: %s is no file: %w", path, errNoFile)
	}
	f, err := os.Open(path) //nolint:gosec // the caller has checked what may be named
	if err != nil {
		return nil, nil, fmt.Errorf("vod: %w", err)
	}
	m, err := mp4.Open(&window{f: f, size: buffer}, info.Size())
	if err == nil && len(m.Tracks()) == 0 {
		err = fmt.Errorf("no track that is known: %w", mp4.ErrMalformed)
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, fmt.Errorf("vod: %s: %w", path, err)
	}
	return f, m, nil
}

func (t *timeline) close() {
	if t.file != nil {
		_ = t.file.Close()
	}
}

func (t *timeline) length() time.Duration {
	last := t.parts[len(t.parts)-1]
	return last.from + last.length
}

// find returns the place of a time of day. It is safe for concurrent use.
func (t *timeline) find(at time.Time) (time.Duration, bool) {
	for i := len(t.parts) - 1; i >= 0; i-- {
		p := &t.parts[i]
		if !p.start.IsZero() && !at.Before(p.start) {
			return p.from + min(at.Sub(p.start), p.length), at.Sub(p.start) <= p.length || i < len(t.parts)-1
		}
	}
	return 0, false
}

func (t *timeline) tracks() []*media.Track { return t.mp4.Tracks() }

// enter opens a part, at its beginning.
func (t *timeline) enter(n int) error {
	if n == t.cur {
		t.r = t.mp4.NewReader()
		return nil
	}
	f, m, err := openFile(t.parts[n].path, t.buffer)
	if err != nil {
		return err
	}
	_ = t.file.Close()
	t.cur, t.file, t.mp4, t.r = n, f, m, m.NewReader()
	return nil
}

// next returns the next frame, and io.EOF behind the last.
func (t *timeline) next() (*media.Frame, error) {
	for {
		f, err := t.r.Next()
		if err == nil {
			from := t.parts[t.cur].from
			f.DTS += from
			f.PTS += from
			return f, nil
		}
		if !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("vod: %s: %w", t.parts[t.cur].path, err)
		}
		if t.cur == len(t.parts)-1 {
			return nil, io.EOF
		}
		if err := t.enter(t.cur + 1); err != nil {
			return nil, err
		}
	}
}

// seek goes to the key frame at or before a time.
func (t *timeline) seek(to time.Duration) error {
	n := len(t.parts) - 1
	for n > 0 && t.parts[n].from > to {
		n--
	}
	if err := t.enter(n); err != nil {
		return err
	}
	t.r.Seek(to - t.parts[n].from)
	return nil
}

// window is a file with a buffer for what is read one behind the other. Short reads are errors: the file has shrunk.
type window struct {
	f    *os.File
	size int
	buf  []byte
	at   int64
}

// ReadAt implements io.ReaderAt.
func (w *window) ReadAt(p []byte, at int64) (int, error) {
	if len(p) >= w.size {
		return full(w.f, p, at)
	}
	if at < w.at || at+int64(len(p)) > w.at+int64(len(w.buf)) {
		if w.buf == nil {
			w.buf = make([]byte, w.size)
		}
		n, err := w.f.ReadAt(w.buf[:w.size], at)
		w.buf, w.at = w.buf[:n], at
		if n < len(p) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return copy(p, w.buf), err
		}
	}
	return copy(p, w.buf[at-w.at:]), nil
}

// full reads all of p, or says why not.
func full(r io.ReaderAt, p []byte, at int64) (int, error) {
	n, err := r.ReadAt(p, at)
	switch {
	case n == len(p):
		return n, nil
	case err == nil || errors.Is(err, io.EOF):
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

// files returns what names a time line: a file, several with semicolons between them, or a directory, whose MP4 files are
// played in the order of their names.
func files(names string) ([]string, error) {
	if info, err := os.Stat(names); err == nil {
		if info.IsDir() {
			return filesOf(names)
		}
		return []string{names}, nil
	}
	var list []string
	for name := range strings.SplitSeq(names, ";") {
		if name = strings.TrimSpace(name); name != "" {
			list = append(list, name)
		}
	}
	return bounded(list, names)
}

func filesOf(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil, fmt.Errorf("vod: %w", err)
	}
	var list []string
	for _, e := range entries {
		name := e.Name()
		if e.Type()&fs.ModeDir == 0 && !strings.HasPrefix(name, ".") && strings.EqualFold(filepath.Ext(name), ".mp4") {
			list = append(list, filepath.Join(dir, name))
		}
	}
	return bounded(list, dir)
}

func bounded(list []string, names string) ([]string, error) {
	if len(list) == 0 {
		return nil, fmt.Errorf("%w in %s", errNoFile, names)
	}
	if len(list) > MaxFiles {
		return nil, fmt.Errorf("vod: %d files, more than %d", len(list), MaxFiles)
	}
	return list, nil
}
