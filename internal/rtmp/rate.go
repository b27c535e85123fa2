package rtmp

import "time"

// Limits bound what a peer of a server may send. A zero value of a field means its default.
type Limits struct {
	// MessageBytes is the largest audio, video or aggregate message. Default, and most: 16 MiB less one byte.
	MessageBytes int
	// DataBytes is the largest data message. Default 1 MiB.
	DataBytes int
	// ChunkStreams is the number of chunk streams that a peer may use. Default 64.
	ChunkStreams int
	// Commands is the number of commands and pings per second that are answered; twice as many may come at once. Default
	// 200: a connection may publish again and again.
	Commands int
}

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		v *int
		d int
	}{{&l.MessageBytes, maxMessage}, {&l.DataBytes, 1 << 20}, {&l.ChunkStreams, 64}, {&l.Commands, 200}} {
		if *f.v <= 0 {
			*f.v = f.d
		}
	}
	l.MessageBytes = min(l.MessageBytes, maxMessage)
	return l
}

// How often the metadata of a publisher may change, at once and per second: every change goes to all viewers.
const (
	metadataBurst = 20
	metadataRate  = 2
)

// bucket lets burst things through at once and rate per second. The zero value is full.
type bucket struct {
	used float64 // as of at
	at   time.Time
}

// take says whether one more thing may happen now.
func (b *bucket) take(now time.Time, burst, rate float64) bool {
	b.used = max(b.used-now.Sub(b.at).Seconds()*rate, 0)
	b.at = now
	if b.used >= burst {
		return false
	}
	b.used++
	return true
}
