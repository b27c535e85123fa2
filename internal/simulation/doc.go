// Package simulation runs the real sequencer, the real delivery and the journal's port in virtual time against a
// journal and a receiver that fail in every way that the seed asks for, and lets internal/ordercheck, which shares
// no code with them, judge what the receiver saw. It holds tests only.
//
// A run is one seed: publications on a few keys begin, register, report and end while the receiver hangs, refuses,
// answers garbage, loses answers or is away, the process is killed and started again, the journal is slow, its tail
// is lost before it was acknowledged, and retention trims it. In the end everything heals and drains. Then:
//
//   - the checker has found no violation of G1, G2, G3, G5 and G8;
//   - every event that was acknowledged as durable was accepted or is named in an accepted gap notice (G4);
//   - without notices, what the receiver saw per key after de-duplication is what the journal holds (the same facts
//     under other crashes and outages give the same sequence).
//
// A control with ordering switched off must be caught by the same checker.
package simulation
