package config

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// opened is a Store over a file with a state directory of its own.
type opened struct {
	*Store
	path  string
	state string
	log   *bytes.Buffer
	calls [][]string // changed keys of each OnChange
}

func open(t *testing.T, content string, environ ...string) *opened {
	t.Helper()
	return reopen(t, write(t, content), t.TempDir(), environ...)
}

func reopen(t *testing.T, path, state string, environ ...string) *opened {
	t.Helper()
	o := &opened{path: path, state: state, log: &bytes.Buffer{}}
	var err error
	o.Store, err = Open(Options{
		Path: path, Environ: append(environ, "HOOKLINE_SERVER_STATE_DIR="+state),
		Log: slog.New(slog.NewTextHandler(o.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	o.OnChange(func(_, _ *Config, changed []string) { o.calls = append(o.calls, changed) })
	return o
}

func (o *opened) content(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(o.path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (o *opened) rewrite(t *testing.T, content string) {
	t.Helper()
	if err := os.WriteFile(o.path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

const named = "[api]\nsecret=abc\n[general]\nmediaServerId=me\n"

func TestOpenWritesMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new.ini")
	o := reopen(t, path, t.TempDir())
	c, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings()) > 0 || len(c.Unimplemented()) > 0 {
		t.Errorf("the written file has remarks: %v %v", c.Warnings(), c.Unimplemented())
	}
	for _, k := range Keys() {
		src := c.sources[k.Name]
		if v, _ := c.Get(k.Name); src.line == 0 || (v != k.Default && k.Name != keySecret) {
			t.Errorf("%s is not in the file, or is %q", k.Name, v)
		}
	}
	if c.API.Secret != o.Config().API.Secret || len(c.API.Secret) != 32 {
		t.Errorf("secret in the file %q, in effect %q", c.API.Secret, o.Config().API.Secret)
	}
	if !strings.Contains(o.log.String(), "wrote one with the defaults") || strings.Contains(o.log.String(), c.API.Secret) {
		t.Errorf("log: %s", o.log)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: %v, %v", info.Mode(), err)
	}
	if _, err := Open(Options{Path: filepath.Join(t.TempDir(), "no", "dir.ini")}); err == nil {
		t.Error("a file in a missing directory was written")
	}
}

func TestSecretIsReplaced(t *testing.T) {
	for name, content := range map[string]string{
		"published": "; mine\r\n[api]\r\nsecret=" + PublishedSecret + "\r\n", "empty": "[api]\nsecret=\n", "absent": "[http]\nport=81\n",
	} {
		t.Run(name, func(t *testing.T) {
			o := open(t, content)
			secret := o.Config().API.Secret
			if len(secret) != 32 || weakSecret(secret) || !strings.Contains(o.content(t), "secret="+secret) {
				t.Fatalf("secret %q, file %q", secret, o.content(t))
			}
			if v, _ := o.Config().Get(keySecret); v != secret {
				t.Errorf("shown as %q", v)
			}
			if again := reopen(t, o.path, o.state).Config().API.Secret; again != secret {
				t.Errorf("after a restart: %q", again)
			}
		})
	}
	o := open(t, "[api]\nsecret=mine\n")
	if o.Config().API.Secret != "mine" || o.content(t) != "[api]\nsecret=mine\n" {
		t.Errorf("a secret of one's own was changed: %q", o.content(t))
	}
}

func TestIdentityWithoutFile(t *testing.T) {
	state := filepath.Join(t.TempDir(), "deep", "state")
	a := reopen(t, "", state).Config()
	b := reopen(t, "", state).Config()
	if len(a.API.Secret) != 32 || len(a.General.MediaServerID) != 16 {
		t.Errorf("secret %q, id %q", a.API.Secret, a.General.MediaServerID)
	}
	if a.API.Secret != b.API.Secret || a.General.MediaServerID != b.General.MediaServerID {
		t.Error("the identity changed with a restart")
	}
	if info, err := os.Stat(filepath.Join(state, identityFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	weak := reopen(t, "", state, "HOOKLINE_API_SECRET="+PublishedSecret).Config()
	if weak.API.Secret != a.API.Secret {
		t.Errorf("a published secret of the environment became %q", weak.API.Secret)
	}
	set := reopen(t, "", state, "HOOKLINE_GENERAL_MEDIASERVERID=x").Config()
	if set.General.MediaServerID != "x" {
		t.Errorf("mediaServerId is %q", set.General.MediaServerID)
	}
}

func TestServerIDOfFile(t *testing.T) {
	if id := open(t, "[general]\nmediaServerId=your_server_id\n").Config().General.MediaServerID; id != "your_server_id" {
		t.Errorf("mediaServerId is %q", id)
	}
	o := open(t, "[api]\nsecret=abc\n")
	again := reopen(t, o.path, o.state)
	if id := o.Config().General.MediaServerID; len(id) != 16 || again.Config().General.MediaServerID != id {
		t.Errorf("mediaServerId is %q, then %q", id, again.Config().General.MediaServerID)
	}
	if o.content(t) != "[api]\nsecret=abc\n" {
		t.Errorf("file: %q", o.content(t))
	}
}

func TestOpenRefusesBadFile(t *testing.T) {
	path := write(t, "[http]\nport=x\n")
	_, err := Open(Options{Path: path})
	var bad *ValueError
	if !errors.As(err, &bad) || bad.Line != 2 {
		t.Errorf("error is %v", err)
	}
}

func TestSetWritesBack(t *testing.T) {
	in, err := os.ReadFile("testdata/writeback.in.ini")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/writeback.want.ini")
	if err != nil {
		t.Fatal(err)
	}
	for name, eol := range map[string]string{"lf": "\n", "crlf": "\r\n"} {
		t.Run(name, func(t *testing.T) {
			o := open(t, strings.ReplaceAll(string(in), "\n", eol))
			n, err := o.Set(map[string]string{
				"hook.on_play": "http://127.0.0.1:8080/play?a=b", "HOOK.TIMEOUTSEC": " 30 ", "hook.retry": "1",
				"general.streamNoneReaderDelayMS": "5000", "journal.retention_gb": "20", "ffmpeg.cmd_hd": "%s x %s %s",
				"ffmpeg.snap": "rm -rf", "ffmpeg.bin": "/bin/sh", "protocol.downloadRoot": "/", "no.such": "key",
			})
			if n != 5 || err != nil {
				t.Fatalf("changed %d, %v", n, err)
			}
			if got := o.content(t); got != strings.ReplaceAll(string(want), "\n", eol) {
				t.Errorf("file is\n%s", got)
			}
			c := o.Config()
			if c.Hook.Timeout != 30*time.Second || c.Hook.URL("on_play") == "" || c.Journal.RetentionBytes != 20<<30 {
				t.Errorf("%+v %+v", c.Hook, c.Journal)
			}
			keys := []string{"ffmpeg.cmd_hd", "general.streamNoneReaderDelayMS", "hook.on_play", "hook.timeoutSec", "journal.retention_gb"}
			if len(o.calls) != 1 || !slices.Equal(o.calls[0], keys) {
				t.Errorf("OnChange: %v", o.calls)
			}
			if log := o.log.String(); !strings.Contains(log, "hook.timeoutSec journal.retention_gb]") {
				t.Errorf("log: %s", log)
			}
		})
	}
}

func TestSetRefuses(t *testing.T) {
	o := open(t, named, "HOOKLINE_HOOK_RETRY=3")
	for _, bad := range []map[string]string{
		{"http.port": "x", "hook.enable": "1"},
		{"http.port": ""},
		{"hook.on_play": "http://h/\n[api]\nsecret=x"},
		{"api.secret": ""},
		{"api.secret": PublishedSecret},
		{"delivery.backoff_max_ms": "1"},
	} {
		n, err := o.Set(bad)
		var value *ValueError
		if n != 0 || !errors.As(err, &value) {
			t.Errorf("%v: %d, %v", bad, n, err)
		}
	}
	for _, nothing := range []map[string]string{nil, {"a.b": "c"}, {"hook.retry": "9"}, {"api.secret": "abc"}, {"": ""}} {
		if n, err := o.Set(nothing); n != 0 || err != nil {
			t.Errorf("%v: %d, %v", nothing, n, err)
		}
	}
	if o.content(t) != named || len(o.calls) > 0 || o.Config().Hook.Retry != 3 {
		t.Errorf("something changed: %q, %v", o.content(t), o.calls)
	}
}

func TestSetWithoutFile(t *testing.T) {
	o := reopen(t, "", t.TempDir())
	if n, err := o.Set(map[string]string{"hook.enable": "1", "hook.on_play": "http://h"}); n != 2 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if !strings.Contains(o.log.String(), "there is no configuration file") {
		t.Errorf("nobody learns that it is not kept: %s", o.log)
	}
	if n, err := o.Set(map[string]string{"hook.retry": "4"}); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if err := o.Reload(); err != nil {
		t.Fatal(err)
	}
	if c := o.Config(); !c.Hook.Enable || c.Hook.Retry != 4 || c.HTTP.Port != 8080 {
		t.Errorf("%+v", c.Hook)
	}
}

func TestSetKeepsWhatWasEdited(t *testing.T) {
	o := open(t, named)
	o.rewrite(t, named+"[http]\nport=81\n")
	if n, err := o.Set(map[string]string{"hook.retry": "4"}); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if c := o.Config(); c.HTTP.Port != 81 || c.Hook.Retry != 4 {
		t.Errorf("port %d, retry %d", c.HTTP.Port, c.Hook.Retry)
	}
	if want := named + "[http]\nport=81\n\n[hook]\nretry=4\n"; o.content(t) != want {
		t.Errorf("file: %q", o.content(t))
	}
}

func TestSetLeavesBadFileAlone(t *testing.T) {
	o := open(t, named)
	const bad = "[http]\nport=x\n"
	o.rewrite(t, bad)
	n, err := o.Set(map[string]string{"hook.retry": "4"})
	if n != 1 || !errors.Is(err, ErrNotSaved) || o.Config().Hook.Retry != 4 || o.content(t) != bad {
		t.Fatalf("%d, %v, file %q", n, err, o.content(t))
	}
	o.rewrite(t, named)
	if err := o.Reload(); err != nil || o.Config().Hook.Retry != 4 {
		t.Errorf("%v: an unchanged file undid the change", err)
	}
	if n, err := o.Set(map[string]string{"hook.retry_delay": "1"}); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if want := named + "\n[hook]\nretry=4\nretry_delay=1\n"; o.content(t) != want {
		t.Errorf("file: %q", o.content(t))
	}
}

func TestReload(t *testing.T) {
	o := open(t, named)
	before := o.Config()
	if err := o.Reload(); err != nil || o.Config() != before {
		t.Errorf("an unchanged file: %v", err)
	}
	o.rewrite(t, "[hook]\nretry=x\n")
	var bad *ValueError
	if err := o.Reload(); !errors.As(err, &bad) || o.Config() != before {
		t.Errorf("a bad file: %v", err)
	}
	if err := o.Reload(); !errors.As(err, &bad) {
		t.Errorf("the same bad file again: %v", err)
	}
	o.rewrite(t, " \r\n")
	if err := o.Reload(); !errors.Is(err, ErrEmptyFile) || o.Config() != before {
		t.Errorf("an empty file: %v", err)
	}
	o.rewrite(t, named+"[hook]\nalive_interval=5\non_plai=x\n[rtmp]\nport=1936\n[protocol]\nauto_close=1\n")
	if err := o.Reload(); err != nil || o.Config().Hook.AliveInterval != 5*time.Second {
		t.Errorf("a good file: %v", err)
	}
	want := [][]string{{"hook.alive_interval", "hook.on_plai", "protocol.auto_close", "rtmp.port"}}
	if len(o.calls) != 1 || !slices.Equal(o.calls[0], want[0]) {
		t.Errorf("OnChange: %v", o.calls)
	}
	for _, part := range []string{
		"applied=[hook.alive_interval]", "for_new_streams=[protocol.auto_close]", "needs_restart=[rtmp.port]",
		"without_effect=[hook.on_plai]", "Did you mean hook.on_play?",
	} {
		if !strings.Contains(o.log.String(), part) {
			t.Errorf("%s is not in the log: %s", part, o.log)
		}
	}
	if err := os.Remove(o.path); err != nil {
		t.Fatal(err)
	}
	if err := o.Reload(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestReloadKeepsEnvironment(t *testing.T) {
	o := open(t, named, "HOOKLINE_HOOK_RETRY=3")
	o.rewrite(t, named+"[hook]\nretry=9\ntimeoutSec=9\n")
	if err := o.Reload(); err != nil {
		t.Fatal(err)
	}
	if h := o.Config().Hook; h.Retry != 3 || h.Timeout != 9*time.Second {
		t.Errorf("%+v", h)
	}
}

func TestCancelledSubscription(t *testing.T) {
	o := open(t, named)
	calls := 0
	cancel := o.OnChange(func(_, _ *Config, _ []string) { calls++ })
	cancel()
	cancel()
	if _, err := o.Set(map[string]string{"hook.retry": "4"}); err != nil || calls != 0 || len(o.calls) != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
}

func TestWriteFileFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target.ini"), filepath.Join(dir, "link.ini")
	if err := os.WriteFile(target, []byte("old and longer"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("target.ini", link); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(link, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(target)
	if err != nil || string(data) != "new" {
		t.Errorf("%q, %v", data, err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v", err)
	}
	if info, err := os.Stat(target); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := overwrite(target, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(target); err != nil || string(data) != "x" {
		t.Errorf("%q, %v", data, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("something was left behind: %v, %v", entries, err)
	}
}

// watched runs Watch until the test ends and returns the changed keys of each change.
func watched(t *testing.T, o *opened) <-chan []string {
	t.Helper()
	changes := make(chan []string, 16)
	o.OnChange(func(_, _ *Config, changed []string) { changes <- changed })
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.Watch(t.Context())
	}()
	t.Cleanup(func() { <-done })
	return changes
}

func TestWatch(t *testing.T) {
	o := open(t, named)
	changes := watched(t, o)
	expect := func(what, key string) {
		t.Helper()
		if got := <-changes; !slices.Equal(got, []string{key}) {
			t.Fatalf("%s: changed %v", what, got)
		}
	}
	o.rewrite(t, named+"[hook]\nretry=4\n")
	expect("written in place", "hook.retry")
	if _, err := o.Set(map[string]string{"hook.timeoutSec": "4"}); err != nil {
		t.Fatal(err)
	}
	expect("set", "hook.timeoutSec")
	next := o.path + ".new"
	if err := os.WriteFile(next, []byte(named+"[hook]\nretry=5\ntimeoutSec=4\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, o.path); err != nil {
		t.Fatal(err)
	}
	expect("replaced; a change by our own writing would come before", "hook.retry")
}

func TestWatchBehindLink(t *testing.T) {
	// A directory that is exchanged as a whole, as Kubernetes does with a ConfigMap.
	dir := t.TempDir()
	for name, content := range map[string]string{"v1": named, "v2": named + "[hook]\nretry=4\n"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "config.ini"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, name string) {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("v1", "..data")
	link("..data/config.ini", "config.ini")
	o := reopen(t, filepath.Join(dir, "config.ini"), t.TempDir())
	changes := watched(t, o)
	link("v2", "..new")
	if err := os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	if got := <-changes; !slices.Equal(got, []string{"hook.retry"}) {
		t.Errorf("changed %v", got)
	}
}

func TestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := open(t, named)
		go o.poll(t.Context(), pollEvery)
		synctest.Wait()
		o.rewrite(t, named+"[hook]\nretry=4\n")
		time.Sleep(pollEvery + time.Millisecond)
		synctest.Wait()
		o.rewrite(t, "[hook]\nretry=x\n")
		time.Sleep(3 * pollEvery)
		synctest.Wait()
		if len(o.calls) != 1 || o.Config().Hook.Retry != 4 {
			t.Errorf("changes: %v", o.calls)
		}
		if n := strings.Count(o.log.String(), "can't be used"); n != 1 {
			t.Errorf("the bad file was reported %d times", n)
		}
	})
}

// TestRefusals: what is said to a log names no value.
func TestRefusals(t *testing.T) {
	o := open(t, "[api]\nsecret=0123456789abcdef0123456789abcdef\n")
	_, err := o.Set(map[string]string{"hook.on_play": "ftp://user:hidden@h", "hook.retry": "x"})
	var refused interface{ Refusals() string }
	if !errors.As(err, &refused) {
		t.Fatalf("%T: %v", err, err)
	}
	got := refused.Refusals()
	for _, want := range []string{"hook.on_play: allowed is empty, or an http", "; hook.retry: allowed is "} {
		if !strings.Contains(got, want) {
			t.Errorf("%q does not say %q", got, want)
		}
	}
	if strings.Contains(got, "hidden") {
		t.Errorf("a value is shown: %s", got)
	}
}
