package record

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/formattest"
	"github.com/hookline/hookline/internal/stream"
	"github.com/hookline/hookline/internal/stream/streamtest"
)

// clip begins one, by the path that a call names.
func (s *studio) clip(path string, back, forward time.Duration, report bool) (string, error) {
	s.t.Helper()
	o, err := s.hub.Options(cam)
	if err != nil {
		return "", err
	}
	at, err := s.rec.ClipPath(cam, &o, path)
	if err != nil {
		return "", err
	}
	return at, s.hub.RecordExtra(cam, s.rec.ClipFormat(Clip{Path: at, Forward: forward, Report: report}), back)
}

// TestClip: a clip holds the group of pictures that was there and what follows for a while; it is listed at the end, and has a
// report only when that is asked for. A recording beside it is not disturbed.
func TestClip(t *testing.T) {
	c := formattest.Named(t, "h264_aac_bframes")
	s := newStudio(t, Config{})
	p := s.publish()
	s.send(p, c, 0)
	last := c.Frames[len(c.Frames)-1].DTS
	file, err := s.clip("events/a.mp4", 0, time.Second, false)
	if err != nil || file != filepath.Join(s.root, "record/live/cam/events/a.mp4") {
		t.Fatal(file, err)
	}
	abs := filepath.Join(t.TempDir(), "b.mp4")
	if err := os.WriteFile(abs, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if file, err := s.clip(abs, 0, time.Hour, true); err != nil || file != abs {
		t.Fatal(file, err)
	}
	if i, _ := s.hub.Get(stream.Filter{}); !i.IsRecordingMP4 {
		t.Error("the recording is not shown")
	}
	for i := range 4 {
		s.send(p, c, time.Duration(i+1)*2*time.Second)
	}
	p.Close(fact.EndUnpublish)
	e := <-s.w.Ended
	paths := map[string]fact.Recording{}
	for _, r := range e.Recordings {
		paths[r.Path] = r
	}
	if len(paths) != 3 || paths[file].FileSize == 0 || paths[abs].FileSize == 0 {
		t.Fatalf("%+v", e.Recordings)
	}
	reports := s.records()
	if len(reports) != 2 {
		t.Errorf("%d reports", len(reports))
	}
	for path, want := range map[string][2]time.Duration{
		file: {time.Second, last + time.Second + 500*time.Millisecond}, abs: {8 * time.Second, 10 * time.Second},
	} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		formattest.Decode(t, "x.mp4", b)
		packets, _ := formattest.Probe(t, "x.mp4", b)
		end := 0.0
		for _, p := range packets {
			end = max(end, p.PTS)
		}
		if d := time.Duration(end * float64(time.Second)); d < want[0] || d > want[1] {
			t.Errorf("%s is %v long, want from %v to %v", filepath.Base(path), d, want[0], want[1])
		}
	}
	s.rec.Wait()
	s.empty()
}

// TestClipEndsByItself: a clip is complete as soon as its time is over, while the stream lives.
func TestClipEndsByItself(t *testing.T) {
	c := formattest.Named(t, "h264_aac_bframes")
	s := newStudio(t, Config{})
	s.w.Options.EnableMP4 = false
	p := s.publish()
	s.send(p, c, 0)
	file, err := s.clip("a.mp4", 0, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	s.send(p, c, 2*time.Second)
	for deadline := time.Now().Add(streamtest.Patience); len(s.records()) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no report")
		}
	}
	r := s.records()[0]
	if r.FilePath != file || r.FileName != "a.mp4" || r.URL != "record/live/cam/a.mp4" || r.TimeLen <= 0 {
		t.Errorf("%+v", r)
	}
	p.Close(fact.EndUnpublish)
	if e := <-s.w.Ended; len(e.Recordings) != 1 {
		t.Errorf("%+v", e)
	}
}

