package config

import (
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// write puts content into a new file.
func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.ini")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaults(t *testing.T) {
	none, err := Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	file, err := Load(write(t, ""), nil)
	if err != nil {
		t.Fatal(err)
	}
	if none.HTTP.Port != 8080 || file.HTTP.Port != 80 || none.RTMP.Port != 1935 || file.RTMP.Port != 1935 {
		t.Errorf("ports: %d and %d, %d and %d", none.HTTP.Port, file.HTTP.Port, none.RTMP.Port, file.RTMP.Port)
	}
	if v, _ := none.Get("http.port"); v != "8080" {
		t.Errorf("http.port is shown as %q", v)
	}
	if none.JournalDir() != filepath.Join("data", "journal") {
		t.Errorf("journal in %s", none.JournalDir())
	}
	want := Journal{Dir: "journal", Fsync: true, Retention: 72 * time.Hour, RetentionBytes: 10 << 30, MinFreeBytes: 256 << 20}
	if none.Journal != want {
		t.Errorf("journal: %+v", none.Journal)
	}
	if d := none.Delivery; d.MaxAge != 24*time.Hour || d.BackoffMin != time.Second || d.Policy != "default" ||
		d.Barrier != 300*time.Millisecond {
		t.Errorf("delivery: %+v", d)
	}
	if g := none.General; g.FlowThreshold != 1<<20 || g.MaxStreamWait != 15*time.Second || g.ListenIP != netip.IPv6Unspecified() {
		t.Errorf("general: %+v", g)
	}
	if p := none.Protocol; p.ModifyStamp != 2 || !p.EnableRTMP || p.ContinuePush != 15*time.Second || p.MP4SavePath != "./data/www" {
		t.Errorf("protocol: %+v", p)
	}
	if none.Server.LogLevel != slog.LevelInfo || len(none.Hook.URLs()) != 0 || none.Hook.Enable {
		t.Errorf("server: %+v, hook: %+v", none.Server, none.Hook)
	}
	if len(none.Warnings())+len(none.Unimplemented()) > 0 {
		t.Errorf("defaults have remarks: %v, %v", none.Warnings(), none.Unimplemented())
	}
}

func TestLoadsZLMediaKitsFile(t *testing.T) {
	data, err := os.ReadFile("testdata/zlmediakit.ini")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"lf": string(data), "crlf": strings.ReplaceAll(string(data), "\n", "\r\n"), "bom": bom + string(data),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Load(write(t, content), nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.Hook.URL("on_play") != "http://127.0.0.1:18080/index/hook/on_play?token=a=b" ||
				c.Hook.Timeout != 30*time.Second || c.Hook.AliveInterval != 10*time.Second || len(c.Hook.URLs()) != 8 {
				t.Errorf("hook: %+v", c.Hook)
			}
			if c.HTTP.Port != 8880 || c.HTTP.ForwardedIPHeader != "X-Real-IP" ||
				!strings.Contains(c.HTTP.NotFound, "#333; margin: 0\">gone") {
				t.Errorf("http: %+v", c.HTTP)
			}
			if c.General.MediaServerID != "your_server_id" || c.Protocol.ContinuePush != 3*time.Second {
				t.Errorf("general: %+v", c.General)
			}
			if v, ok := c.Get("ffmpeg.cmd_hd"); !ok || !strings.Contains(v, "1280x720") {
				t.Errorf("ffmpeg.cmd_hd is %q", v)
			}
			if got := c.Unimplemented(); len(got) != 0 {
				t.Errorf("not implemented: %v", got)
			}
			var about []string
			for _, w := range c.Warnings() {
				about = append(about, w.Key)
			}
			if !slices.Equal(about, []string{"hook.admin_params", "record.filePath", "rtp.maxRtpCount"}) {
				t.Errorf("warnings: %v", c.Warnings())
			}
		})
	}
}

