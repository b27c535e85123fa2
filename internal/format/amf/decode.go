package amf

import (
	"encoding/binary"
	"fmt"
	"math"
)

// AMF0 type markers, section 2.1.
const (
	markNumber      = 0x00
	markBoolean     = 0x01
	markString      = 0x02
	markObject      = 0x03
	markNull        = 0x05
	markUndefined   = 0x06
	markReference   = 0x07
	markECMAArray   = 0x08
	markObjectEnd   = 0x09
	markStrictArray = 0x0a
	markDate        = 0x0b
	markLongString  = 0x0c
	markUnsupported = 0x0d
	markXML         = 0x0f
	markTypedObject = 0x10
	markAMF3        = 0x11
)

// Decode decodes the AMF0 value at the start of b and returns how many bytes it took. A value behind the
// switch-to-AMF3 marker is decoded as AMF3, with empty reference tables.
func Decode(b []byte) (v any, n int, err error) {
	d := decoder{b: b}
	v, err = d.value0()
	if err != nil {
		return nil, d.off, fmt.Errorf("at byte %d: %w", d.off, err)
	}
	return v, d.off, nil
}

// DecodeAll decodes AMF0 values up to the end of b, as they stand in an RTMP message. With an error it returns the
// values before the bad one.
func DecodeAll(b []byte) ([]any, error) {
	d := decoder{b: b}
	var all []any
	for d.off < len(b) {
		v, err := d.value0()
		if err != nil {
			return all, fmt.Errorf("value %d, at byte %d: %w", len(all), d.off, err)
		}
		all = append(all, v)
	}
	return all, nil
}

// decoder holds the state of one message.
type decoder struct {
	b   []byte
	off int

	depth   int // containers that are open
	deepest int // deepest depth since the innermost open container began
	values  int // values so far, references expanded
	bytes   int // bytes of names and strings so far, references expanded

	refs []ref // AMF0 reference table
}

// ref is one entry of a reference table: a decoded container, and what it costs to repeat it.
type ref struct {
	value  any
	values int
	bytes  int
	height int
	done   bool // false while the container is open
}

func (d *decoder) take(n int) ([]byte, error) {
	if n < 0 || len(d.b)-d.off < n {
		return nil, ErrTruncated
	}
	b := d.b[d.off : d.off+n]
	d.off += n
	return b, nil
}

