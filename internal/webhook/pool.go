package webhook

import (
	"sync"
	"time"
)

// pool keeps unused connections per scheme, host and port. It runs no goroutine: a timer is armed while anything is idle.
type pool struct {
	idleTimeout time.Duration
	maxIdle     int // per key

	mu     sync.Mutex
	idle   map[string][]*conn // guarded by mu; each list is ordered by conn.idle, newest last
	timer  *time.Timer        // guarded by mu; nil when nothing is armed
	closed bool               // guarded by mu
}

func newPool(idleTimeout time.Duration, maxIdle int) *pool {
	return &pool{idleTimeout: idleTimeout, maxIdle: maxIdle, idle: map[string][]*conn{}}
}

// take returns the most recently used connection that is still usable, nil when there is none.
func (p *pool) take(key string) *conn {
	for {
		c := p.pop(key)
		if c == nil || c.usable() {
			return c
		}
		c.close()
	}
}

func (p *pool) pop(key string) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[key]
	if len(list) == 0 {
		return nil
	}
	last := len(list) - 1
	c := list[last]
	list[last] = nil
	p.idle[key] = list[:last]
	return c
}

// put takes c back, or closes it when there is no room.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	full := p.closed || len(p.idle[c.key]) >= p.maxIdle
	if !full {
		c.idle = time.Now()
		p.idle[c.key] = append(p.idle[c.key], c)
		if p.timer == nil {
			p.timer = time.AfterFunc(p.idleTimeout, p.expire)
		}
	}
	p.mu.Unlock()
	if full {
		c.close()
	}
}

// expire closes what has been idle for too long, forgets keys that have nothing left, and comes back for the rest.
func (p *pool) expire() {
	var old []*conn
	p.mu.Lock()
	limit := time.Now().Add(-p.idleTimeout)
	for key, list := range p.idle {
		n := 0
		for n < len(list) && !list[n].idle.After(limit) {
			n++
		}
		old = append(old, list[:n]...)
		if n == len(list) {
			delete(p.idle, key)
		} else if n > 0 {
			p.idle[key] = append([]*conn(nil), list[n:]...)
		}
	}
	p.timer = nil
	if len(p.idle) > 0 && !p.closed {
		p.timer = time.AfterFunc(p.idleTimeout/4+time.Millisecond, p.expire)
	}
	p.mu.Unlock()
	for _, c := range old {
		c.close()
	}
}

func (p *pool) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = map[string][]*conn{}, true
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	for _, list := range idle {
		for _, c := range list {
			c.close()
		}
	}
}
