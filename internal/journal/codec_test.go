package journal_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
)

// golden is the record whose bytes are in testdata. Neither may change while version 1 is read.
func golden() *journal.Record {
	return &journal.Record{
		Key: "__defaultVhost__/live/a", Seq: 17, Index: 300, ID: "0198c0de", Type: event.OnStreamChanged,
		Schema: "rtmp", Class: event.History, Time: time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC), Source: "srv-1",
		Incarnation: "run-1", Epoch: 1767319445678, Publication: "pub-1", Compensation: true,
		Marks: []journal.Mark{
			{Type: event.OnPublish, Schema: "x", Seq: 1, Index: 200, Epoch: 1767319445678},
			{Type: event.OnStreamChanged, Schema: "rtsp", Seq: 16, Index: 299, Epoch: 1767319445678},
		},
		Body: []byte(`{"regist":true}`),
	}
}

func goldenBytes(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/record_v1.hex")
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGoldenRecord(t *testing.T) {
	want := goldenBytes(t)
	if got := journal.Encode(nil, golden()); !bytes.Equal(got, want) {
		t.Errorf("encoded\n%x, want\n%x", got, want)
	}
	r, err := journal.Decode(want)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(r, golden()) {
		t.Errorf("decoded %+v, want %+v", r, golden())
	}
}

// TestGoldenIsComplete fails when a field is added that the golden record, and so perhaps the codec, does not know.
func TestGoldenIsComplete(t *testing.T) {
	complete := func(v reflect.Value) {
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; v.Field(i).IsZero() && name != "Position" {
				t.Errorf("%s.%s is not in the golden record", v.Type().Name(), name)
			}
		}
	}
	complete(reflect.ValueOf(*golden()))
	for _, m := range golden().Marks {
		complete(reflect.ValueOf(m))
	}
}

