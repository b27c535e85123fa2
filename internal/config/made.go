package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// madeFile is kept in the state directory. It holds the endpoints that were made by API, in the form of the config file,
// which the API never writes endpoints into: what stands there is the operator's word, and may go where other URLs
// may not.
const madeFile = "endpoints.ini"

// keyAllowPrivate widens what an endpoint that is made by API may reach; setServerConfig can't set it.
const keyAllowPrivate = "api.allow_private_endpoints"

const (
	// maxMadeBytes is the largest madeFile: MaxEndpoints sections of some size.
	maxMadeBytes = 16 << 20
	// maxKeyBytes and maxValueBytes bound one key and one value of an endpoint that is made by API.
	maxKeyBytes   = 128
	maxValueBytes = 8 << 10
	// maxEndpointKeys bounds the keys of one.
	maxEndpointKeys = 64
)

// Errors of EditEndpoint and RemoveEndpoint.
var (
	// ErrNoEndpoint says that there is no endpoint of that name.
	ErrNoEndpoint = errors.New("config: no such endpoint")
	// ErrFileEndpoint says that the endpoint is a section of the config file, and is changed there.
	ErrFileEndpoint = errors.New("config: the endpoint is a section of the config file")
)

// made are the endpoints of madeFile: keys and values by name. Guarded by the Store's mu.
type made struct {
	path string
	doc  *document
	all  map[string]map[string]string
}

// openMade reads endpoints.ini in dir, which may be missing.
func openMade(dir string) (*made, error) {
	m := &made{path: filepath.Join(dir, madeFile), doc: &document{}, all: map[string]map[string]string{}}
	data, err := readFile(m.path, maxMadeBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, err
	}
	m.doc = parseDocument(data)
	for i := range m.doc.lines {
		if l := &m.doc.lines[i]; l.kind == lineEntry {
			if name, key, ok := splitEndpoint(l.name()); ok {
				if m.all[name] == nil {
					m.all[name] = map[string]string{}
				}
				m.all[name][key] = l.value
			}
		}
	}
	return m, nil
}

// with returns a copy in which one endpoint has other keys; nil: none of that name.
func (m *made) with(name string, keys map[string]string) *made {
	out := &made{path: m.path, all: maps.Clone(m.all)}
	if delete(out.all, name); keys != nil {
		out.all[name] = keys
	}
	var b strings.Builder
	b.WriteString("; Endpoints that were made by API, kept by Hookline. Change them by /api/v1/endpoints or `hookline endpoints`.\n" +
		"; A section of the same name in the config file comes first.\n")
	for _, name := range slices.Sorted(maps.Keys(out.all)) {
		b.WriteString("\n[" + endpointPrefix + name + "]\n")
		for _, key := range slices.Sorted(maps.Keys(out.all[name])) {
			b.WriteString(key + "=" + out.all[name][key] + "\n")
		}
	}
	out.doc = parseDocument([]byte(b.String()))
	return out
}

// write puts the file in place durably.
func (m *made) write() error {
	data := m.doc.bytes()
	if len(data) > maxMadeBytes {
		return fmt.Errorf("%w: %s would have %d bytes", ErrTooLarge, m.path, len(data))
	}
	if err := os.MkdirAll(filepath.Dir(m.path), 0o750); err != nil {
		return fmt.Errorf("config: state directory: %w", err)
	}
	return writeFile(m.path, data, 0o600)
}

// made takes the endpoints that were made by API. One that the file has, too, is the file's.
func (b *builder) made(m *made) {
	if m == nil {
		return
	}
	ours := map[string]bool{}
	for name := range b.drafts {
		ours[name] = true
	}
	for i := range m.doc.lines {
		l := &m.doc.lines[i]
		if l.kind == lineNone || l.kind == lineSection {
			continue
		}
		name := l.name()
		endpoint, _, ok := splitEndpoint(name)
		switch {
		case l.kind != lineEntry || !ok:
			b.refuse(m.path, i+1, name, shown(name, l.value), "sections [endpoint.NAME] only")
			continue
		case ours[endpoint]:
			text := "made by API, but the config file has a section of this name, which counts"
			if w := (Warning{File: m.path, Key: endpointPrefix + endpoint, Text: text}); !slices.Contains(b.c.warnings, w) {
				b.c.warnings = append(b.c.warnings, w)
			}
			continue
		}
		src := source{file: m.path, line: i + 1}
		if allowed := b.endpointKey(name, l.value, src); allowed != "" {
			b.refuse(src.file, src.line, name, shown(name, l.value), allowed)
			continue
		}
		b.drafts[endpoint].e.Made = true
		b.c.values[name], b.c.sources[name] = l.value, src
	}
}

