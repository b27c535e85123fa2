package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/rtmp"
	"github.com/hookline/hookline/internal/tlscert"
)

// certificate makes a file with a certificate of this host and its key, and returns who trusts it.
func certificate(t *testing.T) (file string, trust *tls.Config) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "host.pem")
	if err := tlscert.SelfSigned(file); err != nil {
		t.Fatal(err)
	}
	return file, trusting(t, file)
}

func trusting(t *testing.T, file string) *tls.Config {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := &tls.Config{RootCAs: x509.NewCertPool()}
	c.RootCAs.AppendCertsFromPEM(data)
	return c
}

var upTLS = regexp.MustCompile(`msg="hookline is up".* rtmps=(\S+) https=(\S+)`)

// secure returns the addresses of RTMPS and HTTPS.
func (p *server) secure() (rtmps, https string) {
	p.t.Helper()
	m := p.log.await(upTLS, p.gone)
	if m == nil {
		p.t.Fatalf("the server did not come up:\n%s", p.log)
	}
	return m[1], m[2]
}

// TestTLS: ffmpeg publishes over RTMPS and plays over RTMPS and HTTPS; the API answers over HTTPS; the hooks say so.
func TestTLS(t *testing.T) {
	t.Parallel()
	file, trust := certificate(t)
	s, r := serve(t, "tls.certificates", file, "rtmp.sslport", auto, "http.sslport", auto)
	rtmps, https := s.secure()
	in := encode(t, "in.flv", "2", picture(), tone(), h264("-bf 0"), []string{"-c:a", "aac"})
	want := probe(t, in).packets()
	players := map[string]*tool{
		"rtmps": probe(t, "rtmps://"+rtmps+"/live/tls"),
		"https": probe(t, "https://"+https+"/live/tls.live.flv"),
	}
	players["https"].tolerate = "Stream ends prematurely"
	r.await("the players", 2, func(p *post) bool { return p.hook == event.OnStreamNotFound })
	push(t, in, "rtmps://"+rtmps+"/live/tls", "-re").output()
	for protocol, c := range players {
		comparePackets(t, protocol, c.packets(), want)
		r.await("on_play over "+protocol, 1, func(p *post) bool {
			return p.hook == event.OnPlay && p.json["protocol"] == protocol && p.json["schema"] == "rtmp"
		})
	}
	r.await("on_publish", 1, func(p *post) bool { return p.hook == event.OnPublish && p.json["protocol"] == "rtmps" })
	r.accept(event.OnPublicationEnded, "tls")

	answer := fetch(t, trust, "https://"+https+"/index/api/getServerConfig?secret=e2e-secret")
	if !strings.Contains(answer, `"code":0`) || !strings.Contains(answer, file) {
		t.Error(answer)
	}
}

// fetch reads an answer that has an end.
func fetch(t *testing.T, trust *tls.Config, url string) string {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestCertificateReplaced: a new file is used for the next client after SIGHUP, and what plays plays on.
func TestCertificateReplaced(t *testing.T) {
	t.Parallel()
	file, trust := certificate(t)
	s := start(t, quick().with("server.state_dir", stateDir(t), "rtmp.sslport", auto, "http.sslport", auto), "serve", "-s", file)
	rtmps, https := s.secure()
	url := "https://" + https + "/healthz"
	fetch(t, trust, url)
	playing := publishOver(t, trust, "rtmps://"+rtmps+"/live/on")

	other, trustOther := certificate(t)
	data, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		conn, err := (&tls.Dialer{Config: trustOther}).DialContext(t.Context(), "tcp", https)
		if err == nil {
			_ = conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the new certificate is not used:", err)
		}
	}
	if err := playing.send(10); err != nil {
		t.Error("the publisher was disturbed:", err)
	}
	playing.unpublish(t)
	s.stop()
}

