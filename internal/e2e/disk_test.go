package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/rtmp"
)

// smallDisk mounts a file system of its own, which the test can fill.
func smallDisk(t *testing.T, megabytes string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+megabytes+"m"); err != nil {
		t.Fatalf("mount: %v; this test needs a file system that it can fill, hence root", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill writes a file of at most so many bytes, and returns what frees the space again.
func fill(t *testing.T, dir string, size int) (free func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for chunk := make([]byte, 4096); size > 0; size -= len(chunk) {
		if _, err := f.Write(chunk); errors.Is(err, syscall.ENOSPC) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// watched is a publication that goes on, with a viewer who counts.
type watched struct {
	messages atomic.Int64
	done     chan struct{}
}

func watch(t *testing.T, s *server, r *receiver, name string) *watched {
	t.Helper()
	publish(t, s.rtmpURL(name)).keep(t)
	r.accept(event.OnStreamChanged, name, register)
	c := dial(t, s.rtmpURL(name))
	if err := c.Play(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := &watched{done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for {
			if _, err := c.Read(); err != nil {
				return
			}
			w.messages.Add(1)
		}
	}()
	return w
}

// goesOn demands that media still comes.
func (w *watched) goesOn(t *testing.T) {
	t.Helper()
	for want, begin := w.messages.Load()+20, time.Now(); w.messages.Load() < want; time.Sleep(5 * time.Millisecond) {
		select {
		case <-w.done:
			t.Fatal("the viewer was sent away")
		default:
		}
		if time.Since(begin) > patience {
			t.Fatal("the media stands still")
		}
	}
}

// untilPublish tries short publications until one is refused, or until one is not, and returns the refusal.
func untilPublish(t *testing.T, url string, refused bool) (reason string) {
	t.Helper()
	for begin := time.Now(); time.Since(begin) < patience; {
		p := &publisher{Client: dial(t, url), clip: theClip(t)}
		err := askToPublish(t, p.Client)
		var status *rtmp.StatusError
		if err != nil && !errors.As(err, &status) {
			t.Fatal(err)
		}
		switch {
		case refused && err != nil:
			return status.Description
		case !refused && err == nil:
			_ = p.Close()
			return ""
		}
		if err == nil && p.send(80) == nil {
			p.unpublish(t)
		}
	}
	t.Fatalf("publications are refused: %v, for ever", !refused)
	return ""
}

// TestDiskFull: when the journal can't be written, what runs goes on, nothing new is admitted, and the reason is named.
// After a restart with room everything is whole.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "48")
	r := newReceiver(t)
	cfg := quick().endpoint(r).with("server.state_dir", stateDir(t), "journal.dir", filepath.Join(disk, "journal"),
		"hook.retry", "0", "protocol.continue_push_ms", "0", "delivery.drain_ms", "500")
	s := start(t, cfg)
	live := watch(t, s, r, "live")
	free := fill(t, disk, 1<<30)
	refusal := untilPublish(t, s.rtmpURL("new"), true)
	if text := strings.ToLower(refusal); !strings.Contains(text, "journal") {
		t.Errorf("the reason is %q", refusal)
	}
	live.goesOn(t)
	if code := status(t, "http://"+s.http+"/readyz"); code != 503 {
		t.Errorf("/readyz answers %d", code)
	}
	if code := status(t, "http://"+s.http+"/healthz"); code != 200 {
		t.Errorf("/healthz answers %d", code)
	}
	live.goesOn(t)
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it can't be a good end, but it is one
	s.wait()
	free()

	s = start(t, cfg)
	r.accept(event.OnPublicationEnded, "live")
	r.expectStory("live", "register", "unregister", "publication_ended server_crash")
	life(t, s, r, "after")
	s.stop()
	r.expectClosed()
}

// replayState is what the API says of a replay.
type replayState struct {
	ID        string `json:"id"`
	State     string `json:"state"`
	Error     string `json:"error"`
	Count     uint64 `json:"count"`
	Delivered uint64 `json:"delivered"`
	Failed    uint64 `json:"failed"`
}

// endReplay waits until the replay is over; it must have sent everything.
func (p *server) endReplay(r replayState) {
	p.t.Helper()
	for begin := time.Now(); r.State == "running"; time.Sleep(20 * time.Millisecond) {
		if time.Since(begin) > patience {
			p.t.Fatalf("the replay does not end: %+v", r)
		}
		p.v1(http.MethodGet, "replays/"+r.ID, "", http.StatusOK, &r)
	}
	if r.State != "done" || r.Count == 0 || r.Delivered != r.Count || r.Failed > 0 {
		p.t.Errorf("the replay ended as %+v", r)
	}
}

// sentTo returns what was accepted of each stream, of a replay or not, each event once.
func (r *receiver) sentTo(replay string) map[string][]told {
	out, seen := map[string][]told{}, map[string]bool{}
	for _, p := range r.all() {
		if e := &p.body.Event; p.accepted && p.body.Replay == replay && e.Seq > 0 && !seen[e.ID] {
			seen[e.ID] = true
			out[e.Stream] = append(out[e.Stream], ofBody(p.body))
		}
	}
	return out
}

// TestDiskFullDuringReplay: the disk fills while a replay is under way, and the journal's writer dies of it. The replay goes on
// to its end, since it only reads, and so does one that is asked for then; nothing new is admitted, with the reason. After a
// restart with room the receivers have everything that was ever journaled, in order.
func TestDiskFullDuringReplay(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "48")
	r, copies := newReceiver(t), newReceiver(t)
	gate, began := make(chan struct{}), make(chan struct{})
	var open, begin sync.Once
	t.Cleanup(func() { open.Do(func() { close(gate) }) })
	copies.setAnswer(func(p *post) reply {
		if p.body.Replay != "" {
			begin.Do(func() { close(began) })
			<-gate
		}
		return reply{}
	})
	cfg := quick().endpoint(r).with("server.state_dir", stateDir(t), "journal.dir", filepath.Join(disk, "journal"),
		"hook.retry", "0", "protocol.continue_push_ms", "0", "delivery.drain_ms", "500")
	file := configFile(t, "[endpoint.copy]\nurl="+copies.srv.URL+"/copy\ntimeout_ms=120000\n")
	s := start(t, cfg, "serve", "-c", file)
	for i := range 12 {
		life(t, s, r, fmt.Sprintf("s%d", i%3))
	}
	live := watch(t, s, r, "live")
	copies.await("the first copies", 12, func(p *post) bool { return p.accepted && p.body.Event.Type == event.OnPublicationEnded })
	var replay replayState
	s.v1(http.MethodPost, "replays", `{"endpoint":"copy"}`, http.StatusCreated, &replay)
	<-began
	free := fill(t, disk, 1<<30)
	if refusal := untilPublish(t, s.rtmpURL("new"), true); !strings.Contains(strings.ToLower(refusal), "journal") {
		t.Errorf("the reason is %q", refusal)
	}
	open.Do(func() { close(gate) })
	s.endReplay(replay)
	var again replayState
	s.v1(http.MethodPost, "replays", `{"endpoint":"copy"}`, http.StatusCreated, &again)
	s.endReplay(again)
	for _, id := range []string{replay.ID, again.ID} {
		n, firstly := 0, copies.sentTo("")
		for stream, list := range copies.sentTo(id) {
			n += len(list)
			for i := range list {
				list[i].prev = firstly[stream][min(i, len(firstly[stream])-1)].prev // its chain is its own
			}
			if !slices.Equal(list, firstly[stream][:min(len(list), len(firstly[stream]))]) {
				t.Errorf("%s was replayed as %+v", stream, list)
			}
		}
		if id == replay.ID && uint64(n) != replay.Count {
			t.Errorf("%d events were replayed of %d", n, replay.Count)
		}
	}
	if code := status(t, "http://"+s.http+"/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz answers %d", code)
	}
	if !strings.Contains(s.log.String(), "the event journal has failed") {
		t.Error("the log does not tell that the journal has failed")
	}
	live.goesOn(t)
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it can't be a good end, but it is one
	s.wait()
	free()

	s = start(t, cfg, "serve", "-c", file)
	r.accept(event.OnPublicationEnded, "live")
	r.expectStory("live", "register", "unregister", "publication_ended server_crash")
	life(t, s, r, "after")
	s.awaitEndpoint("copy", "done", func(st endpointState) bool { return st.Lag == 0 })
	s.stop()
	r.expectClosed()
	copies.expectClosed()
	compare(t, "copy", copies.sentTo(""), owed(audit(t, filepath.Join(disk, "journal")), lifecycle))
}

// TestDiskNearlyFull: below the reserve nothing new is admitted, and what runs can still write its end. With room again
// everything is as before.
func TestDiskNearlyFull(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "128")
	r := newReceiver(t)
	s := start(t, quick().endpoint(r).with("server.state_dir", stateDir(t), "journal.dir", filepath.Join(disk, "journal"),
		"journal.min_free_mb", "48"))
	live := watch(t, s, r, "live")
	free := fill(t, disk, 84<<20)
	refusal := untilPublish(t, s.rtmpURL("new"), true)
	if !strings.Contains(refusal, "journal.min_free_mb") {
		t.Errorf("the reason is %q", refusal)
	}
	live.goesOn(t)
	free()
	_ = untilPublish(t, s.rtmpURL("new"), false)
	live.goesOn(t)
	life(t, s, r, "after")
	s.stop()
	r.expectStory("live", "register", "publisher", "unregister", "publication_ended server_stop", "player")
	r.expectClosed()
}

// TestRecordDiskFull: a recording for which there is no room ends, says why and can be played as far as it got. The stream
// lives on, other recordings are not concerned, and with room again a new one can be begun.
func TestRecordDiskFull(t *testing.T) {
	t.Parallel()
	disk, root := smallDisk(t, "16"), t.TempDir()
	r := newReceiver(t)
	r.setAnswer(func(p *post) reply {
		if p.hook != event.OnPublish {
			return reply{}
		}
		to := root
		if strings.HasPrefix(p.body.Stream, "full") {
			to = disk
		}
		return reply{body: fmt.Sprintf(`{"code":0,"enable_mp4":true,"mp4_save_path":%q}`, to)}
	})
	s := start(t, quick().endpoint(r).with("server.state_dir", stateDir(t)))
	full, other := watch(t, s, r, "full"), watch(t, s, r, "other")
	s.awaitFiles(t, disk, "full", 1)
	free := fill(t, disk, 1<<30)
	broken := r.accept(event.OnRecordMP4, "full")
	if broken.body.Reason != "disk_full" {
		t.Errorf("the reason is %q", broken.body.Reason)
	}
	full.goesOn(t)
	other.goesOn(t)
	record := func(call, name string) answer {
		t.Helper()
		return s.call(call, "vhost", "__defaultVhost__", "app", "live", "stream", name, "type", "1")
	}
	if record("isRecording", "full").Status || !record("isRecording", "other").Status {
		t.Error("the recording that ended goes on, or the other one does not")
	}
	free()
	if a := record("startRecord", "full"); !a.Result {
		t.Errorf("%+v", a)
	}
	s.awaitFiles(t, disk, "full", 1)
	s.stop()
	want := spell("register", "record_mp4 disk_full", "publisher", "unregister", "record_mp4", "publication_ended server_stop")
	got := slices.DeleteFunc(r.story("full"), func(w string) bool { return w == "player" }) // anywhere after its stream
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	for _, name := range []string{"full", "other"} {
		for _, p := range r.accepted(name) {
			if path, ok := p.json["file_path"].(string); ok && p.hook == event.OnRecordMP4 {
				play := runTool(t, "ffmpeg", "-v", "error", "-nostdin", "-xerror", "-i", path, "-f", "null", "-")
				play.tolerate = "non monotonically increasing dts" // as in expectFile
				play.output()
			}
		}
	}
	if last := r.accept(event.OnRecordMP4, "other"); last.body.Reason != "" {
		t.Errorf("the other recording ended with %q", last.body.Reason)
	}
	r.expectClosed()
}
