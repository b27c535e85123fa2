package tlscert

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// pollEvery is how often Watch looks at the files. Certificates are replaced in many ways (renamed, linked anew,
	// rewritten in place): their size, time and inode show all of them.
	pollEvery = 5 * time.Second
	// expirySoon is how long before its end a certificate is warned about when it is loaded.
	expirySoon = 14 * 24 * time.Hour
)

// errNone answers a client while there is no certificate.
var errNone = errors.New("tlscert: no certificate is configured")

// Store holds certificates.
type Store struct {
	log *slog.Logger
	cur atomic.Pointer[set]

	mu      sync.Mutex // serialises changes; guards what follows
	sources []string
	seen    []fileState // of the files that were last looked at, good or bad
}

// set is an immutable index of certificates.
type set struct {
	all    []*tls.Certificate
	byName map[string][]*tls.Certificate
}

// fileState tells one content of a file from the next.
type fileState struct {
	name string
	info os.FileInfo // nil: not there
}

// Open reads the sources: PEM files with certificate and key, "certificate,key", or directories of PEM files. Without
// sources the store is empty. A source that can't be used is an error. log nil: none.
func Open(sources []string, log *slog.Logger) (*Store, error) {
	s := &Store{log: log, sources: slices.Clone(sources)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.cur.Store(&set{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = look(s.sources)
	return s, s.load()
}

// Empty says that there is no certificate.
func (s *Store) Empty() bool { return len(s.cur.Load().all) == 0 }

// Configure replaces the sources, and reads them also when they are the same. With an error everything stays.
func (s *Store) Configure(sources []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.sources
	s.sources = slices.Clone(sources)
	s.seen = look(s.sources)
	err := s.load()
	if err != nil {
		s.sources = old
		s.seen = look(old)
	}
	return err
}

// load reads the sources. Holds mu.
func (s *Store) load() error {
	next := &set{byName: map[string][]*tls.Certificate{}}
	for _, source := range s.sources {
		certs, err := loadSource(source)
		if err != nil {
			return err
		}
		for _, c := range certs {
			next.all = add(next.all, c)
		}
	}
	for _, c := range next.all {
		for _, name := range names(c) {
			next.byName[name] = append(next.byName[name], c)
		}
	}
	old := s.cur.Swap(next)
	for _, c := range next.all {
		if !slices.ContainsFunc(old.all, func(o *tls.Certificate) bool { return o.Leaf.Equal(c.Leaf) }) {
			s.announce(c)
		}
	}
	return nil
}

func (s *Store) announce(c *tls.Certificate) {
	attrs := []any{
		slog.Any("names", names(c)), slog.Time("not_after", c.Leaf.NotAfter), slog.Int("chain", len(c.Certificate)),
	}
	switch left := time.Until(c.Leaf.NotAfter); {
	case left <= 0:
		s.log.Error("certificate has expired", attrs...)
	case left < expirySoon:
		s.log.Warn("certificate expires soon", attrs...)
	default:
		s.log.Info("certificate loaded", attrs...)
	}
}

// names returns the host names and addresses of a certificate in lower case.
func names(c *tls.Certificate) []string {
	var out []string
	for _, n := range c.Leaf.DNSNames {
		out = append(out, strings.ToLower(n))
	}
	for _, ip := range c.Leaf.IPAddresses {
		out = append(out, ip.String())
	}
	if len(out) == 0 && c.Leaf.Subject.CommonName != "" {
		out = append(out, strings.ToLower(c.Leaf.Subject.CommonName))
	}
	return out
}

// Expiry returns the earliest end of a certificate, zero when there is none.
func (s *Store) Expiry() time.Time {
	var first time.Time
	for _, c := range s.cur.Load().all {
		if first.IsZero() || c.Leaf.NotAfter.Before(first) {
			first = c.Leaf.NotAfter
		}
	}
	return first
}

// ServerConfig returns the configuration of a listener; protos are those of ALPN.
func (s *Store) ServerConfig(protos ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: protos, GetCertificate: s.certificate,
		// Media comes in large pieces: full records from the start, fewer system calls.
		DynamicRecordSizingDisabled: true,
	}
}

// certificate selects by the client's server name.
func (s *Store) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c := s.cur.Load()
	if len(c.all) == 0 {
		return nil, errNone
	}
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	_, parent, _ := strings.Cut(name, ".")
	for _, candidates := range [][]*tls.Certificate{c.byName[name], c.byName["*."+parent], c.all} {
		for _, cert := range candidates {
			if hello.SupportsCertificate(cert) == nil {
				return cert, nil
			}
		}
		if len(candidates) > 0 && name == "" {
			break
		}
	}
	return c.all[0], nil
}

// Watch loads the certificates anew when their files change, until ctx ends.
func (s *Store) Watch(ctx context.Context) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.check()
		}
	}
}

// check reloads when a file is not what was last looked at.
func (s *Store) check() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := look(s.sources)
	if slices.EqualFunc(now, s.seen, fileState.same) {
		return
	}
	s.seen = now
	if err := s.load(); err != nil {
		s.log.Error("certificates changed but can't be used, the old ones stay", "err", err)
	}
}

// Reload reads all sources again. With an error the old certificates stay.
func (s *Store) Reload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = look(s.sources)
	if err := s.load(); err != nil {
		return fmt.Errorf("the old certificates stay: %w", err)
	}
	return nil
}

func look(sources []string) []fileState {
	var out []fileState
	for _, source := range sources {
		names, err := files(source)
		if err != nil {
			continue
		}
		for _, name := range names {
			info, err := os.Stat(name)
			if err != nil {
				info = nil
			}
			out = append(out, fileState{name, info})
		}
	}
	return out
}

func (f fileState) same(o fileState) bool {
	if f.name != o.name || (f.info == nil) != (o.info == nil) {
		return false
	}
	return f.info == nil || os.SameFile(f.info, o.info) && f.info.Size() == o.info.Size() &&
		f.info.ModTime().Equal(o.info.ModTime())
}
