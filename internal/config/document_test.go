package config

import (
	"strings"
	"testing"
)

// documents are files with the entries that they hold, in order.
func documents() []struct{ in, want string } {
	return []struct{ in, want string }{
		{"", ""},
		{"\n\n", ""},
		{"[a]\nk=v", "a.k=v"},
		{"[a]\r\nk=v\r\n", "a.k=v"},
		{bom + "[a]\nk=v\n", "a.k=v"},
		{"k=v\n", "k=v"},
		{"[ a ]\n  k \t=  v w  \n", "a.k=v w"},
		{"[a]\nk=x=y;z #q\n", "a.k=x=y;z #q"},
		{"[a]\n; k=1\n  # k=2\nk=3\n", "a.k=3"},
		{"[a]\nk\nl=\n", "a.k=|a.l="},
		{"[a]\nk=1\nk=2\n", "a.k=1|a.k=2"},
		{"[a]\nk=1\n[b]\nk=2\n[a]\nl=3\n", "a.k=1|b.k=2|a.l=3"},
		{"[a\nk=1\n", "k=1"},
		{"[a]\n[b] ; no\nk=1\n", "a.k=1"},
		{"[]\n=v\n", ""},
		{"[a]\nk=\"quoted\\\"\n", `a.k="quoted\"`},
		{"[a]\nk=v\r\r\n\x00\xff=\xfe\n", "a.k=v|a.\x00\xff=\xfe"},
		{"[a]\nk=a\rb\n", "a.k=a\rb"},
	}
}

func entriesOf(d *document) string {
	var out []string
	for i := range d.lines {
		if l := &d.lines[i]; l.kind == lineEntry {
			out = append(out, l.name()+"="+l.value)
		}
	}
	return strings.Join(out, "|")
}

func TestParseDocument(t *testing.T) {
	for _, tt := range documents() {
		d := parseDocument([]byte(tt.in))
		if got := entriesOf(d); got != tt.want {
			t.Errorf("%q holds %q, want %q", tt.in, got, tt.want)
		}
		if got := string(d.bytes()); got != tt.in {
			t.Errorf("%q was written as %q", tt.in, got)
		}
	}
}

func TestSet(t *testing.T) {
	tests := []struct{ name, in, key, value, want string }{
		{"value", "[a]\nk=1\nl=2\n", "a.k", "9", "[a]\nk=9\nl=2\n"},
		{"spacing", "[a]\n  k =  1  \n", "a.k", "9", "[a]\n  k =  9\n"},
		{"crlf and comments", "; c\r\n[a]\r\n# d\r\nk=1\r\n\r\n", "a.k", "9", "; c\r\n[a]\r\n# d\r\nk=9\r\n\r\n"},
		{"bom", bom + "[a]\nk=1", "a.k", "9", bom + "[a]\nk=9"},
		{"the last one counts", "[a]\nk=1\nk=2\n", "a.k", "9", "[a]\nk=1\nk=9\n"},
		{"without =", "[a]\nk\n", "a.k", "9", "[a]\nk=9\n"},
		{"to empty", "[a]\nk= 1\n", "a.k", "", "[a]\nk= \n"},
		{"from empty", "[a]\nk=\n", "a.k", "9", "[a]\nk=9\n"},
		{"new key", "[a]\nk=1\n\n; about b\n[b]\nm=1\n", "a.l", "9", "[a]\nk=1\nl=9\n\n; about b\n[b]\nm=1\n"},
		{"new key, crlf", "[a]\r\nk=1\r\n", "a.l", "9", "[a]\r\nk=1\r\nl=9\r\n"},
		{"new key in an empty section", "[a]\n[b]\n", "a.l", "9", "[a]\nl=9\n[b]\n"},
		{"new key, section twice", "[a]\n[b]\n[a]\nk=1\n[c]\n", "a.l", "9", "[a]\n[b]\n[a]\nk=1\nl=9\n[c]\n"},
		{"new key, no line break", "[a]\nk=1", "a.l", "9", "[a]\nk=1\nl=9"},
		{"new section", "[a]\nk=1\n", "b.l", "9", "[a]\nk=1\n\n[b]\nl=9\n"},
		{"new section, no line break", "[a]\nk=1", "b.l", "9", "[a]\nk=1\n\n[b]\nl=9"},
		{"empty file", "", "b.l", "9", "[b]\nl=9\n"},
		{"no section", "[a]\nk=1\n", "x", "9", "x=9\n[a]\nk=1\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := parseDocument([]byte(tt.in))
			before := d.clone()
			d.set(tt.key, tt.value)
			if got := string(d.bytes()); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			if string(before.bytes()) != tt.in {
				t.Error("the clone changed too")
			}
		})
	}
}

func FuzzDocument(f *testing.F) {
	for _, tt := range documents() {
		f.Add([]byte(tt.in), "a.k", "value")
		f.Add([]byte(tt.in), "b.new", "")
	}
	tab := newTable()
	f.Fuzz(func(t *testing.T, data []byte, key, value string) {
		d := parseDocument(data)
		if got := d.bytes(); string(got) != string(data) {
			t.Fatalf("%q was written as %q", data, got)
		}
		if c, _ := tab.build("f", d, nil); len(c.All()) < len(tab.keys) {
			t.Fatal("keys are missing")
		}
		if !settable(key, value) {
			return
		}
		d.set(key, value)
		again := parseDocument(d.bytes())
		if a, b := entriesOf(d), entriesOf(again); a != b {
			t.Fatalf("in memory %q, written %q", a, b)
		}
		got := ""
		for i := range again.lines {
			if l := &again.lines[i]; l.kind == lineEntry && l.name() == key {
				got = l.value
			}
		}
		if got != value {
			t.Fatalf("%q = %q was read as %q", key, value, got)
		}
	})
}

// settable says whether Store would let the key and the value through.
func settable(key, value string) bool {
	section, name, ok := strings.Cut(key, ".")
	for _, s := range []string{section, name} {
		if !ok || s == "" || strings.ContainsAny(s, "\r\n[]=;#.") || strings.Trim(s, blank) != s {
			return false
		}
	}
	return !strings.ContainsAny(value, "\r\n") && strings.Trim(value, blank) == value
}
