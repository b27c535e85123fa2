// Package attempts is what is known of the requests to receivers: what one attempt is, and a bounded memory of the
// last ones, for timelines.
//
// Contract. Log.Add never blocks on anything but its own lock, which is held for the copy of one slot, and allocates
// nothing for a first attempt that was accepted with the answer that its endpoint gave before. The log is memory
// only: a restart forgets it. What was accepted at once and what was not are kept apart, so that a busy receiver that
// works does not push out what failed elsewhere. URLs and errors in it are without user, password and query; answers
// are as the receiver gave them.
package attempts
