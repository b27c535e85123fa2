package port_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/queue/port"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var keyCases = []struct{ key, subject string }{
	{"__defaultVhost__/live/a", "__defaultVhost__.live.a"},
	{"", "%"},
	{"/", "%.%"},
	{"a//b", "a.%.b"},
	{"a/", "a.%"},
	{"v.org/live/cam 1", "v%2Eorg.live.cam%201"},
	{"a/*/>/#", "a.%2A.%3E.%23"},
	{"100%", "100%25"},
	{"%41", "%2541"},
	{"ß", "%C3%9F"},
	{"\x00\xff", "%00%FF"},
	{"A-z_09", "A-z_09"},
}

func TestKeys(t *testing.T) {
	for _, tt := range keyCases {
		if got := port.EncodeKey(tt.key); got != tt.subject {
			t.Errorf("EncodeKey(%q) = %q, want %q", tt.key, got, tt.subject)
		}
		if got, err := port.DecodeKey(tt.subject); err != nil || got != tt.key {
			t.Errorf("DecodeKey(%q) = %q, %v, want %q", tt.subject, got, err, tt.key)
		}
	}
	for _, subject := range []string{"", ".", "a..b", "a.%4", "%4", "%g0", "a b", "%41", "%2F", "%2e", "a/b", "a%", "ß"} {
		if got, err := port.DecodeKey(subject); err == nil {
			t.Errorf("DecodeKey(%q) = %q", subject, got)
		}
	}
}

func FuzzKey(f *testing.F) {
	for _, tt := range keyCases {
		f.Add(tt.key)
		f.Add(tt.subject)
	}
	f.Fuzz(func(t *testing.T, s string) {
		subject := port.EncodeKey(s)
		if strings.ContainsAny(subject, " */>#\t\r\n\x00") || strings.Contains("."+subject+".", "..") {
			t.Errorf("%q is no subject", subject)
		}
		if back, err := port.DecodeKey(subject); err != nil || back != s {
			t.Errorf("%q comes back as %q, %v", s, back, err)
		}
		if key, err := port.DecodeKey(s); err == nil && port.EncodeKey(key) != s {
			t.Errorf("%q and %q decode to the same", s, port.EncodeKey(key))
		}
	})
}

func TestParseURL(t *testing.T) {
	for _, tt := range []struct{ raw, shown, user, password, hosts, path string }{
		{"nats://h", "nats://h:7/", "", "", "h:7", ""},
		{"NATS://h:1/p", "nats://h:1/p", "", "", "h:1", "p"},
		{"nats://u:p%40%2F%23@h,i:2,[::1]:3,[::1]/a/b?x=1", "nats://***@h:7,i:2,[::1]:3,[::1]:7/a/b", "u", "p@/#", "h:7 i:2 [::1]:3 [::1]:7", "a/b"},
		{"nats://token@h", "nats://***@h:7/", "token", "", "h:7", ""},
		{"nats://:pw@h", "nats://***@h:7/", "", "pw", "h:7", ""},
		{"nats://u:p@q@h", "nats://***@h:7/", "u", "p@q", "h:7", ""},
		{"nats://h/%2F", "nats://h:7//", "", "", "h:7", "/"},
	} {
		u, err := port.ParseURL(tt.raw, 7)
		if err != nil {
			t.Errorf("%s: %v", tt.raw, err)
			continue
		}
		if u.String() != tt.shown || u.User != tt.user || u.Password != tt.password || strings.Join(u.Hosts, " ") != tt.hosts || u.Path != tt.path {
			t.Errorf("%s: %s, %+v", tt.raw, u, u)
		}
	}
}

var badURLs = []string{
	"", "nats", "nats:/h", "://h", "nats://", "nats://u:secret@", "nats://u:secret@h:0", "nats://u:secret@h:70000", "nats://u:sec/ret@h",
	"nats://u:1/secret@h", "nats://u:sec#ret@h", "nats://u:sec?ret@h", "nats://u:secret%@h", "nats://u:secret@h#f", "nats://u:secret@h?%zz",
	"nats://u:secret@a:b:c", "nats://u:secret@h,", "nats://u:secret@[::1", "nats://u:secret@h" + strings.Repeat(",h", 70), "nats://u:secret@h h",
}

func TestParseBadURL(t *testing.T) {
	for _, raw := range badURLs {
		u, err := port.ParseURL(raw, 7)
		if !errors.Is(err, port.ErrURL) {
			t.Errorf("%q: %v, %v", raw, u, err)
		} else if strings.Contains(err.Error(), "sec") || strings.Contains(err.Error(), "ret") {
			t.Errorf("%q: the error shows a part of it: %v", raw, err)
		}
	}
}

