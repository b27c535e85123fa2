package journaltool

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
)

// formatVersion is the version of the lines.
const formatVersion = 1

// maxLine bounds a line, in bytes: a state entry may hold a record of 1 MiB in base64, twice.
const maxLine = 8 << 20

// ErrFormat says that a file is not what Export writes.
var ErrFormat = errors.New("not an exported journal")

// line is a line of an exported journal: exactly one member is set. The first is Header, then come states and records,
// records in the order of positions, and the last one is End.
type line struct {
	Header *header     `json:"header,omitempty"`
	State  *stateLine  `json:"state,omitempty"`
	Record *recordLine `json:"record,omitempty"`
	End    *endLine    `json:"end,omitempty"`
}

// header begins the file.
type header struct {
	Version int `json:"hooklineJournal"`
	// Created is Unix ms.
	Created  int64  `json:"created"`
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
	SeqFloor uint64 `json:"seqFloor"`
}

// stateLine is an entry of the state beside the log.
type stateLine struct {
	Key   string `json:"key"`
	Value []byte `json:"value"` // base64
}

// endLine tells a whole file from one that was cut.
type endLine struct {
	Records uint64 `json:"records"`
	States  uint64 `json:"states"`
}

// recordLine is an event.
type recordLine struct {
	Position     uint64          `json:"position"`
	Stream       string          `json:"stream"`
	Seq          uint64          `json:"seq"`
	Index        uint64          `json:"hook_index"`
	ID           string          `json:"id"`
	Type         event.Type      `json:"type"`
	Schema       string          `json:"schema,omitempty"`
	Class        string          `json:"class"`
	Time         time.Time       `json:"time"`
	Source       string          `json:"source"`
	Incarnation  string          `json:"incarnation"`
	Epoch        int64           `json:"epoch"`
	Publication  string          `json:"publication,omitempty"`
	Compensation bool            `json:"compensation,omitempty"`
	Marks        []markLine      `json:"marks,omitempty"`
	Body         json.RawMessage `json:"body,omitempty"`
	// Raw is the stored form in base64, in place of everything but Position, when the members can't hold the event.
	Raw string `json:"raw,omitempty"`
}

type markLine struct {
	Type   event.Type `json:"type"`
	Schema string     `json:"schema,omitempty"`
	Seq    uint64     `json:"seq"`
	Index  uint64     `json:"hook_index"`
	Epoch  int64      `json:"epoch"`
}

// lineOf returns the line of a record, in members when they lead back to the same record.
func lineOf(r *journal.Record) *recordLine {
	l := &recordLine{
		Position: r.Position, Stream: r.Key, Seq: r.Seq, Index: r.Index, ID: r.ID, Type: r.Type, Schema: r.Schema,
		Class: r.Class.String(), Time: r.Time.UTC(), Source: r.Source, Incarnation: r.Incarnation, Epoch: r.Epoch,
		Publication: r.Publication, Compensation: r.Compensation, Body: r.Body,
	}
	for _, m := range r.Marks {
		l.Marks = append(l.Marks, markLine(m))
	}
	raw := &recordLine{Position: r.Position, Raw: base64.StdEncoding.EncodeToString(journal.Encode(nil, r))}
	b, err := marshal(l)
	if err != nil {
		return raw
	}
	var again recordLine
	if err := json.Unmarshal(b, &again); err != nil {
		return raw
	}
	back, err := again.record()
	if err != nil || !bytes.Equal(journal.Encode(nil, back), journal.Encode(nil, r)) {
		return raw
	}
	return l
}

// record is the inverse of lineOf.
func (l *recordLine) record() (*journal.Record, error) {
	if l.Raw != "" {
		b, err := base64.StdEncoding.DecodeString(l.Raw)
		if err != nil {
			return nil, fmt.Errorf("%w: record %d: %w", ErrFormat, l.Position, err)
		}
		r, err := journal.Decode(b)
		if err != nil {
			return nil, fmt.Errorf("%w: record %d: %w", ErrFormat, l.Position, err)
		}
		r.Position = l.Position
		return r, nil
	}
	r := &journal.Record{
		Position: l.Position, Key: l.Stream, Seq: l.Seq, Index: l.Index, ID: l.ID, Type: l.Type, Schema: l.Schema,
		Time: l.Time, Source: l.Source, Incarnation: l.Incarnation, Epoch: l.Epoch, Publication: l.Publication,
		Compensation: l.Compensation, Body: l.Body,
	}
	switch l.Class {
	case event.Lifecycle.String():
		r.Class = event.Lifecycle
	case event.History.String():
		r.Class = event.History
	default:
		return nil, fmt.Errorf("%w: record %d: class %q", ErrFormat, l.Position, l.Class)
	}
	for _, m := range l.Marks {
		r.Marks = append(r.Marks, journal.Mark(m))
	}
	return r, nil
}

// marshal keeps <, > and & as they are, and ends without a newline.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// parseLine reads one line.
func parseLine(b []byte) (line, error) {
	var l line
	in := json.NewDecoder(strings.NewReader(string(b)))
	in.DisallowUnknownFields()
	if err := in.Decode(&l); err != nil {
		return l, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	set := 0
	for _, f := range []any{l.Header, l.State, l.Record, l.End} {
		if !reflect.ValueOf(f).IsNil() {
			set++
		}
	}
	if set != 1 || in.More() {
		return l, fmt.Errorf("%w: a line with %d members", ErrFormat, set)
	}
	return l, nil
}
