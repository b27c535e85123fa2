package tlscert

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// identity is a certificate with its key.
type identity struct {
	cert, key []byte // PEM
	leaf      *x509.Certificate
}

func (i identity) both() []byte { return append(bytes.Clone(i.cert), i.key...) }

func issue(t *testing.T, key crypto.Signer, until time.Time, names ...string) identity {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: names[0]}, NotBefore: until.Add(-48 * time.Hour), NotAfter: until,
		DNSNames: names,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return identity{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), leaf,
	}
}

func newIdentity(t *testing.T, names ...string) identity {
	t.Helper()
	return issue(t, ecKey(t), time.Now().Add(100*24*time.Hour), names...)
}

func ecKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func write(t *testing.T, dir, name string, data ...[]byte) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, bytes.Join(data, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// served returns the certificate that a client gets who asks for name.
func served(t *testing.T, s *Store, name string, edit func(*tls.Config)) *x509.Certificate {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() { _ = tls.Server(b, s.ServerConfig()).Handshake() }()
	cfg := &tls.Config{ServerName: name, InsecureSkipVerify: true}
	if edit != nil {
		edit(cfg)
	}
	c := tls.Client(a, cfg)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState().PeerCertificates[0]
}

func open(t *testing.T, sources ...string) *Store {
	t.Helper()
	s, err := Open(sources, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestServerName(t *testing.T) {
	dir := t.TempDir()
	first, wild, exact := newIdentity(t, "first.example"), newIdentity(t, "*.tv.example"), newIdentity(t, "live.tv.example")
	s := open(t, write(t, dir, "a.pem", first.both()),
		write(t, dir, "b.crt", wild.cert)+","+write(t, dir, "b.key", wild.key), write(t, dir, "c.pem", exact.both()))
	for name, want := range map[string]identity{
		"": first, "first.example": first, "elsewhere.example": first, "x.tv.example": wild, "LIVE.tv.example": exact,
		"a.b.tv.example": first,
	} {
		if got := served(t, s, name, nil); !got.Equal(want.leaf) {
			t.Errorf("%q got %v, want %v", name, got.DNSNames, want.leaf.DNSNames)
		}
	}
	if !s.Expiry().Equal(first.leaf.NotAfter) && !s.Expiry().Equal(wild.leaf.NotAfter) && !s.Expiry().Equal(exact.leaf.NotAfter) {
		t.Error(s.Expiry())
	}
}

// TestKindOfKey: of two certificates of one name a client gets the one that it can use.
func TestKindOfKey(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ec, old := newIdentity(t, "tv.example"), issue(t, key, time.Now().Add(time.Hour), "tv.example")
	s := open(t, write(t, dir, "ec.pem", ec.both()), write(t, dir, "rsa.pem", old.both()))
	if got := served(t, s, "tv.example", nil); !got.Equal(ec.leaf) {
		t.Error("a modern client did not get the first one")
	}
	onlyRSA := func(c *tls.Config) {
		c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	}
	if got := served(t, s, "tv.example", onlyRSA); !got.Equal(old.leaf) {
		t.Error("a client that knows only RSA did not get that")
	}
}

// TestDirectory reads what certbot leaves behind, and ignores what is not meant.
func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	ca, own, other := newIdentity(t, "ca.example"), newIdentity(t, "own.example"), newIdentity(t, "other.example")
	write(t, dir, "cert.pem", own.cert)
	write(t, dir, "chain.pem", ca.cert)
	write(t, dir, "fullchain.pem", own.cert, ca.cert)
	write(t, dir, "privkey.pem", own.key)
	write(t, dir, "other.PEM", other.both())
	write(t, dir, "README", []byte("no certificate"))
	write(t, dir, ".hidden.pem", []byte("-----BEGIN CERTIFICATE-----"))
	if err := os.Mkdir(filepath.Join(dir, "sub.pem"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if n := len(s.cur.Load().all); n != 2 {
		t.Fatalf("%d certificates", n)
	}
	for _, c := range s.cur.Load().all {
		if want := map[string]int{"own.example": 2, "other.example": 1}[c.Leaf.DNSNames[0]]; len(c.Certificate) != want {
			t.Errorf("%v: a chain of %d, want %d", c.Leaf.DNSNames, len(c.Certificate), want)
		}
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	a, b := newIdentity(t, "a.example"), newIdentity(t, "b.example")
	encrypted := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}})
	for source, want := range map[string]error{
		filepath.Join(dir, "absent.pem"):                     fs.ErrNotExist,
		write(t, dir, "empty.pem"):                           ErrNoCertificate,
		write(t, dir, "cert.pem", a.cert):                    ErrNoCertificate,
		write(t, dir, "mixed.pem", a.cert, b.key):            ErrNoCertificate,
		write(t, dir, "locked.pem", a.cert, encrypted):       errEncrypted,
		write(t, dir, "a.crt", a.cert) + "," + dir + "/gone": fs.ErrNotExist,
		t.TempDir(): ErrNoCertificate,
		write(t, dir, "big.pem", make([]byte, maxFileBytes+1)):                                              nil,
		write(t, dir, "junk.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1, 2}})): nil,
		write(t, dir, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1, 2}})):  nil,
	} {
		if _, err := Open([]string{source}, nil); err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", source, err, want)
		}
	}
	s := open(t)
	if _, err := s.certificate(&tls.ClientHelloInfo{}); !s.Empty() || !errors.Is(err, errNone) || !s.Expiry().IsZero() {
		t.Error(err)
	}
}

