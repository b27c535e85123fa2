package stream

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
)

var update = flag.Bool("update", false, "rewrite the transcripts")

// TestTranscripts runs the commands of testdata/*.txt. What follows a command, indented, are the facts and the answers
// that came of it.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			synctest.Test(t, func(t *testing.T) { got = newStage(t).run(string(want)) })
			if *update {
				if err := os.WriteFile(name, got, 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// stage plays one transcript.
type stage struct {
	t       *testing.T
	w       *world
	hub     *Hub
	cfg     Config
	opts    Options
	refuse  string
	pubs    map[string]*Publisher
	bytes   map[string]*atomic.Uint64
	at      map[string]time.Duration
	mu      sync.Mutex
	viewers map[string]*Viewer // written under mu
	cancel  map[string]context.CancelFunc
	answer  func(bool, fact.Outcome)
	holds   func() bool
	closeNF bool
	said    chan string
	sinks   []*fakeSink // of recordings that are not done
}

func newStage(t *testing.T) *stage {
	s := &stage{
		t: t, w: newWorld(), cfg: DefaultConfig(), opts: defaultOptions(),
		pubs: map[string]*Publisher{}, bytes: map[string]*atomic.Uint64{}, at: map[string]time.Duration{},
		viewers: map[string]*Viewer{}, cancel: map[string]context.CancelFunc{}, said: make(chan string, 100),
	}
	s.cfg.FlowThreshold = 0
	s.w.publish = func(context.Context, PublishQuestion) PublishVerdict {
		if s.refuse != "" {
			return PublishVerdict{Outcome: fact.Outcome{By: "hook", Message: s.refuse}}
		}
		return PublishVerdict{Outcome: fact.Outcome{Allowed: true, By: "hook"}, Options: s.opts}
	}
	s.w.play = func(context.Context, PlayQuestion) Verdict {
		return Verdict{Outcome: fact.Outcome{Allowed: s.refuse == "", By: "hook", Message: s.refuse}}
	}
	s.w.notFound = func(_ context.Context, q PlayQuestion) (bool, fact.Outcome) {
		s.said <- "asked on_stream_not_found " + q.Stream.Stream
		return s.closeNF, fact.Outcome{By: "hook", Allowed: s.closeNF}
	}
	s.w.none = func(pub string, body fact.NoneReader, holds func() bool, answer func(bool, fact.Outcome)) {
		s.said <- fmt.Sprintf("asked on_stream_none_reader %s %s holds=%v", pub, body.Schema, holds())
		s.answer, s.holds = answer, holds
	}
	s.hub = New(s.cfg, s.w, s.w, append(textFormats(), Format{Name: "hls", Schema: "hls"}))
	s.hub.SetRecorders([]Recorder{
		{
			Name: "mp4", Wanted: func(o *Options) bool { return o.EnableMP4 },
			Counts: func(o *Options) bool { return o.MP4AsPlayer }, Start: s.startSink,
		},
		{Name: "hls", Wanted: func(o *Options) bool { return o.EnableHLS }, Start: s.startSink},
	})
	numbered(s.hub)
	return s
}

// fakeSink is a recording that finishes when the transcript says so.
type fakeSink struct {
	s      *stage
	job    Job
	name   string
	n      int // files
	frames []string
}

func (s *stage) startSink(j Job) Sink {
	k := &fakeSink{s: s, job: j, name: fmt.Sprint("r", len(s.sinks)+1)}
	s.sinks = append(s.sinks, k)
	s.say("%s starts %s %v", k.name, j.Publication, len(j.Program.Tracks))
	return k
}

func (k *fakeSink) Write(f *media.Frame, key bool) {
	k.frames = append(k.frames, string((&textPackager{}).Append(nil, f)))
	if key {
		k.frames = append(k.frames, "! ")
	}
}

func (k *fakeSink) Change(p Program) { k.s.say("%s changes %d", k.name, len(p.Tracks)) }

func (k *fakeSink) Close() { k.s.say("%s closed after %s", k.name, strings.Join(k.frames, "")) }

// sink runs a command of a recording: file (an MP4 is complete), segment, register, done.
func (s *stage) sink(cmd, name string) {
	i := slices.IndexFunc(s.sinks, func(k *fakeSink) bool { return k.name == name })
	k := s.sinks[i]
	switch cmd {
	case "file":
		k.n++
		k.job.Report(&fact.Recorded{Type: event.OnRecordMP4, FilePath: fmt.Sprintf("/%s/%d.mp4", name, k.n), TimeLen: 1.5, FileSize: 7}, true)
	case "segment":
		k.n++
		k.job.Report(&fact.Recorded{Type: event.OnRecordTS, FilePath: fmt.Sprintf("/%s/%d.ts", name, k.n)}, false)
	case "register":
		k.job.Register("hls")
	case "done":
		k.job.Done()
		k.name = "" // done
	}
}

func (s *stage) run(script string) []byte {
	var out bytes.Buffer
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "  ") {
			continue
		}
		out.WriteString(line)
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		s.do(words[0], words[1:])
		synctest.Wait()
		for _, f := range s.w.take() {
			fmt.Fprintln(&out, " ", show(f))
		}
		var said []string
		for len(s.said) > 0 {
			said = append(said, <-s.said)
		}
		slices.Sort(said) // several sessions may have something to say at the same time
		for _, l := range said {
			fmt.Fprintln(&out, " ", l)
		}
	}
	s.finish()
	return out.Bytes()
}

