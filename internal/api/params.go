package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// maxParams is the number of parameters in a query or a body. A whole configuration has about 200.
	maxParams = 1024
	// bodyTimeout is the time in which a body has to arrive.
	bodyTimeout = 15 * time.Second
)

// errTooMany says that a query or a body has more than maxParams parameters.
var errTooMany = errors.New("too many parameters")

// errTooLarge says that a body exceeds http.maxReqSize.
var errTooLarge = errors.New("body too large")

// param is a parameter as it was written.
type param struct{ name, value string }

// params are the parameters of a request: the query's, then the body's, then the headers'. Names have no case; of
// two parameters with one name the first counts.
type params struct {
	values map[string]param // by lower-case name
	header http.Header
}

// readParams reads query and body. maxBody is in bytes.
func readParams(w http.ResponseWriter, r *http.Request, maxBody int64) (*params, error) {
	p := &params{values: map[string]param{}, header: r.Header}
	if err := p.addForm(r.URL.RawQuery); err != nil {
		return nil, err
	}
	if r.ContentLength > maxBody {
		return nil, errTooLarge
	}
	if r.Body == nil || r.Body == http.NoBody {
		return p, nil
	}
	// Recorders and other writers without deadlines: then the server's own limits hold.
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	_ = rc.SetReadDeadline(time.Time{})
	if err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	if int64(len(body)) > maxBody {
		return nil, errTooLarge
	}
	return p, p.addBody(r.Header.Get("Content-Type"), body)
}

// addBody adds the parameters of a form or of a JSON object; other bodies have none.
func (p *params) addBody(contentType string, body []byte) error {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return nil //nolint:nilerr // what has no readable type has no parameters
	}
	switch kind {
	case "application/x-www-form-urlencoded":
		return p.addForm(string(body))
	case "application/json":
		return p.addJSON(body)
	}
	return nil
}

// addForm adds the parameters of a query string or a form. Escapes that are none stay as they are.
func (p *params) addForm(s string) error {
	for n := 0; s != ""; {
		var pair string
		pair, s, _ = strings.Cut(s, "&")
		if pair == "" {
			continue
		}
		if n++; n > maxParams {
			return errTooMany
		}
		name, value, _ := strings.Cut(pair, "=")
		p.add(unescape(name), unescape(value))
	}
	return nil
}

// addJSON adds the members of an object, in the order of their names, up to the first whose value is an array or an
// object: ZLMediaKit stops there. A body that is no object has no parameters.
func (p *params) addJSON(body []byte) error {
	var members map[string]json.RawMessage
	if json.Unmarshal(bytes.TrimPrefix(body, []byte("\ufeff")), &members) != nil {
		return nil //nolint:nilerr // junk in a body is not an error
	}
	if len(members) > maxParams {
		return errTooMany
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value, ok := scalar(members[name])
		if !ok {
			return nil
		}
		p.add(name, value)
	}
	return nil
}

// scalar returns a JSON value as text: strings unquoted, null empty, numbers and booleans as they are written.
func scalar(raw json.RawMessage) (string, bool) {
	if len(raw) == 0 {
		return "", false
	}
	switch raw[0] {
	case '{', '[':
		return "", false
	case 'n':
		return "", true
	case '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err == nil
	}
	return string(raw), true
}

func (p *params) add(name, value string) {
	key := strings.ToLower(name)
	if old, ok := p.values[key]; !ok || old.value == "" {
		p.values[key] = param{name, value}
	}
}

// text returns a parameter, "" when it is absent.
func (p *params) text(name string) string {
	if v := p.values[strings.ToLower(name)].value; v != "" {
		return v
	}
	return p.header.Get(name)
}

// flag returns a bool: "1" and "true" are true, everything else is false.
func (p *params) flag(name string) bool {
	v := p.text(name)
	return v == "1" || strings.EqualFold(v, "true")
}

// integer returns an int: the number with which the value begins, 0 for junk. Languages that have one kind of numbers
// write 10 as 10.0.
func (p *params) integer(name string) int {
	v := strings.TrimLeft(p.text(name), " \t\r\n")
	end := 0
	for end < len(v) && ('0' <= v[end] && v[end] <= '9' || end == 0 && (v[end] == '-' || v[end] == '+')) {
		end++
	}
	n, err := strconv.ParseInt(v[:end], 10, 32)
	if err != nil {
		return 0
	}
	return int(n)
}

// number returns a float, 0 for junk.
func (p *params) number(name string) float64 {
	f, err := strconv.ParseFloat(p.text(name), 64)
	if err != nil {
		return 0
	}
	return f
}

// missing says whether one of the names is absent.
func (p *params) missing(names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return p.text(n) == "" })
}

// dotted returns the parameters of query and body whose name has the form section.key, under the name as written.
func (p *params) dotted() map[string]string {
	out := map[string]string{}
	for _, v := range p.values {
		if strings.Contains(v.name, ".") {
			out[v.name] = v.value
		}
	}
	return out
}

// unescape undoes percent-encoding and "+". What is not a valid escape stays as it is.
func unescape(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			b = append(b, ' ')
		case c == '%' && i+2 < len(s) && hexDigit(s[i+1]) >= 0 && hexDigit(s[i+2]) >= 0:
			b = append(b, byte(hexDigit(s[i+1])<<4|hexDigit(s[i+2])))
			i += 2
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
