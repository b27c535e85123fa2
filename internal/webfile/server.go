package webfile

import (
	"encoding/binary"
	"encoding/hex"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/internal/fact"
)

// Server serves files. It is an http.Handler, and safe for concurrent use.
type Server struct {
	gate   Gate
	cfg    atomic.Pointer[Config]
	grants grants
}

// New returns a server that asks gate.
func New(cfg Config, gate Gate) *Server {
	s := &Server{gate: gate, grants: grants{byID: map[string]*grant{}}}
	s.Reconfigure(cfg)
	return s
}

// Reconfigure replaces the configuration for requests that come later. What is remembered stays.
func (s *Server) Reconfigure(cfg Config) {
	d := DefaultConfig()
	if cfg.Root == "" {
		cfg.Root = d.Root
	}
	if cfg.CharSet == "" {
		cfg.CharSet = d.CharSet
	}
	if cfg.NotFound == "" {
		cfg.NotFound = d.NotFound
	}
	if cfg.MaxGrants <= 0 {
		cfg.MaxGrants = d.MaxGrants
	}
	if cfg.MaxEntries <= 0 {
		cfg.MaxEntries = d.MaxEntries
	}
	if cfg.Patience <= 0 {
		cfg.Patience = d.Patience
	}
	if cfg.Address == nil {
		cfg.Address = d.Address
	}
	if cfg.SessionID == nil {
		cfg.SessionID = d.SessionID
	}
	s.cfg.Store(&cfg)
}

const methods = "GET, HEAD, OPTIONS"

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	cfg := s.cfg.Load()
	crossDomain(w, r, cfg)
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		s.serve(w, r, cfg)
	case http.MethodOptions:
		w.Header().Set("Allow", methods)
		w.WriteHeader(http.StatusOK)
	default:
		w.Header().Set("Allow", methods)
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	}
}

// ServeAdmitted serves a file to somebody who was let in otherwise, and says whether there is one.
func (s *Server) ServeAdmitted(w http.ResponseWriter, r *http.Request) bool {
	cfg := s.cfg.Load()
	t, ok := cfg.resolve(r)
	if !ok {
		return false
	}
	if info, err := look(t.root, t.name); err != nil || info.IsDir() {
		return false
	}
	send(w, r, cfg, t.root, t.name)
	return true
}

// serve serves what a path names. That nothing is there is not said before the Gate was asked.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, cfg *Config) {
	t, ok := cfg.resolve(r)
	if !ok {
		cfg.notFound(w, r)
		return
	}
	info, err := look(t.root, t.name)
	switch {
	case err == nil && info.IsDir():
		s.serveDir(w, r, cfg, &t)
	case !s.admit(w, r, cfg, fact.FileAccess{Path: t.url, FilePath: t.file()}):
	case err != nil || strings.HasSuffix(t.url, "/"):
		cfg.notFound(w, r)
	default:
		send(w, r, cfg, t.root, t.name)
	}
}

// serveDir serves the index file of a directory, or its listing.
func (s *Server) serveDir(w http.ResponseWriter, r *http.Request, cfg *Config, t *target) {
	for _, name := range []string{"index.html", "index.htm"} {
		if info, err := look(t.root, path.Join(t.name, name)); err != nil || info.IsDir() {
			continue
		}
		dir := strings.TrimSuffix(t.url, "/") + "/"
		switch {
		case !s.admit(w, r, cfg, fact.FileAccess{Path: dir + name, FilePath: filepath.Join(t.file(), name)}):
		case dir != t.url: // what the page names is relative to the directory
			to := url.URL{Path: "./" + path.Base(t.url) + "/", RawQuery: r.URL.RawQuery}
			w.Header().Set("Location", to.String())
			w.WriteHeader(http.StatusFound)
		default:
			send(w, r, cfg, t.root, path.Join(t.name, name))
		}
		return
	}
	switch {
	case !s.admit(w, r, cfg, fact.FileAccess{Path: t.url, FilePath: t.file(), IsDir: true}):
	case cfg.DirMenu:
		list(w, r, cfg, t)
	default:
		cfg.notFound(w, r)
	}
}

// admit says whether a visitor may see what it asks for. If not it has got its answer.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, cfg *Config, q fact.FileAccess) bool {
	now := time.Now()
	ip, _ := cfg.Address(r)
	if g := s.grants.find(r, ip, now); g != nil {
		if !g.allowed {
			refuse(w, r, g.message)
		}
		return g.allowed
	}
	v := s.ask(r, cfg, q)
	if v.Life > 0 {
		if c := s.grants.remember(r, &q, ip, v, now, cfg.MaxGrants); c != nil {
			http.SetCookie(w, c)
		}
	}
	if !v.Allowed {
		refuse(w, r, v.Message)
	}
	return v.Allowed
}

// ask asks the Gate.
func (s *Server) ask(r *http.Request, cfg *Config, q fact.FileAccess) Verdict {
	q.IP, q.Port = cfg.Address(r)
	q.ID, q.Params = cfg.SessionID(r), r.URL.RawQuery
	header := r.Header.Clone()
	header.Set("Host", r.Host)
	return s.gate.Access(r.Context(), q, header)
}