// finish checks that nothing is left.
func (s *stage) finish() {
	for _, c := range s.cancel {
		c()
	}
	for _, k := range s.sinks {
		if k.name != "" {
			k.job.Done()
		}
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
	defer cancel()
	_ = s.hub.Stop(ctx)
	synctest.Wait()
	if n := s.w.open(); n != 0 {
		s.t.Errorf("%d admissions were not given back", n)
	}
	if st := s.hub.Stats(); st != (Stats{}) {
		s.t.Errorf("left over: %+v", st)
	}
	if n := len(s.hub.streams); n != 0 {
		s.t.Errorf("%d streams left in the registry", n)
	}
}

func (s *stage) do(cmd string, args []string) {
	switch cmd {
	case "option":
		s.option(args)
	case "publish":
		s.publish(args[0], args[1])
	case "meta":
		s.pubs[args[0]].Metadata([]byte("meta"), strings.Contains(args[1], "v"), strings.Contains(args[1], "a"), 640, 480, 25)
	case "write":
		for _, f := range args[1:] {
			s.write(args[0], f)
		}
	case "close":
		s.pubs[args[0]].Close(fact.EndReason(args[1]))
	case "play":
		s.play(args[0], args[1], args[2])
	case "read":
		s.read(args[0])
	case "leave":
		if c := s.cancel[args[0]]; c != nil {
			c()
		}
		if v := s.viewers[args[0]]; v != nil {
			v.Close()
		}
	case "sleep":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(d)
	case "answer":
		s.answer(args[0] == "close", fact.Outcome{By: "hook", Allowed: args[0] == "close"})
	case "holds":
		s.say("%v", s.holds())
	case "closestreams":
		hit, closed := s.hub.CloseStreams(Filter{Stream: args[0]}, args[1] == "force", fact.EndKicked)
		s.say("hit=%d closed=%d", hit, closed)
	case "list":
		for _, i := range s.hub.List(Filter{}) {
			s.say("%s %s %s readers=%d/%d bytes=%d", i.Schema, i.Key(), i.Publication, i.ReaderCount, i.TotalReaderCount, i.TotalBytes)
		}
	case "file", "segment", "register", "done":
		s.sink(cmd, args[0])
	case "record", "norecord", "recording":
		s.record(cmd, args[0], args[1])
	case "stop":
		ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Second)
		defer cancel()
		s.say("%v", s.hub.Stop(ctx))
	default:
		s.t.Fatalf("unknown command %q", cmd)
	}
}

func (s *stage) record(cmd, stream, kind string) {
	name := named(stream).Stream
	switch cmd {
	case "record":
		s.say("%v", s.hub.StartRecord(name, kind, "", 0))
	case "norecord":
		over, err := s.hub.StopRecord(name, kind)
		s.say("over=%v %v", over != nil, err)
		if over != nil {
			go func() {
				<-over
				s.say("%s of %s is over", kind, stream)
			}()
		}
	default:
		yes, err := s.hub.Recording(name, kind)
		s.say("%v %v", yes, err)
	}
}

func (s *stage) say(format string, args ...any) { s.said <- fmt.Sprintf(format, args...) }

