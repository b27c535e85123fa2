package api

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxMembers bounds the members of an endpoint's definition.
const maxMembers = 128

// FieldError says what is wrong with one member of a body. It never holds the value, which may be a secret.
type FieldError struct {
	Field   string `json:"field"`
	Allowed string `json:"allowed"`
}

// FieldErrors are all that is wrong with a body.
type FieldErrors []FieldError

// Error implements error.
func (e FieldErrors) Error() string {
	var parts []string
	for _, f := range e {
		parts = append(parts, f.Field+": allowed: "+f.Allowed)
	}
	return strings.Join(parts, "; ")
}

// keysOf reads the members of a definition: text, numbers, booleans and lists of text, as the keys of a section have them;
// null takes a key away; header is an object of names and values.
func keysOf(in map[string]json.RawMessage) (map[string]*string, error) {
	if len(in) > maxMembers {
		return nil, FieldErrors{{"", "at most 128 members"}}
	}
	out := map[string]*string{}
	var bad FieldErrors
	for _, name := range slices.Sorted(maps.Keys(in)) {
		raw := in[name]
		if name == "header" {
			var header map[string]json.RawMessage
			if json.Unmarshal(raw, &header) != nil || len(header) > maxMembers {
				bad = append(bad, FieldError{name, "an object of header names and values"})
				continue
			}
			for h, v := range header {
				if value, ok := keyValue(v); ok && !strings.HasPrefix(string(v), "[") {
					out["header."+h] = value
				} else {
					bad = append(bad, FieldError{clip("header."+h, maxName), "text"})
				}
			}
			continue
		}
		value, ok := keyValue(raw)
		if !ok {
			bad = append(bad, FieldError{clip(name, maxName), "text, a number, a boolean, null, or a list of texts without commas"})
			continue
		}
		out[name] = value
	}
	if bad != nil {
		return nil, bad
	}
	return out, nil
}

// keyValue returns a JSON value as a section has it, nil for null.
func keyValue(raw json.RawMessage) (value *string, ok bool) {
	if len(raw) == 0 {
		return nil, false
	}
	var s string
	switch raw[0] {
	case 'n':
		return nil, true
	case 't':
		s = "1"
	case 'f':
		s = "0"
	case '[':
		var list []string
		if json.Unmarshal(raw, &list) != nil ||
			slices.ContainsFunc(list, func(e string) bool { return e == "" || strings.Contains(e, ",") }) {
			return nil, false
		}
		if s = strings.Join(list, ","); s == "" {
			return nil, true // an empty list limits nothing, as an absent one
		}
	default:
		if s, ok = scalar(raw); !ok {
			return nil, false
		}
	}
	return &s, true
}

// definition reads the body.
func (c *v1Call) definition() (map[string]json.RawMessage, error) {
	var in map[string]json.RawMessage
	if err := c.body(&in, "application/merge-patch+json"); err != nil {
		return nil, err
	}
	if in == nil {
		return nil, &refusal{http.StatusBadRequest, ProblemBody, "the body is not an object"}
	}
	return in, nil
}

// createEndpoint makes an endpoint whose name is in the body.
func (c *v1Call) createEndpoint() error {
	in, err := c.definition()
	if err != nil {
		return err
	}
	var name string
	if json.Unmarshal(in["name"], &name) != nil || name == "" {
		return FieldErrors{{"name", "the name of the endpoint, of a-z, 0-9, _ and -"}}
	}
	delete(in, "name")
	return c.define(name, in, true, func(version string) error {
		if version != "" {
			return &refusal{http.StatusConflict, ProblemConflict, "there is an endpoint of this name; PUT replaces it, PATCH changes it"}
		}
		return nil
	})
}

// putEndpoint makes an endpoint or replaces what it is.
func (c *v1Call) putEndpoint() error {
	in, err := c.definition()
	if err != nil {
		return err
	}
	return c.define(c.path[0], in, true, c.precondition)
}

// patchEndpoint changes some keys of an endpoint (JSON merge patch, RFC 7396).
func (c *v1Call) patchEndpoint() error {
	in, err := c.definition()
	if err != nil {
		return err
	}
	return c.define(c.path[0], in, false, func(version string) error {
		if version == "" {
			return ErrNoEndpoint
		}
		return c.precondition(version)
	})
}

func (c *v1Call) define(name string, in map[string]json.RawMessage, replace bool, allow func(version string) error) error {
	c.note("endpoint", clip(name, maxName))
	if err := checkText("name", name, maxName); err != nil {
		return err
	}
	keys, err := keysOf(in)
	if err != nil {
		return err
	}
	// What was changed is worth noting, to what it was not: it may be a secret.
	c.note("keys", clip(strings.Join(slices.Sorted(maps.Keys(keys)), ","), maxText))
	created, err := c.api.deps.Platform.Define(Definition{Name: name, Keys: keys, Replace: replace, Allow: allow})
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
		c.w.Header().Set("Location", v1Prefix+"endpoints/"+url.PathEscape(name))
	}
	return c.showEndpoint(status, name)
}

// deleteEndpoint removes an endpoint and gives up what it was owed.
func (c *v1Call) deleteEndpoint() error {
	c.note("endpoint", clip(c.path[0], maxName))
	if err := checkText("name", c.path[0], maxName); err != nil {
		return err
	}
	if err := c.api.deps.Platform.Remove(c.path[0], c.precondition); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// precondition obeys If-Match and If-None-Match (RFC 9110, section 13.1). version is "" when there is nothing.
func (c *v1Call) precondition(version string) error {
	failed := &refusal{
		http.StatusPreconditionFailed, ProblemPrecondition, "the endpoint is not as If-Match or If-None-Match says; read it again",
	}
	if want := c.r.Header.Values("If-Match"); len(want) > 0 && !tagged(want, version) {
		return failed
	}
	if not := c.r.Header.Values("If-None-Match"); len(not) > 0 && tagged(not, version) {
		return failed
	}
	return nil
}

// tagged says whether a list of entity tags names the version; * names every one.
func tagged(values []string, version string) bool {
	if version == "" {
		return false
	}
	for tag := range strings.SplitSeq(strings.Join(values, ","), ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || tag == `"`+version+`"` {
			return true
		}
	}
	return false
}

// showEndpoint answers with an endpoint. The tag is that of its definition, not of the counters beside it.
func (c *v1Call) showEndpoint(status int, name string) error {
	e, err := c.api.endpoint(name)
	if err != nil {
		return err
	}
	if e.Version != "" {
		c.w.Header().Set("ETag", `"`+e.Version+`"`)
	}
	return c.answer(status, viewEndpoint(&e))
}

// failField answers with all that is wrong with a body.
func (c *v1Call) failField(err error) bool {
	var bad FieldErrors
	if !errors.As(err, &bad) {
		return false
	}
	c.api.writeProblem(c.w, Problem{
		Type: "about:blank", Title: http.StatusText(http.StatusBadRequest), Status: http.StatusBadRequest,
		Detail: clip(bad.Error(), 4096), Code: ProblemField, Errors: bad,
	})
	return true
}
