package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Waits between two connections; variables for tests.
const (
	followMin = 200 * time.Millisecond
	followMax = 5 * time.Second
)

// message is one of a stream of server-sent events.
type message struct {
	id, event, data string
}

// follow calls handle for every message of the server's stream of events until ctx ends or handle fails. A connection
// that ends, by a restart of the server for instance, is made again behind the last message that was handled; what can't
// be had any more comes as a message of event "gap". Only what the first connection says to be wrong is an error.
func (c *client) follow(ctx context.Context, q url.Values, handle func(message) error) error {
	last, connected, wait := "", false, followMin
	for {
		h := http.Header{}
		if last != "" {
			h.Set("Last-Event-ID", last)
		}
		res, err := c.openWith(ctx, http.MethodGet, "/api/v1/events/stream", q, nil, h)
		if err == nil {
			connected, wait = true, followMin
			err = readMessages(res.Body, func(m message) error {
				if err := handle(m); err != nil {
					return &handled{err}
				}
				if m.id != "" {
					last = m.id
				}
				return nil
			})
			_ = res.Body.Close()
		}
		var own *handled
		var refused *apiError
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &own):
			return own.error
		case !connected, errors.As(err, &refused) && strings.HasPrefix(refused.status, "4"):
			return err
		}
		fmt.Fprintf(os.Stderr, "the connection has ended (%v); trying again\n", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
			wait = min(2*wait, followMax)
		}
	}
}

// handled is an error of the handler.
type handled struct{ error }

// readMessages reads server-sent events (the HTML standard, section 9.2.6). It always returns an error: io.EOF at the end.
func readMessages(r io.Reader, handle func(message) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 8<<20)
	var m message
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			if m.data != "" {
				if err := handle(m); err != nil {
					return err
				}
			}
			m = message{}
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			m.id = value
		case "event":
			m.event = value
		case "data":
			m.data = value // the server sends one line of it
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.EOF
}

// gapLine says what a message of event "gap" means.
func gapLine(data string) string {
	return "gap: " + oneLine(data) + " (positions that can't be read any more)"
}
