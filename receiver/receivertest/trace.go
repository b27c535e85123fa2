package receivertest

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Request is a request to a receiver, as a [Recorder] wrote it: a line of JSON. A list of them is a trace.
type Request struct {
	// At is when it was read, Done just before its answer: Unix nanoseconds.
	At   int64 `json:"t_ns"`
	Done int64 `json:"done_ns"`
	// Path is the path of its URL.
	Path string `json:"path"`
	// Header has Content-Type and what belongs to a signature.
	Header map[string]string `json:"header,omitempty"`
	// Status is what was answered.
	Status int `json:"status"`
	// Body is the request's body; of one that is no JSON a JSON string.
	Body json.RawMessage `json:"body"`
}

// maxRecorded bounds a body that is recorded.
const maxRecorded = 16 << 20

// Recorder passes requests on to a receiver and writes them down.
type Recorder struct {
	next http.Handler
	mu   sync.Mutex
	w    io.Writer // guarded by mu
	err  error     // guarded by mu; of the first write that failed
}

// NewRecorder returns a recorder in front of next, which may be any receiver: an [http.Handler], or another address, by
// [net/http/httputil.ReverseProxy]. Each request is a line that is written to w when it was answered.
func NewRecorder(next http.Handler, w io.Writer) *Recorder { return &Recorder{next: next, w: w} }

// Err returns the error of the first line that could not be written; requests are passed on all the same.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// ServeHTTP implements [http.Handler].
func (r *Recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxRecorded))
	if err != nil {
		http.Error(w, "body could not be read", http.StatusBadRequest)
		return
	}
	line := Request{At: time.Now().UnixNano(), Path: req.URL.Path, Body: body, Header: map[string]string{}}
	for name := range req.Header {
		if l := strings.ToLower(name); l == "content-type" || strings.HasPrefix(l, "webhook-") {
			line.Header[l] = req.Header.Get(name)
		}
	}
	if !json.Valid(body) {
		line.Body, _ = json.Marshal(string(body)) // a string always has a JSON form
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	s := &statusWriter{ResponseWriter: w, status: http.StatusOK, done: func(status int) {
		line.Status, line.Done = status, time.Now().UnixNano()
	}}
	r.next.ServeHTTP(s, req)
	s.finish()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = json.NewEncoder(r.w).Encode(line)
	}
}

// statusWriter notes the status and the time of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
	done   func(status int)
	said   bool
}

func (s *statusWriter) finish() {
	if !s.said {
		s.said = true
		s.done(s.status)
	}
}

// WriteHeader implements http.ResponseWriter.
func (s *statusWriter) WriteHeader(status int) {
	if !s.said {
		s.status = status
		s.finish()
	}
	s.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (s *statusWriter) Write(b []byte) (int, error) {
	s.finish()
	return s.ResponseWriter.Write(b)
}

// ReadTrace reads a trace, compressed by gzip or not, and returns it in the order in which the requests were read.
func ReadTrace(r io.Reader) ([]Request, error) {
	out, err := ReadLines[Request](r)
	slices.SortStableFunc(out, func(a, b Request) int { return cmp.Compare(a.At, b.At) })
	return out, err
}

// ReadLines reads JSON values that follow each other, compressed by gzip or not.
func ReadLines[T any](r io.Reader) ([]T, error) {
	b := bufio.NewReader(r)
	var in io.Reader = b
	if magic, err := b.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, fmt.Errorf("receivertest: trace: %w", err)
		}
		in = z
	}
	var out []T
	for d := json.NewDecoder(in); ; {
		var v T
		switch err := d.Decode(&v); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("receivertest: trace: line %d: %w", len(out)+1, err)
		}
		out = append(out, v)
	}
}

type recorded struct{}

// Recorded returns the request that is being replayed, from the context of a handler.
func Recorded(ctx context.Context) (*Request, bool) {
	q, ok := ctx.Value(recorded{}).(*Request)
	return q, ok
}

// ReplayTrace sends a trace to h and returns the answers. With a speed above 0 each request is sent at its time, speed times as fast as
// it was recorded, whether or not those before it were answered; in a [testing/synctest] bubble that takes no time. With speed 0
// each is sent when the one before was answered, or a millisecond later: what a receiver concludes from times is lost then. It
// returns when all are answered, or with the error of ctx.
func ReplayTrace(ctx context.Context, h http.Handler, trace []Request, speed float64) ([]Answer, error) {
	out := make([]Answer, len(trace))
	var wg sync.WaitGroup
	defer wg.Wait()
	begin := time.Now()
	for i := range trace {
		q := &trace[i]
		at := time.Now() // with speed 0: now, and then wait a little for the answer
		if speed > 0 {
			at = begin.Add(time.Duration(float64(q.At-trace[0].At) / speed))
		}
		if !sleep(ctx, time.Until(at), nil) {
			return out, ctx.Err()
		}
		answered := make(chan struct{})
		wg.Go(func() {
			defer close(answered)
			out[i] = replay(ctx, h, q)
		})
		if speed <= 0 && !sleep(ctx, patience, answered) {
			return out, ctx.Err()
		}
	}
	wg.Wait()
	return out, nil
}

// patience is how long a trace that is replayed as fast as possible waits for an answer before it goes on.
const patience = time.Millisecond

// sleep waits for d or until done is closed; it reports whether ctx still goes on.
func sleep(ctx context.Context, d time.Duration, done <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-done:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

func replay(ctx context.Context, h http.Handler, q *Request) Answer {
	body := []byte(q.Body)
	var text string
	if len(body) > 0 && body[0] == '"' && json.Unmarshal(body, &text) == nil {
		body = []byte(text)
	}
	target := (&url.URL{Path: "/" + strings.TrimPrefix(q.Path, "/")}).RequestURI()
	req := httptest.NewRequestWithContext(context.WithValue(ctx, recorded{}, q), http.MethodPost, target, bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	for k, v := range q.Header {
		req.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return answerOf(w)
}
