package record

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hookline/hookline/internal/format/fmp4"
	"github.com/hookline/hookline/internal/format/mp4"
	"github.com/hookline/hookline/internal/media"
)

// file is a slice that is open.
type file struct {
	note   *note
	f      *os.File
	buf    []byte
	size   int64
	dirty  bool
	index  *mp4.Index
	tracks []*media.Track
	begun  time.Duration // DTS of the first frame of the fragment that is collected
	reason string        // why it ended before its time
}

// maxTries bounds the search for a name that is free.
const maxTries = 10000

// create makes the note and the hidden file of the next slice. Names never collide: the publication before may have
// recorded within the same second.
func (s *sink) create(now time.Time) (*file, error) {
	if s.clip != nil {
		return s.createClip(now)
	}
	folder, err := s.cfg.Folder(s.root, s.job.Stream)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	day := now.Format("2006-01-02")
	dir := filepath.Join(folder, day)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // recordings are for other programs to read
		return nil, fmt.Errorf("record: %w", err)
	}
	for range maxTries {
		name := fileName(now, s.next)
		s.next++
		n := &note{
			Publication: s.job.Publication, Stream: s.job.Stream, Params: s.job.Params,
			Path: filepath.Join(dir, name), Folder: folder + "/",
			URL: path.Join(s.cfg.AppName, s.job.Stream.App, s.job.Stream.Stream, day, name), Start: now.Unix(),
		}
		if _, err := os.Lstat(n.Path); err == nil {
			continue
		}
		f, err := s.openNoted(n)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		return f, err
	}
	return nil, fmt.Errorf("record: no free name in %s", dir)
}

// openNoted makes the note and the hidden file, which must not be there yet.
func (s *sink) openNoted(n *note) (*file, error) {
	f, err := os.OpenFile(n.temporary(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644) //nolint:gosec // recordings are for other programs to read
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	if err := s.rec.ledger.write(n); err != nil {
		_ = f.Close()
		_ = os.Remove(n.temporary())
		return nil, err
	}
	return &file{note: n, f: f, tracks: s.program.Tracks}, nil
}

func (f *file) write(b []byte) error {
	n, err := f.f.Write(b)
	f.size += int64(n)
	f.dirty = true
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

// begin writes what stands before the first fragment: the init segment, and room for the index of about length.
func (f *file) begin(m *fmp4.Muxer, length time.Duration) error {
	head := mp4.AppendHead(nil, m, mp4.Reserve(length))
	f.index = mp4.NewIndex(m, head)
	return f.write(head)
}

// append writes what the muxer has collected.
func (f *file) append(m *fmp4.Muxer, next *media.Frame) error {
	f.buf = m.AppendFragment(f.buf[:0], next)
	at := f.size
	if err := f.write(f.buf); err != nil {
		// A part of a fragment is of no use, and players complain about it.
		if cut := f.f.Truncate(at); cut == nil {
			f.size = at
		}
		return err
	}
	f.index.Add(at, len(f.buf), m.Samples())
	return nil
}

// finish turns the fragments into an ordinary file, in place: with its index in front when there is room for it, else
// behind the data.
func (f *file) finish() error {
	patches, ok := f.index.Finish()
	if !ok {
		patches = f.index.FinishBehind()
	}
	for _, p := range patches {
		if _, err := f.f.WriteAt(p.Data, p.At); err != nil {
			return fmt.Errorf("record: %w", err)
		}
		if err := f.f.Sync(); err != nil {
			return fmt.Errorf("record: %w", err)
		}
	}
	return nil
}

// copyFront writes a copy with its index in front.
func (f *file) copyFront(to string) (err error) {
	src, err := os.Open(f.note.temporary())
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	defer src.Close()
	head, from := f.index.FastStart()
	if _, err := src.Seek(from, io.SeekStart); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644) //nolint:gosec // recordings are for other programs to read
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(to)
		}
	}()
	_, err = dst.Write(head)
	if err == nil {
		_, err = io.CopyN(dst, src, f.size-from)
	}
	if err = errors.Join(err, dst.Sync(), dst.Close()); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

func (f *file) sync() error {
	if !f.dirty {
		return nil
	}
	f.dirty = false
	if err := f.f.Sync(); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

// reasonOf names a failure for receivers.
func reasonOf(err error) string {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return ReasonDiskFull
	}
	return ReasonWriteError
}

// Reasons of files that ended before their time.
const (
	ReasonDiskFull   = "disk_full"
	ReasonWriteError = "write_error"
	ReasonCrash      = "server_crash"
)
