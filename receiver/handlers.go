package receiver

import (
	"context"

	"github.com/hookline/hookline/event"
)

// Event is what a handler gets beside the typed body.
type Event struct {
	event.Envelope
	// HookIndex is the hook_index.
	HookIndex uint64
	// Body is the hook's body as a JSON object, with all its members.
	Body []byte
	// NewEpoch: this is the first event of the stream in a higher epoch than before. The sender's journal is another one,
	// and what it still knows of the past may be less.
	NewEpoch bool
	// Fetched: the event was read from the sender's log, because it was found to be missing.
	Fetched bool
	// Verdict is what the state machine says of the event; the state that [Receiver.Publication] shows is still that before
	// the event.
	Verdict Verdict
	// Certainty says how sure Publication is; always [Exact] when the sender is Hookline.
	Certainty Certainty

	body  any   // decoded for the state machine
	plain *hook // of plain ZLMediaKit
}

// Gap is a run of events that did not come in order.
type Gap struct {
	// Gap is the run as the sender named it. With Reason [ReasonMissed], which the receiver found out itself, Count
	// and Types are not known: 0 and nil.
	event.Gap
	// Missing is the part of the run that was never handled here. Not every seq in it need be that of an event for this
	// endpoint.
	Missing Range
	// Before is the run of seqs between the newest event that was handled and Missing; From 0: none. A gap that the sender
	// names does not say whether any of them was owed to this endpoint. Mostly none was: outcomes of decisions have seqs, too.
	// With [WithFetcher] they are looked up, and Before is what could not be.
	Before Range
}

// ReasonMissed is the reason of a gap that the sender did not name: prev is above the mark. The events were
// accepted in the receiver's name; its store has lost them, or another receiver shares the URL.
const ReasonMissed = "missed"

// handlers are what the options registered.
type handlers struct {
	lifecycle map[event.Type]func(context.Context, *Event) error
	decision  map[event.Type]func(context.Context, *Event) (any, error)
	any       func(context.Context, *Event) error
	history   func(context.Context, *Event, *Outcome) error
	gap       func(context.Context, *Event, *Gap) error
	heartbeat func(context.Context, *Event) error
	stuck     func(context.Context, *Event, Stuck) (bool, error)
}

func on[T any](t event.Type, f func(context.Context, *Event, *T) error) Option {
	return func(r *Receiver) {
		r.handlers.lifecycle[t] = func(ctx context.Context, e *Event) error {
			b, err := bodyOf[T](e.Body)
			if err != nil {
				return err
			}
			return f(ctx, e, b)
		}
	}
}

func ask[T any](t event.Type, f func(context.Context, *Event, *T) (any, error)) Option {
	return func(r *Receiver) {
		r.handlers.decision[t] = func(ctx context.Context, e *Event) (any, error) {
			b, err := bodyOf[T](e.Body)
			if err != nil {
				return nil, err
			}
			return f(ctx, e, b)
		}
	}
}

// OnStreamChanged handles a schema that came or went.
func OnStreamChanged(f func(context.Context, *Event, *StreamChanged) error) Option {
	return on(event.OnStreamChanged, f)
}

// OnFlowReport handles the end of a session.
func OnFlowReport(f func(context.Context, *Event, *FlowReport) error) Option {
	return on(event.OnFlowReport, f)
}

// OnPublicationEnded handles the end of a publication.
func OnPublicationEnded(f func(context.Context, *Event, *PublicationEnded) error) Option {
	return on(event.OnPublicationEnded, f)
}

// OnRecordMP4 handles a finished MP4 file.
func OnRecordMP4(f func(context.Context, *Event, *Record) error) Option {
	return on(event.OnRecordMP4, f)
}

// OnRecordTS handles a finished segment.
func OnRecordTS(f func(context.Context, *Event, *Record) error) Option {
	return on(event.OnRecordTS, f)
}

// OnSendRTPStopped handles an RTP sender that ended by itself.
func OnSendRTPStopped(f func(context.Context, *Event, *SendRTPStopped) error) Option {
	return on(event.OnSendRTPStopped, f)
}

// OnRTPServerTimeout handles an RTP server that got nothing.
func OnRTPServerTimeout(f func(context.Context, *Event, *RTPServerTimeout) error) Option {
	return on(event.OnRTPServerTimeout, f)
}

// OnServerStarted handles the start of the sender.
func OnServerStarted(f func(context.Context, *Event, *ServerStarted) error) Option {
	return on(event.OnServerStarted, f)
}

