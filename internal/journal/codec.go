package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/hookline/hookline/event"
)

// Limits of a record. Encoded records that exceed them are corrupt.
const (
	// MaxKey is the longest key in bytes.
	MaxKey = 64 << 10
	// MaxText is the longest ID, Source, Incarnation or Publication in bytes.
	MaxText = 4 << 10
	// MaxSchema is the longest Schema in bytes.
	MaxSchema = 64
	// MaxBody is the longest body in bytes.
	MaxBody = 1 << 20
	// MaxMarks is the largest number of marks.
	MaxMarks = 64
	// MaxStateKey and MaxStateValue limit an Op, in bytes.
	MaxStateKey   = 64 << 10
	MaxStateValue = 16 << 20
)

// ErrInvalid says that a record or an op can't be stored as it is.
var ErrInvalid = errors.New("journal: invalid")

// The byte form of a record, version 1. uvarint and varint are those of encoding/binary; text is a uvarint length
// and that many bytes. Key and seq come first because Trim needs nothing else.
//
//	byte    magic 0xE7
//	byte    version 1
//	text    key
//	uvarint seq
//	uvarint index
//	uvarint type, as index into event.Types()
//	text    schema
//	byte    class
//	byte    flags: bit 0 compensation
//	varint  time, Unix seconds
//	uvarint time, nanoseconds within the second
//	varint  epoch
//	text    id, source, incarnation, publication
//	uvarint number of marks, and for each: uvarint type, text schema, uvarint seq, uvarint index,
//	        varint epoch
//	text    body, which ends the record
const (
	recordMagic   = 0xE7
	recordVersion = 1

	flagCompensation = 1 << 0
)

// Validate returns an error that wraps ErrInvalid if the record breaks a limit or has an unknown type or class.
func (r *Record) Validate() error {
	if len(r.Key) > MaxKey {
		return fmt.Errorf("%w: key of %d bytes", ErrInvalid, len(r.Key))
	}
	if len(r.Body) > MaxBody {
		return fmt.Errorf("%w: body of %d bytes", ErrInvalid, len(r.Body))
	}
	if len(r.Marks) > MaxMarks {
		return fmt.Errorf("%w: %d marks", ErrInvalid, len(r.Marks))
	}
	for _, s := range [...]string{r.ID, r.Source, r.Incarnation, r.Publication} {
		if len(s) > MaxText {
			return fmt.Errorf("%w: text of %d bytes", ErrInvalid, len(s))
		}
	}
	if len(r.Schema) > MaxSchema {
		return fmt.Errorf("%w: schema of %d bytes", ErrInvalid, len(r.Schema))
	}
	if r.Class > event.History {
		return fmt.Errorf("%w: class %d", ErrInvalid, r.Class)
	}
	types := event.Types()
	if typeIndex(types, r.Type) == len(types) {
		return fmt.Errorf("%w: type %q", ErrInvalid, r.Type)
	}
	for i := range r.Marks {
		if typeIndex(types, r.Marks[i].Type) == len(types) {
			return fmt.Errorf("%w: type %q of a mark", ErrInvalid, r.Marks[i].Type)
		}
		if n := len(r.Marks[i].Schema); n > MaxSchema {
			return fmt.Errorf("%w: schema of a mark of %d bytes", ErrInvalid, n)
		}
	}
	return nil
}

// Validate returns an error that wraps ErrInvalid if a record or an op can't be stored as it is.
func (b *Batch) Validate() error {
	for i, r := range b.Records {
		if err := r.Validate(); err != nil {
			return fmt.Errorf("record %d of the batch: %w", i, err)
		}
	}
	for i := range b.State {
		if k, v := len(b.State[i].Key), len(b.State[i].Value); k > MaxStateKey || v > MaxStateValue {
			return fmt.Errorf("%w: state op with a key of %d and a value of %d bytes", ErrInvalid, k, v)
		}
	}
	return nil
}

// typeIndex returns the index of t, len(types) when it is unknown.
func typeIndex(types []event.Type, t event.Type) int {
	for i := range types {
		if types[i] == t {
			return i
		}
	}
	return len(types)
}

// Encode appends the byte form of r, without its Position, to dst. The record must be valid (see Validate): what an
// invalid one becomes does not decode.
func Encode(dst []byte, r *Record) []byte {
	types := event.Types()
	dst = append(dst, recordMagic, recordVersion)
	dst = appendText(dst, r.Key)
	dst = binary.AppendUvarint(dst, r.Seq)
	dst = binary.AppendUvarint(dst, r.Index)
	dst = binary.AppendUvarint(dst, uint64(typeIndex(types, r.Type)))
	dst = appendText(dst, r.Schema)
	var flags byte
	if r.Compensation {
		flags |= flagCompensation
	}
	dst = append(dst, byte(r.Class), flags)
	dst = binary.AppendVarint(dst, r.Time.Unix())
	dst = binary.AppendUvarint(dst, uint64(r.Time.Nanosecond()))
	dst = binary.AppendVarint(dst, r.Epoch)
	dst = appendText(dst, r.ID)
	dst = appendText(dst, r.Source)
	dst = appendText(dst, r.Incarnation)
	dst = appendText(dst, r.Publication)
	dst = binary.AppendUvarint(dst, uint64(len(r.Marks)))
	for i := range r.Marks {
		m := &r.Marks[i]
		dst = binary.AppendUvarint(dst, uint64(typeIndex(types, m.Type)))
		dst = appendText(dst, m.Schema)
		dst = binary.AppendUvarint(dst, m.Seq)
		dst = binary.AppendUvarint(dst, m.Index)
		dst = binary.AppendVarint(dst, m.Epoch)
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.Body)))
	return append(dst, r.Body...)
}

