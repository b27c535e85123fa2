package rtmp

import "time"

// What a peer may do at once and per second, beyond which it is cut off or not listened to.
const (
	commandBurst = 400 // commands and events that are answered; a connection may publish again and again
	commandRate  = 200

	metadataBurst = 20 // every change goes to all viewers
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
