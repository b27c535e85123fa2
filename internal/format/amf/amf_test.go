package amf

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// cases0 are AMF0 values that decode to what stands beside them and, where same is set, encode to the same bytes.
var cases0 = []struct {
	name, wire string
	want       any
	same       bool
}{
	{"number", "00 3ff8000000000000", 1.5, true},
	{"true", "01 01", true, true},
	{"true by another byte", "01 ff", true, false},
	{"string", "02 0003 616263", "abc", true},
	{"empty string", "02 0000", "", true},
	{"null", "05", nil, true},
	{"undefined", "06", Undefined{}, true},
	{"unsupported", "0d", Undefined{}, false},
	{"object", "03 0001 61 05 0001 62 00 4000000000000000 0000 09", Object{{"a", nil}, {"b", 2.0}}, true},
	{"empty object", "03 0000 09", Object(nil), true},
	{"empty name", "03 0000 05 0000 09", Object{{"", nil}}, true},
	{"array", "08 00000001 0001 61 0100 0000 09", ECMAArray{{"a", false}}, true},
	{"array with wrong count", "08 00000000 0001 61 0100 0000 09", ECMAArray{{"a", false}}, false},
	{"array without end", "08 00000001 0001 61 0100", ECMAArray{{"a", false}}, false},
	{"strict array", "0a 00000002 05 0101", StrictArray{nil, true}, true},
	{"date", "0b 4000000000000000 ffc4", Date{Millis: 2, Zone: -60}, true},
	{"long string", "0c 00000002 6869", "hi", false},
	{"xml", "0f 00000004 3c612f3e", "<a/>", false},
	{"typed object", "10 0001 43 0001 61 05 0000 09", TypedObject{"C", Object{{"a", nil}}}, true},
	{
		"reference", "03 0001 61 03 0000 09 0001 62 07 0001 0000 09",
		Object{{"a", Object(nil)}, {"b", Object(nil)}},
		false,
	},
	{"switch to AMF3", "11 04 7f", 127.0, false},
	{"byte array", "11 0c 05 0102", []byte{1, 2}, true},
}

// cases3 are AMF3 values.
var cases3 = []struct {
	name, wire string
	want       any
	same       bool
}{
	{"undefined", "00", Undefined{}, true},
	{"null", "01", nil, true},
	{"false", "02", false, true},
	{"true", "03", true, true},
	{"integer", "04 81 00", 128.0, true},
	{"largest integer", "04 bf ff ff ff", float64(1<<28 - 1), true},
	{"smallest integer", "04 c0 80 80 00", float64(-1 << 28), true},
	{"minus one", "04 ff ff ff ff", -1.0, true},
	{"double", "05 3ff8000000000000", 1.5, true},
	{"string", "06 07 616263", "abc", true},
	{"xml", "0b 09 3c612f3e", "<a/>", false},
	{"date", "08 01 4000000000000000", Date{Millis: 2}, true},
	{"dense array", "09 05 01 02 03", StrictArray{false, true}, true},
	{"associative array", "09 01 03 61 01 01", ECMAArray{{"a", nil}}, true},
	{"mixed array", "09 03 03 61 01 01 03", ECMAArray{{"a", nil}, {"0", true}}, false},
	{"dynamic object", "0a 0b 01 03 61 01 01", Object{{"a", nil}}, true},
	{"sealed object", "0a 23 03 43 03 61 03 62 02 03", TypedObject{"C", Object{{"a", false}, {"b", true}}}, false},
	{
		"string reference", "09 05 01 06 03 61 06 00",
		StrictArray{"a", "a"},
		false,
	},
	{
		"traits reference", "09 05 01 0a 13 03 43 03 61 02 0a 01 03",
		StrictArray{TypedObject{"C", Object{{"a", false}}}, TypedObject{"C", Object{{"a", true}}}},
		false,
	},
	{"object reference", "09 05 01 0a 0b 01 01 0a 02", StrictArray{Object{}, Object{}}, false},
	{"array collection", "0a 07 43 666c65782e6d6573736167696e672e696f2e4172726179436f6c6c656374696f6e 09 01 01", StrictArray{}, false},
	{"byte array", "0c 05 0102", []byte{1, 2}, true},
	{"vector of int", "0d 05 00 ffffffff 00000001", StrictArray{-1.0, 1.0}, false},
	{"vector of uint", "0e 03 00 ffffffff", StrictArray{float64(math.MaxUint32)}, false},
	{"vector of double", "0f 03 01 3ff8000000000000", StrictArray{1.5}, false},
	{"vector of objects", "10 03 00 03 43 0a 0b 01 01", StrictArray{Object{}}, false},
	{"dictionary", "11 05 00 06 03 61 03 04 01 02", ECMAArray{{"a", true}}, false},
}

