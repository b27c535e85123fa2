package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/hookline/hookline/internal/config"
)

// client calls the API of a running server.
type client struct {
	URL    string `env:"HOOKLINE_URL" placeholder:"URL" help:"The server's HTTP address; default: this machine, at http.port of --config, or else at 8080."`
	Secret string `env:"HOOKLINE_API_SECRET" help:"api.secret; default: from --config, or else from ./data/identity.ini."`
	Config string `short:"c" placeholder:"FILE" help:"The server's config.ini, to read api.secret and http.port from."`
}

const (
	// callTimeout bounds a call that is no stream.
	callTimeout = time.Minute
	// maxAnswer bounds an answer, in bytes; the server's own bound is lower.
	maxAnswer = 64 << 20
)

// open makes a request; its answer, which the caller closes, is a success. body is sent as JSON unless it is nil.
func (c *client) open(ctx context.Context, method, path string, q url.Values, body any) (*http.Response, error) {
	return c.openWith(ctx, method, path, q, body, http.Header{})
}

// openWith is open with more headers.
func (c *client) openWith(
	ctx context.Context, method, path string, q url.Values, body any, header http.Header,
) (*http.Response, error) {
	target, secret, err := c.server()
	if err != nil {
		return nil, err
	}
	target += path
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	var content io.Reader = http.NoBody
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, content)
	if err != nil {
		return nil, err
	}
	req.Header = header
	req.Header.Set("Authorization", "Bearer "+secret)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("no server listens at %s: is it running? --url says where it is (%w)", req.URL.Host, syscall.ECONNREFUSED)
	}
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 != 2 {
		defer res.Body.Close()
		return nil, &apiError{method: method, url: req.URL.Redacted(), status: res.Status, detail: detailOf(res.Body)}
	}
	return res, nil
}

// apiError is an answer that is not a success.
type apiError struct{ method, url, status, detail string }

// Error implements error.
func (e *apiError) Error() string {
	hint := ""
	if strings.HasPrefix(e.status, "401") {
		hint = " (give api.secret by --secret, HOOKLINE_API_SECRET or --config)"
	}
	return fmt.Sprintf("%s %s: %s: %s%s", e.method, e.url, e.status, e.detail, hint)
}

// detailOf returns what a problem says, or the beginning of what came instead of one.
func detailOf(body io.Reader) string {
	b, _ := io.ReadAll(io.LimitReader(body, 4096))
	var p struct{ Detail, Code string }
	if json.Unmarshal(b, &p) == nil && p.Detail+p.Code != "" {
		return cmp.Or(p.Detail, p.Code)
	}
	return string(bytes.TrimSpace(b))
}

// call makes a request and decodes the answer into out, unless it is nil.
func (c *client) call(ctx context.Context, method, path string, q url.Values, body, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := c.open(ctx, method, path, q, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// server finds the address of the server, without a slash at the end, and the API secret.
func (c *client) server() (address, secret string, err error) {
	address, secret = strings.TrimRight(c.URL, "/"), c.Secret
	if c.Config != "" && (address == "" || secret == "") {
		conf, err := config.Load(c.Config, os.Environ())
		if err != nil {
			return "", "", err
		}
		if address == "" && conf.HTTP.Port != 0 {
			address = "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(conf.HTTP.Port))
		}
		secret = cmp.Or(secret, conf.API.Secret)
	}
	if secret == "" && c.Config == "" {
		secret = localSecret()
	}
	return cmp.Or(address, "http://127.0.0.1:8080"), secret, nil
}

// localSecret reads the generated secret of a server that runs without a file in this directory.
func localSecret() string {
	b, err := os.ReadFile(filepath.Join("data", "identity.ini"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && strings.TrimSpace(k) == "secret" {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// untilInterrupted returns a context that ends with SIGINT or SIGTERM.
func untilInterrupted() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
}

// segment escapes one segment of a path.
func segment(s string) string { return url.PathEscape(s) }

// fullKey returns a stream key for "app/stream", too, which is meant in the default vhost.
func fullKey(key string) string {
	if strings.Count(key, "/") == 1 {
		return "__defaultVhost__/" + key
	}
	return key
}

// oneLine keeps a foreign text, such as the name of a stream, from moving the cursor of the terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, s)
}

// printIndented prints JSON to be read by people.
func printIndented(w io.Writer, raw json.RawMessage) error {
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, out.String())
	return err
}

// moment is a point in time, given in RFC 3339 or as a duration: so long ago.
type moment struct{ time.Time }

// errMoment says what a moment looks like.
var errMoment = errors.New("want a time like 2026-01-31T08:00:00Z, or how long ago, like 90m")

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *moment) UnmarshalText(text []byte) error {
	if d, err := time.ParseDuration(string(text)); err == nil && d >= 0 {
		m.Time = time.Now().Add(-d)
		return nil
	}
	t, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return errMoment
	}
	m.Time = t
	return nil
}

// text returns the moment in RFC 3339, "" when it was not given.
func (m moment) text() string {
	if m.IsZero() {
		return ""
	}
	return m.UTC().Format(time.RFC3339Nano)
}
