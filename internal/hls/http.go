package hls

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/stream"
)

// cookieName is ZLMediaKit's.
const cookieName = "ZLM_HTTP_COOKIE"

const (
	maxName   = 1024
	maxParams = 8 << 10
)

// target is what a path names.
type target struct {
	name    fact.Stream
	variant string
	dir     string // path of the stream, with a slash behind it
	rest    string // behind dir
	list    bool   // a playlist, which lets a viewer in
}

// key names stream and variant.
func (t *target) key() string { return liveKey(t.name.Key(), t.variant) }

// Match says whether r asks for a playlist of this package, or for a file of a stream that has one.
func (s *Server) Match(r *http.Request) bool {
	_, ok := s.parse(r)
	return ok
}

// Names of the files of a stream, below its directory.
var (
	hourPattern    = regexp.MustCompile(`^(.+)/\d{4}-\d\d-\d\d/\d\d/(vod|vod\.fmp4)\.m3u8$`)
	segmentPattern = regexp.MustCompile(`^(.+)/\d{4}-\d\d-\d\d/\d\d/\d\d-\d\d_\d+(\.[^/]+)$`)
	partPattern    = regexp.MustCompile(`^(.+)/part_\d+_\d+(\.[^/]+)$`)
	initPattern    = regexp.MustCompile(`^(.+)/init(_\d+)?\.mp4$`)
)

// parse finds out what r asks for. Files are looked for only where a stream has some; their names say all, so that
// nothing else that lies below the root can be had.
func (s *Server) parse(r *http.Request) (t target, ok bool) {
	p := r.URL.Path
	if len(p) > maxName || len(r.URL.RawQuery) > maxParams || !utf8.ValidString(p) || !strings.HasPrefix(p, "/") || path.Clean(p) != p {
		return t, false
	}
	cfg := s.cfg.Load()
	dir, base := path.Split(p)
	var variants []string
	switch base {
	case playlistName(TS), playlistName(FMP4):
		t.list = true
		variants = []string{strings.TrimSuffix(base, ".m3u8")}
	case delayedName:
		if t.list = true; cfg.Delay > 0 {
			variants = []string{TS}
		}
	default:
		dir, variants, t.list = fileOf(p, cfg)
	}
	app, id, found := strings.Cut(strings.Trim(dir, "/"), "/")
	if !found || app == "" || id == "" {
		return t, false
	}
	t.name = fact.Stream{Vhost: fact.DefaultVhost, App: app, Stream: id}
	if cfg.Vhosts {
		t.name.Vhost = VhostOf(r)
	}
	t.dir = "/" + app + "/" + id + "/"
	t.rest = strings.TrimPrefix(p, t.dir)
	for _, t.variant = range variants {
		if t.list && dir == t.dir || s.find(t.name.Key(), t.variant) != nil {
			return t, true
		}
	}
	return t, false
}

// fileOf splits the path of a file: the directory of its stream, and the variants to which it may belong.
func fileOf(p string, cfg *Config) (dir string, variants []string, list bool) {
	if m := hourPattern.FindStringSubmatch(p); m != nil {
		if m[2] == "vod" {
			return m[1], []string{TS}, true
		}
		return m[1], []string{FMP4}, true
	}
	if m := initPattern.FindStringSubmatch(p); m != nil {
		return m[1] + "/", []string{FMP4}, false
	}
	if m := partPattern.FindStringSubmatch(p); m != nil && m[2] == cfg.Extension {
		return m[1] + "/", []string{FMP4}, false
	}
	m := segmentPattern.FindStringSubmatch(p)
	if m == nil {
		return "", nil, false
	}
	if m[2] == ".ts" {
		variants = append(variants, TS)
	}
	if m[2] == cfg.Extension {
		variants = append(variants, FMP4)
	}
	return m[1] + "/", variants, false
}

