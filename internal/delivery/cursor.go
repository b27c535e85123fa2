package delivery

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// cursor knows which positions are done: everything up to floor, and single ones above it.
type cursor struct {
	floor uint64
	// words holds a bit for each position above floor: bit i of the first word that counts (off) is floor+1+i.
	words []uint64
	off   uint64 // bits of words[0] that are below or at the floor
}

const (
	cursorMagic = 0xC1
	// maxRuns bounds a stored cursor; what does not fit is sent again after a crash.
	maxRuns = 1 << 15
)

var errCursor = errors.New("delivery: stored cursor is damaged")

// done marks a position and moves the floor over what is done.
func (c *cursor) done(pos uint64) {
	if pos <= c.floor {
		return
	}
	i := pos - c.floor - 1 + c.off
	for uint64(len(c.words)) <= i/64 {
		c.words = append(c.words, 0)
	}
	c.words[i/64] |= 1 << (i % 64)
	c.advance()
}

func (c *cursor) isDone(pos uint64) bool {
	if pos <= c.floor {
		return true
	}
	i := pos - c.floor - 1 + c.off
	return i/64 < uint64(len(c.words)) && c.words[i/64]&(1<<(i%64)) != 0
}

func (c *cursor) advance() {
	for len(c.words) > 0 {
		// Bits below off count as done.
		w := c.words[0] | (1<<c.off - 1)
		ones := uint64(bits.TrailingZeros64(^w))
		c.floor += ones - c.off
		c.off = ones
		if ones < 64 {
			return
		}
		c.words = c.words[1:]
		c.off = 0
	}
	if cap(c.words) > 0 && len(c.words) == 0 {
		c.words = nil
	}
}

// jump moves the floor up to pos: everything up to it is done.
func (c *cursor) jump(pos uint64) {
	for pos > c.floor {
		if len(c.words) == 0 {
			c.floor, c.off = pos, 0
			return
		}
		n := min(64-c.off, pos-c.floor)
		c.words[0] |= (1<<n - 1) << c.off
		if n == 64 {
			c.words[0] = ^uint64(0)
		}
		c.advance()
	}
}

// encode stores floor and the runs of not done and done positions above it, in turn.
func (c *cursor) encode() []byte {
	b := binary.AppendUvarint([]byte{cursorMagic}, c.floor)
	state, run, runs := false, uint64(0), 0
	total := uint64(len(c.words)) * 64
	for i := c.off; i < total && runs < maxRuns; {
		w := c.words[i/64] >> (i % 64)
		if state {
			w = ^w
		}
		n := min(uint64(bits.TrailingZeros64(w)), 64-i%64)
		run += n
		i += n
		if i%64 != 0 || n == 0 {
			b = binary.AppendUvarint(b, run)
			state, run = !state, 0
			runs++
		}
	}
	if state && run > 0 {
		b = binary.AppendUvarint(b, run)
	}
	return b
}

func decodeCursor(b []byte) (*cursor, error) {
	c := &cursor{}
	if len(b) == 0 {
		return c, nil
	}
	if b[0] != cursorMagic {
		return nil, fmt.Errorf("%w: unknown form %#x", errCursor, b[0])
	}
	b = b[1:]
	var n int
	if c.floor, n = binary.Uvarint(b); n <= 0 {
		return nil, errCursor
	}
	b = b[n:]
	pos, state := c.floor, false
	for len(b) > 0 {
		run, n := binary.Uvarint(b)
		if n <= 0 || run > 1<<28 {
			return nil, errCursor
		}
		b = b[n:]
		if state {
			for range run {
				pos++
				i := pos - c.floor - 1
				for uint64(len(c.words)) <= i/64 {
					c.words = append(c.words, 0)
				}
				c.words[i/64] |= 1 << (i % 64)
			}
		} else {
			pos += run
		}
		state = !state
	}
	c.advance()
	return c, nil
}
