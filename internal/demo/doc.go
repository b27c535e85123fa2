// Package demo is "the product in a minute": it starts a receiver and a server, lets a crowd publish short streams, lets
// the receiver be slow, fail, hang and vanish, kills the server (SIGKILL) while streams are live and events wait, and
// says what of it reached the receiver, and in which order.
//
// Contract. [Run] starts one child process at a time (Hookline itself, as "serve"), listens on the loopback interface
// only, and leaves nothing behind: the child ends with the run, also when the run is cancelled or, on Linux, killed;
// its directory is removed unless [Config.Keep] names a place for it. The duration is bounded: [Config.Seconds], and up
// to half a minute more for a slow drain.
//
// # What counts as lost
//
// Loss is judged against a log of facts that the publishers keep outside the server: for each attempt to publish a query
// parameter that no other has, whether the server accepted it (NetStream.Publish.Start was read), when, and how it
// ended. The journal is not asked. The observer's certainty has an edge, because what was never durable was never
// promised to anyone; it is drawn with one second ([Settle]):
//
//   - A publication has begun for certain when it was accepted and the server was not killed within a second after.
//     Then on_publication_ended must come, whatever happens later.
//   - It has registered for certain when it sent media for a second without the server being killed, or said goodbye
//     after audio and video had been sent and the server was not killed within a second after. Then register and
//     unregister must come. A connection that was reset earlier may have taken the media with it.
//   - A session has ended for certain when its connection ended, and the server was not killed between its acceptance and
//     a second after its end. Then the publisher's on_flow_report must come. A crash ends sessions without a report.
//   - A publication of which the receiver accepted any event has begun; one of which it accepted register or unregister
//     has registered. So whatever was shown must be shown to its end.
//   - A session that takes up a key within the grace period (continue_push_ms) after a reset continues that publication:
//     it owes its own on_flow_report, and nothing else. When the observer can't know whether it came in time, only what
//     the receiver accepted counts.
//   - A refused attempt owes nothing; an event of it is a violation.
//   - on_server_started must come once for each start, on_server_exited once.
//
// Every fact is owed exactly by this rule; "events" is their number. Order, identity, gaps and life cycles are judged by
// package ordercheck for everything that comes.
//
// # The racing sender
//
// Beside it stands what a sender would have done with the same facts that has one connection, one thread and one retry
// per event, as ZLMediaKit has. It is a simulation ([Racing]): delays are drawn from those that were measured on
// connections of their own to an idle receiver of the same kind, the receiver's faults are those of the run at that time.
package demo
