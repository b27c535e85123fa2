package pubtool

import (
	"errors"
	"fmt"
	"time"
)

// ErrFailed says that not everything could be published.
var ErrFailed = errors.New("publishing failed")

// End is how a publication ended.
type End string

// The ends of a publication. The first three are the tool's doing.
const (
	EndUnpublish  End = "unpublish"  // it said goodbye
	EndReset      End = "reset"      // it reset the connection
	EndHalfClose  End = "half_close" // it closed its direction
	EndRefused    End = "refused"    // the server did not accept it; Code says why
	EndUnanswered End = "unanswered" // the connection or the run ended before the server had decided
	EndLost       End = "lost"       // the connection ended; Code says why if the server did
	EndSource     End = "source"     // the file can't be read further; it said goodbye
)

// chosen says that the tool ended the publication as it was told to.
func (e End) chosen() bool { return e == EndUnpublish || e == EndReset || e == EndHalfClose }

// Publication is one attempt to publish that the server was asked for.
type Publication struct {
	ID       string    `json:"id"`     // the value of the parameter pub
	Key      string    `json:"key"`    // app/stream
	Params   string    `json:"params"` // as the server sees them
	Started  time.Time `json:"started"`
	Accepted time.Time `json:"accepted,omitzero"` // zero: it was not
	Ended    time.Time `json:"ended"`
	End      End       `json:"end"`
	Code     string    `json:"code,omitempty"` // of the server's last status that was an error
	Error    string    `json:"error,omitempty"`
	// Messages and Bytes count bodies of audio, video and metadata that were written, which does not say received.
	Messages int    `json:"messages"`
	Bytes    uint64 `json:"bytes"`
}

// maxListed bounds Result.Publications.
const maxListed = 200_000

// Result is what a Run did.
type Result struct {
	Accepted int         `json:"accepted"`
	Ends     map[End]int `json:"ends"` // how many publications ended how
	// Unreachable counts connections that could not be made or broke before a publication was asked for.
	Unreachable int           `json:"unreachable"`
	Bytes       uint64        `json:"bytes"`
	Elapsed     time.Duration `json:"elapsed_ns"`
	// Publications in the order in which they ended; Unlisted counts those that are left out after the first 200,000.
	Publications []Publication `json:"publications"`
	Unlisted     int           `json:"unlisted,omitempty"`
	firstError   error
}

// add takes a publication that is over.
func (r *Result) add(p Publication) {
	r.Ends[p.End]++
	if !p.Accepted.IsZero() {
		r.Accepted++
	}
	if len(r.Publications) == maxListed {
		r.Unlisted++
		return
	}
	r.Publications = append(r.Publications, p)
}

func (r *Result) fail(err error) {
	if r.firstError == nil {
		r.firstError = err
	}
}

// verdict returns what Run returns. Churn expects that the server comes and goes.
func (r *Result) verdict(churn bool) error {
	failed := r.Unreachable + r.Ends[EndRefused] + r.Ends[EndUnanswered] + r.Ends[EndLost] + r.Ends[EndSource]
	switch {
	case r.Ends[EndSource] > 0: // a broken file does not get better
	case failed == 0 || r.firstError == nil:
		return nil
	case churn && r.Accepted > 0:
		return nil
	}
	return fmt.Errorf("%w: %d of %d attempts, first: %w", ErrFailed, failed, failed+r.chosen(), r.firstError)
}

func (r *Result) chosen() int {
	return r.Ends[EndUnpublish] + r.Ends[EndReset] + r.Ends[EndHalfClose]
}
