// Package receivertool is a receiver of hooks to try Hookline with: it prints what comes, checks order and gaps, and
// misbehaves on purpose. It is the logic of "hookline listen", and the receiver of the demo and of tests.
//
// Contract. A [Receiver] accepts POSTs to any path whose last element is the name of a hook, at most 1 MiB each, and to
// any path at all CloudEvents (structured mode, also in batches), which name their hook themselves. A batch is accepted,
// failed or left hanging as a whole: if one of its events is to fail all do. An
// event is given to the checker right before it is answered, so that the order in which the checker sees the events
// of one key is the order of acceptance. A request whose sender has gone away while it was delayed is not accepted.
//
// Misbehaviour follows from the seed: what happens to the n-th attempt of an event depends on the seed, its type,
// its stream, its seq and n, and on nothing else; of hooks without a seq n counts those of the same type and stream.
//
// While the receiver is down ([Receiver.Down], [Outage]) its port is closed, so that connections are refused; running
// requests are cut off. All methods are safe for concurrent use.
package receivertool
