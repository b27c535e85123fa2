// Package delivery sends journaled events to endpoints: in order within a stream key, in parallel over keys.
//
// Contract. An endpoint takes records in the order of their positions and puts each that it is owed into the lane of
// its key. A lane is a FIFO with one request in flight; the next event is sent when the one before was accepted, or
// when the gap notice that names it was. Lanes do not wait for each other.
//
//   - Feed never blocks: an endpoint that has no room falls behind and reads from the journal later.
//   - What is held in memory is bounded by Config.Window; a lane that fails while others succeed is parked: it keeps
//     only its place in the journal.
//   - An attempt that fails is repeated by its own lane (back-off with jitter, Retry-After). Lanes whose last attempt
//     failed, and attempts that take far longer than usual, share a quarter of a URL's slots.
//   - A URL at which everything fails is probed by one request at a time; then its slots open gradually.
//   - With Config.Batch a request holds the front of several lanes, all or nothing. One that fails is not repeated: its
//     lanes go apart, then event by event; see batch.go.
//   - An event that is given up becomes a dead letter, durably, before the lane goes on, and is named in a gap notice.
//
// The cursor of an endpoint is written as one unit (floor, what is done above it, parked lanes):
//
//  1. A record is done when it was accepted, is not owed, or is a durable dead letter whose gap is durable.
//  2. The floor is the highest position below which everything is done or belongs to a parked lane.
//  3. Floor, done set and parked lanes are written in one durable batch, at most every 200 ms. After a crash what was done
//     since is sent again, in order, with the same ids.
package delivery
