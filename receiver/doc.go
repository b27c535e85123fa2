// Package receiver makes an HTTP endpoint for Hookline's events: it verifies, de-duplicates, keeps the order of each stream,
// keeps the state of each publication, and makes an effect and the mark that says so commit together.
//
// [New] returns an [http.Handler] for the forms zlm and cloudevents and for CloudEvents batches. Handlers are options: one
// for each hook, with a typed body.
//
// # Contract
//
// Order. Events of one stream of one source run one at a time, in seq order; streams run in parallel. The request is
// answered when the handler has returned and the [Store] has committed, so a sender that waits for answers stays in order.
//
// Answer first. With [WithInbox] it is answered when the event is durably in an inbox in the store, and handled afterwards: in the
// order of its stream, streams side by side, after a restart what was there before what comes. Effect, mark and the removal from
// the inbox commit together. What fails stays, and holds up its own stream, until it works or somebody says to skip it.
//
// Once. For each (source, stream) the store keeps a [Mark]: the epoch, the highest seq that was handled or named as missing,
// and the seqs below it that never came. An event is handled when its seq is above the mark, or is one of those that never
// came (then it is flagged [event.Envelope.Late]). Every other event is a duplicate: answered, not handled. There is no time
// limit after which a duplicate is forgotten. The handler runs inside [Store.Update]; when it fails, or panics, nothing is
// committed, the answer is 500, and the sender tries again. Effects outside of the store's transaction happen at least once.
//
// Gaps. What is missing is told to [OnGap], once, before the event that follows it: named by the sender (event.gap,
// on_event_gap), or found because prev is above the mark ([ReasonMissed]). With [WithFetcher] what was found to be missing
// is first read from the sender's log. At the first event of a stream prev is taken for the mark: nothing is reported.
//
// Epochs. A higher epoch begins a new mark; an event of a lower one is answered, counted and not handled.
//
// Replays are answered and not handled, unless [WithReplays] is given. Then they have marks of their own for each replay.
//
// Batches. A batch is answered with 2xx only when each of its events is handled or a duplicate. After a failure the
// sender sends it again, and what was committed is a duplicate then.
//
// Decisions (on_publish, on_play, …) and the question on_stream_none_reader have no seq: they run at once, without store
// and mark, and again when the sender asks again. One without a handler is refused.
//
// Refusals. 401: signature; 400: not an event; 413: too large; 503 with Retry-After: too much at once, or [Receiver.Shutdown]
// was called; 500: a handler or the store failed.
//
// State. What the events say of each publication is kept in memory ([Receiver.Live], [Receiver.Watch]). Each event has
// a [Verdict]: whether the state machine has a transition for it. After a start the memory is empty; [Receiver.Reconcile]
// fills and repairs it from the sender's snapshot.
//
// Plain ZLMediaKit. With [WithZLMediaKit] bodies without the member event are taken, too; otherwise they are refused. Its
// requests race, and name neither their place nor, mostly, what they are about: events wait for those with a lower index, at most
// for a window, and [Event.Certainty] says how sure Publication is. What is said above of marks, gaps, epochs and
// replays is of Hookline.
//
// The package imports the standard library and package event only.
package receiver
