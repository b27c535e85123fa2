package tlscert

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// maxFileBytes bounds one PEM file, maxFiles those of a directory.
	maxFileBytes = 1 << 20
	maxFiles     = 2000
)

var (
	// ErrNoCertificate: a source has no certificate with its key.
	ErrNoCertificate = errors.New("tlscert: no certificate with its private key")
	errEncrypted     = errors.New("tlscert: the private key is encrypted; decrypt it (openssl pkey), there is nobody to ask for the password")
)

// Sources splits a list that is separated by semicolons.
func Sources(list string) []string {
	var out []string
	for s := range strings.SplitSeq(list, ";") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// files returns the files of a source: those of a directory, the two of "certificate,key", or one.
func files(source string) ([]string, error) {
	if st, err := os.Stat(source); err == nil && st.IsDir() {
		return filesOf(source)
	}
	cert, key, ok := strings.Cut(source, ",")
	if !ok {
		return []string{source}, nil
	}
	return []string{strings.TrimSpace(cert), strings.TrimSpace(key)}, nil
}

func filesOf(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("tlscert: %w", err)
	}
	var out []string
	for _, e := range entries {
		name := e.Name()
		ext := strings.ToLower(filepath.Ext(name))
		if strings.HasPrefix(name, ".") || !slices.Contains([]string{".pem", ".crt", ".cer", ".cert", ".key"}, ext) {
			continue
		}
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err != nil || !st.Mode().IsRegular() {
			continue
		}
		if out = append(out, path); len(out) > maxFiles {
			return nil, fmt.Errorf("tlscert: %s has more than %d certificate files", dir, maxFiles)
		}
	}
	return out, nil
}

// chain is what the certificates of one file form: the first is the server's, the others lead to a root.
type chain struct {
	file string
	leaf *x509.Certificate
	raw  [][]byte
}

// loadSource returns the certificates of a source that have their key there.
func loadSource(source string) ([]*tls.Certificate, error) {
	names, err := files(source)
	if err != nil {
		return nil, err
	}
	var chains []chain
	var keys []crypto.Signer
	for _, name := range names {
		data, err := readFile(name)
		if err != nil {
			return nil, err
		}
		c, k, err := parse(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if keys = append(keys, k...); c.leaf != nil {
			c.file = name
			chains = append(chains, c)
		}
	}
	var out []*tls.Certificate
	for _, c := range chains {
		if cert := c.match(keys); cert != nil {
			out = add(out, cert)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w in %s", ErrNoCertificate, source)
	}
	return out, nil
}

// add appends a certificate. Of two files with the same one, as certbot makes them, the longer chain counts.
func add(all []*tls.Certificate, c *tls.Certificate) []*tls.Certificate {
	for i, have := range all {
		if have.Leaf.Equal(c.Leaf) {
			if len(c.Certificate) > len(have.Certificate) {
				all[i] = c
			}
			return all
		}
	}
	return append(all, c)
}

func (c chain) match(keys []crypto.Signer) *tls.Certificate {
	for _, key := range keys {
		if pub, ok := key.Public().(interface{ Equal(x crypto.PublicKey) bool }); ok && pub.Equal(c.leaf.PublicKey) {
			return &tls.Certificate{Certificate: c.raw, PrivateKey: key, Leaf: c.leaf}
		}
	}
	return nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("tlscert: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("tlscert: %w", err)
	}
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("tlscert: %s has more than %d bytes", name, maxFileBytes)
	}
	return data, nil
}

// parse returns the chain and the keys of a PEM file. A file may have neither.
func parse(data []byte) (c chain, keys []crypto.Signer, err error) {
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			return c, keys, nil
		}
		switch {
		case b.Type == "CERTIFICATE":
			cert, err := x509.ParseCertificate(b.Bytes)
			if err != nil {
				return c, nil, fmt.Errorf("tlscert: %w", err)
			}
			if c.leaf == nil {
				c.leaf = cert
			}
			c.raw = append(c.raw, bytes.Clone(b.Bytes))
		case b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["DEK-Info"] != "":
			return c, nil, errEncrypted
		case strings.HasSuffix(b.Type, "PRIVATE KEY"):
			key, err := parseKey(b.Bytes)
			if err != nil {
				return c, nil, err
			}
			keys = append(keys, key)
		}
	}
}

func parseKey(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("tlscert: private key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("tlscert: a private key of type %T can't sign", key)
	}
	return signer, nil
}
