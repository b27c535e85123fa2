package record

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/formattest"
	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/stream"
	"github.com/hookline/hookline/internal/stream/streamtest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// studio is a recorder behind a real hub.
type studio struct {
	t    *testing.T
	w    *streamtest.Plane
	rec  *Recorder
	hub  *stream.Hub
	root string
}

func newStudio(t *testing.T, cfg Config) *studio {
	t.Helper()
	s := &studio{t: t, root: t.TempDir()}
	s.w = streamtest.New(stream.Options{EnableAudio: true, EnableRTMP: true, EnableMP4: true, MaxTrack: 2, MP4SavePath: s.root, MP4MaxSecond: 3600})
	if cfg.Ledger == "" {
		cfg.Ledger = filepath.Join(t.TempDir(), "ledger")
	}
	cfg.Logger = slog.New(slog.DiscardHandler)
	var err error
	if s.rec, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	s.rec.grace = streamtest.Patience
	s.hub = stream.New(streamtest.Patient(), s.w, s.w, []stream.Format{{Name: "rtmp", Schema: "rtmp", New: streamtest.Silent}})
	s.hub.SetRecorders([]stream.Recorder{s.rec.Format()})
	t.Cleanup(s.stop)
	return s
}

func (s *studio) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), streamtest.Patience)
	defer cancel()
	if err := s.hub.Stop(ctx); err != nil {
		s.t.Error(err)
	}
	s.rec.Wait()
}

// records returns the reports of files.
func (s *studio) records() []*fact.Recorded { return streamtest.Of[*fact.Recorded](s.w) }

var cam = fact.Stream{Vhost: fact.DefaultVhost, App: "live", Stream: "cam"}

func (s *studio) publish() *stream.Publisher {
	s.t.Helper()
	p, err := s.hub.Publish(s.t.Context(), stream.PublishRequest{
		MediaInfo: fact.MediaInfo{Schema: "rtmp", Protocol: "rtmp", Stream: cam, Params: "token=1"}, Bytes: &atomic.Uint64{},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// send publishes a clip, shifted by a time.
func (s *studio) send(p *stream.Publisher, c formattest.Clip, by time.Duration) {
	s.t.Helper()
	p.Metadata(nil, true, true, 0, 0, 0)
	for _, f := range c.Frames {
		g := *f
		g.DTS, g.PTS = f.DTS+by, f.PTS+by
		if err := p.WriteFrame(&g); err != nil {
			s.t.Fatal(err)
		}
	}
}

// check holds a report against its file, and the file against ffprobe, and returns the number of its packets.
func (s *studio) check(r *fact.Recorded) int {
	s.t.Helper()
	b, err := os.ReadFile(r.FilePath)
	if err != nil {
		s.t.Fatal(err)
	}
	name := filepath.Base(r.FilePath)
	day := name[:10]
	if r.FileSize != uint64(len(b)) || r.FileName != name || r.Params != "token=1" ||
		r.FilePath != filepath.Join(s.root, "record/live/cam", day, name) || r.Folder != filepath.Join(s.root, "record/live/cam")+"/" ||
		r.URL != "record/live/cam/"+day+"/"+name || r.StartTime == 0 {
		s.t.Errorf("%+v", r)
	}
	packets, _ := formattest.Probe(s.t, "x.mp4", b)
	first, last := 1e9, 0.0
	for _, p := range packets {
		first, last = min(first, p.PTS), max(last, p.PTS)
	}
	if d := r.TimeLen - (last - first); d < 0 || d > 0.2 {
		s.t.Errorf("time_len is %.3f, the packets span %.3f", r.TimeLen, last-first)
	}
	formattest.Decode(s.t, "x.mp4", b)
	return len(packets)
}

// TestRecord: unregister, then the file, then the end that lists it.
func TestRecord(t *testing.T) {
	c := formattest.Named(t, "h264_aac_bframes")
	for _, k := range []struct {
		name string
		cfg  Config
	}{{"front", Config{SHA256: true}}, {"fragments", Config{Fragmented: true}}} {
		t.Run(k.name, func(t *testing.T) {
			s := newStudio(t, k.cfg)
			p := s.publish()
			s.send(p, c, 0)
			p.Close(fact.EndUnpublish)
			e := <-s.w.Ended
			want := []string{"on_publish", "on_stream_changed", "on_stream_changed", "on_record_mp4", "on_publication_ended"}
			if got := slices.DeleteFunc(s.w.Types(), func(x string) bool { return x == "on_flow_report" }); !slices.Equal(got, want) {
				t.Fatal(got)
			}
			r := s.records()[0]
			if len(e.Recordings) != 1 || e.Recordings[0].Path != r.FilePath || e.Recordings[0].FileSize != r.FileSize {
				t.Errorf("%+v", e.Recordings)
			}
			if n := s.check(r); n != len(c.Frames) {
				t.Errorf("%d packets of %d", n, len(c.Frames))
			}
			if (len(r.SHA256) == 64) != k.cfg.SHA256 || r.Reason != "" {
				t.Errorf("%+v", r)
			}
			b, _ := os.ReadFile(r.FilePath)
			if bytes.Contains(b, []byte("moof")) && bytes.Index(b, []byte("mdat")) > bytes.Index(b, []byte("moof")) != k.cfg.Fragmented {
				t.Error("it should be in fragments:", k.cfg.Fragmented)
			}
			s.rec.Wait()
			s.empty()
		})
	}
}

// empty demands that no note and no hidden file is left.
func (s *studio) empty() {
	s.t.Helper()
	for _, dir := range []string{s.rec.ledger.dir, s.root} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() && (dir != s.root || strings.HasPrefix(d.Name(), ".")) {
				s.t.Error("left:", path)
			}
			return err
		})
		if err != nil {
			s.t.Error(err)
		}
	}
}