// Download serves the file at an absolute path, if it lies below one of the roots for that. trusted: whoever asks needs no
// leave of the Gate, which is asked every time, since each file is one of its own. saveName, if there is one, is the name
// under which a browser keeps the file.
func (s *Server) Download(w http.ResponseWriter, r *http.Request, file, saveName string, trusted bool) {
	cfg := s.cfg.Load()
	root, name, ok := cfg.download(file)
	if !ok {
		refuse(w, r, "no file that may be downloaded")
		return
	}
	if !trusted {
		if v := s.ask(r, cfg, fact.FileAccess{Path: r.URL.Path, FilePath: file}); !v.Allowed {
			refuse(w, r, v.Message)
			return
		}
	}
	if info, err := look(root, name); err != nil || info.IsDir() {
		cfg.notFound(w, r)
		return
	}
	w.Header().Del("Cache-Control") // that of API calls
	if saveName != "" {
		w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": plainName(saveName)}))
	}
	send(w, r, cfg, root, name)
}

// plainName is a file name without directories and control characters.
func plainName(s string) string {
	const longest = 255
	s = s[strings.LastIndexAny(s, `/\`)+1:]
	s = strings.ToValidUTF8(s[:min(len(s), longest)], "")
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, s)
	if s == "" {
		return "download"
	}
	return s
}

// download finds the root below which a file lies. It need not be there.
func (c *Config) download(file string) (root, name string, ok bool) {
	if len(file) > maxPath || !filepath.IsAbs(file) || filepath.Clean(file) != file {
		return "", "", false
	}
	for _, d := range c.Downloads {
		root, err := filepath.Abs(d)
		if err != nil {
			continue
		}
		name, err := filepath.Rel(root, file)
		if err != nil || !filepath.IsLocal(name) {
			continue
		}
		for part := range strings.SplitSeq(filepath.ToSlash(name), "/") {
			if !visible(part) {
				return "", "", false
			}
		}
		return root, name, true
	}
	return "", "", false
}

// notFound answers for what is not there.
func (c *Config) notFound(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset="+c.CharSet)
	if r.Method == http.MethodHead { // as ZLMediaKit says to every HEAD
		w.WriteHeader(http.StatusOK)
		return
	}
	w.WriteHeader(http.StatusNotFound)
	_, _ = io.WriteString(w, c.NotFound) // a client that left
}

// refuse answers whoever may not see what it asks for.
func refuse(w http.ResponseWriter, r *http.Request, message string) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method == http.MethodHead { // tells no more than of what is not there
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusOK)
		return
	}
	if message == "" {
		message = "refused"
	}
	http.Error(w, message, http.StatusUnauthorized)
}

// maxRanges bounds the ranges of one request; a request for more gets the whole.
const maxRanges = 16

// send serves a file.
func send(w http.ResponseWriter, r *http.Request, cfg *Config, root, name string) {
	f, info, err := open(root, name)
	if err != nil { // gone meanwhile, or not ours to read
		cfg.notFound(w, r)
		return
	}
	defer f.Close()
	h := w.Header()
	h.Set("Content-Type", contentType(name, cfg.CharSet))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("ETag", tag(info))
	for _, end := range cfg.NoStore {
		if strings.HasSuffix(name, end) {
			h.Set("Cache-Control", "no-store")
		}
	}
	if strings.HasSuffix(name, ".m3u8") && h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-cache") // lists are rewritten
	}
	if strings.Count(r.Header.Get("Range"), ",") >= maxRanges {
		r = r.Clone(r.Context())
		r.Header.Del("Range")
	}
	out := &patient{ResponseWriter: w, control: http.NewResponseController(w), patience: cfg.Patience}
	http.ServeContent(out, r, name, info.ModTime(), f)
	_ = out.control.SetWriteDeadline(time.Time{})
}

// tag is an entity tag: strong enough for ranges, since a file that changed within one tick of its clock has another size.
func tag(info os.FileInfo) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(info.ModTime().UnixNano()))
	b = binary.BigEndian.AppendUint64(b, uint64(max(info.Size(), 0)))
	return `"` + hex.EncodeToString(b) + `"`
}

// patient writes to a client as long as that takes something.
type patient struct {
	http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
}

// piece is what a client has to take within its time.
const piece = 512 << 10

// Write implements http.ResponseWriter.
func (p *patient) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(p.patience)) // not every writer has one
	return p.ResponseWriter.Write(b)
}

// ReadFrom implements io.ReaderFrom: piece by piece, so that the operating system can copy and every piece has its time.
func (p *patient) ReadFrom(r io.Reader) (n int64, err error) {
	whole, ok := r.(*io.LimitedReader)
	if !ok {
		return io.Copy(struct{ io.Writer }{p}, r)
	}
	for whole.N > 0 {
		part := &io.LimitedReader{R: whole.R, N: min(whole.N, piece)}
		_ = p.control.SetWriteDeadline(time.Now().Add(p.patience))
		m, err := io.Copy(p.ResponseWriter, part)
		n += m
		whole.N -= m
		if err != nil || m == 0 {
			return n, err
		}
	}
	return n, nil
}

// Unwrap is for http.ResponseController.
func (p *patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// crossDomain answers what browsers ask on behalf of pages from elsewhere (CORS).
func crossDomain(w http.ResponseWriter, r *http.Request, cfg *Config) {
	origin := r.Header.Get("Origin")
	if !cfg.AllowCrossDomains || origin == "" {
		return
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Expose-Headers", "Content-Length, Content-Range, Accept-Ranges, ETag")
	h.Add("Vary", "Origin")
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", methods)
		if want := r.Header.Get("Access-Control-Request-Headers"); want != "" {
			h.Set("Access-Control-Allow-Headers", want)
		}
		h.Set("Access-Control-Max-Age", "86400")
	}
}
