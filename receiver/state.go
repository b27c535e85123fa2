package receiver

import (
	"slices"
	"time"

	"github.com/hookline/hookline/event"
)

// State is where a publication is in its life.
type State uint8

const (
	// Publishing: something was heard of the publication, and no schema is registered yet.
	Publishing State = iota
	// Live: at least one schema is registered.
	Live
	// Closing: every schema that was registered is gone. Records may follow.
	Closing
	// Ended: nothing follows but reports of viewers.
	Ended
)

// String returns the state's name in lower case.
func (s State) String() string {
	return [...]string{"publishing", "live", "closing", "ended"}[min(s, Ended)]
}

// Verdict is what the state machine says of an event.
type Verdict uint8

const (
	// Untracked: the event belongs to no publication, or to one for which there is no room ([WithMaxPublications]).
	Untracked Verdict = iota
	// Expected: there is a transition.
	Expected
	// Known: the state holds already what the event says, from a snapshot.
	Known
	// Belated: the event came late; it adds facts and does not change what is live.
	Belated
	// Unexplained: there is no transition, and events of the publication are missing that may be why.
	Unexplained
	// Impossible: there is no transition, and nothing is known to be missing. It is handled all the same.
	Impossible
)

// String returns the verdict's name in lower case.
func (v Verdict) String() string {
	return [...]string{"untracked", "expected", "known", "belated", "unexplained", "impossible"}[min(v, Impossible)]
}

// Reasons of an end that no event told.
const (
	// ReasonSuperseded: another publication of the stream registered, and the end of this one was never heard of.
	ReasonSuperseded = "superseded"
	// ReasonReconciled: the sender's snapshot no longer has it.
	ReasonReconciled = "reconciled"
)

// MaxRecordings is the largest number of recordings that a [Publication] remembers, the newest.
const MaxRecordings = 256

// Publication is what is known of one publication.
type Publication struct {
	// Source, Stream and ID name it.
	Source, Stream, ID string
	Epoch              int64
	State              State
	// Schemas are registered now, in the order of registration.
	Schemas []string
	// Since is its beginning: that of the snapshot or of the end event, else the time of the first event heard of.
	Since time.Time
	// Params and Origin ("rtmp_push") are the publisher's. Publisher is its address, "" when it is not known.
	Params, Origin, Publisher string
	// Readers is the number of viewers that was last heard of: from a register, a snapshot or on_stream_none_reader; -1: never.
	Readers int
	// Views and ViewBytes count the viewers' sessions that have ended and were reported.
	Views, ViewBytes uint64
	// Recordings are finished files, the newest [MaxRecordings].
	Recordings []Record
	// EndedAt, Reason and Bytes say how it ended; Compensated: a crash of the sender ended it.
	EndedAt     time.Time
	Reason      string
	Bytes       uint64
	Compensated bool
	// EndCertainty says how sure it is that it ended, and then; always [Exact] when the sender is Hookline.
	EndCertainty Certainty
	// Uncertain: events are missing that may have been about it, or its beginning was not seen.
	Uncertain bool
	// Seq and HookIndex are those of the newest event that changed it.
	Seq, HookIndex uint64
}

func (p *Publication) clone() Publication {
	c := *p
	c.Schemas, c.Recordings = slices.Clone(p.Schemas), slices.Clone(p.Recordings)
	return c
}

// off returns the verdict for what has no transition.
func (p *Publication) off() Verdict {
	if p.Uncertain {
		return Unexplained
	}
	return Impossible
}

// decoded returns the body for the state machine, which looks at it before and after the commit. It is not what the
// handler gets, who may change that.
func decoded[T any](e *Event) (*T, error) {
	if b, ok := e.body.(*T); ok {
		return b, nil
	}
	b, err := bodyOf[T](e.Body)
	if err == nil {
		e.body = b
	}
	return b, err
}

// changedBody returns of on_stream_changed what changed looks at.
func changedBody(e *Event) (*StreamChanged, error) {
	if b, ok := e.body.(*StreamChanged); ok {
		return b, nil
	}
	b, ok := scanChanged(e.Body)
	if !ok {
		return decoded[StreamChanged](e)
	}
	e.body = b
	return b, nil
}

// follow changes p as the event says. Where there is no transition p takes what the event says is true now.
func (p *Publication) follow(e *Event) Verdict {
	if e.Late {
		p.add(e)
		return Belated
	}
	v := Expected
	switch e.Type {
	case event.OnStreamChanged:
		v = p.changed(e)
	case event.OnPublicationEnded:
		v = p.end(e)
	default:
		player := p.add(e)
		if p.State == Ended && !player {
			v = p.off()
		}
	}
	p.Seq, p.HookIndex = e.Seq, e.HookIndex
	return v
}

func (p *Publication) changed(e *Event) Verdict {
	b, err := changedBody(e)
	if err != nil {
		return p.off()
	}
	at := slices.Index(p.Schemas, b.Schema)
	switch {
	case p.State == Ended:
		return p.off()
	case b.Regist && at >= 0:
		return p.off()
	case b.Regist:
		p.Schemas = append(p.Schemas, b.Schema)
		p.Params, p.Origin, p.Readers = b.Params, b.OriginTypeStr, b.TotalReaderCount
		if b.OriginSock != nil {
			p.Publisher = b.OriginSock.PeerIP
		}
		v := Expected
		if p.State == Closing && b.Schema != "hls" && b.Schema != "hls.fmp4" { // those can be stopped, and begun anew
			v = p.off()
		}
		p.State = Live
		return v
	case at < 0:
		return p.off()
	}
	p.Schemas = slices.Delete(p.Schemas, at, at+1)
	if len(p.Schemas) == 0 {
		p.State = Closing
	}
	return Expected
}

func (p *Publication) end(e *Event) Verdict {
	b, err := decoded[PublicationEnded](e)
	if err != nil {
		return p.off()
	}
	v := Expected
	if p.State == Ended && p.Reason != ReasonSuperseded && p.Reason != ReasonReconciled || len(p.Schemas) > 0 {
		v = p.off()
	}
	p.State, p.Schemas, p.Readers = Ended, nil, 0
	p.Since, p.EndedAt = time.UnixMilli(b.Start).UTC(), time.UnixMilli(b.End).UTC()
	p.Reason, p.Bytes, p.Compensated = b.Reason, b.Bytes, e.Compensation
	p.Params, p.Origin = b.Params, b.OriginTypeStr
	return v
}

// add takes facts that change no state, and says whether it was a viewer's.
func (p *Publication) add(e *Event) (player bool) {
	switch e.Type {
	case event.OnFlowReport:
		b, err := decoded[FlowReport](e)
		if err != nil {
			return false
		}
		if !b.Player {
			p.Publisher = b.IP
			return false
		}
		p.Views++
		p.ViewBytes += b.TotalBytes
		return true
	case event.OnRecordMP4, event.OnRecordTS:
		b, err := decoded[Record](e)
		if err != nil {
			return false
		}
		if len(p.Recordings) >= MaxRecordings {
			p.Recordings = slices.Delete(p.Recordings, 0, 1)
		}
		p.Recordings = append(p.Recordings, *b)
	case event.OnStreamNoneReader:
		p.Readers = 0 // its outcome: a decision that follows nobody's leaving
		return true
	default:
		return true // outcomes of decisions, and types that came later
	}
	return false
}