// VhostOf is the virtual host of a request, as in ZLMediaKit.
func VhostOf(r *http.Request) string {
	if q, err := url.ParseQuery(r.URL.RawQuery); err == nil && q.Get("vhost") != "" {
		return q.Get("vhost")
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "" || host == "localhost" || net.ParseIP(host) != nil {
		return fact.DefaultVhost
	}
	return host
}

// ServeHTTP implements http.Handler for requests for which Match is true.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	cfg := s.cfg.Load()
	h := w.Header()
	if origin := r.Header.Get("Origin"); origin != "" && cfg.AllowCrossDomains {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Add("Vary", "Origin")
	}
	t, ok := s.parse(r)
	switch {
	case !ok:
		http.NotFound(w, r)
	case r.Method == http.MethodOptions:
		h.Set("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "*")
		w.WriteHeader(http.StatusOK)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD, OPTIONS")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	case !t.list:
		s.serveFile(w, r, cfg, &t)
	case r.Method == http.MethodHead: // always 200, as upstream
		h.Set("Content-Type", playlistType)
		w.WriteHeader(http.StatusOK)
	default:
		s.servePlaylist(w, r, cfg, &t)
	}
}

// patience, and slowest in bytes per second, bound the time that a client may take for a segment.
const (
	patience = 30 * time.Second
	slowest  = 16 << 10
)

const playlistType = "application/vnd.apple.mpegurl"

// servePlaylist serves a playlist, from memory unless it is that of an hour, to a viewer that it knows or lets in.
func (s *Server) servePlaylist(w http.ResponseWriter, r *http.Request, cfg *Config, t *target) {
	v, err := s.admit(w, r, cfg, t)
	if errors.Is(err, stream.ErrNotFound) && cfg.Absent != nil && cfg.Absent(w, r) {
		return
	}
	if err != nil {
		refuse(w, err)
		return
	}
	g := s.find(t.name.Key(), t.variant)
	if g == nil { // its recording was ended, and its files are gone
		s.drop(v)
		v.close()
		http.Error(w, "no such stream", http.StatusNotFound)
		return
	}
	b, err := g.read(r, t.rest, min(cfg.Wait, cfg.ViewerIdle))
	if err != nil {
		deny(w, err)
		return
	}
	w.Header().Set("Content-Type", playlistType)
	w.Header().Set("Cache-Control", "no-store")
	n, _ := w.Write(b) // a client that left
	v.sent(int64(n))
}

// read returns a playlist, and waits for one that is not there yet.
func (g *segmenter) read(r *http.Request, name string, wait time.Duration) ([]byte, error) {
	switch name {
	case delayedName:
		return g.await(r.Context(), wait, func() []byte { return g.behind })
	case playlistName(g.variant):
		d, err := directives(r.URL.RawQuery)
		if err != nil && g.low != nil {
			return nil, err
		}
		b, err := g.await(r.Context(), wait, func() []byte { return g.playlist })
		if err != nil || g.low == nil {
			return b, err
		}
		return g.reload(r.Context(), d)
	default: // its name was checked by parse
		b, err := os.ReadFile(filepath.Join(g.dir, filepath.FromSlash(name)))
		if err != nil {
			return nil, errNone
		}
		return b, nil
	}
}

// refuse translates an error of Hub.Play.
func refuse(w http.ResponseWriter, err error) {
	var refused *stream.RefusedError
	switch {
	case errors.As(err, &refused):
		http.Error(w, refused.Message, http.StatusUnauthorized)
	case errors.Is(err, stream.ErrNotFound):
		http.Error(w, "no such stream", http.StatusNotFound)
	default:
		http.Error(w, "unavailable", http.StatusServiceUnavailable)
	}
}

// identity is that of a viewer without cookies: players that ignore them repeat address, parameters and program.
func identity(r *http.Request, ip string, t *target) string {
	h := sha256.New()
	for _, part := range []string{t.key(), ip, params(r.URL.RawQuery), r.UserAgent()} {
		_, _ = io.WriteString(h, part+"\x00")
	}
	return string(h.Sum(nil))
}

// cookieID is the identity of a viewer with a cookie, place that of one that shows nothing but its address.
func cookieID(value string, t *target) string { return t.key() + "\x00c" + value }
func place(ip string, t *target) string       { return t.key() + "\x00a" + ip }

// admission is a viewer that is being let in. The fields are written before done is closed.
type admission struct {
	done chan struct{}
	v    *viewer
	err  error
	left bool // the client did not wait for the answer
}

// admit returns the viewer of a request for a playlist. A new one is asked for, and waits for its stream: once, however
// many requests it sends meanwhile.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, cfg *Config, t *target) (*viewer, error) {
	ip, _ := cfg.Address(r)
	id := identity(r, ip, t)
	for {
		if v := s.recall(r, t, id); v != nil {
			s.stand(v)
			return v, v.refusal
		}
		s.mu.Lock()
		a := s.admitting[id]
		first := a == nil
		if first {
			a = &admission{done: make(chan struct{})}
			s.admitting[id] = a
		}
		s.mu.Unlock()
		if first {
			a.v, a.err = s.letIn(w, r, cfg, t, id)
			a.left = r.Context().Err() != nil
			s.mu.Lock()
			delete(s.admitting, id)
			s.mu.Unlock()
			close(a.done)
			return a.v, a.err
		}
		select {
		case <-a.done:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
		if !a.left {
			return a.v, a.err
		}
	}
}

// letIn asks for a new viewer.
func (s *Server) letIn(w http.ResponseWriter, r *http.Request, cfg *Config, t *target, id string) (*viewer, error) {
	v := &viewer{srv: s, seen: time.Now()}
	var secret [16]byte
	_, _ = rand.Read(secret[:]) // never fails since Go 1.24
	cookie := hex.EncodeToString(secret[:])
	ip, port := cfg.Address(r)
	v.ids = [3]string{cookieID(cookie, t), id, place(ip, t)}
	if s.full(cfg.MaxViewers) {
		return nil, stream.ErrStopping
	}
	peer := stream.Peer{TypeID: "mediakit::HttpSession"}
	peer.IP, peer.Port, peer.ID = ip, port, cfg.SessionID()
	played, err := s.hub.Play(r.Context(), stream.PlayRequest{
		MediaInfo: fact.MediaInfo{Schema: t.variant, Protocol: t.variant, Stream: t.name, Params: params(r.URL.RawQuery)},
		Peer:      peer, Format: t.variant, Kick: v.kick,
	})
	var refused *stream.RefusedError
	if err != nil && !errors.As(err, &refused) {
		return nil, err
	}
	if !v.begin(played, err) || !s.remember(v, cfg.MaxViewers) {
		v.close()
		return nil, stream.ErrStopping
	}
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // there are viewers without TLS
		Name: cookieName, Value: cookie, Path: (&url.URL{Path: t.dir}).EscapedPath(), HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteLaxMode,
	})
	return v, err
}

