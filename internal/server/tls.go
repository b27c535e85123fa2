package server

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/hookline/hookline/internal/config"
	"github.com/hookline/hookline/internal/tlscert"
)

// selfSignedFile is the certificate of tls.self_signed, below server.state_dir.
const selfSignedFile = "self-signed.pem"

// bindTLS opens the listeners of RTMPS, RTSPS and HTTPS. Without a certificate they stay closed: ZLMediaKit's files name their
// ports whether TLS is wanted or not, so that is no reason to refuse the start, and a certificate that nobody trusts is
// worse than none.
func (s *Server) bindTLS() (err error) {
	c := s.store.Config()
	if s.certs, err = s.openCertificates(c); err != nil {
		return err
	}
	if c.RTMP.SSLPort == 0 && c.HTTP.SSLPort == 0 && c.RTSP.SSLPort == 0 {
		return nil
	}
	if s.certs.Empty() {
		if c.Path() != "" {
			s.log.Warn("no certificate: HTTPS, RTMPS and RTSPS are off; set tls.certificates, or http.sslport, rtmp.sslport and rtsp.sslport to 0",
				"https", c.HTTP.SSLPort, "rtmps", c.RTMP.SSLPort, "rtsps", c.RTSP.SSLPort)
		}
		return nil
	}
	if s.rtmpsListener, err = s.listenTLS("rtmp.sslport", c.RTMP.SSLPort); err != nil {
		return err
	}
	if s.rtspsListener, err = s.listenTLS("rtsp.sslport", c.RTSP.SSLPort); err != nil {
		return err
	}
	protos := []string{"http/1.1"}
	if c.HTTP.HTTP2 {
		protos = []string{"h2", "http/1.1"}
	}
	s.httpsListener, err = s.listenTLS("http.sslport", c.HTTP.SSLPort, protos...)
	return err
}

// listenTLS is listen for a TLS listener; protos are those of ALPN.
func (s *Server) listenTLS(key string, port int, protos ...string) (net.Listener, error) {
	l, err := s.listen(key, port)
	if l == nil || err != nil {
		return nil, err
	}
	return tls.NewListener(l, s.certs.ServerConfig(protos...)), nil
}

// openCertificates reads what tls.certificates names, or makes a certificate where that is wanted.
func (s *Server) openCertificates(c *config.Config) (*tlscert.Store, error) {
	sources := tlscert.Sources(c.TLS.Certificates)
	if len(sources) == 0 && c.TLS.SelfSigned {
		if err := os.MkdirAll(c.Server.StateDir, 0o700); err != nil {
			return nil, fmt.Errorf("tls.self_signed: %w", err)
		}
		file := filepath.Join(c.Server.StateDir, selfSignedFile)
		if err := tlscert.SelfSigned(file); err != nil {
			return nil, fmt.Errorf("tls.self_signed: %w", err)
		}
		s.log.Warn("TLS with a self-signed certificate: clients have to be told to trust it", "file", file)
		sources = []string{file}
	}
	store, err := tlscert.Open(sources, s.log)
	if err != nil {
		return nil, fmt.Errorf("tls.certificates = %s: %w", c.TLS.Certificates, err)
	}
	return store, nil
}

// replaceCertificates follows a change of tls.certificates.
func (s *Server) replaceCertificates(c *config.Config) {
	sources := tlscert.Sources(c.TLS.Certificates)
	if len(sources) == 0 {
		s.log.Warn("tls.certificates is empty now: the old certificates stay until a restart")
		return
	}
	none := s.certs.Empty()
	if err := s.certs.Configure(sources); err != nil {
		s.log.Error("tls.certificates can't be used, the old certificates stay", "err", err)
		return
	}
	if none {
		s.log.Warn("the first certificate: HTTPS, RTMPS and RTSPS open with the next start")
	}
}

// present returns the listeners that are open.
func present(all ...net.Listener) []net.Listener {
	var out []net.Listener
	for _, l := range all {
		if l != nil {
			out = append(out, l)
		}
	}
	return out
}