// TestSlices: a slice ends at the first key frame after its time; all of them together are the stream, in order.
func TestSlices(t *testing.T) {
	c := formattest.Named(t, "h264_aac_bframes")
	length := c.Frames[len(c.Frames)-1].DTS + 40*time.Millisecond
	s := newStudio(t, Config{FastStart: true})
	s.w.Options.MP4MaxSecond = 1
	p := s.publish()
	for i := range 4 {
		s.send(p, c, time.Duration(i)*length)
	}
	p.Close(fact.EndUnpublish)
	e := <-s.w.Ended
	all := s.records()
	if len(all) < 3 || len(e.Recordings) != len(all) {
		t.Fatalf("%d slices, %d listed", len(all), len(e.Recordings))
	}
	n := 0
	for i, r := range all {
		if !strings.HasSuffix(r.FileName, "-"+string(rune('0'+i))+".mp4") {
			t.Error("slice", i, "is", r.FileName)
		}
		n += s.check(r)
	}
	if n != 4*len(c.Frames) {
		t.Errorf("%d packets of %d", n, 4*len(c.Frames))
	}
}

// TestAgain: the next publication records within the same second, and nothing collides.
func TestAgain(t *testing.T) {
	c := formattest.Named(t, "h264_aac_bframes")
	s := newStudio(t, Config{})
	paths := map[string]bool{}
	for range 5 {
		p := s.publish()
		s.send(p, c, 0)
		p.Close(fact.EndUnpublish)
	}
	for range 5 {
		if e := <-s.w.Ended; len(e.Recordings) == 1 {
			paths[e.Recordings[0].Path] = true
		}
	}
	if len(paths) != 5 {
		t.Errorf("%d files of 5 publications", len(paths))
	}
}

// TestRecover: what a crash left open is completed by the next start and reported with its publication; at whatever byte
// the file ends.
func TestRecover(t *testing.T) {
	c := formattest.Named(t, "h264_aac_bframes")
	s := newStudio(t, Config{SyncEvery: 10 * time.Millisecond})
	p := s.publish()
	turn := c.Frames[len(c.Frames)-1].DTS + 40*time.Millisecond
	for i := range 4 { // of which the last fragment is not written
		s.send(p, c, time.Duration(i)*turn)
	}
	hidden := s.await(func(path string) bool {
		length, err := lengthOf(path)
		return err == nil && length >= 2*turn
	})
	open, err := os.ReadFile(hidden)
	if err != nil {
		t.Fatal(err)
	}
	notes, err := s.rec.ledger.read()
	if err != nil || len(notes) != 1 {
		t.Fatal(notes, err)
	}
	first := bytes.Index(open, []byte("moof")) + 200 // in the middle of the first fragment
	for _, cut := range []int{len(open), len(open) - 1, len(open) - 2000, first, 2000, 0} {
		dir := t.TempDir()
		n := *notes[0]
		n.Path, n.file = filepath.Join(dir, filepath.Base(n.Path)), ""
		if err := os.WriteFile(n.temporary(), open[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		rec, err := New(Config{Ledger: filepath.Join(dir, "ledger"), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if err := rec.ledger.write(&n); err != nil {
			t.Fatal(err)
		}
		for again := range 2 { // the next crash may come before the report is durable
			got, err := rec.Recover()
			if err != nil {
				t.Fatal(err)
			}
			files := got.Of(n.Publication)
			if cut <= first {
				if len(files) != 0 {
					t.Errorf("%d bytes: %+v", cut, files[0])
				}
				break
			}
			if len(files) != 1 || files[0].Reason != ReasonCrash || files[0].TimeLen <= 0 || files[0].Type != event.OnRecordMP4 {
				t.Fatalf("%d bytes, start %d: %+v", cut, again, files)
			}
			b, err := os.ReadFile(files[0].FilePath)
			if err != nil {
				t.Fatal(err)
			}
			if packets, _ := formattest.Probe(t, "x.mp4", b); cut == len(open) && len(packets) == 0 {
				t.Error("no packets")
			}
			if again == 1 {
				got.Forget(nil)
			}
		}
		if notes, _ := rec.ledger.read(); len(notes) != 0 {
			t.Errorf("%d bytes: %d notes are left", cut, len(notes))
		}
	}
	p.Close(fact.EndUnpublish)
	<-s.w.Ended
}

// await waits for the hidden file that is being written.
func (s *studio) await(ok func(path string) bool) string {
	s.t.Helper()
	for deadline := time.Now().Add(streamtest.Patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		found, _ := filepath.Glob(filepath.Join(s.root, "record/live/cam/*/.*.mp4"))
		for _, f := range found {
			if ok(f) {
				return f
			}
		}
	}
	s.t.Fatal("no file is open")
	return ""
}

// TestNoDirectory: a root that can't be written ends the recording; the stream lives on and ends as always.
func TestNoDirectory(t *testing.T) {
	c := formattest.Named(t, "h264_aac_bframes")
	s := newStudio(t, Config{})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.w.Options.MP4SavePath = file
	p := s.publish()
	s.send(p, c, 0)
	for deadline := time.Now().Add(streamtest.Patience); s.rec.Stats().Failures == 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	s.send(p, c, time.Minute)
	p.Close(fact.EndUnpublish)
	if e := <-s.w.Ended; len(e.Recordings) != 0 || s.rec.Stats().Failures != 1 {
		t.Errorf("%+v, %+v", e, s.rec.Stats())
	}
	s.rec.Wait()
	s.empty()
}
