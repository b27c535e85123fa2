package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// Load reads the configuration: the defaults, the file at path, and what environ ("KEY=value", as os.Environ) sets.
// Without a path it is the defaults for a server without a file. It only reads: a missing file is an error that
// wraps fs.ErrNotExist, and a secret or mediaServerId that a server would generate stays as it is. The other
// errors are Errors.
func Load(path string, environ []string) (*Config, error) {
	doc := &document{}
	if path != "" {
		data, err := readFile(path, MaxFileBytes)
		if err != nil {
			return nil, err
		}
		doc = parseDocument(data)
	}
	c, errs := newTable().build(path, doc, environ)
	if err := errs.orNil(); err != nil {
		return nil, err
	}
	return c, nil
}

// readFile reads a file of at most most bytes.
func readFile(path string, most int64) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("%w: %s has more than %d bytes", ErrTooLarge, path, most)
	}
	return data, nil
}

// builder collects one Config.
type builder struct {
	t    *table
	c    *Config
	errs Errors
	// drafts are the endpoints by name.
	drafts map[string]*endpointDraft
	// headers are the lines of the file that begin the section of an endpoint, by its name.
	headers map[string]int
}

// build lays defaults, doc and environ over each other. The Config is complete even with errors: what was refused
// has its default.
func (t *table) build(path string, doc *document, environ []string) (*Config, Errors) {
	return t.buildMade(path, doc, nil, environ)
}

// buildMade is build with the endpoints that were made by API.
func (t *table) buildMade(path string, doc *document, m *made, environ []string) (*Config, Errors) {
	b := &builder{t: t, c: &Config{
		path: path, values: make(map[string]string, len(t.keys)), sources: make(map[string]source),
	}, headers: map[string]int{}}
	b.defaults(path == "")
	b.file(path, doc)
	b.made(m)
	b.environment(environ)
	b.mediaRoot()
	b.endpoints()
	b.cross()
	b.remarks()
	return b.c, b.errs
}

func (b *builder) defaults(noFile bool) {
	for i := range b.t.keys {
		k := &b.t.keys[i]
		v := k.Default
		if noFile && k.NoFile != "" {
			v = k.NoFile
		}
		if err := k.store(b.c, v); err != nil {
			panic("config: default of " + k.Name + " is not allowed") // a slip in the table, which the tests find
		}
		b.c.values[k.Name] = v
	}
}

// mediaRoot keeps what a server without a file records, and serves, below its state directory.
func (b *builder) mediaRoot() {
	if b.c.path != "" {
		return
	}
	root := strings.TrimRight(b.c.Server.StateDir, "/") + "/www"
	for key, field := range map[string]*string{
		"protocol.hls_save_path": &b.c.Protocol.HLSSavePath, "protocol.mp4_save_path": &b.c.Protocol.MP4SavePath,
		"http.rootPath": &b.c.HTTP.RootPath, "api.downloadRoot": &b.c.API.DownloadRoot,
	} {
		if _, set := b.c.sources[key]; !set {
			*field, b.c.values[key] = root, root
		}
	}
}

// file takes the entries of doc. The last line of a key counts.
func (b *builder) file(path string, doc *document) {
	last := make(map[string]int, len(doc.lines))
	for i := range doc.lines {
		l := &doc.lines[i]
		switch l.kind {
		case lineEntry:
			name := l.name()
			if before, ok := last[name]; ok {
				b.warn(path, i+1, name, fmt.Sprintf("given again; line %d has no effect", before+1))
			}
			last[name] = i
		case lineHeader:
			b.refuse(path, i+1, "", strings.Trim(l.raw, blank), "a section header is [name], alone on its line")
		case lineNoKey:
			b.warn(path, i+1, "", "a value without a key has no effect")
		case lineSection:
			if endpoint, ok := strings.CutPrefix(l.section, endpointPrefix); ok {
				b.headers[endpoint] = i + 1
			}
		case lineNone:
		}
	}
	for i := range doc.lines {
		l := &doc.lines[i]
		name := l.name()
		if at, ok := last[name]; l.kind == lineEntry && ok && at == i {
			b.take(name, l.value, source{file: path, line: i + 1})
		}
	}
}

