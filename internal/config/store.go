package config

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Options say where the configuration comes from.
type Options struct {
	// Path of the file; empty: no file, defaults and environment only.
	Path string
	// Environ is the environment as os.Environ returns it.
	Environ []string
	// Log gets a line for everything that was generated, applied or refused; nil: none.
	Log *slog.Logger
}

// Store holds the current configuration. It is safe for concurrent use.
type Store struct {
	t    *table
	path string
	env  []string
	log  *slog.Logger

	cur atomic.Pointer[Config]

	mu     sync.Mutex // serialises changes; guards what follows
	id     *identity
	made   *made
	doc    *document         // what is in effect; ahead of the file when it could not be written
	good   [sha256.Size]byte // of the content from which doc was made, or to which it was written
	seen   [sha256.Size]byte // of the content that was last looked at, good or bad
	subs   []subscription
	nextID int
}

type subscription struct {
	id int
	fn func(old, now *Config, changed []string)
}

// Open loads the configuration and makes it fit to start with:
//
//  1. a missing file is written with the defaults;
//  2. an empty or published api.secret is replaced by a random one of 32 characters, which is written to the file,
//     or to identity.ini in the state directory when there is no file or it can't be written;
//  3. a missing general.mediaServerId is taken from identity.ini, or generated and put there.
//
// The error is Errors when values are refused.
func Open(o Options) (*Store, error) {
	s := &Store{t: newTable(), path: o.Path, env: slices.Clone(o.Environ), log: o.Log, doc: &document{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path != "" {
		if err := s.openFile(); err != nil {
			return nil, err
		}
	}
	c, errs := s.t.build(s.path, s.doc, s.env)
	if err := errs.orNil(); err != nil {
		return nil, err
	}
	var err error
	if s.id, err = openIdentity(c.Server.StateDir); err != nil {
		return nil, err
	}
	if s.made, err = openMade(c.Server.StateDir); err != nil {
		return nil, err
	}
	if c, errs = s.t.buildMade(s.path, s.doc, s.made, s.env); errs.orNil() != nil {
		return nil, errs
	}
	if err := s.identify(c); err != nil {
		return nil, err
	}
	s.cur.Store(c)
	s.logRemarks(&Config{}, c)
	return s, nil
}

// openFile reads the file, or writes one. Holds mu.
func (s *Store) openFile() error {
	data, err := readFile(s.path, MaxFileBytes)
	if errors.Is(err, fs.ErrNotExist) {
		data = defaultFile(s.t.keys).bytes()
		if err := writeFile(s.path, data, 0o600); err != nil {
			return err
		}
		s.log.Info("config file was missing, wrote one with the defaults", "file", s.path)
		err = nil
	}
	if err != nil {
		return err
	}
	s.doc = parseDocument(data)
	s.good = sha256.Sum256(data)
	s.seen = s.good
	return nil
}

// Config returns the current configuration.
func (s *Store) Config() *Config { return s.cur.Load() }

// OnChange calls fn after every change with the keys, sorted, whose values differ. Calls come one after another; fn
// must not call Set or Reload. The returned function ends the subscription.
func (s *Store) OnChange(fn func(old, now *Config, changed []string)) (cancel func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextID++
	id := s.nextID
	s.subs = append(s.subs, subscription{id, fn})
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.subs = slices.DeleteFunc(s.subs, func(x subscription) bool { return x.id == id })
	}
}

// Reload reads the file again. An unchanged file changes nothing, also when the running configuration is ahead of
// it because it could not be written. With an error the old configuration stays.
func (s *Store) Reload() error {
	if s.path == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	data, err := readFile(s.path, MaxFileBytes)
	if err != nil {
		return err
	}
	return s.reload(data)
}

// reload puts the content of the file into effect. Holds mu.
func (s *Store) reload(data []byte) error {
	sum := sha256.Sum256(data)
	s.seen = sum
	if sum == s.good {
		return nil
	}
	if len(strings.Trim(string(data), blank)) == 0 && len(s.doc.lines) > 0 {
		return fmt.Errorf("%w: %s", ErrEmptyFile, s.path)
	}
	doc := parseDocument(data)
	c, errs := s.t.buildMade(s.path, doc, s.made, s.env)
	if err := errs.orNil(); err != nil {
		return err
	}
	oldDoc, oldGood := s.doc, s.good
	s.doc, s.good = doc, sum
	if err := s.identify(c); err != nil {
		s.doc, s.good = oldDoc, oldGood
		return err
	}
	s.publish(c, "reload")
	return nil
}

// Set is setServerConfig: it changes the running configuration, then the file. Names are matched without regard to
// case. Ignored are keys that neither the table nor the file knows, ffmpeg.bin and ffmpeg.snap (which name what is
// executed), api.allow_private_endpoints, and keys that the environment sets; endpoints are refused. It returns the number of keys whose value changed.
//
// The error is Errors when a value is refused; then nothing was changed. It wraps ErrNotSaved when the change is in
// effect but the file could not be written; the change lasts until the file changes or the process ends, and is
// tried to be written again with the next Set. Without a file nothing is ever written.
func (s *Store) Set(values map[string]string) (changed int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	errFile := s.catchUp() // does not keep Set from changing what runs
	sets, errs := s.accept(values)
	if err := errs.orNil(); err != nil {
		return 0, err
	}
	if len(sets) == 0 {
		return 0, nil
	}
	doc := s.doc.clone()
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		doc.set(name, sets[name])
	}
	c, errs := s.t.buildMade(s.path, doc, s.made, s.env)
	if err := errs.orNil(); err != nil {
		return 0, err
	}
	oldDoc := s.doc
	s.doc = doc
	if err := s.identify(c); err != nil {
		s.doc = oldDoc
		return 0, err
	}
	if errFile == nil {
		errFile = s.save()
	}
	s.publish(c, "setServerConfig")
	if errFile != nil {
		return len(sets), fmt.Errorf("%w: %w", ErrNotSaved, errFile)
	}
	return len(sets), nil
}

