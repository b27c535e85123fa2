package amf

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
)

// AMF3 type markers, section 3.1.
const (
	mark3Undefined    = 0x00
	mark3Null         = 0x01
	mark3False        = 0x02
	mark3True         = 0x03
	mark3Integer      = 0x04
	mark3Double       = 0x05
	mark3String       = 0x06
	mark3XMLDoc       = 0x07
	mark3Date         = 0x08
	mark3Array        = 0x09
	mark3Object       = 0x0a
	mark3XML          = 0x0b
	mark3ByteArray    = 0x0c
	mark3VectorInt    = 0x0d
	mark3VectorUint   = 0x0e
	mark3VectorDouble = 0x0f
	mark3VectorObject = 0x10
	mark3Dictionary   = 0x11
)

// Decode3 decodes the AMF3 value at the start of b and returns how many bytes it took.
func Decode3(b []byte) (v any, n int, err error) {
	d := decoder{b: b}
	v, err = d.switch3()
	if err != nil {
		return nil, d.off, fmt.Errorf("at byte %d: %w", d.off, err)
	}
	return v, d.off, nil
}

// decoder3 holds the reference tables of one AMF3 value and what is below it.
type decoder3 struct {
	*decoder
	strings []string
	objects []ref
	traits  []traits
}

// traits describe a class.
type traits struct {
	class    string
	names    []string
	dynamic  bool
	external bool
}

func (d *decoder) switch3() (any, error) {
	d3 := decoder3{decoder: d}
	return d3.value()
}

// u29 reads a variable length unsigned 29-bit integer, section 1.3.1.
func (d *decoder3) u29() (uint32, error) {
	var n uint32
	for i := range 4 {
		b, err := d.byte()
		if err != nil {
			return 0, err
		}
		if i == 3 {
			return n<<8 | uint32(b), nil
		}
		n = n<<7 | uint32(b&0x7f)
		if b < 0x80 {
			break
		}
	}
	return n, nil
}

func (d *decoder3) value() (any, error) {
	if err := d.charge(1, 0); err != nil {
		return nil, err
	}
	mark, err := d.byte()
	if err != nil {
		return nil, err
	}
	switch mark {
	case mark3Undefined:
		return Undefined{}, nil
	case mark3Null:
		return nil, nil // AMF null is Go nil
	case mark3False:
		return false, nil
	case mark3True:
		return true, nil
	case mark3Integer:
		n, err := d.u29()
		return float64(int32(n<<3) >> 3), err
	case mark3Double:
		return d.double()
	case mark3String:
		return d.string(MaxLongString)
	}
	return d.complex(mark)
}

// string reads a string or a reference to one. The empty string is never in the table.
func (d *decoder3) string(limit int) (string, error) {
	n, err := d.u29()
	if err != nil {
		return "", err
	}
	if n&1 == 0 {
		if int(n>>1) >= len(d.strings) {
			return "", fmt.Errorf("string %d: %w", n>>1, ErrReference)
		}
		s := d.strings[n>>1]
		return s, d.charge(0, len(s))
	}
	s, err := d.text(int(n>>1), limit)
	if err == nil && s != "" {
		d.strings = append(d.strings, s)
	}
	return s, err
}

// complex reads a value that is in the object table.
func (d *decoder3) complex(mark byte) (any, error) {
	if mark > mark3Dictionary {
		d.off--
		return nil, fmt.Errorf("AMF3 marker 0x%02x: %w", mark, ErrMarker)
	}
	head, err := d.u29()
	if err != nil {
		return nil, err
	}
	if head&1 == 0 {
		return d.follow(d.objects, int(head>>1))
	}
	return d.container(&d.objects, func() (any, error) { return d.body(mark, head>>1) })
}

// body reads what follows the header of a complex value; n is the header without its reference bit.
func (d *decoder3) body(mark byte, n uint32) (any, error) {
	switch mark {
	case mark3XMLDoc, mark3XML:
		return d.text(int(n), MaxLongString)
	case mark3ByteArray:
		s, err := d.text(int(n), MaxLongString)
		return []byte(s), err
	case mark3Date:
		ms, err := d.double()
		return Date{Millis: ms}, err
	case mark3Array:
		return d.array(n)
	case mark3Object:
		return d.object(n)
	case mark3VectorInt, mark3VectorUint, mark3VectorDouble:
		return d.numbers(mark, n)
	case mark3VectorObject:
		return d.vector(n)
	default:
		return d.dictionary(n)
	}
}

// array reads an array. One with named members becomes an ECMAArray, its dense part under decimal names.
func (d *decoder3) array(n uint32) (any, error) {
	ms, err := d.pairs(nil)
	if err != nil {
		return nil, err
	}
	dense, err := d.elements(n)
	if err != nil || len(ms) == 0 {
		return dense, err
	}
	for i, v := range dense {
		if len(ms) == MaxMembers {
			return nil, fmt.Errorf("more than %d members: %w", MaxMembers, ErrLimit)
		}
		name := strconv.Itoa(i)
		if err := d.charge(0, len(name)); err != nil {
			return nil, err
		}
		ms = append(ms, Member{name, v})
	}
	return ECMAArray(ms), nil
}

