package webhook

import (
	"context"
	"net/http"
	"time"
)

// Request is one attempt.
type Request struct {
	// URL verbatim from the configuration; user:pass@ becomes Basic authentication, the query string is kept.
	URL string
	// Header holds extra headers (X-VHOST, attempt number); Content-Type is application/json unless set here.
	Header http.Header
	Body   []byte
	// Meta says what the body is, for senders that are no HTTP client.
	Meta Meta
	// Timeout bounds the whole attempt, connect to last byte of the answer.
	Timeout time.Duration
}

// Meta of a request.
type Meta struct {
	// Endpoint that sends. A sender for a queue keeps one connection for each: in a queue the order of a key depends on
	// there being one message of it at a time.
	Endpoint string
	Stream   string // the key; "" for the server
	ID       string // of the event
	Type     string
	Seq      uint64 // 0: none
	Epoch    int64
	// Publication is the one to which the event belongs; "": none.
	Publication string
	Attempt     int // its number, from 1
}

// Reply is what came of an attempt. Exactly one of Err and Status is set.
type Reply struct {
	Status     int
	Body       []byte        // at most MaxReplyBytes
	RetryAfter time.Duration // 0: none given
	Latency    time.Duration
	// Err: no complete answer (connect, time-out, reset, answer too large, redirect refused by the guard). A redirect
	// that is not followed for another reason (too many, no usable target, from https to http) is the answer: Status
	// is its 3xx.
	Err error
}

// MaxReplyBytes is the largest answer that is read; a larger one fails the attempt.
const MaxReplyBytes = 64 << 10

// Sender sends. It is safe for concurrent use. Cancelling ctx ends the attempt soon after.
type Sender interface {
	Send(ctx context.Context, r Request) Reply
}

// Class is the meaning of a reply under the zlm format (hooks contract, section 1).
type Class uint8

const (
	// Accepted: HTTP 200 and an integer code (non-zero: understood and refused, final).
	Accepted Class = iota
	// Retryable: network errors, 5xx, 408, 425, 429.
	Retryable
	// Rejected: another status, or a 200 that can't be read; a few attempts, then a dead letter.
	Rejected
	// Gone: 410; the URL is disabled.
	Gone
)
