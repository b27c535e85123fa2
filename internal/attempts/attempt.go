package attempts

import (
	"time"

	"github.com/hookline/hookline/event"
)

// Result is what came of an attempt.
type Result uint8

// Results.
const (
	// Accepted: the receiver took it.
	Accepted Result = iota
	// Refused: understood and refused (a code that is not 0); nothing is sent again.
	Refused
	// Retry: no answer, or one after which it is tried again.
	Retry
	// Rejected: an answer that is not worth many attempts (4xx, unreadable).
	Rejected
	// Gone: 410.
	Gone
	// Cut: ended early, because it held a slot that others needed.
	Cut
	// Dropped: a heartbeat that was not taken; it is not repeated.
	Dropped
	// Results is their number.
	Results
)

// String returns the result's name.
func (r Result) String() string {
	switch r {
	case Accepted:
		return "accepted"
	case Refused:
		return "refused"
	case Retry:
		return "retry"
	case Rejected:
		return "rejected"
	case Gone:
		return "gone"
	case Cut:
		return "cut"
	case Dropped:
		return "dropped"
	case Results:
	}
	return "other"
}

// Attempt is one request to a receiver.
type Attempt struct {
	// Endpoint is the name of the endpoint; decisions belong to the one that the hook.on_* URLs form.
	Endpoint string
	// URL to which it went, without user, password and query.
	URL string
	// Key is the stream key, "" for the server; ID is the event's, or the request's when it has no seq.
	Key, ID     string
	Publication string
	Type        event.Type
	// Seq is 0 for what has none: decisions, questions, heartbeats, gap notices.
	Seq uint64
	// N is the number of the attempt, from 1, and Batch that of the events in the request, 0 where there are no batches.
	N, Batch int
	// At is when it was sent, and Latency how long it took.
	At      time.Time
	Latency time.Duration
	Result  Result
	// Status of HTTP, 0 when there was no answer; Code is the answer's when it was accepted.
	Status, Code int
	// Err says why it was not accepted.
	Err string
	// Answer is the body; for who is told of an attempt it is valid during the call only.
	Answer []byte
	// Replay is the id of the replay to which it belongs, and Late marks a redriven dead letter.
	Replay string
	Late   bool
}