func (d *decoder3) elements(n uint32) (StrictArray, error) {
	count, err := d.count(n, 1)
	if err != nil {
		return nil, err
	}
	a := make(StrictArray, 0, min(count, 64))
	for range count {
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		a = append(a, v)
	}
	return a, nil
}

// pairs reads names and values up to the empty name and appends them to ms.
func (d *decoder3) pairs(ms []Member) ([]Member, error) {
	for {
		name, err := d.string(MaxString)
		if err != nil || name == "" {
			return ms, err
		}
		if len(ms) == MaxMembers {
			return nil, fmt.Errorf("more than %d members: %w", MaxMembers, ErrLimit)
		}
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		ms = append(ms, Member{name, v})
	}
}

func (d *decoder3) object(n uint32) (any, error) {
	t, err := d.traitsOf(n)
	if err != nil {
		return nil, err
	}
	if t.external {
		return d.externalized(t.class)
	}
	ms := make([]Member, 0, min(len(t.names), 64))
	for _, name := range t.names {
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		if err := d.charge(0, len(name)); err != nil {
			return nil, err
		}
		ms = append(ms, Member{name, v})
	}
	if t.dynamic {
		if ms, err = d.pairs(ms); err != nil {
			return nil, err
		}
	}
	if t.class == "" {
		return Object(ms), nil
	}
	return TypedObject{Class: t.class, Members: ms}, d.charge(0, len(t.class))
}

// traitsOf reads the traits of an object, or finds them by reference. n is U29O without its lowest bit.
func (d *decoder3) traitsOf(n uint32) (traits, error) {
	if n&1 == 0 {
		if int(n>>1) >= len(d.traits) {
			return traits{}, fmt.Errorf("traits %d: %w", n>>1, ErrReference)
		}
		return d.traits[n>>1], nil
	}
	class, err := d.string(MaxString)
	if err != nil {
		return traits{}, err
	}
	t := traits{class: class, external: n&2 != 0, dynamic: n&4 != 0}
	if !t.external {
		if n>>3 > MaxMembers {
			return traits{}, fmt.Errorf("class of %d members: %w", n>>3, ErrLimit)
		}
		for range n >> 3 {
			name, err := d.string(MaxString)
			if err != nil {
				return traits{}, err
			}
			t.names = append(t.names, name)
		}
	}
	d.traits = append(d.traits, t)
	return t, nil
}

// externalized reads the body of the externalizable classes whose body is known: Flex wrappers around one value.
func (d *decoder3) externalized(class string) (any, error) {
	switch class {
	case "flex.messaging.io.ArrayCollection", "flex.messaging.io.ArrayList", "flex.messaging.io.ObjectProxy":
		return d.value()
	}
	return nil, fmt.Errorf("externalizable class %q: %w", class, ErrUnsupported)
}

// numbers reads a vector of int, uint or double.
func (d *decoder3) numbers(mark byte, n uint32) (any, error) {
	size := 4
	if mark == mark3VectorDouble {
		size = 8
	}
	if _, err := d.byte(); err != nil { // fixed length or not: no meaning here
		return nil, err
	}
	count, err := d.count(n, size)
	if err != nil {
		return nil, err
	}
	if err := d.charge(count, 0); err != nil {
		return nil, err
	}
	b, err := d.take(count * size)
	if err != nil {
		return nil, err
	}
	a := make(StrictArray, count)
	for i := range a {
		item := b[i*size:]
		switch mark {
		case mark3VectorInt:
			a[i] = float64(int32(binary.BigEndian.Uint32(item)))
		case mark3VectorUint:
			a[i] = float64(binary.BigEndian.Uint32(item))
		default:
			a[i] = math.Float64frombits(binary.BigEndian.Uint64(item))
		}
	}
	return a, nil
}

// vector reads a vector of objects; the class of its elements is not kept.
func (d *decoder3) vector(n uint32) (any, error) {
	if _, err := d.byte(); err != nil {
		return nil, err
	}
	if _, err := d.string(MaxString); err != nil {
		return nil, err
	}
	return d.elements(n)
}

// dictionary keeps the entries whose key is a string; the others are read and dropped.
func (d *decoder3) dictionary(n uint32) (any, error) {
	if _, err := d.byte(); err != nil { // weak keys or not
		return nil, err
	}
	count, err := d.count(n, 2)
	if err != nil {
		return nil, err
	}
	var ms []Member
	for range count {
		key, err := d.value()
		if err != nil {
			return nil, err
		}
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if !ok || len(name) > MaxString {
			continue
		}
		if len(ms) == MaxMembers {
			return nil, fmt.Errorf("more than %d members: %w", MaxMembers, ErrLimit)
		}
		ms = append(ms, Member{name, v})
	}
	return ECMAArray(ms), nil
}
