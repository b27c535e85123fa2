// Package simulation runs the real sequencer, the real delivery and the journal's port in virtual time against a
// journal and receivers that fail in every way that the seed asks for, and lets internal/ordercheck, which shares
// no code with them, judge what each receiver saw. It holds tests only.
//
// A run is one seed: publications on a few keys begin, register, report and end while receivers hang, refuse,
// answer garbage, lose answers or are away, the process is killed and started again, the journal is slow, its tail
// is lost before it was acknowledged, and retention trims it. There are four endpoints: "hook"; "second", with a filter
// and history; "batched", which gets CloudEvents in batches, one event of which may be poisoned; and "moving", which
// an operator changes all the time: URL, filter, history, secret, form and size of batches, pauses, removal and adding
// again, from now or from the beginning. Meanwhile dead letters are redriven and parts of the journal replayed. In the
// end everything heals and drains, and all of the journal is replayed to each. Then:
//
//   - the checkers have found no violation of G1, G2, G3, G5 and G8: prev never names what was neither accepted nor named
//     as missing, nor hides what was accepted;
//   - every event that was acknowledged as durable, and is owed whatever moment a change took effect, was accepted or is
//     named in an accepted gap notice (G4);
//   - requests go where the configuration in force says, signed with its secret, and none while it says paused;
//   - a replay brings each key in order, and all of it when its receiver takes it;
//   - without notices, what a receiver saw per key after de-duplication is what the journal holds (the same facts
//     under other crashes and outages give the same sequence).
//
// Controls with ordering switched off, with single events and with batches, must be caught by the same checkers.
package simulation