func (s *stage) option(args []string) {
	for _, a := range args {
		k, v, _ := strings.Cut(a, "=")
		switch k {
		case "continue":
			d, err := time.ParseDuration(v)
			if err != nil {
				s.t.Fatal(err)
			}
			s.opts.ContinuePush = d
		case "replace":
			s.opts.StreamReplace = v
		case "refuse":
			s.refuse = v
		case "enable_mp4":
			s.opts.EnableMP4 = v == "1"
		case "enable_hls":
			s.opts.EnableHLS = v == "1"
		case "mp4_as_player":
			s.opts.MP4AsPlayer = v == "1"
		case "auto_close":
			s.opts.AutoClose = v == "1"
		case "add_mute_audio":
			s.opts.AddMuteAudio = v == "1"
		case "paced_sender_ms":
			ms, err := strconv.Atoi(v)
			if err != nil {
				s.t.Fatal(err)
			}
			s.opts.PacedSender = time.Duration(ms) * time.Millisecond
		case "enable_audio":
			s.opts.EnableAudio = v == "1"
		case "enable_rtmp":
			s.opts.EnableRTMP = v == "1"
		case "enable_rtsp":
			s.opts.EnableRTSP = v == "1"
		case "notfound_close":
			s.closeNF = v == "1"
		case "threshold":
			n, err := strconv.ParseUint(v, 10, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			s.cfg.FlowThreshold = n
			s.hub.Reconfigure(s.cfg)
		default:
			s.t.Fatalf("unknown option %q", a)
		}
	}
}

func (s *stage) publish(id, name string) {
	n := &atomic.Uint64{}
	p, err := s.hub.Publish(s.t.Context(), PublishRequest{
		MediaInfo: named(name), Peer: Peer{Client: fact.Client{IP: "127.0.0.1", Port: 1, ID: id}},
		OriginType: fact.OriginRTMPPush, OriginURL: "rtmp://x/live/" + name, Bytes: n,
		Kick: func() { s.say("%s kicked", id) },
	})
	if err != nil {
		s.say("%s: %v", id, err)
		return
	}
	s.say("%s publishes %s", id, p.Publication())
	s.pubs[id], s.bytes[id] = p, n
}

// write sends one frame: k and v are video, a is audio, c and d their configuration; a number is a time stamp in ms.
func (s *stage) write(id, what string) {
	kind := what[0]
	if n, err := strconv.Atoi(what[1:]); err == nil {
		s.at[id] = time.Duration(n) * time.Millisecond
	} else {
		s.at[id] += 20 * time.Millisecond
	}
	f := &media.Frame{DTS: s.at[id], PTS: s.at[id], Data: make([]byte, 10)}
	switch kind {
	case 'k', 'v':
		f.Track, f.Key = videoTrack("V"), kind == 'k'
	case 'a':
		f.Track = audioTrack("A")
	case 'c':
		f.Track, f.Config, f.Data = videoTrack(what[1:]), true, nil
	case 'd':
		f.Track, f.Config, f.Data = audioTrack(what[1:]), true, nil
	case 'u':
		f.Track, f.Key = &media.Track{Codec: media.H264}, true
	default:
		s.t.Fatalf("unknown frame %q", what)
	}
	s.bytes[id].Add(10)
	if err := s.pubs[id].WriteFrame(f); err != nil {
		s.say("%s: %v", id, err)
	}
}

func (s *stage) play(id, name, format string) {
	ctx, cancel := context.WithCancel(s.t.Context())
	s.cancel[id] = cancel
	go func() {
		v, err := s.hub.Play(ctx, PlayRequest{
			MediaInfo: named(name), Peer: Peer{Client: fact.Client{IP: "127.0.0.1", Port: 2, ID: id}}, Format: format,
			Kick: func() { s.say("%s kicked", id) },
		})
		if err != nil {
			s.say("%s: %v", id, err)
			return
		}
		s.say("%s plays %s", id, v.Publication())
		s.mu.Lock()
		s.viewers[id] = v
		s.mu.Unlock()
	}()
}

func (s *stage) read(id string) {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Millisecond)
	defer cancel()
	v := s.viewers[id]
	bufs, err := v.Next(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		s.say("%s: nothing", id)
		return
	}
	if err != nil {
		s.say("%s: %v", id, err)
		return
	}
	b := bytes.Join(bufs, []byte("|"))
	v.Sent(100)
	s.say("%s: %s", id, b)
}
