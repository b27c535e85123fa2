package config

import (
	"fmt"
	"strings"
)

// Report is what Check found.
type Report struct {
	// File is the path that was checked, empty for none.
	File string
	// Errors keep a server from starting.
	Errors Errors
	// Warnings do not.
	Warnings []Warning
	// Unimplemented are the keys, sorted, that were set but whose feature Hookline does not have yet.
	Unimplemented []string
	// FromEnvironment are the keys, sorted, that the environment sets.
	FromEnvironment []string
}

// OK says whether a server would start with it.
func (r Report) OK() bool { return len(r.Errors) == 0 }

// String returns the report for a reader.
func (r Report) String() string {
	var b strings.Builder
	for _, e := range r.Errors {
		fmt.Fprintf(&b, "error: %v\n", e)
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "warning: %v\n", w)
	}
	if len(r.Unimplemented) > 0 {
		fmt.Fprintf(&b, "not in this version, without effect: %s\n", strings.Join(r.Unimplemented, ", "))
	}
	if len(r.FromEnvironment) > 0 {
		fmt.Fprintf(&b, "set by the environment: %s\n", strings.Join(r.FromEnvironment, ", "))
	}
	name := r.File
	if name == "" {
		name = "defaults"
	}
	if r.OK() {
		fmt.Fprintf(&b, "%s: ok\n", name)
	} else {
		fmt.Fprintf(&b, "%s: %d error(s)\n", name, len(r.Errors))
	}
	return b.String()
}

// Check reads the configuration as Load does and reports everything there is to say. The error is for a file that
// can't be read at all.
func Check(path string, environ []string) (Report, error) {
	if path == "" {
		return check(path, &document{}, environ), nil
	}
	data, err := readFile(path, MaxFileBytes)
	if err != nil {
		return Report{File: path}, err
	}
	return check(path, parseDocument(data), environ), nil
}

func check(path string, doc *document, environ []string) Report {
	c, errs := newTable().build(path, doc, environ)
	r := Report{
		File: path, Errors: errs, Warnings: c.Warnings(), Unimplemented: c.Unimplemented(),
		FromEnvironment: c.FromEnvironment(),
	}
	if weakSecret(c.API.Secret) {
		src := c.sources["api.secret"]
		r.Warnings = append(r.Warnings, Warning{
			File: src.file, Line: src.line, Key: "api.secret",
			Text: "empty or the published default; a random one replaces it at start",
		})
	}
	return r
}
