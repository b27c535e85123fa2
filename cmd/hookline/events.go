package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hookline/hookline/internal/config"
)

type eventsCmd struct {
	URL    string `default:"http://127.0.0.1:8080" env:"HOOKLINE_URL" help:"The server's HTTP address."`
	Secret string `env:"HOOKLINE_API_SECRET" help:"api.secret; default: from --config, or else from ./data/identity.ini."`
	Config string `short:"c" placeholder:"FILE" help:"The server's config.ini, to read api.secret from."`

	Ls   eventsLsCmd   `cmd:"" help:"List events, oldest first."`
	Show eventsShowCmd `cmd:"" help:"Show one event with its body."`
	Tail eventsTailCmd `cmd:"" help:"Follow events as they become durable."`
}

type filterFlags struct {
	Stream string    `help:"Stream key, like __defaultVhost__/live/test, or live/test."`
	Type   []string  `help:"Only these types, like on_stream_changed; may be given several times."`
	Since  time.Time `format:"2006-01-02T15:04:05Z07:00" help:"Not before this time (RFC 3339)."`
	JSON   bool      `help:"Print one JSON object per event."`
}

func (f *filterFlags) query() url.Values {
	q := url.Values{}
	if f.Stream != "" {
		key := f.Stream
		if strings.Count(key, "/") == 1 {
			key = "__defaultVhost__/" + key
		}
		q.Set("stream", key)
	}
	for _, t := range f.Type {
		q.Add("type", t)
	}
	if !f.Since.IsZero() {
		q.Set("since", f.Since.Format(time.RFC3339Nano))
	}
	return q
}

type eventsLsCmd struct {
	filterFlags
	Limit int `default:"100" help:"At most this many."`
}

type eventsShowCmd struct {
	ID string `arg:"" help:"The event's id."`
}

type eventsTailCmd struct {
	filterFlags
	Follow bool `short:"f" help:"Go on until interrupted."`
	Last   int  `short:"n" default:"20" help:"Begin with this many of the newest events."`
}

// get calls the API.
func (c *eventsCmd) get(ctx context.Context, path string, q url.Values) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(c.URL, "/")+path+"?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	secret, err := c.secret()
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		b, _ := io.ReadAll(io.LimitReader(res.Body, 4096))
		return nil, fmt.Errorf("%s: %s: %s", req.URL.Redacted(), res.Status, bytes.TrimSpace(b))
	}
	return res, nil
}

// secret finds the API secret.
func (c *eventsCmd) secret() (string, error) {
	switch {
	case c.Secret != "":
		return c.Secret, nil
	case c.Config != "":
		conf, err := config.Load(c.Config, os.Environ())
		if err != nil {
			return "", err
		}
		return conf.API.Secret, nil
	}
	return localSecret(), nil
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

// newest returns the position of the newest event.
func (c *eventsCmd) newest(ctx context.Context) (uint64, error) {
	res, err := c.get(ctx, "/api/v1/endpoints", nil)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	var list struct {
		Endpoints []struct {
			Tail uint64 `json:"tail"`
		} `json:"endpoints"`
	}
	if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
		return 0, fmt.Errorf("endpoints: %w", err)
	}
	var tail uint64
	for _, e := range list.Endpoints {
		tail = max(tail, e.Tail)
	}
	return tail, nil
}

// Run implements the command.
func (l *eventsLsCmd) Run(c *cli) error { return l.from(c, 0) }

// from lists what comes after a position.
func (l *eventsLsCmd) from(c *cli, position uint64) error {
	left, q := l.Limit, l.query()
	if position > 0 {
		q.Set("cursor", strconv.FormatUint(position, 10))
	}
	for left > 0 {
		q.Set("limit", strconv.Itoa(min(left, 1000)))
		res, err := c.Events.get(context.Background(), "/api/v1/events", q)
		if err != nil {
			return err
		}
		var page struct {
			Events []json.RawMessage `json:"events"`
			Cursor json.Number       `json:"cursor"`
			More   bool              `json:"more"`
		}
		err = json.NewDecoder(res.Body).Decode(&page)
		_ = res.Body.Close()
		if err != nil {
			return fmt.Errorf("events ls: %w", err)
		}
		for _, e := range page.Events {
			printEvent(e, l.JSON)
		}
		left -= len(page.Events)
		if !page.More {
			return nil
		}
		q.Set("cursor", page.Cursor.String())
	}
	return nil
}

// Run implements the command.
func (s *eventsShowCmd) Run(c *cli) error {
	res, err := c.Events.get(context.Background(), "/api/v1/events/"+url.PathEscape(s.ID), nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		return fmt.Errorf("events show: %w", err)
	}
	fmt.Println(out.String())
	return nil
}

// Run implements the command.
func (t *eventsTailCmd) Run(c *cli) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	last, err := c.Events.newest(ctx)
	if err != nil {
		return err
	}
	q := t.query()
	from := last - min(last, uint64(max(0, t.Last))) + 1
	if !t.Follow {
		list := eventsLsCmd{filterFlags: t.filterFlags, Limit: t.Last}
		return list.from(c, from)
	}
	q.Set("cursor", strconv.FormatUint(from, 10))
	res, err := c.Events.get(ctx, "/api/v1/events/stream", q)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data:"); ok {
			printEvent([]byte(strings.TrimSpace(data)), t.JSON)
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return lines.Err()
}

// printEvent prints one line.
func printEvent(raw []byte, asJSON bool) {
	if asJSON {
		fmt.Println(string(raw))
		return
	}
	var e struct {
		ID, Type, Stream, Class, Publication string
		Seq, Position                        uint64
		Time                                 time.Time
		Body                                 struct {
			Schema, Reason string
			Regist         *bool
			Outcome        *struct {
				Allowed bool
				By      string
			}
		}
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		fmt.Println(string(raw))
		return
	}
	extra := e.Body.Schema
	switch {
	case e.Body.Regist != nil && *e.Body.Regist:
		extra += " register"
	case e.Body.Regist != nil:
		extra += " unregister"
	case e.Body.Outcome != nil:
		extra = fmt.Sprintf("allowed=%v by %s", e.Body.Outcome.Allowed, e.Body.Outcome.By)
	case e.Body.Reason != "":
		extra = e.Body.Reason
	}
	fmt.Printf("%s %8d %-6d %-9s %-22s %-32s %-24s %s\n", e.Time.Local().Format("15:04:05.000"), e.Position, e.Seq,
		e.Class, e.Type, e.Stream, extra, e.ID)
}
