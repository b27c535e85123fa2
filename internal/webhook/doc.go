// Package webhook sends one HTTP POST to a receiver and classifies the answer.
//
// Contract.
//
//   - Send is one attempt, and its time-out covers everything from name resolution to the last byte, redirects
//     included. It retries nothing, lanes and decisions have their own policies, with one exception: a kept connection
//     that turns out to be closed before a byte of the answer is replaced once by a fresh one. A receiver may therefore
//     see one attempt twice.
//   - Cancelling the context ends the attempt at once and closes its connection; nothing goes on in the background.
//   - An answer is read up to MaxReplyBytes and its header up to 8 KiB; a larger one is neither buffered nor drained:
//     the connection is dropped.
//   - Every address is shown to the guard after name resolution, right before it is dialled, redirects included.
//   - Connections are kept per scheme, host and port, at most 128 unused ones for 30 s by default. The package runs no
//     goroutine of its own.
//
// Requests are HTTP/1.1 over connections of our own rather than net/http's: it costs a third of the processor time for
// each post, and a deadline ends the request instead of abandoning it to the background.
package webhook