func TestParameters(t *testing.T) {
	for raw, ok := range map[string]bool{
		"":                                true,
		"n=5&b=1&d=90s&s=x&o=two":         true,
		"n=&b=&d=&s=&o=":                  true,
		"n=11":                            false,
		"n=-1":                            false,
		"n=1e3":                           false,
		"n=99999999999999999999":          false,
		"b=maybe":                         false,
		"d=5":                             false,
		"d=-5s":                           false,
		"d=200000h":                       false,
		"o=three":                         false,
		"s=1&s=2":                         false,
		"secretunknown=1":                 false,
		strings.Repeat("x=secret&", 1000): false,
	} {
		u, err := port.ParseURL("q://h?"+raw, 1)
		if err != nil {
			t.Fatal(err)
		}
		n, b, d := u.Int("n", 1, 0, 10), u.Bool("b", false), u.Duration("d", time.Minute)
		s, o := u.Param("s", "def"), u.OneOf("o", "one", "two")
		err = u.Err()
		if (err == nil) != ok || err != nil && (!errors.Is(err, port.ErrURL) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%.40q: %v", raw, err)
		}
		if raw == "n=5&b=1&d=90s&s=x&o=two" && (n != 5 || !b || d != 90*time.Second || s != "x" || o != "two") {
			t.Error(n, b, d, s, o)
		}
		if raw == "" && (n != 1 || b || d != time.Minute || s != "def" || o != "one") {
			t.Error(n, b, d, s, o)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, raw := range badURLs {
		f.Add(raw)
	}
	f.Add("nats://u:p%40%2F%23@h,i:2,[::1]:3/a/b?x=1")
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := port.ParseURL(raw, 7)
		if err != nil {
			return
		}
		again, err := port.ParseURL(u.String(), 7)
		if err != nil || strings.Join(again.Hosts, ",") != strings.Join(u.Hosts, ",") || again.Path != u.Path {
			t.Errorf("%q shown as %q: %v", raw, u, err)
		}
	})
}

func TestClasses(t *testing.T) {
	cause := errors.New("cause")
	for _, tt := range []struct {
		err   error
		class error
		text  string
	}{
		{port.Rejected(cause), port.ErrRejected, "rejected by the queue: cause"},
		{port.Rejectedf("n %d", 1), port.ErrRejected, "rejected by the queue: n 1"},
		{port.Unavailable(cause), port.ErrUnavailable, "queue unavailable: cause"},
		{port.Unavailable(nil), port.ErrUnavailable, "queue unavailable"},
		{port.Unavailable(port.Unavailable(cause)), port.ErrUnavailable, "queue unavailable: cause"},
	} {
		if !errors.Is(tt.err, tt.class) || tt.err.Error() != tt.text {
			t.Errorf("%v, want %s", tt.err, tt.text)
		}
	}
}

func TestHeaders(t *testing.T) {
	m := port.Message{ID: "i", Type: "t", Seq: 3, Epoch: 4, Header: map[string]string{"x": "y", "id": "not mine"}}
	got := map[string]string{}
	for name, value := range m.Headers() {
		got[name] = value
	}
	if fmt.Sprint(got) != "map[epoch:4 id:i seq:3 type:t x:y]" {
		t.Error(got)
	}
	for range m.Headers() {
		break
	}
}

// TestAttempts: whoever gives up is released, and the key stays taken until its attempt has ended.
func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a port.Attempts
		order := make(chan string, 3)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := a.Do(ctx, "k", func() error { time.Sleep(time.Minute); order <- "first"; return nil })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if err := a.Do(t.Context(), "other", func() error { order <- "other"; return nil }); err != nil {
			t.Error(err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.Do(ctx, "k", func() error { t.Error("overtaken"); return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if err := a.Do(t.Context(), "k", func() error { order <- "second"; return nil }); err != nil {
			t.Error(err)
		}
		if got := []string{<-order, <-order, <-order}; fmt.Sprint(got) != "[other first second]" {
			t.Error(got)
		}
		a.Close()
		if err := a.Do(t.Context(), "k", func() error { return nil }); !errors.Is(err, port.ErrClosed) {
			t.Error(err)
		}
	})
}

func TestLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		broken := errors.New("broken")
		failures := 4
		l := port.NewLink("q", slog.New(slog.DiscardHandler), func(context.Context) error {
			if failures--; failures >= 0 {
				return broken
			}
			return nil
		})
		if err := l.Err(); !errors.Is(err, port.ErrUnavailable) {
			t.Error(err)
		}
		l.Start(ctx)
		synctest.Wait()
		if err := l.Err(); !errors.Is(err, broken) {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if err := l.Err(); err != nil {
			t.Error(err)
		}
		failures = 1
		for range 2 {
			if err := l.Lost(broken); !errors.Is(err, port.ErrUnavailable) {
				t.Error(err)
			}
		}
		synctest.Wait()
		if l.Err() == nil {
			t.Error("still up")
		}
		time.Sleep(time.Minute)
		if err := l.Err(); err != nil {
			t.Error(err)
		}
		cancel()
		l.Wait()
	})
}

func TestBackoff(t *testing.T) {
	for n := range 100 {
		full := min(50*time.Millisecond<<min(n, 7), 5*time.Second)
		if d := port.Backoff(n); d < full/2 || d > full {
			t.Errorf("attempt %d: %v", n, d)
		}
	}
	_ = port.Backoff(-1)
}

// TestDial: the end of the destination ends a dial, and Options.Dial is what dials.
func TestDial(t *testing.T) {
	life, end := context.WithCancel(t.Context())
	d := port.Dialer{Life: life, Opts: port.Options{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		end()
		<-ctx.Done()
		return nil, ctx.Err()
	}}.WithDefaults()}
	if _, err := d.DialTLS(t.Context(), "tcp", "h:1"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
