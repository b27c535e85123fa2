package config

import (
	"bytes"
	"strings"
)

// blank is what ZLMediaKit trims from keys and values.
const blank = " \t\r\n"

// bom is the UTF-8 byte order mark that some editors put first.
const bom = "\ufeff"

// document is an INI file line by line. bytes() of a parsed document is what was parsed.
type document struct {
	bom   bool
	lines []line
}

// line is one line of the file. raw + eol is what stands there.
type line struct {
	raw string
	eol string // "\n", "\r\n", or "" at the end of the file

	kind    lineKind
	section string // the section in which the line stands; of a header: the one that it opens
	key     string // of an entry
	value   string // of an entry, trimmed
}

type lineKind uint8

const (
	lineNone    lineKind = iota // blank or comment
	lineSection                 // [section]
	lineEntry                   // key=value
	lineHeader                  // starts like a section but is none
	lineNoKey                   // =value
)

// name returns "section.key".
func (l *line) name() string {
	if l.section == "" {
		return l.key
	}
	return l.section + "." + l.key
}

// parseDocument splits data into lines. It never fails: lines that say nothing useful keep their kind.
func parseDocument(data []byte) *document {
	d := &document{}
	text := string(data)
	if rest, ok := strings.CutPrefix(text, bom); ok {
		d.bom, text = true, rest
	}
	section := ""
	for text != "" {
		l := line{}
		if i := strings.IndexByte(text, '\n'); i >= 0 {
			l.raw, l.eol, text = text[:i], "\n", text[i+1:]
			if strings.HasSuffix(l.raw, "\r") {
				l.raw, l.eol = l.raw[:len(l.raw)-1], "\r\n"
			}
		} else {
			l.raw, text = text, ""
		}
		l.parse(section)
		section = l.section
		d.lines = append(d.lines, l)
	}
	return d
}

// parse fills what raw says, standing in section.
func (l *line) parse(section string) {
	l.kind, l.section, l.key, l.value = lineNone, section, "", ""
	s := strings.Trim(l.raw, blank)
	if s == "" || s[0] == ';' || s[0] == '#' {
		return
	}
	if s[0] == '[' {
		name := strings.Trim(strings.TrimSuffix(s[1:], "]"), blank)
		if !strings.HasSuffix(s, "]") || name == "" {
			l.kind = lineHeader
			return
		}
		l.kind, l.section = lineSection, name
		return
	}
	key, value, _ := strings.Cut(s, "=")
	l.key, l.value = strings.Trim(key, blank), strings.Trim(value, blank)
	l.kind = lineEntry
	if l.key == "" {
		l.kind = lineNoKey
	}
}

// bytes returns the file.
func (d *document) bytes() []byte {
	var b bytes.Buffer
	if d.bom {
		b.WriteString(bom)
	}
	for i := range d.lines {
		b.WriteString(d.lines[i].raw)
		b.WriteString(d.lines[i].eol)
	}
	return b.Bytes()
}

// clone returns a copy that can be changed alone.
func (d *document) clone() *document {
	return &document{bom: d.bom, lines: append([]line(nil), d.lines...)}
}

// set gives the key "section.key" a value. The last line that names the key is changed, for that is the one that
// counts; without one a line is added at the end of the section, which is added at the end of the file when it
// is missing. value must be one trimmed line.
func (d *document) set(name, value string) {
	for i := len(d.lines) - 1; i >= 0; i-- {
		l := &d.lines[i]
		if l.kind == lineEntry && l.name() == name {
			l.raw = replaceValue(l.raw, value)
			l.parse(l.section)
			return
		}
	}
	section, key, ok := strings.Cut(name, ".")
	if !ok {
		section, key = "", name
	}
	d.insert(section, key+"="+value)
}

// replaceValue keeps everything of raw up to the value.
func replaceValue(raw, value string) string {
	i := strings.IndexByte(raw, '=')
	if i < 0 {
		return strings.TrimRight(raw, blank) + "=" + value
	}
	head := raw[:i+1]
	rest := raw[i+1:]
	head += rest[:len(rest)-len(strings.TrimLeft(rest, " \t"))]
	if strings.Trim(rest, blank) == "" {
		head = raw[:i+1]
	}
	return head + value
}

// insert adds a line at the end of section.
func (d *document) insert(section, raw string) {
	eol := d.eol()
	at := -1
	for i := range d.lines {
		l := &d.lines[i]
		if l.section == section && (l.kind == lineEntry || l.kind == lineSection) {
			at = i
		}
	}
	var add []line
	if at < 0 {
		at = len(d.lines) - 1
		if section == "" {
			at = -1
		} else {
			if len(d.lines) > 0 {
				add = append(add, line{eol: eol})
			}
			add = append(add, line{raw: "[" + section + "]", eol: eol})
		}
	}
	add = append(add, line{raw: raw, eol: eol})
	if at >= 0 && d.lines[at].eol == "" {
		// The file does not end with a line break; it still does not.
		d.lines[at].eol = eol
		add[len(add)-1].eol = ""
	}
	for i := range add {
		add[i].parse(section)
	}
	tail := append([]line(nil), d.lines[at+1:]...)
	d.lines = append(append(d.lines[:at+1], add...), tail...)
}

// eol returns the line break of the first line that has one.
func (d *document) eol() string {
	for i := range d.lines {
		if d.lines[i].eol != "" {
			return d.lines[i].eol
		}
	}
	return "\n"
}
