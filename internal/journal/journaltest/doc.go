// Package journaltest holds the conformance suite that every driver of the journal must pass, and Mem, a driver in
// memory for tests and simulations.
//
// Mem has no I/O and no goroutines of its own: it works inside a testing/synctest bubble, where its durability
// latency passes in the bubble's time. It can be crashed, its writes and its reads can be made to fail.
package journaltest
