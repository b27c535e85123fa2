package amf

import (
	"errors"
	"strconv"
	"time"
)

// Limits of one decoded message.
const (
	// MaxDepth is the deepest nesting of objects and arrays.
	MaxDepth = 16
	// MaxMembers is the largest number of members of one object or associative array.
	MaxMembers = 4096
	// MaxElements is the largest number of elements of one dense array. It is wider than MaxMembers because FLV
	// files carry an index with two arrays of one entry per key frame.
	MaxElements = 1 << 16
	// MaxString is the largest name or short string in bytes.
	MaxString = 1<<16 - 1
	// MaxLongString is the largest long string, XML document or byte array in bytes.
	MaxLongString = 1 << 20
	// MaxValues is the largest number of values of one message, references expanded.
	MaxValues = 1 << 17
	// MaxBytes is the largest sum of names and strings of one message, references expanded.
	MaxBytes = 4 << 20
)

// Errors of decoding and encoding; they come wrapped with the place.
var (
	// ErrTruncated: the input ends inside a value.
	ErrTruncated = errors.New("amf: truncated")
	// ErrMarker: a type marker that the format does not define, or that can't stand where it stands.
	ErrMarker = errors.New("amf: bad type marker")
	// ErrReference: a reference to nothing, or to an object that is still open.
	ErrReference = errors.New("amf: bad reference")
	// ErrLimit: one of the limits of this package was exceeded.
	ErrLimit = errors.New("amf: limit exceeded")
	// ErrUnsupported: an externalizable AMF3 class with a private body, or a Go type that AMF can't carry.
	ErrUnsupported = errors.New("amf: unsupported")
)

// Undefined is the value undefined.
type Undefined struct{}

// Member is one named value.
type Member struct {
	Name  string
	Value any
}

// Object is an anonymous object. Names may repeat if the peer repeated them; the last one counts.
type Object []Member

// ECMAArray is an associative array; names that are decimal numbers are indices.
type ECMAArray []Member

// StrictArray is a dense array.
type StrictArray []any

// TypedObject is an object of a registered class.
type TypedObject struct {
	Class   string
	Members Object
}

// Date is an instant; Zone is the reserved zone field of AMF0 in minutes (0 on a correct peer, absent in AMF3).
type Date struct {
	Millis float64 // since the Unix epoch, UTC
	Zone   int16
}

// Time returns the instant; the zero time when it is out of range.
func (d Date) Time() time.Time {
	const limit = 1 << 53
	if !(d.Millis > -limit && d.Millis < limit) {
		return time.Time{}
	}
	return time.UnixMilli(int64(d.Millis)).UTC()
}

// Get returns the value of the last member called name.
func (o Object) Get(name string) (v any, ok bool) { return lookup(o, name) }

// Number returns the member called name as a number, 0 when it is none.
func (o Object) Number(name string) float64 { return number(o, name) }

// Text returns the member called name as a string, "" when it is none.
func (o Object) Text(name string) string { return text(o, name) }

// Get returns the value of the last member called name.
func (a ECMAArray) Get(name string) (v any, ok bool) { return lookup(a, name) }

// Number returns the member called name as a number, 0 when it is none.
func (a ECMAArray) Number(name string) float64 { return number(a, name) }

// Text returns the member called name as a string, "" when it is none.
func (a ECMAArray) Text(name string) string { return text(a, name) }

// Members returns the members of an Object, ECMAArray or TypedObject, and false for anything else.
func Members(v any) (Object, bool) {
	switch v := v.(type) {
	case Object:
		return v, true
	case ECMAArray:
		return Object(v), true
	case TypedObject:
		return v.Members, true
	}
	return nil, false
}

func lookup(ms []Member, name string) (any, bool) {
	for i := len(ms) - 1; i >= 0; i-- {
		if ms[i].Name == name {
			return ms[i].Value, true
		}
	}
	return nil, false
}

// number takes numbers, booleans and decimal strings: encoders disagree on how they write numeric metadata.
func number(ms []Member, name string) float64 {
	v, _ := lookup(ms, name)
	switch v := v.(type) {
	case float64:
		return v
	case bool:
		if v {
			return 1
		}
	case string:
		if n, err := strconv.ParseFloat(v, 64); err == nil {
			return n
		}
	}
	return 0
}

func text(ms []Member, name string) string {
	v, _ := lookup(ms, name)
	s, _ := v.(string)
	return s
}
