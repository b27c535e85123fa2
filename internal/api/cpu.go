package api

import (
	"sync"
	"time"
)

// cpuMeter measures the processor time between two questions that are at least a second apart.
type cpuMeter struct {
	mu   sync.Mutex
	at   time.Time
	used time.Duration
	last int
}

// percent returns the share of procs processors that the process used lately; 0 when it is asked first.
func (m *cpuMeter) percent(now time.Time, procs int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	passed := now.Sub(m.at)
	if passed < time.Second {
		return m.last
	}
	used := cpuTime()
	if !m.at.IsZero() {
		m.last = min(int(100*(used-m.used)/(passed*time.Duration(max(procs, 1)))), 100)
	}
	m.at, m.used = now, used
	return m.last
}