// cases are byte forms that are refused, each a change to the golden bytes; they seed the fuzzer too.
func cases(t testing.TB) map[string][]byte {
	g := goldenBytes(t)
	change := func(at int, to byte) []byte {
		b := bytes.Clone(g)
		b[at] = to
		return b
	}
	const afterKey = 2 + 1 + 23
	return map[string][]byte{
		"empty":           {},
		"magic":           change(0, 0),
		"version":         change(1, 2),
		"key length":      change(2, 0xFF),
		"endless varint":  append(bytes.Clone(g[:2]), bytes.Repeat([]byte{0xFF}, 12)...),
		"unknown type":    change(afterKey+3, 0x7F),
		"schema length":   change(afterKey+4, 0x7F),
		"unknown class":   change(afterKey+9, 5),
		"unknown flag":    change(afterKey+10, 2),
		"cut":             g[:len(g)-1],
		"cut to header":   g[:2],
		"trailing byte":   append(bytes.Clone(g), 0),
		"huge body claim": append(bytes.Clone(g[:len(g)-16]), 0xFF, 0xFF, 0xFF, 0xFF, 0x0F),
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, b := range cases(t) {
		t.Run(name, func(t *testing.T) {
			r, err := journal.Decode(b)
			if !errors.Is(err, journal.ErrCorrupt) {
				t.Errorf("got %+v, %v; want ErrCorrupt", r, err)
			}
		})
	}
}

func TestDecodeKeepsNothing(t *testing.T) {
	b := journal.Encode(nil, golden())
	r, err := journal.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if !reflect.DeepEqual(r, golden()) {
		t.Errorf("the record changed with the bytes that it was read from: %+v", r)
	}
}

func TestValidate(t *testing.T) {
	for name, change := range map[string]func(*journal.Record){
		"key":           func(r *journal.Record) { r.Key = strings.Repeat("k", journal.MaxKey+1) },
		"body":          func(r *journal.Record) { r.Body = make([]byte, journal.MaxBody+1) },
		"marks":         func(r *journal.Record) { r.Marks = make([]journal.Mark, journal.MaxMarks+1) },
		"text":          func(r *journal.Record) { r.Publication = strings.Repeat("p", journal.MaxText+1) },
		"type":          func(r *journal.Record) { r.Type = "on_nothing" },
		"type of mark":  func(r *journal.Record) { r.Marks[0].Type = "on_nothing" },
		"schema":        func(r *journal.Record) { r.Schema = strings.Repeat("s", journal.MaxSchema+1) },
		"mark's schema": func(r *journal.Record) { r.Marks[0].Schema = strings.Repeat("s", journal.MaxSchema+1) },
		"unknown class": func(r *journal.Record) { r.Class = event.History + 1 },
	} {
		t.Run(name, func(t *testing.T) {
			r := golden()
			change(r)
			if err := r.Validate(); !errors.Is(err, journal.ErrInvalid) {
				t.Errorf("got %v, want ErrInvalid", err)
			}
		})
	}
	if err := golden().Validate(); err != nil {
		t.Error(err)
	}
}

func anyRecord(t *rapid.T) *journal.Record {
	typ := rapid.SampledFrom(event.Types())
	text := rapid.StringN(-1, -1, 64)
	r := &journal.Record{
		Key: text.Draw(t, "key"), Seq: rapid.Uint64().Draw(t, "seq"), Index: rapid.Uint64().Draw(t, "index"),
		ID: text.Draw(t, "id"), Type: typ.Draw(t, "type"), Schema: text.Draw(t, "schema"),
		Class: event.Class(rapid.IntRange(0, int(event.History)).Draw(t, "class")),
		Time: time.Unix(rapid.Int64Range(-62135596800, 253402300799).Draw(t, "sec"),
			rapid.Int64Range(0, 999999999).Draw(t, "nsec")).UTC(),
		Source: text.Draw(t, "source"), Incarnation: text.Draw(t, "incarnation"),
		Epoch: rapid.Int64().Draw(t, "epoch"), Publication: text.Draw(t, "publication"),
		Compensation: rapid.Bool().Draw(t, "compensation"),
	}
	for range rapid.IntRange(0, journal.MaxMarks).Draw(t, "marks") {
		r.Marks = append(r.Marks, journal.Mark{
			Type: typ.Draw(t, "type"), Schema: text.Draw(t, "schema"), Seq: rapid.Uint64().Draw(t, "seq"),
			Index: rapid.Uint64().Draw(t, "index"), Epoch: rapid.Int64().Draw(t, "epoch"),
		})
	}
	if b := rapid.SliceOf(rapid.Byte()).Draw(t, "body"); len(b) > 0 {
		r.Body = b
	}
	return r
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRecord(t)
		if err := r.Validate(); err != nil {
			t.Fatal(err)
		}
		prefix := []byte("prefix")
		b := journal.Encode(prefix, r)[len(prefix):]
		got, err := journal.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, r) {
			t.Fatalf("got %+v, want %+v", got, r)
		}
		key, seq, err := journal.DecodeKeySeq(b)
		if err != nil || string(key) != r.Key || seq != r.Seq {
			t.Fatalf("header %q %d %v, want %q %d", key, seq, err, r.Key, r.Seq)
		}
		if _, err := journal.Decode(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]); !errors.Is(err, journal.ErrCorrupt) {
			t.Fatalf("cut record: %v", err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(goldenBytes(f))
	for _, b := range cases(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := journal.Decode(b)
		if err != nil {
			if !errors.Is(err, journal.ErrCorrupt) {
				t.Fatalf("error does not wrap ErrCorrupt: %v", err)
			}
			return
		}
		if err := r.Validate(); err != nil {
			t.Fatalf("decoded a record that is not valid: %v", err)
		}
		key, seq, err := journal.DecodeKeySeq(b)
		if err != nil || string(key) != r.Key || seq != r.Seq {
			t.Fatalf("header %q %d %v, want %q %d", key, seq, err, r.Key, r.Seq)
		}
		again, err := journal.Decode(journal.Encode(nil, r))
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("second round: %+v, %v; want %+v", again, err, r)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	r := golden()
	r.Body = bytes.Repeat([]byte("x"), 450)
	dst := journal.Encode(nil, r)
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Validate(); err != nil {
			b.Fatal(err)
		}
		dst = journal.Encode(dst[:0], r)
	}
}

func BenchmarkDecode(b *testing.B) {
	r := golden()
	r.Body = bytes.Repeat([]byte("x"), 450)
	src := journal.Encode(nil, r)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := journal.Decode(src); err != nil {
			b.Fatal(err)
		}
	}
}