func TestBadFile(t *testing.T) {
	path := write(t, `[hook]
retry=-1
timeoutSec=10 ; seconds
on_play=play.php
[http
[rtmp]
port=rtmp
port=1936
[delivery]
backoff_min_ms=5000
backoff_max_ms=100
`)
	_, err := Load(path, []string{"HOOKLINE_HTTP_PORT=99999", "HOOKLINE_HOK_ENABLE=1"})
	var errs Errors
	if !errors.As(err, &errs) {
		t.Fatalf("error is %v", err)
	}
	want := []ValueError{
		{File: path, Line: 5, Value: "[http", Allowed: "a section header is [name], alone on its line"},
		{File: path, Line: 2, Key: "hook.retry", Value: "-1", Allowed: "a whole number from 0 to 1000"},
		{
			File: path, Line: 3, Key: "hook.timeoutSec", Value: "10 ; seconds",
			Allowed: "a number of seconds from 0.1 to 3600 (a comment needs a line of its own)",
		},
		{File: path, Line: 4, Key: "hook.on_play", Value: "play.php", Allowed: "empty, or an http:// or https:// URL with a host"},
		{
			File: "environment", Key: "HOOKLINE_HOK_ENABLE", Unknown: true,
			Allowed: "HOOKLINE_<SECTION>_<KEY> of a known key, for example HOOKLINE_HOOK_ON_PLAY (nearest: HOOKLINE_HOOK_ENABLE)",
		},
		{File: "environment", Key: "HOOKLINE_HTTP_PORT", Value: "99999", Allowed: "a port from 0 to 65535 (0: off)"},
		{
			File: path, Line: 11, Key: "delivery.backoff_max_ms", Value: "100",
			Allowed: "at least delivery.backoff_min_ms, which is 5000",
		},
	}
	if len(errs) != len(want) {
		t.Fatalf("errors:\n%v", err)
	}
	for i, e := range errs {
		if *e != want[i] {
			t.Errorf("error %d: %+v\nwant %+v", i, *e, want[i])
		}
	}
	var one *ValueError
	if !errors.As(err, &one) || one.Line != 5 {
		t.Errorf("errors.As finds %v", one)
	}
	if got := errs[1].Error(); got != path+`:2: hook.retry = "-1"; allowed: a whole number from 0 to 1000` {
		t.Errorf("message: %s", got)
	}
}

