package amf

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Append appends v in AMF0 to dst and returns the extended slice. It takes the types listed in the package comment;
// with an error the result is dst unchanged.
func Append(dst []byte, v any) ([]byte, error) {
	out, err := append0(dst, v, 0)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// AppendString appends s in AMF0, as a long string when it has more than MaxString bytes.
func AppendString(dst []byte, s string) []byte {
	if len(s) > MaxString {
		dst = append(dst, markLongString)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(s)))
		return append(dst, s...)
	}
	dst = append(dst, markString)
	return appendName(dst, s)
}

// AppendNumber appends n in AMF0.
func AppendNumber(dst []byte, n float64) []byte {
	dst = append(dst, markNumber)
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(n))
}

func append0(dst []byte, v any, depth int) ([]byte, error) {
	switch v := v.(type) {
	case float64:
		return AppendNumber(dst, v), nil
	case int:
		return AppendNumber(dst, float64(v)), nil
	case bool:
		if v {
			return append(dst, markBoolean, 1), nil
		}
		return append(dst, markBoolean, 0), nil
	case string:
		return AppendString(dst, v), nil
	case nil:
		return append(dst, markNull), nil
	case Undefined:
		return append(dst, markUndefined), nil
	case Date:
		dst = append(dst, markDate)
		dst = binary.BigEndian.AppendUint64(dst, math.Float64bits(v.Millis))
		return binary.BigEndian.AppendUint16(dst, uint16(v.Zone)), nil
	case []byte:
		return append3(append(dst, markAMF3), v, depth)
	}
	if depth == MaxDepth {
		return nil, fmt.Errorf("nested deeper than %d: %w", MaxDepth, ErrLimit)
	}
	return appendContainer0(dst, v, depth)
}

func appendContainer0(dst []byte, v any, depth int) ([]byte, error) {
	switch v := v.(type) {
	case Object:
		return appendMembers0(append(dst, markObject), v, depth)
	case ECMAArray:
		dst = append(dst, markECMAArray)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(v)))
		return appendMembers0(dst, v, depth)
	case TypedObject:
		if len(v.Class) > MaxString {
			return nil, fmt.Errorf("class name of %d bytes: %w", len(v.Class), ErrLimit)
		}
		return appendMembers0(appendName(append(dst, markTypedObject), v.Class), v.Members, depth)
	case StrictArray:
		if len(v) > MaxElements {
			return nil, fmt.Errorf("array of %d elements: %w", len(v), ErrLimit)
		}
		dst = append(dst, markStrictArray)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(v)))
		var err error
		for _, e := range v {
			if dst, err = append0(dst, e, depth+1); err != nil {
				return nil, err
			}
		}
		return dst, nil
	}
	return nil, fmt.Errorf("type %T: %w", v, ErrUnsupported)
}

func appendMembers0(dst []byte, ms []Member, depth int) ([]byte, error) {
	if err := checkMembers(ms); err != nil {
		return nil, err
	}
	var err error
	for _, m := range ms {
		dst = appendName(dst, m.Name)
		if dst, err = append0(dst, m.Value, depth+1); err != nil {
			return nil, err
		}
	}
	return append(dst, 0, 0, markObjectEnd), nil
}

func checkMembers(ms []Member) error {
	if len(ms) > MaxMembers {
		return fmt.Errorf("%d members: %w", len(ms), ErrLimit)
	}
	for _, m := range ms {
		if len(m.Name) > MaxString {
			return fmt.Errorf("name of %d bytes: %w", len(m.Name), ErrLimit)
		}
	}
	return nil
}

func appendName(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}