func TestDecode(t *testing.T) {
	for _, c := range cases0 {
		t.Run(c.name, func(t *testing.T) {
			wire := unhex(t, c.wire)
			got, n, err := Decode(wire)
			if err != nil || n != len(wire) || !reflect.DeepEqual(got, c.want) {
				t.Fatalf("got %#v, %d of %d bytes, %v; want %#v", got, n, len(wire), err, c.want)
			}
			out, err := Append([]byte("x"), got)
			if err != nil {
				t.Fatal(err)
			}
			if same := bytes.Equal(out[1:], wire); same != c.same {
				t.Errorf("encoded: %x", out[1:])
			}
		})
	}
}

func TestDecode3(t *testing.T) {
	for _, c := range cases3 {
		t.Run(c.name, func(t *testing.T) {
			wire := unhex(t, c.wire)
			got, n, err := Decode3(wire)
			if err != nil || n != len(wire) || !equal(got, c.want) {
				t.Fatalf("got %#v, %d of %d bytes, %v; want %#v", got, n, len(wire), err, c.want)
			}
			out, err := Append3([]byte("x"), got)
			if err != nil {
				t.Fatal(err)
			}
			if same := bytes.Equal(out[1:], wire); same != c.same {
				t.Errorf("encoded: %x", out[1:])
			}
		})
	}
}

// equal is DeepEqual, except that empty and nil slices are the same.
func equal(a, b any) bool {
	x, err1 := Append(nil, a)
	y, err2 := Append(nil, b)
	return err1 == nil && err2 == nil && reflect.TypeOf(a) == reflect.TypeOf(b) && bytes.Equal(x, y)
}