// TestClipGoesBack: with more than one group of pictures in the cache a clip begins at least back ago, at a key frame.
func TestClipGoesBack(t *testing.T) {
	c := formattest.Named(t, "h264_aac_bframes")
	s := newStudio(t, Config{})
	s.w.Options.EnableMP4 = false
	cfg := streamtest.Patient()
	cfg.GOPs = 4
	s.hub.Reconfigure(cfg)
	p := s.publish()
	for i := range 10 {
		s.send(p, c, time.Duration(i)*2*time.Second)
	}
	var keys []time.Duration // before the end
	last := c.Frames[len(c.Frames)-1].DTS
	for i := range 10 {
		for _, f := range c.Frames {
			if f.Key {
				keys = append(keys, time.Duration(9-i)*2*time.Second+last-f.DTS)
			}
		}
	}
	keys = keys[len(keys)-4:]
	for back, want := range map[time.Duration]time.Duration{
		0: keys[3], keys[3]: keys[3], keys[3] + time.Millisecond: keys[2], keys[1] - time.Millisecond: keys[1], time.Hour: keys[0],
	} {
		file, err := s.clip(filepath.Join(t.TempDir(), "a.mp4"), back, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		s.send(p, c, 30*time.Second)
		for deadline := time.Now().Add(streamtest.Patience); ; time.Sleep(5 * time.Millisecond) {
			if _, err := os.Stat(file); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("no clip")
			}
		}
		got, err := lengthOf(file)
		if err != nil || got < want || got > want+200*time.Millisecond {
			t.Errorf("%v back: %v long, want about %v (%v)", back, got, want, err)
		}
		for i := range 10 { // the cache is full again
			s.send(p, c, time.Duration(40+i*2)*time.Second)
		}
	}
	p.Close(fact.EndUnpublish)
	<-s.w.Ended
}

// TestClipRefused: no path leads out of the directory, and no stream is recorded too often.
func TestClipRefused(t *testing.T) {
	s := newStudio(t, Config{})
	if _, err := s.clip("a.mp4", 0, 0, false); !errors.Is(err, stream.ErrNotFound) {
		t.Error(err)
	}
	p := s.publish()
	s.send(p, formattest.Named(t, "h264_aac_bframes"), 0)
	for _, bad := range []string{"", "../a.mp4", "x/../../a.mp4", "dir/", ".a.mp4", "..", "a\x00.mp4", s.root} {
		if at, err := s.clip(bad, 0, 0, false); !errors.Is(err, ErrClipPath) {
			t.Errorf("%q: %s, %v", bad, at, err)
		}
	}
	n := 0
	for ; n < 100; n++ {
		if _, err := s.clip(filepath.Join("many", string(rune('a'+n%26))+string(rune('a'+n/26))+".mp4"), 0, time.Hour, false); err != nil {
			if !errors.Is(err, stream.ErrTooMany) {
				t.Error(err)
			}
			break
		}
	}
	if n != 64 {
		t.Errorf("%d clips at a time", n)
	}
	p.Close(fact.EndUnpublish)
	<-s.w.Ended
}

// TestClipRecovered: a crash leaves a clip that plays, and reports it only if it would have been.
func TestClipRecovered(t *testing.T) {
	c := formattest.Named(t, "h264_aac_bframes")
	s := newStudio(t, Config{})
	s.w.Options.EnableMP4 = false
	p := s.publish()
	s.send(p, c, 0)
	var files []string
	for _, report := range []bool{false, true} {
		file, err := s.clip(filepath.Join(t.TempDir(), "a.mp4"), 0, time.Hour, report)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	s.send(p, c, 2*time.Second)
	ledger := filepath.Join(t.TempDir(), "copied")
	open := func(file string) string { return filepath.Join(filepath.Dir(file), "."+filepath.Base(file)) }
	for _, file := range files {
		for deadline := time.Now().Add(streamtest.Patience); ; time.Sleep(5 * time.Millisecond) {
			if m, err := lengthOf(open(file)); err == nil && m > time.Second {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("nothing is written")
			}
		}
	}
	// What is on the disk now is what a crash leaves.
	images := map[string][]byte{}
	notes, err := s.rec.ledger.read()
	if err != nil || len(notes) != 2 {
		t.Fatal(notes, err)
	}
	for _, n := range notes {
		if images[n.file], err = os.ReadFile(n.file); err != nil {
			t.Fatal(err)
		}
		if images[n.temporary()], err = os.ReadFile(n.temporary()); err != nil {
			t.Fatal(err)
		}
	}
	publication := notes[0].Publication
	p.Close(fact.EndUnpublish)
	<-s.w.Ended
	if err := os.Mkdir(ledger, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, b := range images {
		if filepath.Ext(path) == ".json" {
			path = filepath.Join(ledger, filepath.Base(path))
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again, err := New(Config{Ledger: ledger, Logger: s.rec.Config().Logger})
	if err != nil {
		t.Fatal(err)
	}
	found, err := again.Recover()
	if err != nil {
		t.Fatal(err)
	}
	if r := found.Of(publication); len(r) != 1 || r[0].FilePath != files[1] || r[0].Reason != ReasonCrash {
		t.Errorf("%+v", r)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		formattest.Decode(t, "x.mp4", b)
		if _, err := os.Lstat(open(file)); err == nil {
			t.Error("the hidden file is left")
		}
	}
}