func TestUnreadableFiles(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.ini"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := Load(write(t, strings.Repeat("#\n", MaxFileBytes)), nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("large file: %v", err)
	}
	if _, err := Load(t.TempDir(), nil); err == nil {
		t.Error("a directory was loaded")
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct{ name, content, want string }{
		{"typo", "[hook]\non_plai=x\n", "f:2: hook.on_plai: no such key; kept, without effect. Did you mean hook.on_play?"},
		{"case", "[http]\nPort=80\n", "f:2: http.Port: no such key; kept, without effect. Did you mean http.port?"},
		{"section", "[general]\nmaxReqSize=1\n", "f:2: general.maxReqSize: no such key; kept, without effect. Did you mean http.maxReqSize or shell.maxReqSize?"},
		{"nothing like it", "[my]\nown=1\n", "f:2: my.own: no such key; kept, without effect"},
		{"twice", "[http]\nport=x\nport=81\n", "f:3: http.port: given again; line 2 has no effect"},
		{"no key", "=1\n", "f:1: a value without a key has no effect"},
		{"no url", "[hook]\nenable=1\n", "f:2: hook.enable: hooks are on, but no hook has a URL"},
		{"off", "[hook]\non_play=http://h\n", "f: hook.enable: hooks have URLs, but hooks are off (hook.enable=0)"},
		{"endpoint without keys", "[endpoint.a]\n;url=http://h\n[endpoint.b]\nurl=http://h\n", "f:1: endpoint.a: an empty section is no endpoint; it needs a url"},
		{"endpoint with keys elsewhere", "[endpoint.b]\n[endpoint.b]\nurl=http://h\n", ""},
		{"template", "[ffmpeg]\ncmd_4k=x\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, errs := newTable().build("f", parseDocument([]byte(tt.content)), nil)
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			var got []string
			for _, w := range c.Warnings() {
				got = append(got, w.String())
			}
			if strings.Join(got, "\n") != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestUnimplemented(t *testing.T) {
	content := "[rtsp]\nport=8554\nsslport=0\n[rtc]\ntimeoutSec=15.0\nrembBitRate=5\n[protocol]\nenable_hls=true\nenable_mp4=1\n" +
		"[rtmp]\nsslport=19350\n[http]\nsslport=0\n[hook]\non_record_mp4=\n"
	c, errs := newTable().build("f", parseDocument([]byte(content)), []string{"HOOKLINE_SRT_PORT=9001"})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	want := []string{"rtc.rembBitRate", "srt.port"}
	if got := c.Unimplemented(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestMediaRoot: without a file media lies below the state directory, unless something else is said.
func TestMediaRoot(t *testing.T) {
	for _, tt := range []struct {
		path      string
		env       []string
		hls, want string
	}{
		{"", nil, "./data/www", "./data/www"},
		{"", []string{"HOOKLINE_SERVER_STATE_DIR=/x/"}, "/x/www", "/x/www"},
		{"", []string{"HOOKLINE_SERVER_STATE_DIR=/x", "HOOKLINE_PROTOCOL_HLS_SAVE_PATH=/y"}, "/y", "/x/www"},
		{write(t, ""), []string{"HOOKLINE_SERVER_STATE_DIR=/x"}, "./www", "./www"},
	} {
		c, err := Load(tt.path, tt.env)
		if err != nil {
			t.Fatal(err)
		}
		shown, _ := c.Get("protocol.hls_save_path")
		if c.Protocol.HLSSavePath != tt.hls || shown != tt.hls || c.Protocol.MP4SavePath != tt.want ||
			c.HTTP.RootPath != tt.want || c.API.DownloadRoot != tt.want {
			t.Errorf("%v: %+v, shown %q", tt.env, c.Protocol, shown)
		}
	}
}

func TestEnvironment(t *testing.T) {
	path := write(t, "[hook]\nretry=5\n[ffmpeg]\ncmd_HD=x\n[my]\nown-key=1\n[rtp_proxy]\nport_range=40000-41000\n")
	tests := []struct{ env, key, want string }{
		{"HOOKLINE_HOOK_RETRY=7", "hook.retry", "7"},
		{"HOOKLINE_HOOK_ON_PLAY=http://h/?a=b", "hook.on_play", "http://h/?a=b"},
		{"HOOKLINE_hook_on_Play= http://h ", "hook.on_play", "http://h"},
		{"HOOKLINE_RTP_PROXY_PORT_RANGE=50000-51000", "rtp_proxy.port_range", "50000-51000"},
		{"HOOKLINE_GENERAL_MEDIASERVERID=a", "general.mediaServerId", "a"},
		{"HOOKLINE_HTTP_PORT=81", "http.port", "81"},
		{"HOOKLINE_RTC_TCPPORT=81", "rtc.tcpPort", "81"},
		{"HOOKLINE_FFMPEG_CMD_HD=y", "ffmpeg.cmd_HD", "y"},
		{"HOOKLINE_FFMPEG_CMD_4K=y", "ffmpeg.cmd_4k", "y"},
		{"HOOKLINE_MY_OWN_KEY=2", "my.own-key", "2"},
		{"HOOKLINE_SERVER_STATE_DIR=/x", "server.state_dir", "/x"},
		{"HOOKLINE_HTTP_FORWARDED_IP_HEADER=", "http.forwarded_ip_header", ""},
	}
	for _, tt := range tests {
		c, err := Load(path, []string{"HOME=/", "HOOKLINE", tt.env})
		if err != nil {
			t.Errorf("%s: %v", tt.env, err)
			continue
		}
		if got, _ := c.Get(tt.key); got != tt.want {
			t.Errorf("%s: %s is %q", tt.env, tt.key, got)
		}
		if got := c.FromEnvironment(); !slices.Equal(got, []string{tt.key}) {
			t.Errorf("%s: from the environment: %v", tt.env, got)
		}
	}
	for _, env := range []string{
		"HOOKLINE_CONFIG=/etc/config.ini", "HOOKLINE_SERVICE_HOST=10.0.0.1", "HOOKLINE_SERVICE_PORT_HTTP=80",
		"HOOKLINE_PORT=tcp://10.0.0.1:80", "HOOKLINE_HTTP_PORT=tcp://10.0.0.1:80", "HOOKLINE_PORT_80_TCP_ADDR=10.0.0.1",
		"hookline_hook_retry=9",
	} {
		c, err := Load(path, []string{env})
		if err != nil || len(c.FromEnvironment()) > 0 {
			t.Errorf("%s was not ignored: %v", env, err)
		}
	}
	for _, env := range []string{"HOOKLINE_=1", "HOOKLINE_SECRET=hidden", "HOOKLINE_HOOK_ON_PLAY=http://h\n", "HOOKLINE_HOOK_ON_PLAY=http://h/a\nb"} {
		_, err := Load(path, []string{env})
		if trimmed := strings.HasSuffix(env, "\n"); trimmed != (err == nil) {
			t.Errorf("%q: %v", env, err)
		}
		if err != nil && strings.Contains(err.Error(), "hidden") {
			t.Errorf("%q: the value is shown: %v", env, err)
		}
	}
}

func TestSnapshotIsACopy(t *testing.T) {
	c, err := Load(write(t, "[hook]\nenable=1\non_play=http://h\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	before := c.All()
	maps.DeleteFunc(c.All(), func(string, string) bool { return true })
	delete(c.Hook.URLs(), "on_play")
	if !maps.Equal(before, c.All()) || c.Hook.URL("on_play") == "" {
		t.Error("the snapshot can be changed from outside")
	}
}

func TestCheck(t *testing.T) {
	path := write(t, "[http]\nport=x\nprot=1\n[srt]\nport=8554\n")
	r, err := Check(path, []string{"HOOKLINE_HOOK_RETRY=2"})
	if err != nil || r.OK() {
		t.Fatalf("%+v, %v", r, err)
	}
	want := "error: " + path + `:2: http.port = "x"; allowed: a port from 0 to 65535 (0: off)
warning: ` + path + `:3: http.prot: no such key; kept, without effect. Did you mean http.port?
warning: api.secret: empty or the published default; a random one replaces it at start
not in this version, without effect: srt.port
set by the environment: hook.retry
` + path + ": 1 error(s)\n"
	if got := r.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if r, err := Check(write(t, "[api]\nsecret=abc\n"), nil); err != nil || !r.OK() || !strings.HasSuffix(r.String(), ": ok\n") {
		t.Errorf("%v, %v", r, err)
	}
	if r, err := Check("", nil); err != nil || !r.OK() {
		t.Errorf("%v, %v", r, err)
	}
	if _, err := Check(path+".none", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}
