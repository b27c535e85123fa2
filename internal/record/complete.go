package record

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/format/bmff"
	"github.com/hookline/hookline/internal/format/mp4"
)

// complete finishes a slice in the background and reports it behind the one before.
func (s *sink) complete(f *file) {
	before, done := s.done, make(chan struct{})
	s.done = done
	s.last.Add(1)
	go func() {
		defer s.last.Done()
		defer close(done)
		s.rec.workers <- struct{}{}
		x := s.rec.settle(s.cfg, f)
		<-s.rec.workers
		if before != nil {
			<-before
		}
		if x == nil {
			return
		}
		s.rec.files.Add(1)
		s.log.Info("recorded", "file", x.FilePath, "seconds", x.TimeLen, "bytes", x.FileSize, "reason", x.Reason)
		if f.note.Quiet {
			s.job.List(x.Recording())
		} else {
			s.job.Report(x, true)
		}
		s.rec.forget(s.cfg, f.note)
	}()
}

// settle completes the file of a slice and returns its report, nil when it is not worth keeping.
func (r *Recorder) settle(cfg *Config, f *file) *fact.Recorded {
	n := f.note
	defer f.f.Close()
	if f.size < MinSize || f.index.Duration() == 0 {
		_ = os.Remove(n.temporary())
		r.ledger.remove(n)
		return nil
	}
	err := r.whole(cfg, f)
	if err != nil {
		cfg.Logger.Warn("a recording stays in fragments", "file", n.Path, "err", err)
		if f.reason == "" {
			f.reason = reasonOf(err)
		}
	}
	n.TimeLen, n.Reason, n.Complete = f.index.Duration().Seconds(), f.reason, true
	if err := r.ledger.write(n); err != nil { // Recover finds out by itself
		cfg.Logger.Warn("recording: note", "file", n.Path, "err", err)
	}
	x, err := r.name(cfg, n)
	if err != nil {
		r.failures.Add(1)
		cfg.Logger.Error("recording can't be completed", "file", n.temporary(), "err", err)
		return nil
	}
	return x
}

// whole makes one ordinary file of the fragments. A file that ended before its time stays as it is: there may be no room.
func (r *Recorder) whole(cfg *Config, f *file) error {
	if err := f.sync(); err != nil || cfg.Fragmented || f.reason != "" {
		return err
	}
	if !cfg.FastStart {
		return f.finish()
	}
	if _, inFront := f.index.Finish(); inFront {
		return f.finish()
	}
	if err := f.copyFront(f.note.copied()); err != nil {
		return err
	}
	if err := os.Rename(f.note.copied(), f.note.temporary()); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

// name gives the hidden file its final name. It may be repeated after a crash at any step.
func (r *Recorder) name(cfg *Config, n *note) (*fact.Recorded, error) {
	if err := os.Rename(n.temporary(), n.Path); err != nil {
		if _, done := os.Lstat(n.Path); done != nil || !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("record: %w", err)
		}
	}
	if err := syncDir(filepath.Dir(n.Path)); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	info, err := os.Stat(n.Path)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	sum := ""
	if cfg.SHA256 {
		if sum, err = hashOf(n.Path); err != nil {
			return nil, err
		}
	}
	return n.fact(info.Size(), sum), nil
}

// lengthOf reads how long a file plays, as far as it is whole.
func lengthOf(path string) (time.Duration, error) {
	f, err := os.Open(path) //nolint:gosec // a file that we wrote
	if err != nil {
		return 0, fmt.Errorf("record: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("record: %w", err)
	}
	m, err := mp4.Open(f, info.Size())
	if err != nil {
		return 0, fmt.Errorf("record: %w", err)
	}
	return m.Duration(), nil
}

func hashOf(path string) (string, error) {
	f, err := os.Open(path) //nolint:gosec // a file that we wrote
	if err != nil {
		return "", fmt.Errorf("record: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("record: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// forget removes the note when the report is durable.
func (r *Recorder) forget(cfg *Config, n *note) {
	if cfg.Settled == nil {
		r.ledger.remove(n)
		return
	}
	r.wg.Go(func() {
		if cfg.Settled(n.Stream.Key()) {
			r.ledger.remove(n)
		}
	})
}

// Recovered are the files of publications that a crash left open.
type Recovered struct {
	rec   *Recorder
	notes []*note
	files map[string][]*fact.Recorded // by publication
}

// Recover completes the files that a crash left open. It is called once, before anything is recorded.
func (r *Recorder) Recover() (*Recovered, error) {
	cfg := r.cfg.Load()
	notes, err := r.ledger.read()
	out := &Recovered{rec: r, notes: notes, files: map[string][]*fact.Recorded{}}
	for i, n := range notes {
		x := r.recoverFile(cfg, n)
		if x == nil {
			r.ledger.remove(n)
			continue
		}
		cfg.Logger.Warn("recovered a recording of the last run", "file", x.FilePath, "seconds", x.TimeLen,
			"bytes", x.FileSize, "done", i+1, "of", len(notes))
		if !n.Quiet {
			out.files[n.Publication] = append(out.files[n.Publication], x)
		}
	}
	return out, err
}

// recoverFile completes one file; nil when there is nothing of it. What was open stays in fragments: it plays up to the last
// that is whole.
func (r *Recorder) recoverFile(cfg *Config, n *note) *fact.Recorded {
	_ = os.Remove(n.copied())
	path := n.temporary()
	if _, err := os.Lstat(path); err != nil {
		path = n.Path
	}
	if path != n.Path {
		if err := trim(path); err != nil {
			cfg.Logger.Warn("a recording of the last run can't be trimmed", "file", path, "err", err)
		}
	}
	length, err := lengthOf(path)
	if err != nil || length == 0 {
		if path == n.temporary() {
			_ = os.Remove(path)
		}
		return nil
	}
	if !n.Complete {
		n.Reason, n.TimeLen = ReasonCrash, length.Seconds()
	}
	x, err := r.name(cfg, n)
	if err != nil {
		r.failures.Add(1)
		cfg.Logger.Error("a recording of the last run can't be completed", "file", n.temporary(), "err", err)
		return nil
	}
	return x
}

// trim cuts off the last fragment when it is not whole: players would complain.
func trim(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // a file that we wrote
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	var at, whole int64
	for at < info.Size() {
		var head [bmff.HeaderSize]byte
		k, _ := f.ReadAt(head[:], at)
		typ, _, size, ok := bmff.Header(head[:k])
		if !ok || size == 0 || size > uint64(info.Size()-at) {
			break
		}
		at += int64(size)
		if typ != "moof" { // its data follows
			whole = at
		}
	}
	if whole == info.Size() {
		return nil
	}
	if err := errors.Join(f.Truncate(whole), f.Sync()); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

// Of returns the files of a publication, in the order in which they were opened.
func (v *Recovered) Of(publication string) []*fact.Recorded { return v.files[publication] }

// Forget removes the notes when everything that came of Of is durable, which settled waits for; nil: it is.
func (v *Recovered) Forget(settled func(key string) bool) {
	for _, n := range v.notes {
		if settled == nil || settled(n.Stream.Key()) {
			v.rec.ledger.remove(n)
		}
	}
}