// catchUp takes in what an operator wrote since the file was read last, so that Set does not undo it. An error
// means that the file must not be overwritten. Holds mu.
func (s *Store) catchUp() error {
	if s.path == "" {
		return nil
	}
	data, err := readFile(s.path, MaxFileBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // writing it again is what Set is for
	}
	if err != nil {
		return err
	}
	return s.reload(data)
}

// accept returns the values that Set has to change. Holds mu.
func (s *Store) accept(values map[string]string) (map[string]string, Errors) {
	c := s.cur.Load()
	sets := map[string]string{}
	var errs Errors
	for _, given := range slices.Sorted(maps.Keys(values)) {
		name, value := s.resolve(c, given), strings.Trim(values[given], blank)
		switch {
		case name == "" || name == "ffmpeg.bin" || name == "ffmpeg.snap" || name == keyAllowPrivate || c.values[name] == value:
		case shown(name, c.values[name]) == value: // who reads the configuration and writes it back leaves secrets alone
		case strings.HasPrefix(name, tokenPrefix):
			errs = append(errs, &ValueError{Key: name, Value: masked, Allowed: "a change in the file"})
		case strings.HasPrefix(name, endpointPrefix):
			errs = append(errs, &ValueError{
				Key: name, Value: shown(name, value), Allowed: "a change of the section in the file, or by /api/v1/endpoints",
			})
		case c.sources[name].env != "":
			s.log.Warn("the environment sets this key, setServerConfig can't", "key", name, "variable", c.sources[name].env)
		default:
			if err := s.allow(name, value); err != nil {
				errs = append(errs, err)
				continue
			}
			sets[name] = value
		}
	}
	return sets, errs
}

// resolve returns the key that is meant by name, empty when there is none.
func (s *Store) resolve(c *Config, name string) string {
	if _, ok := c.values[name]; ok {
		return name
	}
	if k := s.t.folds[strings.ToLower(name)]; k != nil {
		return k.Name
	}
	for _, key := range c.fileNames {
		if strings.EqualFold(key, name) {
			return key
		}
	}
	return ""
}

// allow says why a value can't be set.
func (s *Store) allow(name, value string) *ValueError {
	refuse := func(allowed string) *ValueError {
		return &ValueError{Key: name, Value: shown(name, value), Allowed: allowed}
	}
	if strings.ContainsAny(value, "\r\n") {
		return refuse("one line")
	}
	if name == keySecret && weakSecret(value) {
		return refuse("a secret that is neither empty nor the published default")
	}
	if k := s.t.names[name]; k != nil && k.check(value) != nil {
		return refuse(k.Allowed)
	}
	return nil
}

