package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
