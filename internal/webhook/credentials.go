package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
)

// maxPEM is the largest file of certificates or keys that is read, in bytes.
const maxPEM = 1 << 20

// Credentials are the files by which a receiver and its client know each other. They are read when a connection is
// made, and again when they have changed: connections that are open go on with what they began with. While what is new
// can't be used (a certificate was exchanged and its key is not yet), the old goes on, with a log line.
type Credentials struct {
	// CAFile holds the authorities that count instead of the system's; empty: the system's.
	CAFile string
	// CertFile and KeyFile are the client's certificate and key; empty: none.
	CertFile, KeyFile string
	// Log is told of changes; nil: slog.Default().
	Log *slog.Logger

	mu     sync.Mutex
	stamps [3]stamp    // of the files when they were last looked at; guarded by mu
	cur    *tls.Config // what works; guarded by mu
	err    error       // why there is nothing that works; guarded by mu
}

// stamp tells one state of a file from another.
type stamp struct {
	size int64
	time time.Time
}

// TLS returns what the files say. It is not to be changed.
func (c *Credentials) TLS() (*tls.Config, error) {
	now := [3]stamp{stampOf(c.CAFile), stampOf(c.CertFile), stampOf(c.KeyFile)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if now == c.stamps && (c.cur != nil || c.err != nil) {
		return c.cur, c.err
	}
	log := c.Log
	if log == nil {
		log = slog.Default()
	}
	cfg, err := c.load()
	c.stamps = now
	switch {
	case err == nil && c.cur != nil:
		log.Info("certificates were read again", "ca_file", c.CAFile, "client_cert", c.CertFile)
		c.cur, c.err = cfg, nil
	case err == nil:
		c.cur, c.err = cfg, nil
	case c.cur != nil:
		log.Warn("certificates have changed but can't be used, the old ones go on", "err", err)
	default:
		c.err = err
	}
	return c.cur, c.err
}

func stampOf(file string) stamp {
	if file == "" {
		return stamp{}
	}
	st, err := os.Stat(file)
	if err != nil {
		return stamp{size: -1}
	}
	return stamp{st.Size(), st.ModTime()}
}

var errNoCertificate = errors.New("no certificate in it")

// load reads the files. Each result has a session cache of its own, so that no session of an old identity is resumed.
func (c *Credentials) load() (*tls.Config, error) {
	cfg := newTLS()
	if c.CAFile != "" {
		pem, err := readPEM(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("webhook: CA: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("webhook: CA: %s: %w", c.CAFile, errNoCertificate)
		}
	}
	if c.CertFile != "" {
		cert, errCert := readPEM(c.CertFile)
		key, errKey := readPEM(c.KeyFile)
		if err := errors.Join(errCert, errKey); err != nil {
			return nil, fmt.Errorf("webhook: client certificate: %w", err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("webhook: client certificate %s: %w", c.CertFile, err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

func readPEM(name string) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // named by the configuration
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxPEM))
	return b, errors.Join(err, f.Close())
}

// newTLS returns what holds for every connection.
func newTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
}
