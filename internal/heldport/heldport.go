// Package heldport keeps TCP ports for servers that stop listening for a while and come back: a server that a demo or a test kills
// and starts again, a receiver that is away on purpose.
//
// A port that was closed belongs to nobody. Between two listeners the system may give it to who asks for any port, or to who
// connects; then the second listener fails. A socket that is bound to the port and never listens prevents that, while connections
// are refused as if it were not there. Listeners that set SO_REUSEADDR, as those of package net do, can use the port all the same.
//
// Contract: on Linux a port is held until its Port is closed, or the process ends. Elsewhere Hold only chooses a port.
package heldport

import "sync"

// Port is a port that is held.
type Port struct {
	number  int
	once    sync.Once
	release func()
}

// Number returns the number of the port.
func (p *Port) Number() int { return p.number }

// Close lets go of the port. It is idempotent, and a no-op on nil.
func (p *Port) Close() {
	if p != nil {
		p.once.Do(p.release)
	}
}
