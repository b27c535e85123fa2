package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrNotSaved says that Set changed the running configuration but could not write the file.
var ErrNotSaved = errors.New("config: the change is in effect but was not saved")

// ErrEmptyFile says that a reload found an empty file where there was content before; an editor or a copy
// is probably at work.
var ErrEmptyFile = errors.New("config: file is empty")

// ErrTooLarge says that the file is larger than MaxFileBytes.
var ErrTooLarge = errors.New("config: file is too large")

// MaxFileBytes is the largest config file that is read.
const MaxFileBytes = 1 << 20

// shownValue is the length to which refused values are cut in messages.
const shownValue = 200

// ValueError is a value, or a line, that can't be used.
type ValueError struct {
	// File is the path of the file, "environment", or "" for a value given to Set.
	File string
	// Line counts from 1; 0 when the value does not come from a file.
	Line int
	// Key is "section.key"; for values of the environment the name of the variable. Empty when the line has none.
	Key string
	// Value as it was given.
	Value string
	// Allowed says which values there are.
	Allowed string
	// Unknown says that it is Key that is refused. Value is left empty then, for it may be a secret.
	Unknown bool
}

// Error implements error.
func (e *ValueError) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			b.WriteString(":" + strconv.Itoa(e.Line))
		}
		b.WriteString(": ")
	}
	b.WriteString(e.Key)
	switch {
	case e.Unknown:
		b.WriteString(" is not known")
	case e.Key == "":
		b.WriteString(quoted(e.Value))
	default:
		b.WriteString(" = " + quoted(e.Value))
	}
	b.WriteString("; allowed: " + e.Allowed)
	return b.String()
}

func quoted(v string) string {
	if len(v) > shownValue {
		v = v[:shownValue] + "…"
	}
	return strconv.Quote(v)
}

// Errors are all that is wrong with a configuration, in the order of the file.
type Errors []*ValueError

// Error implements error: one line per error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, v := range e {
		lines[i] = v.Error()
	}
	return strings.Join(lines, "\n")
}

// Refusals names what is refused and what is allowed instead, on one line and without the values, which may be secrets.
func (e Errors) Refusals() string {
	about := make([]string, len(e))
	for i, v := range e {
		about[i] = v.Key + ": allowed is " + v.Allowed
	}
	return strings.Join(about, "; ")
}

// Unwrap makes the single errors visible to errors.Is and errors.As.
func (e Errors) Unwrap() []error {
	out := make([]error, len(e))
	for i, v := range e {
		out[i] = v
	}
	return out
}

// orNil returns e as an error, nil when it is empty.
func (e Errors) orNil() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// Warning is something that is accepted but probably not meant.
type Warning struct {
	File string // the path, "environment" or ""
	Line int    // from 1; 0 when it is not about a line
	Key  string // may be empty
	Text string
}

// String returns "file:line: key: text".
func (w Warning) String() string {
	s := w.Text
	if w.Key != "" {
		s = w.Key + ": " + s
	}
	switch {
	case w.File != "" && w.Line > 0:
		return fmt.Sprintf("%s:%d: %s", w.File, w.Line, s)
	case w.File != "":
		return w.File + ": " + s
	}
	return s
}
