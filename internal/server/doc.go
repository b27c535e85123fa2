// Package server is the composition root: the only place where configuration, media plane and event plane meet.
//
// Start, in this order, so that nothing is admitted before what came earlier is known:
//
//  1. configuration, journal (the directory's lock), sequencer;
//  2. the endpoint takes its place in the journal: what is owed from earlier runs enters its lanes;
//  3. what a crash left alive is ended (compensation), before anything new of those keys;
//  4. the ports are bound, but nobody is accepted yet;
//  5. on_server_started is raised; accepting begins when it was accepted or after delivery.start_hold_ms.
//
// Stop: no new sessions, every publication ends (server_stop), on_server_exited is raised last, deliveries drain up to
// delivery.drain_ms, the endpoint's place and the journal are closed. What was not delivered is after the next start.
package server