// recall returns the viewer that asks again; nil: it has to be let in. That of the publication before is not the same.
func (s *Server) recall(r *http.Request, t *target, id string) *viewer {
	now := time.Now()
	var v *viewer
	for _, c := range r.CookiesNamed(cookieName) { // there may be those of other directories, too
		if v = s.known(cookieID(c.Value, t), now); v != nil {
			break
		}
	}
	if v == nil {
		v = s.known(id, now)
	}
	switch {
	case v == nil:
		return nil
	case v.refusal != nil:
		if v.ids[1] != id {
			return nil // other parameters may be better ones
		}
	default:
		if g := s.find(t.name.Key(), t.variant); g != nil && g.job.Publication != v.pub {
			s.drop(v)
			v.close()
			return nil
		}
	}
	return v
}

// serveFile serves a segment or an init segment to a viewer of its stream.
func (s *Server) serveFile(w http.ResponseWriter, r *http.Request, cfg *Config, t *target) {
	g := s.find(t.name.Key(), t.variant)
	if g == nil {
		http.NotFound(w, r)
		return
	}
	v := s.viewerOf(r, cfg, t)
	if v == nil {
		http.Error(w, "ask for the playlist first", http.StatusUnauthorized)
		return
	}
	if strings.HasPrefix(t.rest, "part_") {
		s.servePart(w, r, g, v, t.rest)
		return
	}
	f, err := os.Open(filepath.Join(g.dir, filepath.FromSlash(t.rest)))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		http.NotFound(w, r)
		return
	}
	if path.Ext(t.rest) == ".ts" {
		w.Header().Set("Content-Type", "video/mp2t")
	}
	send(w, r, v, f, info.Size(), info.ModTime())
}

// send serves media to a viewer.
func send(w http.ResponseWriter, r *http.Request, v *viewer, content io.ReadSeeker, size int64, modified time.Time) {
	if h := w.Header(); h.Get("Content-Type") == "" {
		h.Set("Content-Type", "video/mp4")
	}
	// A client that stops reading must not hold the file for ever.
	slow := http.NewResponseController(w)
	_ = slow.SetWriteDeadline(time.Now().Add(patience + time.Duration(size/slowest)*time.Second))
	c := &counter{ResponseWriter: w}
	http.ServeContent(c, r, "", modified, content)
	_ = slow.SetWriteDeadline(time.Time{})
	v.sent(c.n)
}

// viewerOf returns the viewer that a request for a file belongs to: by its cookie, or else, for players without cookies,
// whoever watches this stream from the same address.
func (s *Server) viewerOf(r *http.Request, cfg *Config, t *target) *viewer {
	now := time.Now()
	for _, c := range r.CookiesNamed(cookieName) {
		if v := s.known(cookieID(c.Value, t), now); v != nil && v.refusal == nil {
			return v
		}
	}
	ip, _ := cfg.Address(r)
	if v := s.known(place(ip, t), now); v != nil && v.refusal == nil {
		return v
	}
	return nil
}

// counter counts what is written.
type counter struct {
	http.ResponseWriter
	n int64
}

// Write implements http.ResponseWriter.
func (c *counter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n += int64(n)
	return n, err
}

// ReadFrom implements io.ReaderFrom: the server may copy files without a buffer.
func (c *counter) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(c.ResponseWriter, r)
	c.n += n
	return n, err
}
