// Package ordercheck checks, from the receiver's point of view, what Hookline promises about its events. It knows
// the bodies and the order in which they were accepted, and nothing of how they were made: it shares no code with
// the sequencer or the delivery, so that a mistake there can't hide here.
//
// Contract. One [Checker] stands for one endpoint. The receiver parses a body ([Parse]) and, at the moment at which
// it decides to accept, right before it answers, calls [Checker.Add]. Calls for one stream key must come in the
// order of acceptance; calls for different keys may come in any order and from any goroutine.
//
// What is checked (the G numbers are those of docs/guarantees.md):
//
//   - G1: an id keeps its seq, hook_index, time, prev and body ([Mutated]); a seq belongs to one id ([SeqReused]), and
//     so does a hook_index ([IndexReused]).
//   - G2: an event is first accepted before any higher seq of its key ([OutOfOrder]); prev is not above what was
//     accepted or named in a gap notice ([Gap]) and not below an event that was accepted ([PrevLow]); two events of a
//     key are never in flight together ([Overlap]).
//   - G3: time and hook_index don't decrease in seq order ([TimeDecreased], [IndexDecreased]).
//   - G8: register, unregister and on_publication_ended of a publication pair up and end it ([Lifecycle]). Whether a
//     publication that is still open should have ended is for the caller to judge ([Report.Open]).
//
// Duplicates are not violations: delivery is at least once. An event that arrives after a gap notice that named it is
// late, not out of order. A higher epoch of a source resets the key; an event of a lower epoch than the key's is
// out of order. Decisions, questions and heartbeats have no seq: only their identity is checked.
//
// Whether something never arrived at all can't be seen from the bodies alone at the end of a run: [Checker.Lost]
// compares with a log of facts that was kept outside the server.
//
// Memory per key and for the recent identities is bounded ([Options]). What is older than the window of its key is
// counted in [Report.Unverified] and not judged. With [Options.KeepFacts] it grows with the number of
// publications.
package ordercheck
