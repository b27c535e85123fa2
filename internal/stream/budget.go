package stream

import "sync/atomic"

// budget bounds the media that all streams hold together: cached groups of pictures and wire logs. While there is more
// than that, who holds more than an equal share gives up what it can do without: viewers that lag are moved sooner, and
// new ones may have to wait for a key frame. A nil budget has no bound.
type budget struct {
	most    atomic.Int64 // bytes
	held    atomic.Int64 // bytes
	holders atomic.Int64 // caches and logs
}

// leastShare is what everybody may hold, in bytes.
const leastShare = 256 << 10

// join counts a holder in or, with -1, out.
func (b *budget) join(n int64) {
	if b != nil {
		b.holders.Add(n)
	}
}

// add counts bytes that are held from now on or, when negative, no longer.
func (b *budget) add(n int) {
	if b != nil && n != 0 {
		b.held.Add(int64(n))
	}
}

// exceeded says whether a holder of n bytes has to give some up.
func (b *budget) exceeded(n int) bool {
	if b == nil || n <= leastShare {
		return false
	}
	most := b.most.Load()
	return b.held.Load() > most && int64(n) > most/max(1, b.holders.Load())
}