// OnServerExited handles the stop of the sender.
func OnServerExited(f func(context.Context, *Event, *ServerExited) error) Option {
	return on(event.OnServerExited, f)
}

// OnServerKeepalive handles heartbeats. They have no seq and are not de-duplicated; ctx carries no transaction.
func OnServerKeepalive(f func(context.Context, *Event, *ServerKeepalive) error) Option {
	return func(r *Receiver) {
		r.handlers.heartbeat = func(ctx context.Context, e *Event) error {
			b, err := bodyOf[ServerKeepalive](e.Body)
			if err != nil {
				return err
			}
			return f(ctx, e, b)
		}
	}
}

// OnAny is called for every sequenced event, also those of types that have no handler or that this version does not know,
// before its own handler and in the same transaction.
func OnAny(f func(context.Context, *Event) error) Option {
	return func(r *Receiver) { r.handlers.any = f }
}

// OnHistory handles the outcomes of decisions and questions, which endpoints with history=1 get.
func OnHistory(f func(context.Context, *Event, *Outcome) error) Option {
	return func(r *Receiver) { r.handlers.history = f }
}

// OnGap is told of each gap, in the transaction in which the mark moves over it; the event is the one that told of
// it. When it fails, the event is not accepted and the gap is told again.
func OnGap(f func(context.Context, *Event, *Gap) error) Option {
	return func(r *Receiver) { r.handlers.gap = f }
}

// OnPublish decides about a publisher. An error is answered with 500: the sender asks again, and refuses in the end.
func OnPublish(f func(context.Context, *Event, *Publish) (PublishDecision, error)) Option {
	return ask(event.OnPublish, func(ctx context.Context, e *Event, b *Publish) (any, error) {
		d, err := f(ctx, e, b)
		return d.answer(), err
	})
}

// OnPlay decides about a viewer.
func OnPlay(f func(context.Context, *Event, *Play) (Decision, error)) Option {
	return ask(event.OnPlay, func(ctx context.Context, e *Event, b *Play) (any, error) {
		d, err := f(ctx, e, b)
		return d.answer(), err
	})
}

// OnStreamNotFound is asked when a viewer waits for a stream that is not there; true ends the wait.
func OnStreamNotFound(f func(context.Context, *Event, *StreamNotFound) (bool, error)) Option {
	return ask(event.OnStreamNotFound, func(ctx context.Context, e *Event, b *StreamNotFound) (any, error) {
		shut, err := f(ctx, e, b)
		return closeAnswer(shut), err
	})
}

// OnStreamNoneReader is asked when nobody watches a stream; true closes it.
func OnStreamNoneReader(f func(context.Context, *Event, *StreamNoneReader) (bool, error)) Option {
	return ask(event.OnStreamNoneReader, func(ctx context.Context, e *Event, b *StreamNoneReader) (any, error) {
		shut, err := f(ctx, e, b)
		return closeAnswer(shut), err
	})
}

// OnRTSPRealm returns the realm that a viewer has to authenticate for; "" for none: on_play decides.
func OnRTSPRealm(f func(context.Context, *Event, *RTSPRealm) (string, error)) Option {
	return ask(event.OnRTSPRealm, func(ctx context.Context, e *Event, b *RTSPRealm) (any, error) {
		realm, err := f(ctx, e, b)
		return realmAnswer(realm), err
	})
}

// OnRTSPAuth returns the password of a viewer; the sender compares.
func OnRTSPAuth(f func(context.Context, *Event, *RTSPAuth) (RTSPCredentials, error)) Option {
	return ask(event.OnRTSPAuth, func(ctx context.Context, e *Event, b *RTSPAuth) (any, error) {
		c, err := f(ctx, e, b)
		return c.answer(), err
	})
}

// OnHTTPAccess decides about a request for a file.
func OnHTTPAccess(f func(context.Context, *Event, *HTTPAccess) (HTTPAccessDecision, error)) Option {
	return ask(event.OnHTTPAccess, func(ctx context.Context, e *Event, b *HTTPAccess) (any, error) {
		d, err := f(ctx, e, b)
		return d.answer(), err
	})
}

// OnShellLogin decides about a login at the sender's console.
func OnShellLogin(f func(context.Context, *Event, *ShellLogin) (Decision, error)) Option {
	return ask(event.OnShellLogin, func(ctx context.Context, e *Event, b *ShellLogin) (any, error) {
		d, err := f(ctx, e, b)
		return d.answer(), err
	})
}
