package webhook

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// authority issues certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a.key = key
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

// issue returns certificate and key in PEM form.
func (a *authority) issue(name string) (cert, key []byte) {
	a.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.n++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1 + a.n), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	b, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b})
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func put(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	// Two states within one tick of the clock are told apart by the size only; files don't change that fast.
	now := time.Now().Add(time.Duration(stampCount.Add(1)) * time.Second)
	if err := os.Chtimes(file, now, now); err != nil {
		t.Fatal(err)
	}
}

var stampCount atomic.Int64

// TestClientCertificate: the receiver knows who calls, an exchanged certificate is used from the next connection on, and
// one that is half exchanged leaves the old in use.
func TestClientCertificate(t *testing.T) {
	ca, others := newAuthority(t, "ours"), newAuthority(t, "theirs")
	pair, err := tls.X509KeyPair(ca.issue("receiver"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	var caller string
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller = r.TLS.PeerCertificates[0].Subject.CommonName
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, okBody)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS12}
	srv.StartTLS()
	defer srv.Close()

	dir := t.TempDir()
	files := &Credentials{
		CAFile: filepath.Join(dir, "ca.pem"), CertFile: filepath.Join(dir, "c.pem"), KeyFile: filepath.Join(dir, "k.pem"),
		Log: slog.New(slog.DiscardHandler),
	}
	c := newClient(t, Config{TLS: files.TLS})
	if r := send(t, c, srv.URL, patience); r.Err == nil || !strings.Contains(r.Err.Error(), "ca.pem") {
		t.Errorf("without files: %d %v", r.Status, r.Err)
	}
	install := func(a *authority, name string) {
		cert, key := a.issue(name)
		put(t, files.CertFile, cert)
		put(t, files.KeyFile, key)
	}
	put(t, files.CAFile, ca.pem())
	install(ca, "one")
	for _, name := range []string{"one", "two"} {
		install(ca, name)
		if wantAccepted(t, send(t, c, srv.URL, patience)); caller != name {
			t.Errorf("the receiver saw %q, not %q", caller, name)
		}
	}
	cert, _ := ca.issue("three")
	put(t, files.CertFile, cert) // its key is not there yet
	if wantAccepted(t, send(t, c, srv.URL, patience)); caller != "two" {
		t.Errorf("half exchanged: %q", caller)
	}
	install(others, "stranger")
	if r := send(t, c, srv.URL, patience); r.Err == nil {
		t.Errorf("a stranger was let in: %d", r.Status)
	}
	install(ca, "one")
	put(t, files.CAFile, others.pem())
	if r := send(t, c, srv.URL, patience); !errors.As(r.Err, new(*tls.CertificateVerificationError)) {
		t.Errorf("another authority: %v", r.Err)
	}
	if r := send(t, newClient(t, Config{}), srv.URL, patience); r.Err == nil {
		t.Error("the system's authorities know the test's")
	}
}

// forwarder is a proxy that notes what it was asked for.
type forwarder struct {
	*httptest.Server
	seen   []string
	auth   string
	refuse int
}

func newForwarder(t *testing.T) *forwarder {
	t.Helper()
	f := &forwarder{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.seen, f.auth = append(f.seen, r.Method+" "+r.RequestURI), r.Header.Get("Proxy-Authorization")
		switch {
		case f.refuse != 0:
			w.WriteHeader(f.refuse)
		case r.Method == http.MethodConnect:
			tunnelTo(w, r.Host)
		default:
			res, err := http.Post(r.RequestURI, r.Header.Get("Content-Type"), r.Body)
			if err != nil {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			defer res.Body.Close()
			w.WriteHeader(res.StatusCode)
			_, _ = io.Copy(w, res.Body)
		}
	}))
	t.Cleanup(f.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return f
}

func tunnelTo(w http.ResponseWriter, host string) {
	up, err := net.Dial("tcp", host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer up.Close()
	down, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer down.Close()
	_, _ = io.WriteString(down, "HTTP/1.1 200 Connection established\r\n\r\n")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(up, down)
		_ = up.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(down, up)
	_ = down.Close()
	<-done
}

func TestProxy(t *testing.T) {
	var paths []string
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.String())
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "/end", http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, okBody)
	})
	clear, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer clear.Close()
	defer secure.Close()
	pool := x509.NewCertPool()
	pool.AddCert(secure.Certificate())
	f := newForwarder(t)
	at, _ := url.Parse(f.URL)
	at.User = url.UserPassword("joe", "hunter2")
	cfg := Config{Proxy: at.String(), TLS: func() (*tls.Config, error) { return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil }}
	c := newClient(t, cfg)
	wantAccepted(t, send(t, c, clear.URL+"/a?b=c", patience))
	wantAccepted(t, send(t, c, secure.URL+"/d", patience))
	wantAccepted(t, send(t, c, secure.URL+"/e", patience))
	want := []string{"POST " + clear.URL + "/a?b=c", "CONNECT " + secure.Listener.Addr().String()}
	if strings.Join(f.seen, " ") != strings.Join(want, " ") || len(paths) != 3 || f.auth != "Basic am9lOmh1bnRlcjI=" {
		t.Errorf("the proxy saw %q with %q, the receiver %q", f.seen, f.auth, paths)
	}
	if r := send(t, c, clear.URL+"/away", patience); r.Status != http.StatusFound && r.Status != http.StatusOK {
		t.Errorf("%d %v", r.Status, r.Err)
	}
	f.refuse = http.StatusForbidden
	if r := send(t, newClient(t, cfg), secure.URL, patience); !errors.Is(r.Err, ErrProxy) || !strings.Contains(r.Err.Error(), "403") {
		t.Errorf("%d %v", r.Status, r.Err)
	}
	guarded := cfg
	guarded.Guard = PublicOnly
	if r := send(t, newClient(t, guarded), secure.URL, patience); !errors.Is(r.Err, ErrRefused) {
		t.Errorf("a private proxy: %v", r.Err)
	}
}

// TestHostileProxy: answers to CONNECT are bounded in size and time.
func TestHostileProxy(t *testing.T) {
	for _, wire := range []string{
		"", "x", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n\r\nearly", strings.Repeat("y", 64<<10),
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("z", 64<<10) + "\r\n\r\n", "HTTP/1.1 407 Who\r\n\r\n", "HTTP/1.1 099 Odd\r\n\r\n",
	} {
		r := answers(t, false, wire)
		c := newClient(t, Config{Proxy: r.url("")})
		if got := send(t, c, "https://127.0.0.1:9/", 2*time.Second); got.Err == nil {
			t.Errorf("%.20q: %d", wire, got.Status)
		}
	}
}