func (d *decoder) byte() (byte, error) {
	b, err := d.take(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

func (d *decoder) double() (float64, error) {
	b, err := d.take(8)
	if err != nil {
		return 0, err
	}
	return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
}

// text takes n bytes as a string, within limit and the limit of the message.
func (d *decoder) text(n, limit int) (string, error) {
	if n > limit {
		return "", fmt.Errorf("string of %d bytes: %w", n, ErrLimit)
	}
	b, err := d.take(n)
	if err != nil {
		return "", err
	}
	return string(b), d.charge(0, n)
}

// charge counts values and bytes against the limits of the message.
func (d *decoder) charge(values, bytes int) error {
	d.values += values
	d.bytes += bytes
	if d.values > MaxValues || d.bytes > MaxBytes {
		return fmt.Errorf("message too large: %w", ErrLimit)
	}
	return nil
}

// container runs body one level deeper and records the result in table, so that a later reference finds it.
func (d *decoder) container(table *[]ref, body func() (any, error)) (any, error) {
	if d.depth == MaxDepth {
		return nil, fmt.Errorf("nested deeper than %d: %w", MaxDepth, ErrLimit)
	}
	index := len(*table)
	*table = append(*table, ref{})
	outer, values, bytes := d.deepest, d.values, d.bytes
	d.depth++
	d.deepest = d.depth
	v, err := body()
	if err != nil {
		return nil, err
	}
	d.depth--
	(*table)[index] = ref{
		value: v, values: d.values - values, bytes: d.bytes - bytes,
		height: d.deepest - d.depth, done: true,
	}
	d.deepest = max(outer, d.deepest)
	return v, nil
}

// follow returns the value of entry index of table and charges what it expands to.
func (d *decoder) follow(table []ref, index int) (any, error) {
	if index >= len(table) || !table[index].done {
		return nil, fmt.Errorf("reference %d: %w", index, ErrReference)
	}
	r := table[index]
	if d.depth+r.height > MaxDepth {
		return nil, fmt.Errorf("reference nested deeper than %d: %w", MaxDepth, ErrLimit)
	}
	d.deepest = max(d.deepest, d.depth+r.height)
	return r.value, d.charge(r.values, r.bytes)
}

func (d *decoder) value0() (any, error) {
	if err := d.charge(1, 0); err != nil {
		return nil, err
	}
	mark, err := d.byte()
	if err != nil {
		return nil, err
	}
	switch mark {
	case markNumber:
		return d.double()
	case markBoolean:
		b, err := d.byte()
		return b != 0, err
	case markString:
		return d.text16()
	case markLongString, markXML:
		return d.text32()
	case markNull:
		return nil, nil // AMF null is Go nil
	case markUndefined, markUnsupported:
		return Undefined{}, nil
	case markDate:
		return d.date0()
	case markReference:
		b, err := d.take(2)
		if err != nil {
			return nil, err
		}
		return d.follow(d.refs, int(binary.BigEndian.Uint16(b)))
	case markAMF3:
		return d.switch3()
	}
	return d.container0(mark)
}

func (d *decoder) container0(mark byte) (any, error) {
	switch mark {
	case markObject:
		return d.container(&d.refs, func() (any, error) {
			ms, err := d.members0(-1)
			return Object(ms), err
		})
	case markECMAArray:
		return d.container(&d.refs, d.ecmaArray)
	case markStrictArray:
		return d.container(&d.refs, d.strictArray)
	case markTypedObject:
		return d.container(&d.refs, func() (any, error) {
			class, err := d.text16()
			if err != nil {
				return nil, err
			}
			ms, err := d.members0(-1)
			return TypedObject{Class: class, Members: ms}, err
		})
	}
	d.off--
	return nil, fmt.Errorf("marker 0x%02x: %w", mark, ErrMarker)
}

func (d *decoder) text16() (string, error) {
	b, err := d.take(2)
	if err != nil {
		return "", err
	}
	return d.text(int(binary.BigEndian.Uint16(b)), MaxString)
}

func (d *decoder) text32() (string, error) {
	b, err := d.take(4)
	if err != nil {
		return "", err
	}
	return d.text(int(binary.BigEndian.Uint32(b)), MaxLongString)
}

func (d *decoder) date0() (any, error) {
	ms, err := d.double()
	if err != nil {
		return nil, err
	}
	zone, err := d.take(2)
	if err != nil {
		return nil, err
	}
	return Date{Millis: ms, Zone: int16(binary.BigEndian.Uint16(zone))}, nil
}

// ecmaArray reads the members up to the end marker: the count on the wire is a hint that encoders get wrong.
func (d *decoder) ecmaArray() (any, error) {
	b, err := d.take(4)
	if err != nil {
		return nil, err
	}
	ms, err := d.members0(int(binary.BigEndian.Uint32(b)))
	return ECMAArray(ms), err
}

// members0 reads names and values up to the end marker. Some encoders leave the end marker of an ECMA array out: when
// count members were read and nothing follows, the array ends there. count is -1 where that is not allowed.
func (d *decoder) members0(count int) ([]Member, error) {
	var ms []Member
	for {
		if len(ms) == count && d.off == len(d.b) {
			return ms, nil
		}
		name, err := d.text16()
		if err != nil {
			return nil, err
		}
		if name == "" && d.off < len(d.b) && d.b[d.off] == markObjectEnd {
			d.off++
			return ms, nil
		}
		if len(ms) == MaxMembers {
			return nil, fmt.Errorf("more than %d members: %w", MaxMembers, ErrLimit)
		}
		v, err := d.value0()
		if err != nil {
			return nil, err
		}
		ms = append(ms, Member{name, v})
	}
}

func (d *decoder) strictArray() (any, error) {
	b, err := d.take(4)
	if err != nil {
		return nil, err
	}
	n, err := d.count(binary.BigEndian.Uint32(b), 1)
	if err != nil {
		return nil, err
	}
	a := make(StrictArray, 0, min(n, 64))
	for range n {
		v, err := d.value0()
		if err != nil {
			return nil, err
		}
		a = append(a, v)
	}
	return a, nil
}

// count checks the number of elements, of at least size bytes each, that a peer announced.
func (d *decoder) count(n uint32, size int) (int, error) {
	if n > MaxElements {
		return 0, fmt.Errorf("array of %d elements: %w", n, ErrLimit)
	}
	if int(n)*size > len(d.b)-d.off {
		return 0, fmt.Errorf("array of %d elements: %w", n, ErrTruncated)
	}
	return int(n), nil
}
