package bmff

import (
	"encoding/binary"
	"iter"
)

// Begin appends the head of a box, whose size End fills in. at is where the box begins.
func Begin(dst []byte, typ string) (out []byte, at int) {
	return append(append(dst, 0, 0, 0, 0), typ...), len(dst)
}

// BeginFull is Begin for a box with version and flags.
func BeginFull(dst []byte, typ string, version byte, flags uint32) (out []byte, at int) {
	dst, at = Begin(dst, typ)
	return binary.BigEndian.AppendUint32(dst, uint32(version)<<24|flags), at
}

// End completes the box that begins at at.
func End(dst []byte, at int) []byte {
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at))
	return dst
}

func u16(dst []byte, v int) []byte    { return binary.BigEndian.AppendUint16(dst, uint16(v)) }
func u32(dst []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(dst, v) }
func u64(dst []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(dst, v) }
func zeros(dst []byte, n int) []byte  { return append(dst, make([]byte, n)...) }

// HeaderSize is the most bytes of a box header that Header looks at.
const HeaderSize = 16

// Header reads the header of a box: its type, the size of the header, and that of the whole box; size 0 means up to the
// end of what contains it. ok is false when b is too short or the size is less than the header.
func Header(b []byte) (typ string, head int, size uint64, ok bool) {
	if len(b) < 8 {
		return "", 0, 0, false
	}
	head, size, typ = 8, uint64(binary.BigEndian.Uint32(b)), string(b[4:8])
	if size == 1 {
		if len(b) < HeaderSize {
			return "", 0, 0, false
		}
		head, size = HeaderSize, binary.BigEndian.Uint64(b[8:])
	}
	return typ, head, size, size == 0 || size >= uint64(head)
}

// Boxes yields type and content of the boxes in b. It stops at the first that does not fit.
func Boxes(b []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for len(b) > 0 {
			typ, head, size, ok := Header(b)
			if !ok || size > uint64(len(b)) {
				return
			}
			if size == 0 {
				size = uint64(len(b))
			}
			if !yield(typ, b[head:size:size]) {
				return
			}
			b = b[size:]
		}
	}
}

// Find returns the content of the first box at a path of types.
func Find(b []byte, path ...string) ([]byte, bool) {
	for _, want := range path {
		found := false
		for typ, body := range Boxes(b) {
			if typ == want {
				b, found = body, true
				break
			}
		}
		if !found {
			return nil, false
		}
	}
	return b, true
}
