// Package port is what every queue destination has in common: the message, the Destination interface, the classes of
// errors, and the parts that all of them are built from (URLs with secrets, subject escaping, dialling, back-off).
// Users of a destination import the parent package, which names the same things and opens by URL.
//
// # Contract of a Destination
//
//   - Publish returns nil once the queue has acknowledged the message under its own rules of durability, which each
//     package states. Any error means "not known to be there": the message may have arrived all the same.
//   - A caller has at most one Publish of a Key in flight, and publishes the next message of that key only after the
//     one before was acknowledged or given up. Under that rule the first appearances of a key's messages in the queue
//     are in the order of the calls, through time-outs, cut connections and restarts of the server. Different keys are
//     published concurrently and independently.
//   - Delivery is at least once. A repeated Publish carries the same ID; destinations whose queue can tell a repetition
//     drop it, consumers of the others drop it by ID.
//   - After Publish has returned an error nothing more of that attempt is sent by this process, apart from bytes that
//     the peer's kernel already holds: a connection that fails or stalls is reset, not closed, so that nothing waits in
//     our kernel's buffers for the network to heal. Where a client library may still hold the message (Kafka), later
//     messages of the key wait until its fate is known.
//   - Open never waits for the server and never fails because it is away: connecting goes on in the background, with
//     back-off, for as long as the destination lives. Meanwhile Publish fails fast with ErrUnavailable.
//   - Errors: ErrRejected marks what a repetition cannot mend (too large, no such stream or exchange, not permitted);
//     everything else is worth a repetition. Wrong credentials of the connection are ErrUnavailable: they say nothing
//     about the message.
//   - Close is idempotent, ends Publish calls with ErrClosed and waits for every goroutine.
//   - Passwords and tokens appear in no error, no log line and no String.
package port
