package amf

import (
	"encoding/binary"
	"fmt"
	"math"
)

// maxU29 is the largest value of a U29.
const maxU29 = 1<<29 - 1

// Append3 appends v in AMF3 to dst and returns the extended slice. It writes no references: every string and object
// stands where it is used. Members with an empty name, which end an AMF3 object, are left out.
func Append3(dst []byte, v any) ([]byte, error) {
	out, err := append3(dst, v, 0)
	if err != nil {
		return dst, err
	}
	return out, nil
}

func append3(dst []byte, v any, depth int) ([]byte, error) {
	switch v := v.(type) {
	case float64:
		return appendNumber3(dst, v), nil
	case int:
		return appendNumber3(dst, float64(v)), nil
	case bool:
		if v {
			return append(dst, mark3True), nil
		}
		return append(dst, mark3False), nil
	case string:
		return appendText3(append(dst, mark3String), v)
	case []byte:
		return appendText3(append(dst, mark3ByteArray), v)
	case nil:
		return append(dst, mark3Null), nil
	case Undefined:
		return append(dst, mark3Undefined), nil
	case Date:
		dst = append(dst, mark3Date, 1)
		return binary.BigEndian.AppendUint64(dst, math.Float64bits(v.Millis)), nil
	}
	if depth == MaxDepth {
		return nil, fmt.Errorf("nested deeper than %d: %w", MaxDepth, ErrLimit)
	}
	return appendContainer3(dst, v, depth)
}

func appendContainer3(dst []byte, v any, depth int) ([]byte, error) {
	var err error
	switch v := v.(type) {
	case Object:
		return appendObject3(dst, "", v, depth)
	case TypedObject:
		return appendObject3(dst, v.Class, v.Members, depth)
	case ECMAArray:
		return appendPairs3(append(dst, mark3Array, 1), v, depth)
	case StrictArray:
		if len(v) > MaxElements {
			return nil, fmt.Errorf("array of %d elements: %w", len(v), ErrLimit)
		}
		dst = appendU29(append(dst, mark3Array), uint32(len(v))<<1|1)
		dst = append(dst, 1) // no named members
		for _, e := range v {
			if dst, err = append3(dst, e, depth+1); err != nil {
				return nil, err
			}
		}
		return dst, nil
	}
	return nil, fmt.Errorf("type %T: %w", v, ErrUnsupported)
}

// appendObject3 writes all members as dynamic ones.
func appendObject3(dst []byte, class string, ms []Member, depth int) ([]byte, error) {
	const dynamicInline = 0x0b
	dst, err := appendText3(append(dst, mark3Object, dynamicInline), class)
	if err != nil {
		return nil, err
	}
	return appendPairs3(dst, ms, depth)
}

func appendPairs3(dst []byte, ms []Member, depth int) ([]byte, error) {
	if err := checkMembers(ms); err != nil {
		return nil, err
	}
	var err error
	for _, m := range ms {
		if m.Name == "" {
			continue
		}
		if dst, err = appendText3(dst, m.Name); err != nil {
			return nil, err
		}
		if dst, err = append3(dst, m.Value, depth+1); err != nil {
			return nil, err
		}
	}
	return append(dst, 1), nil
}

// appendNumber3 writes an integer when nothing is lost by it, as Flash does.
func appendNumber3(dst []byte, n float64) []byte {
	const limit = 1 << 28
	negativeZero := n == 0 && math.Signbit(n)
	if n >= -limit && n < limit && n == math.Trunc(n) && !negativeZero {
		return appendU29(append(dst, mark3Integer), uint32(int32(n))&maxU29)
	}
	dst = append(dst, mark3Double)
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(n))
}

func appendText3[T string | []byte](dst []byte, s T) ([]byte, error) {
	if len(s) > MaxLongString {
		return nil, fmt.Errorf("string of %d bytes: %w", len(s), ErrLimit)
	}
	dst = appendU29(dst, uint32(len(s))<<1|1)
	return append(dst, s...), nil
}

func appendU29(dst []byte, n uint32) []byte {
	switch {
	case n < 1<<7:
		return append(dst, byte(n))
	case n < 1<<14:
		return append(dst, byte(n>>7)|0x80, byte(n&0x7f))
	case n < 1<<21:
		return append(dst, byte(n>>14)|0x80, byte(n>>7)|0x80, byte(n&0x7f))
	default:
		return append(dst, byte(n>>22)|0x80, byte(n>>15)|0x80, byte(n>>8)|0x80, byte(n))
	}
}