// hostile are inputs that must be refused.
func hostile() []struct {
	name string
	wire []byte
	want error
} {
	deep := bytes.Repeat([]byte{0x03, 0, 1, 'a'}, 1<<16)
	deepArray := bytes.Repeat([]byte{0x0a, 0, 0, 0, 1}, MaxDepth+1)
	deep3 := append([]byte{0x11}, bytes.Repeat([]byte{0x09, 0x03, 0x01}, 1<<10)...)
	many := append([]byte{0x03}, bytes.Repeat([]byte{0, 1, 'a', 5}, MaxMembers+1)...)
	// each array holds the one before twice: 2^n values from n entries
	bomb := []byte{0x0a, 0, 0, 0, 200, 0x0a, 0, 0, 0, 0}
	for i := range 100 {
		bomb = append(bomb, 0x0a, 0, 0, 0, 2, 7, 0, byte(i+1), 7, 0, byte(i+1))
	}
	long := append([]byte{0x0c, 0, 0x10, 0, 1}, make([]byte, MaxLongString+1)...)
	text3 := append([]byte{0x11, 0x09}, appendU29(nil, 8000<<1|1)...)
	text3 = append(text3, 1, 0x06)
	text3, _ = appendText3(text3, make([]byte, MaxLongString/2))
	text3 = append(text3, bytes.Repeat([]byte{0x06, 0x00}, 7999)...)
	return []struct {
		name string
		wire []byte
		want error
	}{
		{"nothing", nil, ErrTruncated},
		{"half a number", []byte{0, 1}, ErrTruncated},
		{"lying string", []byte{2, 0xff, 0xff, 'a'}, ErrTruncated},
		{"lying long string", []byte{0x0c, 0xff, 0xff, 0xff, 0xff}, ErrLimit},
		{"long string over the limit", long, ErrLimit},
		{"lying strict array", []byte{0x0a, 0xff, 0xff, 0xff, 0xff}, ErrLimit},
		{"short strict array", []byte{0x0a, 0, 0, 0xff, 0xff, 5}, ErrTruncated},
		{"object without end", []byte{3, 0, 1, 'a', 5}, ErrTruncated},
		{"end of nothing", []byte{9}, ErrMarker},
		{"movie clip", []byte{4}, ErrMarker},
		{"unknown marker", []byte{0x12}, ErrMarker},
		{"reference to nothing", []byte{7, 0, 0}, ErrReference},
		{"cycle", []byte{3, 0, 1, 'a', 7, 0, 0, 0, 0, 9}, ErrReference},
		{"cycle in AMF3", []byte{0x11, 0x09, 0x03, 0x01, 0x09, 0x00}, ErrReference},
		{"AMF3 string reference to nothing", []byte{0x11, 0x06, 0x02}, ErrReference},
		{"AMF3 traits reference to nothing", []byte{0x11, 0x0a, 0x05}, ErrReference},
		{"AMF3 unknown marker", []byte{0x11, 0x12}, ErrMarker},
		{"AMF3 class that nobody knows", []byte{0x11, 0x0a, 0x07, 0x03, 'C'}, ErrUnsupported},
		{"AMF3 lying vector", []byte{0x11, 0x0d, 0x81, 0x01, 0}, ErrTruncated},
		{"AMF3 lying traits", append([]byte{0x11, 0x0a}, 0xff, 0xff, 0xff, 0xf3, 1), ErrLimit},
		{"deep objects", deep, ErrLimit},
		{"deep arrays", deepArray, ErrLimit},
		{"deep AMF3", deep3, ErrLimit},
		{"many members", many, ErrLimit},
		{"references that double", bomb, ErrLimit},
		{"AMF3 string repeated", text3, ErrLimit},
	}
}

func TestHostile(t *testing.T) {
	for _, c := range hostile() {
		t.Run(c.name, func(t *testing.T) {
			v, _, err := Decode(c.wire)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, %v; want %v", v, err, c.want)
			}
		})
	}
}

func TestReferenceDepth(t *testing.T) {
	// A chain that is too deep only through references: a0=[], a1=[ref a0] and so on inside one array.
	wire := []byte{0x0a, 0, 0, 0, 30, 0x0a, 0, 0, 0, 0}
	for i := range 29 {
		wire = append(wire, 0x0a, 0, 0, 0, 1, 7, 0, byte(i+1))
	}
	if _, _, err := Decode(wire); !errors.Is(err, ErrLimit) {
		t.Fatal(err)
	}
}