// publishOver is publish with a trusted certificate.
func publishOver(t *testing.T, trust *tls.Config, url string) *publisher {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := rtmp.Dialer{TLS: trust}.Dial(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	p := &publisher{Client: c, clip: theClip(t)}
	p.must(t, askToPublish(t, c))
	p.must(t, p.send(len(p.clip.media)))
	return p
}

var upRTSPS = regexp.MustCompile(`msg="hookline is up".* rtsps=(\S+) `)

// TestRTSPS: ffmpeg publishes and plays RTSP over TLS, and the hooks say so.
func TestRTSPS(t *testing.T) {
	t.Parallel()
	file, _ := certificate(t)
	s, r := serve(t, "tls.certificates", file, "rtmp.sslport", "0", "http.sslport", "0", "rtsp.sslport", auto)
	m := s.log.await(upRTSPS, s.gone)
	if m == nil {
		t.Fatalf("the server did not come up:\n%s", s.log)
	}
	url := "rtsps://" + m[1] + "/live/tls"
	in := encode(t, "in.mkv", "3", picture(), tone(), h264("-bf 0"), []string{"-c:a", "aac"})
	player := runTool(t, "ffmpeg", "-v", "error", "-nostdin", "-rtsp_transport", "tcp", "-i", url, "-f", "null", "-")
	r.await("the player", 1, func(p *post) bool { return p.hook == event.OnStreamNotFound })
	if err := runTool(t, "ffmpeg", "-v", "error", "-nostdin", "-re", "-i", in, "-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp", url+"?a=1").wait(); err != nil {
		t.Error(err)
	}
	_ = player.output()
	asked := r.await("on_publish", 1, func(p *post) bool { return p.hook == event.OnPublish })[0]
	if asked.json["protocol"] != "rtsps" || asked.json["schema"] != "rtsp" || asked.json["originTypeStr"] != "rtsp_push" || asked.body.Params != "a=1" {
		t.Error(asked.json)
	}
	play := r.await("on_play", 1, func(p *post) bool { return p.hook == event.OnPlay })[0]
	if play.json["protocol"] != "rtsps" || play.json["schema"] != "rtsp" {
		t.Error(play.json)
	}
	r.accept(event.OnPublicationEnded, "tls")
	r.accept(event.OnFlowReport, "tls", ofPlayer)
	r.expectStory("tls", "register", "publisher", "unregister", "publication_ended unpublish", "player")
}

// TestNoCertificate: the ports of a file without a certificate are said to be off, and the server runs; a certificate
// that can't be read keeps it from starting; one of its own is made where that is wanted.
func TestNoCertificate(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "config.ini")
	if err := os.WriteFile(config, []byte("[http]\nsslport=443\n[rtsp]\nport=0\n[api]\nsecret=of-the-test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, quick().without("api.secret").with("server.state_dir", stateDir(t)), "serve", "-c", config)
	if rtmps, https := s.secure(); rtmps != `""` || https != `""` {
		t.Errorf("rtmps=%s https=%s", rtmps, https)
	}
	if !strings.Contains(s.log.String(), "no certificate: HTTPS, RTMPS and RTSPS are off") {
		t.Error("it does not say so:\n", s.log)
	}
	s.stop()

	said := refuse(t, quick().with("server.state_dir", stateDir(t), "http.sslport", auto), "serve", "-s", filepath.Join(t.TempDir(), "gone.pem"))
	if !strings.Contains(said, "gone.pem") {
		t.Error(said)
	}

	state := stateDir(t)
	s = start(t, quick().with("server.state_dir", state, "tls.self_signed", "1", "http.sslport", auto, "rtmp.sslport", "0"))
	_, https := s.secure()
	fetch(t, trusting(t, filepath.Join(state, "self-signed.pem")), "https://"+https+"/healthz")

	// A client that says nothing, or no TLS, is not kept.
	conn, err := net.Dial("tcp", https)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Error(err)
	}
	s.stop()
}
