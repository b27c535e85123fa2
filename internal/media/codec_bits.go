package media

// bitReader reads bits, most significant first. After the end it reads zeros and remembers that it failed, so that
// parsers check once.
type bitReader struct {
	b      []byte
	pos    int // in bits
	failed bool
}

// left returns how many bits are left.
func (r *bitReader) left() int { return len(r.b)*8 - r.pos }

// u reads n bits, n <= 32.
func (r *bitReader) u(n int) uint32 {
	if r.left() < n {
		r.failed = true
		r.pos = len(r.b) * 8
		return 0
	}
	var v uint64
	end := r.pos + n
	for at := r.pos &^ 7; at < end; at += 8 {
		v = v<<8 | uint64(r.b[at>>3])
	}
	v >>= uint(-end & 7)
	r.pos = end
	return uint32(v & (1<<uint(n) - 1))
}

func (r *bitReader) flag() bool { return r.u(1) != 0 }

func (r *bitReader) skip(n int) {
	if n < 0 || r.left() < n {
		r.failed = true
		n = r.left()
	}
	r.pos += n
}

// ue reads an unsigned Exp-Golomb code (ITU-T H.264, 9.1) of at most 32 bits.
func (r *bitReader) ue() uint32 {
	zeros := 0
	for !r.flag() {
		zeros++
		if r.failed || zeros > 31 {
			r.failed = true
			return 0
		}
	}
	return 1<<uint(zeros) - 1 + r.u(zeros)
}

// se reads a signed Exp-Golomb code (9.1.1).
func (r *bitReader) se() int32 {
	k := r.ue()
	if k&1 != 0 {
		return int32(k>>1) + 1
	}
	return -int32(k >> 1)
}

// count reads an unsigned Exp-Golomb code that may not exceed limit.
func (r *bitReader) count(limit uint32) int {
	n := r.ue()
	if n > limit {
		r.failed = true
		return 0
	}
	return int(n)
}

// unescape removes the emulation prevention bytes of a NAL unit (ITU-T H.264, 7.4.1.1; H.265 is the same).
func unescape(nalu []byte) []byte {
	out := make([]byte, 0, len(nalu))
	zeros := 0
	for _, c := range nalu {
		if zeros >= 2 && c == 3 {
			zeros = 0
			continue
		}
		if c == 0 {
			zeros++
		} else {
			zeros = 0
		}
		out = append(out, c)
	}
	return out
}
