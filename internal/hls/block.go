package hls

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// directivePrefix begins the parameters that belong to the protocol, and to nobody else (RFC 8216bis section 6.2.5).
const directivePrefix = "_HLS_"

// params returns a query without delivery directives: they are another in each request of the same viewer.
func params(query string) string {
	if !strings.Contains(query, directivePrefix) {
		return query
	}
	kept := make([]string, 0, 4)
	for p := range strings.SplitSeq(query, "&") {
		if !strings.HasPrefix(p, directivePrefix) {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, "&")
}

// directive is what a request for a playlist says about its delivery. The zero value wants what is there.
type directive struct {
	wait     bool // for what follows
	sequence uint64
	part     int  // -1: the whole segment
	skip     bool // what the client has already may be left out
}

// Answers to those who wait.
var (
	errDirective = errors.New("the delivery directives make no sense")
	errAhead     = errors.New("that is too far ahead")
	errCrowd     = errors.New("too many requests wait")
	errSlow      = errors.New("it has not come in time")
)

// directives reads those of a request.
func directives(query string) (d directive, err error) {
	if !strings.Contains(query, directivePrefix) {
		return d, nil
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return d, errDirective
	}
	d.skip = q.Get("_HLS_skip") == "YES" || q.Get("_HLS_skip") == "v2"
	if !q.Has("_HLS_msn") {
		if q.Has("_HLS_part") {
			return d, errDirective
		}
		return d, nil
	}
	d.wait, d.part = true, -1
	if d.sequence, err = strconv.ParseUint(q.Get("_HLS_msn"), 10, 63); err != nil {
		return d, errDirective
	}
	if q.Has("_HLS_part") {
		n, err := strconv.ParseUint(q.Get("_HLS_part"), 10, 31)
		if err != nil {
			return d, errDirective
		}
		d.part = int(n)
	}
	return d, nil
}

// maxAhead is how many segments ahead of the newest complete one somebody may wait for (RFC 8216bis section 6.2.5.2).
const maxAhead = 2

// reload returns the playlist that a request asks for, and waits for it if it is not there yet.
func (g *segmenter) reload(ctx context.Context, d directive) ([]byte, error) {
	s := g.state()
	if s == nil {
		return nil, errSlow
	}
	if d.wait && !s.list.ended {
		if d.sequence >= s.sequence+maxAhead {
			return nil, errAhead
		}
		var err error
		if s, err = g.follow(ctx, func(s *state) bool { return s.has(d.sequence, d.part) }); err != nil {
			return nil, err
		}
	}
	if d.skip && !s.list.ended {
		return s.update(), nil
	}
	return s.playlist(), nil
}

// follow waits for a state, up to three target durations. The last one of a stream ends every wait.
func (g *segmenter) follow(ctx context.Context, until func(*state) bool) (*state, error) {
	s := g.state()
	if s == nil {
		return nil, errSlow
	}
	if until(s) || s.list.ended {
		return s, nil
	}
	leave, err := g.srv.queue()
	if err != nil {
		return nil, err
	}
	defer leave()
	t := time.NewTimer(3 * time.Duration(s.list.target) * time.Second)
	defer t.Stop()
	for {
		select {
		case <-s.newer:
		case <-t.C:
			return nil, errSlow
		case <-g.srv.hung:
			return nil, errSlow
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		switch s = g.state(); {
		case s == nil: // all viewers were away for too long
			return nil, errSlow
		case until(s) || s.list.ended:
			return s, nil
		}
	}
}

// queue counts a request in that waits, and returns what counts it out.
func (s *Server) queue() (leave func(), err error) {
	leave = func() { s.waiting.Add(-1) }
	if s.waiting.Add(1) > int64(s.cfg.Load().MaxWaiting) {
		leave()
		return nil, errCrowd
	}
	return leave, nil
}

// fetch returns the file and the place in it of a part, and waits for the one that is announced.
func (g *segmenter) fetch(ctx context.Context, number uint64) (file string, p part, err error) {
	s := g.state()
	if s == nil {
		return "", p, os.ErrNotExist
	}
	switch next := s.list.low.next; {
	case number > next || number == next && s.list.ended:
		return "", p, os.ErrNotExist
	case number == next:
		if s, err = g.follow(ctx, func(s *state) bool { return s.list.low.next > number }); err != nil {
			return "", p, err
		}
	}
	file, p, ok := s.find(number)
	if !ok {
		return "", p, os.ErrNotExist
	}
	return file, p, nil
}

// servePart serves a part to a viewer of its stream.
func (s *Server) servePart(w http.ResponseWriter, r *http.Request, g *segmenter, v *viewer, name string) {
	rest, _ := strings.CutPrefix(strings.TrimSuffix(name, g.ext), "part_")
	token, digits, _ := strings.Cut(rest, "_")
	number, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || g.low == nil || token != g.low.token {
		http.NotFound(w, r)
		return
	}
	file, p, err := g.fetch(r.Context(), number)
	if err != nil {
		deny(w, err)
		return
	}
	f, err := os.Open(file) //nolint:gosec // the name of a segment of ours
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	send(w, r, v, io.NewSectionReader(f, p.offset, p.size), p.size, time.Time{})
}

// deny translates an error of those who wait.
func deny(w http.ResponseWriter, err error) {
	status := http.StatusServiceUnavailable
	switch {
	case errors.Is(err, errDirective), errors.Is(err, errAhead):
		status = http.StatusBadRequest
	case errors.Is(err, os.ErrNotExist):
		status = http.StatusNotFound
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, err.Error(), status)
}