func TestOldForms(t *testing.T) {
	dir := t.TempDir()
	key := ecKey(t).(*ecdsa.PrivateKey)
	id := issue(t, key, time.Now().Add(-time.Minute), "old.example")
	sec1, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	file := write(t, dir, "a.pem", []byte("a comment\n"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}), id.cert)
	if _, err := Open([]string{file}, slog.New(slog.NewTextHandler(&log, nil))); err != nil || !strings.Contains(log.String(), "has expired") {
		t.Error(err, log.String())
	}
}

// TestWatch: a file that is replaced is used for the next client; one that is broken is not.
func TestWatch(t *testing.T) {
	first, second := newIdentity(t, "tv.example"), newIdentity(t, "tv.example")
	dir := t.TempDir()
	file := write(t, dir, "tv.pem", first.both())
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s, err := Open([]string{file}, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		go s.Watch(t.Context())
		now := func() *x509.Certificate {
			time.Sleep(2 * pollEvery)
			synctest.Wait()
			return s.cur.Load().all[0].Leaf
		}
		write(t, dir, "tv.pem", second.cert)
		if got := now(); !got.Equal(first.leaf) || strings.Count(log.String(), "can't be used") != 1 {
			t.Error("a file without a key was taken, or not complained about once", log.String())
		}
		write(t, dir, "tv.pem.new", second.both())
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
		if got := now(); !got.Equal(second.leaf) {
			t.Error("the new certificate is not used")
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if got := now(); !got.Equal(second.leaf) {
			t.Error("the certificate went with its file")
		}
		if err := s.Reload(); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		if err := s.Configure([]string{file}); !errors.Is(err, fs.ErrNotExist) || s.Empty() {
			t.Error(err)
		}
		if err := s.Configure([]string{write(t, dir, "other.pem", first.both())}); err != nil {
			t.Error(err)
		}
		if got := now(); !got.Equal(first.leaf) {
			t.Error("the new source is not used")
		}
	})
}

func TestSelfSigned(t *testing.T) {
	file := filepath.Join(t.TempDir(), "self.pem")
	if err := SelfSigned(file); err != nil {
		t.Fatal(err)
	}
	made, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, file)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(made)
	for _, host := range []string{"localhost", "127.0.0.1", "::1"} {
		if _, err := s.cur.Load().all[0].Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if err := SelfSigned(file); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(file); err != nil || !bytes.Equal(again, made) {
		t.Error("it was made again", err)
	}
	old, err := makeSelfSigned(time.Now().Add(-2 * selfSignedLife))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Dir(file), "self.pem", old)
	if err := SelfSigned(file); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(file); err != nil || bytes.Equal(again, old) {
		t.Error("an expired one stayed", err)
	}
	write(t, filepath.Dir(file), "self.pem", []byte("something of the operator's"))
	if err := SelfSigned(file); !errors.Is(err, ErrNoCertificate) {
		t.Error("a file of somebody else was overwritten", err)
	}
}

func FuzzParse(f *testing.F) {
	data, err := makeSelfSigned(time.Now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("-----BEGIN EC PRIVATE KEY-----\nDEK-Info: AES\n\nAAAA\n-----END EC PRIVATE KEY-----\n"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		c, keys, err := parse(data)
		if err == nil && c.leaf != nil {
			c.match(keys)
		}
	})
}