// EndpointEdit is a change of an endpoint that is made by API.
type EndpointEdit struct {
	Name string
	// Keys of the section and their values; nil takes the key away. A value that is what All shows in place of a secret
	// leaves the secret as it is.
	Keys map[string]*string
	// Replace takes every other key away.
	Replace bool
	// Allow is asked first, with what is there (nil: nothing), while nothing else can change it. Optional.
	Allow func(now *Endpoint) error
}

// EditEndpoint makes an endpoint or changes one that was made by it, durably, in state_dir/endpoints.ini, and puts it into
// effect. It says whether it is new. The error is Errors when a value is refused, whose Keys are endpoint.NAME.KEY;
// ErrFileEndpoint; what Allow returned; or why the file could not be written. With an error nothing was changed.
func (s *Store) EditEndpoint(e EndpointEdit) (created bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.editable(e.Name, e.Allow)
	if err != nil {
		return false, err
	}
	keys := map[string]string{}
	if now != nil && !e.Replace {
		maps.Copy(keys, now.Keys)
	}
	var errs Errors
	for key, value := range e.Keys {
		if value == nil {
			delete(keys, key)
			continue
		}
		v := strings.Trim(*value, blank)
		if now != nil {
			if old, ok := now.Keys[key]; ok && v == now.Shown()[key] {
				v = old
			}
		}
		if refused := checkEdit(e.Name, key, v); refused != nil {
			errs = append(errs, refused)
			continue
		}
		keys[key] = v
	}
	if len(keys) > maxEndpointKeys {
		errs = append(errs, &ValueError{Key: endpointPrefix + e.Name, Allowed: fmt.Sprintf("at most %d keys", maxEndpointKeys)})
	}
	if len(keys) == 0 && len(errs) == 0 { // an empty section is nothing to a file
		errs = append(errs, &ValueError{Key: endpointPrefix + e.Name + ".url", Allowed: "an http or https URL; there is none"})
	}
	if err := errs.orNil(); err != nil {
		slices.SortFunc(errs, func(a, b *ValueError) int { return strings.Compare(a.Key, b.Key) })
		return false, err
	}
	return now == nil, s.remake(s.made.with(e.Name, keys), e.Name)
}

// RemoveEndpoint removes an endpoint that was made by API. ErrNoEndpoint, ErrFileEndpoint, and as EditEndpoint.
func (s *Store) RemoveEndpoint(name string, allow func(now *Endpoint) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.editable(name, allow)
	if err != nil {
		return err
	}
	if now == nil {
		return ErrNoEndpoint
	}
	return s.remake(s.made.with(name, nil), name)
}

// editable returns the endpoint, nil when there is none. Holds mu.
func (s *Store) editable(name string, allow func(now *Endpoint) error) (*Endpoint, error) {
	if !endpointName.MatchString(name) || name == hookEndpoint {
		return nil, Errors{{Key: endpointPrefix + name, Value: name, Allowed: endpointNames}}
	}
	now := s.cur.Load().Endpoint(name)
	if now != nil && !now.Made {
		return nil, ErrFileEndpoint
	}
	if allow == nil {
		return now, nil
	}
	return now, allow(now)
}

// checkEdit refuses what can't stand in one line of a file.
func checkEdit(endpoint, key, value string) *ValueError {
	e := &ValueError{Key: endpointPrefix + endpoint + "." + key}
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '.'
	}
	switch {
	case key == "" || len(key) > maxKeyBytes || strings.ContainsFunc(key, func(r rune) bool { return !plain(r) }):
		e.Key, e.Allowed = endpointPrefix+endpoint, "keys of letters, digits, _, - and ., up to 128 bytes"
	case len(value) > maxValueBytes:
		e.Allowed = "at most 8192 bytes"
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f || r == '\ufffd' }):
		e.Allowed = "one line of UTF-8 without control characters"
	default:
		return nil
	}
	return e
}

// remake puts other endpoints into effect: first on the disk, then here. Only what is wrong with the one that is changed is
// an error; the others were there before. Holds mu.
func (s *Store) remake(m *made, name string) error {
	if err := s.catchUp(); err != nil {
		s.log.Warn("the config file can't be read again", "file", s.path, "error", err)
	}
	if e := s.cur.Load().Endpoint(name); e != nil && !e.Made {
		return ErrFileEndpoint // it has just come into the file
	}
	c, errs := s.t.buildMade(s.path, s.doc, m, s.env)
	if err := errs.orNil(); err != nil {
		return err
	}
	if e := c.Endpoint(name); e != nil {
		if err := e.checkFiles().orNil(); err != nil {
			return err
		}
	}
	if err := s.identify(c); err != nil {
		return err
	}
	if err := m.write(); err != nil {
		return err
	}
	s.made = m
	s.publish(c, "api")
	return nil
}