// save writes doc to the file, unless the file holds something that could not be used: it is the operator's. Holds mu.
func (s *Store) save() error {
	if s.path == "" {
		s.log.Warn("there is no configuration file: what setServerConfig changed is gone with the process; start with -c FILE to keep it")
		return nil
	}
	if now, err := readFile(s.path, MaxFileBytes); err == nil && sha256.Sum256(now) != s.good {
		return fmt.Errorf("config: %s was changed and is not overwritten", s.path)
	}
	data := s.doc.bytes()
	if len(data) > MaxFileBytes {
		return fmt.Errorf("%w: %s would have %d bytes", ErrTooLarge, s.path, len(data))
	}
	if err := writeFile(s.path, data, 0o600); err != nil {
		return err
	}
	s.good = sha256.Sum256(data)
	s.seen = s.good
	return nil
}

// publish makes c current and tells the subscribers. Holds mu.
func (s *Store) publish(c *Config, by string) {
	old := s.cur.Load()
	s.cur.Store(c)
	s.logRemarks(old, c)
	changed := changedKeys(old, c)
	if len(changed) == 0 {
		return
	}
	for _, sub := range s.subs {
		sub.fn(old, c, slices.Clone(changed))
	}
	ch := Classify(changed) // logged when it is in effect
	s.log.Info("config changed", "by", by, "applied", ch.Applied, "for_new_streams", ch.New,
		"needs_restart", ch.Restart, "without_effect", ch.NoEffect)
}

// logRemarks logs the warnings of c that old did not have.
func (s *Store) logRemarks(old, c *Config) {
	for _, w := range c.warnings {
		if !slices.Contains(old.warnings, w) {
			s.log.Warn("config warning", "about", w.String())
		}
	}
}

// Change sorts changed keys by when they take effect.
type Change struct {
	Applied  []string // in effect now
	New      []string // for streams, sessions and files created from now on
	Restart  []string // after a restart
	NoEffect []string // unknown, or of a feature that Hookline does not have yet
}

// Classify sorts changed keys by when they take effect.
func Classify(changed []string) Change {
	t := newTable()
	var ch Change
	for _, name := range changed {
		k := t.names[name]
		switch {
		case k == nil && (strings.HasPrefix(name, endpointPrefix) || strings.HasPrefix(name, tokenPrefix)):
			ch.Applied = append(ch.Applied, name)
		case k == nil || !k.Implemented:
			ch.NoEffect = append(ch.NoEffect, name)
		case k.Hot == Now:
			ch.Applied = append(ch.Applied, name)
		case k.Hot == New:
			ch.New = append(ch.New, name)
		default:
			ch.Restart = append(ch.Restart, name)
		}
	}
	return ch
}

// identify replaces what c must not start with: see Open. Holds mu.
func (s *Store) identify(c *Config) error {
	if weakSecret(c.API.Secret) {
		secret, err := s.secret(c)
		if err != nil {
			return err
		}
		c.API.Secret = secret
		c.values[keySecret] = secret
	}
	if c.General.MediaServerID == "" {
		id := s.id.get(keyServerID)
		if id == "" {
			const length = 16
			id = randomText(length)
			if err := s.id.put(keyServerID, id); err != nil {
				return err
			}
			s.log.Info("generated a mediaServerId", "id", id, "file", s.id.path)
		}
		c.General.MediaServerID = id
		c.values[keyServerID] = id
	}
	return nil
}

// secret returns a secret for a configuration that has none, and keeps it: in the file, or in identity.ini when
// there is no file, it can't be written, or the environment sets the weak one. Holds mu.
func (s *Store) secret(c *Config) (string, error) {
	const length = 32
	kept := s.id.get(keySecret)
	secret := cmp.Or(kept, randomText(length))
	if s.path != "" && c.sources[keySecret].env == "" {
		s.doc = s.doc.clone()
		s.doc.set(keySecret, secret)
		err := s.save()
		if err == nil {
			s.log.Info("api.secret was empty or the published default: a random one replaces it", "file", s.path)
			return secret, nil
		}
		s.log.Warn("can't write the new api.secret to the config file", "file", s.path, "error", err)
	}
	if kept == "" {
		if err := s.id.put(keySecret, secret); err != nil {
			return "", err
		}
		s.log.Info("api.secret was empty or the published default: a random one replaces it", "file", s.id.path)
	}
	return secret, nil
}