func appendText(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// Decode reads the byte form of one record, which must fill b. It keeps no reference to b. Position is left 0.
// Errors wrap ErrCorrupt.
func Decode(b []byte) (*Record, error) {
	d := decoder{b: b}
	if len(b) < 2 || b[0] != recordMagic {
		return nil, fmt.Errorf("%w: record has no magic byte", ErrCorrupt)
	}
	if b[1] != recordVersion {
		return nil, fmt.Errorf("%w: record version %d, want %d", ErrCorrupt, b[1], recordVersion)
	}
	d.off = 2
	r := &Record{}
	var texts [6]span
	texts[0] = d.text("key", MaxKey)
	r.Seq = d.uvarint("seq")
	r.Index = d.uvarint("index")
	r.Type = d.typ()
	texts[1] = d.text("schema", MaxSchema)
	r.Class = event.Class(d.byte("class", byte(event.History)))
	r.Compensation = d.byte("flags", flagCompensation)&flagCompensation != 0
	r.Time = d.time()
	r.Epoch = d.varint("epoch")
	texts[2] = d.text("id", MaxText)
	texts[3] = d.text("source", MaxText)
	texts[4] = d.text("incarnation", MaxText)
	texts[5] = d.text("publication", MaxText)
	r.Marks = d.marks()
	body := d.text("body", MaxBody)
	if d.err == nil && body.end != len(b) {
		d.fail("end")
	}
	if d.err != nil {
		return nil, d.err
	}
	// All strings of the record are cut from one copy.
	head := string(b[:texts[5].end])
	for i, s := range [...]*string{&r.Key, &r.Schema, &r.ID, &r.Source, &r.Incarnation, &r.Publication} {
		*s = head[texts[i].start:texts[i].end]
	}
	if body.end > body.start {
		r.Body = append(make([]byte, 0, body.end-body.start), b[body.start:body.end]...)
	}
	return r, nil
}

// span is the part [start, end) of the decoder's bytes.
type span struct{ start, end int }

// decoder reads b from off on. After the first error everything reads as zero.
type decoder struct {
	b   []byte
	off int
	err error
}

func (d *decoder) fail(field string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s of a record at byte %d", ErrCorrupt, field, d.off)
	}
	d.off = len(d.b)
}

func (d *decoder) uvarint(field string) uint64 {
	v, n := binary.Uvarint(d.b[d.off:])
	if n <= 0 {
		d.fail(field)
		return 0
	}
	d.off += n
	return v
}

func (d *decoder) varint(field string) int64 {
	v, n := binary.Varint(d.b[d.off:])
	if n <= 0 {
		d.fail(field)
		return 0
	}
	d.off += n
	return v
}

// byte reads a byte that is at most highest.
func (d *decoder) byte(field string, highest byte) byte {
	if d.off >= len(d.b) || d.b[d.off] > highest {
		d.fail(field)
		return 0
	}
	d.off++
	return d.b[d.off-1]
}

func (d *decoder) text(field string, limit int) span {
	n := d.uvarint(field)
	if n > uint64(limit) || n > uint64(len(d.b)-d.off) {
		d.fail(field)
		return span{}
	}
	s := span{d.off, d.off + int(n)}
	d.off = s.end
	return s
}

func (d *decoder) typ() event.Type {
	types := event.Types()
	i := d.uvarint("type")
	if i >= uint64(len(types)) {
		d.fail("type")
		return ""
	}
	return types[i]
}

func (d *decoder) time() time.Time {
	sec := d.varint("time")
	nsec := d.uvarint("time")
	if nsec >= uint64(time.Second) {
		d.fail("time")
		return time.Time{}
	}
	return time.Unix(sec, int64(nsec)).UTC()
}

// schema returns the text at s, without a copy for the schemas that there are.
func (d *decoder) schema(s span) string {
	b := d.b[s.start:s.end]
	for _, known := range [...]string{"", "rtmp", "rtsp", "ts", "fmp4", "hls", "hls.fmp4"} {
		if string(b) == known {
			return known
		}
	}
	return string(b)
}

func (d *decoder) marks() []Mark {
	n := d.uvarint("marks")
	if n > MaxMarks {
		d.fail("marks")
		return nil
	}
	if n == 0 || d.err != nil {
		return nil
	}
	ms := make([]Mark, n)
	for i := range ms {
		ms[i].Type = d.typ()
		ms[i].Schema = d.schema(d.text("schema", MaxSchema))
		ms[i].Seq = d.uvarint("mark")
		ms[i].Index = d.uvarint("mark")
		ms[i].Epoch = d.varint("mark")
	}
	return ms
}

// DecodeKeySeq returns the key and the seq of the record in b, without reading what follows them. The key is a part
// of b.
func DecodeKeySeq(b []byte) (key []byte, seq uint64, err error) {
	if len(b) < 2 || b[0] != recordMagic || b[1] != recordVersion {
		return nil, 0, fmt.Errorf("%w: record header", ErrCorrupt)
	}
	b = b[2:]
	n, w := binary.Uvarint(b)
	if w <= 0 || n > MaxKey || n > uint64(len(b)-w) {
		return nil, 0, fmt.Errorf("%w: record key", ErrCorrupt)
	}
	key, b = b[w:w+int(n)], b[w+int(n):]
	seq, w = binary.Uvarint(b)
	if w <= 0 {
		return nil, 0, fmt.Errorf("%w: record seq", ErrCorrupt)
	}
	return key, seq, nil
}