// take gives a key the value that stands at src.
func (b *builder) take(name, value string, src source) {
	k := b.t.names[name]
	if k == nil && strings.HasPrefix(name, endpointPrefix) {
		b.c.fileNames = append(b.c.fileNames, name)
		if allowed := b.endpointKey(name, value, src); allowed != "" {
			b.refuse(src.file, src.line, name, shown(name, value), allowed)
			return
		}
		b.c.values[name], b.c.sources[name] = value, src
		return
	}
	if k == nil && strings.HasPrefix(name, tokenPrefix) {
		b.c.fileNames = append(b.c.fileNames, name)
		if allowed := b.token(name, value); allowed != "" {
			b.refuse(src.file, src.line, name, shown(name, value), allowed)
			return
		}
		b.c.values[name], b.c.sources[name] = value, src
		return
	}
	if k == nil {
		if src.env == "" {
			b.unknown(name, src)
		}
		b.c.values[name], b.c.sources[name] = value, src
		return
	}
	if err := k.store(b.c, value); err != nil {
		value = shown(name, value)
		key := name
		if src.env != "" {
			key = src.env
		}
		b.refuse(src.file, src.line, key, value, k.Allowed+commentHint(value))
		return
	}
	b.c.values[name], b.c.sources[name] = value, src
}

// commentHint explains the most common reason of a value that can't be read.
func commentHint(value string) string {
	if strings.Contains(value, " ;") || strings.Contains(value, " #") || strings.Contains(value, "\t;") ||
		strings.Contains(value, "\t#") {
		return " (a comment needs a line of its own)"
	}
	return ""
}

// mostHints bounds the search for names that were meant: a file may be of another kind altogether.
const mostHints = 100

// unknown keeps a key of the file that nobody knows.
func (b *builder) unknown(name string, src source) {
	b.c.fileNames = append(b.c.fileNames, name)
	if strings.HasPrefix(name, ffmpegTemplates) {
		return // templates of addFFmpegSource have names of the operator's choice
	}
	text := "no such key; kept, without effect"
	if len(b.c.fileNames) > mostHints {
		b.warn(src.file, src.line, name, text)
		return
	}
	if near := b.t.nearest(name); len(near) > 0 {
		text += ". Did you mean " + strings.Join(near, " or ") + "?"
	}
	b.warn(src.file, src.line, name, text)
}

func (b *builder) environment(environ []string) {
	sets, errs := b.t.overrides(environ, b.c.fileNames)
	b.errs = append(b.errs, errs...)
	for _, s := range sets {
		if strings.ContainsAny(s.value, "\r\n") {
			b.refuse(environment, 0, s.env, s.value, "one line")
			continue
		}
		b.take(s.key, s.value, source{file: environment, env: s.env})
	}
}

// cross checks what one key alone can't show.
func (b *builder) cross() {
	if d := b.c.Delivery; d.BackoffMin > d.BackoffMax {
		src := b.c.sources["delivery.backoff_max_ms"]
		if src == (source{}) {
			src = b.c.sources["delivery.backoff_min_ms"]
		}
		b.refuse(src.file, src.line, "delivery.backoff_max_ms", b.c.values["delivery.backoff_max_ms"],
			"at least delivery.backoff_min_ms, which is "+b.c.values["delivery.backoff_min_ms"])
	}
	if b.c.Hook.Enable && len(b.c.Hook.urls) == 0 {
		src := b.c.sources["hook.enable"]
		b.warn(src.file, src.line, "hook.enable", "hooks are on, but no hook has a URL")
	}
	if !b.c.Hook.Enable && len(b.c.Hook.urls) > 0 {
		b.warn(b.c.path, 0, "hook.enable", "hooks have URLs, but hooks are off (hook.enable=0)")
	}
}

// remarks finds the keys whose feature does not exist yet.
func (b *builder) remarks() {
	for name := range b.c.sources {
		k := b.t.names[name]
		if k == nil || k.Implemented {
			continue
		}
		v := b.c.values[name]
		off := k.Kind == KindPort && k.same(v, "0") // a listener that is switched off is not missed
		if !off && !k.same(v, k.Default) && (k.shipped == "" || !k.same(v, k.shipped)) {
			b.c.unimplemented = append(b.c.unimplemented, name)
		}
	}
	slices.Sort(b.c.unimplemented)
}

func (b *builder) refuse(file string, line int, key, value, allowed string) {
	b.errs = append(b.errs, &ValueError{File: file, Line: line, Key: key, Value: value, Allowed: allowed})
}

func (b *builder) warn(file string, line int, key, text string) {
	b.c.warnings = append(b.c.warnings, Warning{File: file, Line: line, Key: key, Text: text})
}