// The command that FFmpeg sends to connect.
func TestConnectCommand(t *testing.T) {
	wire := unhex(t, `02 0007 636f6e6e656374  00 3ff0000000000000  03
		0003 617070 02 0004 6c697665
		0004 74797065 02 000a 6e6f6e70726976617465
		0008 666c617368566572 02 001d 464d4c452f332e302028636f6d70617469626c653b204c61766635392e
		0005 7463 55 72 6c 02 0015 72746d703a2f2f3132372e302e302e312f6c697665
		0000 09`)
	got, err := DecodeAll(wire)
	if err != nil || len(got) != 3 || got[0] != "connect" || got[1] != 1.0 {
		t.Fatalf("%v, %v", got, err)
	}
	o, ok := Members(got[2])
	if !ok || o.Text("app") != "live" || o.Text("tcUrl") != "rtmp://127.0.0.1/live" || o.Text("none") != "" {
		t.Errorf("%v", o)
	}
	var out []byte
	for _, v := range got {
		if out, err = Append(out, v); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(out, wire) {
		t.Errorf("encoded: %x", out)
	}
}

func TestDecodeAllKeepsTheGoodValues(t *testing.T) {
	got, err := DecodeAll([]byte{5, 1, 1, 0xff})
	if !errors.Is(err, ErrMarker) || !reflect.DeepEqual(got, []any{nil, true}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestLookup(t *testing.T) {
	o := Object{{"n", 1.0}, {"n", 2.0}, {"s", "25.5"}, {"b", true}, {"x", "x"}}
	if o.Number("n") != 2 || o.Number("s") != 25.5 || o.Number("b") != 1 || o.Number("x") != 0 || o.Number("-") != 0 {
		t.Error("Number")
	}
	a := ECMAArray(o)
	if v, ok := a.Get("b"); v != true || !ok || a.Text("x") != "x" || a.Text("n") != "" || a.Number("n") != 2 {
		t.Error("ECMAArray")
	}
	if _, ok := Members("x"); ok {
		t.Error("Members of a string")
	}
}

func TestDate(t *testing.T) {
	if got := (Date{Millis: 1500}).Time(); !got.Equal(time.UnixMilli(1500)) {
		t.Error(got)
	}
	for _, ms := range []float64{math.NaN(), math.Inf(1), -1e300} {
		if got := (Date{Millis: ms}).Time(); !got.IsZero() {
			t.Error(ms, got)
		}
	}
}

func TestAppendRefuses(t *testing.T) {
	var deep any = StrictArray{}
	for range MaxDepth {
		deep = StrictArray{deep}
	}
	long := strings.Repeat("x", MaxString+1)
	for name, v := range map[string]any{
		"type": struct{}{}, "nested type": Object{{"a", struct{}{}}}, "depth": deep,
		"members": make(Object, MaxMembers+1), "elements": make(StrictArray, MaxElements+1),
		"name": Object{{long, nil}},
	} {
		if out, err := Append([]byte{1}, v); err == nil || !bytes.Equal(out, []byte{1}) {
			t.Errorf("AMF0 %s: %v", name, err)
		}
		if out, err := Append3([]byte{1}, v); err == nil || !bytes.Equal(out, []byte{1}) {
			t.Errorf("AMF3 %s: %v", name, err)
		}
	}
	if _, err := Append(nil, TypedObject{Class: long}); !errors.Is(err, ErrLimit) {
		t.Error(err)
	}
	if out, err := Append(nil, long); err != nil || out[0] != markLongString {
		t.Error("a long string is written as one")
	}
	if out, err := Append(nil, 7); err != nil || !bytes.Equal(out, AppendNumber(nil, 7)) {
		t.Error("int")
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range cases0 {
		f.Add(unhex(f, c.wire))
	}
	for _, c := range cases3 {
		f.Add(append([]byte{0x11}, unhex(f, c.wire)...))
	}
	for _, c := range hostile() {
		if len(c.wire) < 1<<12 {
			f.Add(c.wire)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, n, err := Decode(b)
		if n > len(b) {
			t.Fatal("read behind the end")
		}
		if err != nil {
			return
		}
		out, err := Append(nil, v)
		if err != nil {
			t.Fatalf("what was decoded can't be encoded: %v", err)
		}
		again, _, err := Decode(out)
		if err != nil {
			t.Fatalf("what was encoded can't be decoded: %v", err)
		}
		if out2, err := Append(nil, again); err != nil || !bytes.Equal(out, out2) {
			t.Fatal("not stable")
		}
		out3, err := Append3(nil, v)
		if err != nil {
			t.Fatalf("AMF3: %v", err)
		}
		if _, _, err := Decode3(out3); err != nil {
			t.Fatalf("AMF3: what was encoded can't be decoded: %v", err)
		}
	})
}

func BenchmarkDecodeConnect(b *testing.B) {
	wire, err := Append(nil, Object{{"app", "live"}, {"tcUrl", "rtmp://127.0.0.1/live"}, {"flashVer", "FMLE/3.0"}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Decode(wire); err != nil {
			b.Fatal(err)
		}
	}
}
