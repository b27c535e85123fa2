package e2e

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/hookline/hookline/event"
)

// expectLine demands one line, to be understood by whoever starts the program, with these words.
func expectLine(t *testing.T, line string, words ...string) {
	t.Helper()
	if !strings.HasPrefix(line, "hookline: ") {
		t.Errorf("the last line is no error of the program: %s", line)
	}
	for _, w := range words {
		if !strings.Contains(line, w) {
			t.Errorf("the error does not name %q: %s", w, line)
		}
	}
	if strings.Contains(line, "goroutine") || len(line) > 800 {
		t.Errorf("not for humans: %s", line)
	}
}

// TestUnusableDirectory: the error names the directory.
func TestUnusableDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	readOnly := filepath.Join(dir, "readonly")
	mountOrChmod(t, readOnly)
	for name, state := range map[string]string{
		"below a file": filepath.Join(file, "state"), "a file": file, "read-only": readOnly,
		"not to be made": "/proc/hookline-state",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expectLine(t, refuse(t, quick().with("server.state_dir", state)), state)
		})
		t.Run(name+" for the journal", func(t *testing.T) {
			t.Parallel()
			expectLine(t, refuse(t, quick().with("server.state_dir", t.TempDir(), "journal.dir", state)), state)
		})
	}
}

// mountOrChmod makes a directory that can't be written, also by root.
func mountOrChmod(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_RDONLY, "size=1m"); err != nil {
		t.Fatalf("mount: %v; without mounts this test needs to run as another user than root", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// TestSecondServer: two servers can't share a directory, and the first does not notice the attempt.
func TestSecondServer(t *testing.T) {
	t.Parallel()
	state := stateDir(t)
	r := newReceiver(t)
	s := start(t, quick().endpoint(r).with("server.state_dir", state))
	expectLine(t, refuse(t, quick().with("server.state_dir", state)), state, "stop the other process")
	life(t, s, r, "a")
}

// TestPortInUse: the error names the key and the port.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"rtmp.port", "http.port"} {
		state := stateDir(t)
		expectLine(t, refuse(t, quick().with("server.state_dir", state, k, port)), k, port, "in use")
		start(t, quick().with("server.state_dir", state)) // nothing is left behind
	}
}

// TestBadConfig: the error names the file, the line, the key, the value and what is allowed.
func TestBadConfig(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config.ini")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	base := quick().with("server.state_dir", stateDir(t)).without("rtmp.port")
	write("[hook]\nenable=1\ntimeoutSec=soon\n")
	expectLine(t, refuse(t, base, "serve", "-c", file), file+":3", "hook.timeoutSec", "soon", "allowed")
	write("[rtmp]\nport=123456\n")
	expectLine(t, refuse(t, base, "serve", "-c", file), file+":2", "rtmp.port", "123456", "allowed")
	write("[hook]\non_publish=ftp://example.org/\n")
	expectLine(t, refuse(t, base, "serve", "-c", file), file+":2", "hook.on_publish", "ftp://example.org/")
	write("")
	expectLine(t, refuse(t, base.with("rtmp.port", "many")), variable("rtmp.port"), "many", "allowed")
	expectLine(t, refuse(t, base.with("rtmp.prot", "1")), variable("rtmp.prot"))
	expectLine(t, refuse(t, base, "serve", "-c", filepath.Join(t.TempDir(), "no", "such", "config.ini")), "config.ini")
}

// TestCorruptJournal: stored bytes that are not what was written are never taken for events. The error names the
// directory and the file.
func TestCorruptJournal(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	r := newReceiver(t)
	cfg := quick().endpoint(r).with("server.state_dir", state)
	for range 2 { // opening again turns the first log into a table
		s := start(t, cfg)
		for range 5 {
			p := publish(t, s.rtmpURL("a"))
			p.unpublish(t)
		}
		s.stop()
	}
	r.await("the ends", 10, func(p *post) bool { return p.accepted && p.hook == event.OnPublicationEnded })
	damage := map[string]func([]byte) []byte{
		"flipped":   func(b []byte) []byte { b[len(b)/2] ^= 0xff; b[len(b)/3] ^= 0x10; return b },
		"truncated": func(b []byte) []byte { return b[:len(b)/2] },
	}
	for _, kind := range []string{`\.sst$`, `^MANIFEST-`} {
		for how, change := range damage {
			t.Run(kind+how, func(t *testing.T) {
				copied := filepath.Join(t.TempDir(), "state")
				if err := os.CopyFS(copied, os.DirFS(state)); err != nil {
					t.Fatal(err)
				}
				changed := changeFile(t, copied, regexp.MustCompile(kind), change)
				line := refuse(t, quick().with("server.state_dir", copied))
				expectLine(t, line, filepath.Join(copied, "journal"))
				if !strings.Contains(line, filepath.Base(changed)) && !strings.Contains(line, "corrupt") {
					t.Errorf("the error neither names %s nor says corrupt: %s", changed, line)
				}
			})
		}
	}
}

// changeFile changes the largest file with such a name and returns its path.
func changeFile(t *testing.T, dir string, name *regexp.Regexp, change func([]byte) []byte) string {
	t.Helper()
	var file string
	var size int64
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !name.MatchString(d.Name()) {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > size {
			file, size = path, info.Size()
		}
		return err
	})
	if err != nil || file == "" {
		t.Fatalf("no file like %v, %v", name, err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, change(raw), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestTornTail: what a crash left half written at the end of the log is no damage. The rest is delivered, and the lost
// publications end.
func TestTornTail(t *testing.T) {
	t.Parallel()
	state := stateDir(t)
	r := newReceiver(t)
	cfg := quick().endpoint(r).with("server.state_dir", state)
	s := start(t, cfg)
	for range 3 {
		life(t, s, r, "a")
	}
	live := publish(t, s.rtmpURL("b"))
	r.accept(event.OnStreamChanged, "b", registerOf(schemas()[len(schemas())-1]))
	live.keep(t)
	s.kill()
	changeFile(t, state, regexp.MustCompile(`\.log$`), func(b []byte) []byte {
		end := len(b)
		for end > 0 && b[end-1] == 0 { // preallocated
			end--
		}
		// A record that was begun: a header that promises more than is there.
		return append(b[:end:end], 1, 2, 3, 4, 200, 0, 1)
	})
	s = start(t, cfg)
	r.accept(event.OnPublicationEnded, "b")
	r.expectStory("b", "register", "unregister", "publication_ended server_crash")
	life(t, s, r, "c")
	s.stop()
	r.expectClosed()
}
