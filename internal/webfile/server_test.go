package webfile

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/pipenet"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// stage is a server over a tree of files, and its gate.
type stage struct {
	t    testing.TB
	srv  *Server
	cfg  Config
	root string // of what is served
	out  string // beside it: holds what nobody may get

	mu     sync.Mutex
	asked  []fact.FileAccess
	header http.Header // of the last question
	say    func(q fact.FileAccess) Verdict
}

const secret = "TOP SECRET"

func newStage(t testing.TB, change func(*Config)) *stage {
	t.Helper()
	s := &stage{t: t, say: func(fact.FileAccess) Verdict { return Verdict{Allowed: true} }}
	base := t.TempDir()
	s.root, s.out = filepath.Join(base, "www"), filepath.Join(base, "out")
	for name, text := range map[string]string{
		"www/a.txt": "0123456789", "www/.hidden": secret, "www/.git/config": secret, "www/.well-known/acme": "token",
		"www/record/live/cam/2026-01-02/2026-01-02-03-04-05-0.mp4": strings.Repeat("mp4 ", 1000), "www/page/index.html": "<p>page</p>",
		"www/record/live/cam/2026-01-02/.2026-01-02-03-04-05-1.mp4": secret,
		"www/a & <b>.txt": "x", "www/j:k": "colon", "www/big.bin": strings.Repeat("b", 3000), "www/live/cam/hls.m3u8": "#EXTM3U\n",
		"out/key.pem": secret, "out/pub/c.css": "css", "www/pub/shadowed": secret,
	} {
		file := filepath.Join(base, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"www/leads-out": "../out/key.pem", "www/dir-out": "../out", "www/inside": "a.txt"} {
		if err := os.Symlink(to, filepath.Join(base, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(s.root, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.cfg = DefaultConfig()
	s.cfg.Root, s.cfg.Virtual, s.cfg.Downloads = s.root, map[string]string{"pub": filepath.Join(s.out, "pub")}, []string{s.root}
	s.cfg.SessionID = func(*http.Request) string { return "c-1" }
	if change != nil {
		change(&s.cfg)
	}
	s.srv = New(s.cfg, s)
	return s
}

// Access implements Gate.
func (s *stage) Access(_ context.Context, q fact.FileAccess, header http.Header) Verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.header = append(s.asked, q), header
	return s.say(q)
}

// do sends a request; header are pairs of names and values.
func (s *stage) do(method, target string, header ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequestWithContext(context.Background(), method, "http://host/", nil)
	path, query, _ := strings.Cut(target, "?")
	r.URL.RawQuery = query
	var err error
	if r.URL.Path, err = url.PathUnescape(path); err != nil {
		s.t.Fatal(err)
	}
	r.RemoteAddr = "10.0.0.1:4711"
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.srv.ServeHTTP(w, r)
	if strings.Contains(w.Body.String(), secret) {
		s.t.Errorf("%s %q shows what nobody may see", method, target)
	}
	return w
}

func (s *stage) get(target string, header ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	return s.do(http.MethodGet, target, header...)
}

func TestPaths(t *testing.T) {
	s := newStage(t, nil)
	for target, want := range map[string]struct {
		status int
		kind   string
		asked  int
	}{
		"/a.txt": {200, "text/plain; charset=utf-8", 1},
		"/record/live/cam/2026-01-02/2026-01-02-03-04-05-0.mp4":  {200, "video/mp4", 1},
		"/record/live/cam/2026-01-02/.2026-01-02-03-04-05-1.mp4": {404, "", 0},
		"/live/cam/hls.m3u8":                  {200, "application/vnd.apple.mpegurl", 1},
		"/big.bin":                            {200, "application/octet-stream", 1},
		"/inside":                             {200, "application/octet-stream", 1},
		"/a%20%26%20%3Cb%3E.txt":              {200, "text/plain; charset=utf-8", 1},
		"/pub/c.css":                          {200, "text/css; charset=utf-8", 1},
		"/PUB/c.css":                          {200, "text/css; charset=utf-8", 1},
		"/pub/shadowed":                       {404, "", 1},
		"/page/":                              {200, "text/html; charset=utf-8", 1},
		"/page":                               {302, "", 1},
		"/.well-known/acme":                   {200, "application/octet-stream", 1},
		"/a.txt/":                             {404, "", 1},
		"/a.txt/x":                            {404, "", 1},
		"/none":                               {404, "text/html; charset=utf-8", 1},
		"/none/":                              {404, "", 1},
		"/pipe":                               {404, "", 1},
		"/leads-out":                          {404, "", 1},
		"/dir-out":                            {404, "", 1},
		"/dir-out/key.pem":                    {404, "", 1},
		"/.hidden":                            {404, "", 0},
		"/.git/config":                        {404, "", 0},
		"/page/.well-known/x":                 {404, "", 0},
		"/../out/key.pem":                     {404, "", 0},
		"/%2e%2e/out/key.pem":                 {404, "", 0},
		"/page/../../out/key.pem":             {404, "", 0},
		"/pub/../../out/key.pem":              {404, "", 0},
		"/..%5cout%5ckey.pem":                 {404, "", 0},
		"//a.txt":                             {404, "", 0},
		"/./a.txt":                            {404, "", 0},
		"/a.txt%00.html":                      {404, "", 0},
		"/" + strings.Repeat("x", 5000):       {404, "", 0},
		"/" + strings.Repeat("x", 300):        {404, "", 1},
		"/a.txt?" + strings.Repeat("x", 9000): {404, "", 0},
	} {
		s.asked = nil
		w := s.get(target)
		if w.Code != want.status || want.kind != "" && w.Header().Get("Content-Type") != want.kind || len(s.asked) != want.asked {
			t.Errorf("%.60s: %d %v, asked %d times", target, w.Code, w.Header(), len(s.asked))
		}
		if w.Code == 404 && !strings.Contains(w.Body.String(), "404") {
			t.Errorf("%.60s: %q", target, w.Body)
		}
	}
	if l := s.get("/page?x=1").Header().Get("Location"); l != "./page/?x=1" {
		t.Errorf("Location: %s", l)
	}
	if s.get("/page/").Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Error("browsers may guess types")
	}
}

// TestQuestion: the gate is told what the contract says.
func TestQuestion(t *testing.T) {
	s := newStage(t, nil)
	s.get("/page/?viewer=7", "X-Token", "a", "X-Token", "b")
	s.get("/")
	want := fact.FileAccess{
		Client: fact.Client{IP: "10.0.0.1", Port: 4711, ID: "c-1"}, Path: "/page/index.html",
		FilePath: filepath.Join(s.root, "page", "index.html"), Params: "viewer=7",
	}
	if s.asked[0] != want {
		t.Errorf("%+v", s.asked[0])
	}
	want.Path, want.FilePath, want.Params, want.IsDir = "/", s.root, "", true
	if s.asked[1] != want {
		t.Errorf("%+v", s.asked[1])
	}
	if s.header.Get("Host") != "host" {
		t.Errorf("%v", s.header)
	}
}

func TestRanges(t *testing.T) {
	s := newStage(t, nil)
	w := s.get("/a.txt")
	tag, modified := w.Header().Get("ETag"), w.Header().Get("Last-Modified")
	if tag == "" || strings.HasPrefix(tag, "W/") || modified == "" || w.Header().Get("Accept-Ranges") != "bytes" {
		t.Errorf("%v", w.Header())
	}
	for name, tc := range map[string]struct {
		header []string
		status int
		body   string
		part   string // Content-Range
	}{
		"first":            {[]string{"Range", "bytes=0-2"}, 206, "012", "bytes 0-2/10"},
		"open":             {[]string{"Range", "bytes=7-"}, 206, "789", "bytes 7-9/10"},
		"suffix":           {[]string{"Range", "bytes=-4"}, 206, "6789", "bytes 6-9/10"},
		"beyond":           {[]string{"Range", "bytes=8-99"}, 206, "89", "bytes 8-9/10"},
		"not there":        {[]string{"Range", "bytes=10-"}, 416, "", "bytes */10"},
		"junk":             {[]string{"Range", "bytes=a-b"}, 416, "", ""},
		"another unit":     {[]string{"Range", "frames=1-2"}, 416, "", ""},
		"same tag":         {[]string{"Range", "bytes=0-0", "If-Range", tag}, 206, "0", "bytes 0-0/10"},
		"another tag":      {[]string{"Range", "bytes=0-0", "If-Range", `"x"`}, 200, "0123456789", ""},
		"same time":        {[]string{"Range", "bytes=0-0", "If-Range", modified}, 206, "0", "bytes 0-0/10"},
		"not modified":     {[]string{"If-None-Match", tag}, 304, "", ""},
		"not since":        {[]string{"If-Modified-Since", modified}, 304, "", ""},
		"another":          {[]string{"If-Match", `"x"`}, 412, "", ""},
		"too many":         {[]string{"Range", "bytes=" + strings.Repeat("0-0,", 20) + "1-1"}, 200, "0123456789", ""},
		"none of the many": {nil, 200, "0123456789", ""},
	} {
		w := s.get("/a.txt", tc.header...)
		if w.Code != tc.status || tc.status < 400 && w.Body.String() != tc.body || tc.part != "" && w.Header().Get("Content-Range") != tc.part {
			t.Errorf("%s: %d %q %v", name, w.Code, w.Body, w.Header())
		}
	}
	w = s.get("/a.txt", "Range", "bytes=0-1,-2")
	kind, p, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
	if err != nil || w.Code != 206 || kind != "multipart/byteranges" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	parts := multipart.NewReader(w.Body, p["boundary"])
	for _, want := range []string{"01", "89"} {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(part); string(b) != want || part.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%q %v", b, part.Header)
		}
	}
}

// TestHead: the length of what may be seen, and 200 for anything, as ZLMediaKit says.
func TestHead(t *testing.T) {
	s := newStage(t, nil)
	w := s.do(http.MethodHead, "/a.txt")
	if w.Code != 200 || w.Header().Get("Content-Length") != "10" || w.Body.Len() > 0 {
		t.Errorf("%d %v %q", w.Code, w.Header(), w.Body)
	}
	s.say = func(fact.FileAccess) Verdict { return Verdict{Message: "no"} }
	for _, target := range []string{"/a.txt", "/none", "/.hidden"} {
		if w := s.do(http.MethodHead, target); w.Code != 200 || w.Header().Get("Content-Length") != "" || w.Body.Len() > 0 {
			t.Errorf("%s: %d %v %q", target, w.Code, w.Header(), w.Body)
		}
	}
	if w := s.do(http.MethodPost, "/a.txt"); w.Code != 405 || w.Header().Get("Allow") == "" {
		t.Errorf("%d", w.Code)
	}
}

func TestCrossDomain(t *testing.T) {
	s := newStage(t, nil)
	w := s.get("/a.txt", "Origin", "http://page")
	if w.Header().Get("Access-Control-Allow-Origin") != "http://page" || w.Header().Get("Vary") != "Origin" {
		t.Errorf("%v", w.Header())
	}
	w = s.do(http.MethodOptions, "/a.txt", "Origin", "http://page", "Access-Control-Request-Headers", "Range")
	if w.Code != 200 || w.Header().Get("Access-Control-Allow-Headers") != "Range" || len(s.asked) != 1 {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	s.cfg.AllowCrossDomains = false
	s.srv.Reconfigure(s.cfg)
	if w := s.get("/a.txt", "Origin", "http://page"); w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%v", w.Header())
	}
}

func TestCaching(t *testing.T) {
	s := newStage(t, func(c *Config) { c.NoStore = []string{".txt"} })
	for target, want := range map[string]string{"/a.txt": "no-store", "/live/cam/hls.m3u8": "no-cache", "/big.bin": "", "/": "no-store"} {
		if got := s.get(target).Header().Get("Cache-Control"); got != want {
			t.Errorf("%s: %q", target, got)
		}
	}
}

func TestList(t *testing.T) {
	s := newStage(t, nil)
	w := s.get("/")
	body := w.Body.String()
	at := 0
	for _, want := range []string{
		"<title>File Index</title>", "<h1>Index of /</h1>",
		`<a href="./a%20&amp;%20%3Cb%3E.txt">a &amp; &lt;b&gt;.txt</a> (1B)`, `<a href="./a.txt">a.txt</a> (10B)`, `<a href="./big.bin">big.bin</a> (2.93KB)`,
		`<a href="./inside">inside</a> (10B)`, `<a href="./j:k">j:k</a>`, `<a href="./live/">live/</a>`, `<a href="./page/">page/</a>`,
		`<a href="./pub/">virtual path: pub/</a>`, `<a href="./record/">record/</a>`,
	} {
		i := strings.Index(body[at:], want)
		if i < 0 {
			t.Errorf("%s is missing, or in another place", want)
			continue
		}
		at += i
	}
	for _, hidden := range []string{"hidden", "out", "pipe", "../", ">root<", "well-known"} {
		if strings.Contains(body, hidden) {
			t.Errorf("shows %s", hidden)
		}
	}
	if w.Header().Get("Content-Type") != "text/html; charset=utf-8" || w.Header().Get("Content-Security-Policy") == "" {
		t.Errorf("%v", w.Header())
	}
	// Links are right with and without the slash at the end.
	for target, want := range map[string][2]string{
		"/record/": {`<a href="../">../</a>`, `<a href="./live/">`}, "/record": {`<a href="./">../</a>`, `<a href="./record/live/">`},
	} {
		body := s.get(target).Body.String()
		if !strings.Contains(body, want[0]) || !strings.Contains(body, want[1]) || !strings.Contains(body, `<a href="/">root</a>`) {
			t.Errorf("%s: %s", target, body)
		}
	}
	if body := s.get("/record/live/cam/2026-01-02/").Body.String(); strings.Contains(body, "-1.mp4") || !strings.Contains(body, "-0.mp4") {
		t.Errorf("a recording that is open, or none: %s", body)
	}
	s.cfg.DirMenu = false
	s.srv.Reconfigure(s.cfg)
	if w := s.get("/record/"); w.Code != 404 {
		t.Errorf("%d", w.Code)
	}
	if w := s.get("/page/"); w.Code != 200 {
		t.Errorf("%d", w.Code)
	}
	s.cfg.DirMenu, s.cfg.MaxEntries = true, 3
	s.srv.Reconfigure(s.cfg)
	if body := s.get("/").Body.String(); !strings.Contains(body, "and more") || strings.Count(body, "<span>") != 4 {
		t.Errorf("%s", body)
	}
}

func TestVhosts(t *testing.T) {
	host := "cam"
	s := newStage(t, func(c *Config) {
		c.Root = filepath.Join(c.Root, "live")
		c.Vhost = func(*http.Request) string { return host }
	})
	if w := s.get("/hls.m3u8"); w.Code != 200 {
		t.Errorf("%d", w.Code)
	}
	for _, host = range []string{"..", ".", "", "a/../..", "../../out", "other", "a\x00b"} {
		if w := s.get("/hls.m3u8"); w.Code != 404 {
			t.Errorf("%q: %d", host, w.Code)
		}
		if w := s.get("/key.pem"); w.Code != 404 {
			t.Errorf("%q: %d", host, w.Code)
		}
	}
}

// TestGrants: a verdict holds for the visitor, the directory and the time that were said.
func TestGrants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		s.say = func(fact.FileAccess) Verdict { return Verdict{Allowed: true, Life: time.Minute} }
		w := s.get("/record/live/cam/2026-01-02/2026-01-02-03-04-05-0.mp4")
		cookies := w.Result().Cookies()
		if len(cookies) != 1 || cookies[0].Name != "ZLM_HTTP_COOKIE" || cookies[0].Path != "/record/live/cam/2026-01-02/" || cookies[0].MaxAge != 60 ||
			!cookies[0].HttpOnly || len(cookies[0].Value) != 32 {
			t.Fatalf("%+v", cookies)
		}
		shown := []string{"Cookie", "ZLM_HTTP_COOKIE=0; ZLM_HTTP_COOKIE=" + cookies[0].Value}
		for range 3 {
			time.Sleep(10 * time.Second)
			s.get("/record/live/cam/2026-01-02/?other=1", shown...)
		}
		if len(s.asked) != 1 {
			t.Errorf("asked %d times", len(s.asked))
		}
		s.get("/record/live/cam/", shown...)  // above
		s.get("/record/live/cam/2026-01-02/") // nobody that is known
		time.Sleep(31 * time.Second)          // what was said holds from then on, however often it was used
		s.get("/record/live/cam/2026-01-02/", shown...)
		if len(s.asked) != 4 {
			t.Errorf("asked %d times", len(s.asked))
		}
		// Without a cookie whoever repeats address and query is known.
		for range 3 {
			s.get("/a.txt?token=1")
		}
		if len(s.asked) != 5 {
			t.Errorf("asked %d times", len(s.asked))
		}
		s.get("/a.txt?token=2")
		s.get("/page/?token=1") // another directory, and that of the root covers it
		if len(s.asked) != 6 {
			t.Errorf("asked %d times", len(s.asked))
		}
	})
}

// TestScope: a verdict without a path covers the directory, whether its address ended in a slash or not, and no more.
func TestScope(t *testing.T) {
	for target, want := range map[string]string{
		"/record": "/record", "/record/": "/record/", "/page": "/page/", "/page/": "/page/", "/a.txt": "/", "/record/live/none": "/record/live/", "/": "/",
	} {
		s := newStage(t, nil)
		s.say = func(fact.FileAccess) Verdict { return Verdict{Allowed: true, Life: time.Minute} }
		c := s.get(target).Result().Cookies()
		if len(c) != 1 || c[0].Path != want {
			t.Errorf("%s: %v, want %s", target, c, want)
			continue
		}
		for path, covered := range map[string]bool{"/a.txt": want == "/", "/record/live/": want == "/" || strings.HasPrefix(want, "/record")} {
			s.asked = nil
			if s.get(path, "Cookie", c[0].Name+"="+c[0].Value); (len(s.asked) == 0) != covered {
				t.Errorf("%s: then %s was asked about %d times", target, path, len(s.asked))
			}
		}
	}
}

// TestRefusals: one that is remembered holds for the query to which it was given.
func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		s.say = func(q fact.FileAccess) Verdict {
			if q.Params == "good=1" {
				return Verdict{Allowed: true}
			}
			return Verdict{Message: "<b>no</b>", Path: "page", Life: time.Minute}
		}
		w := s.get("/page/?bad=1")
		if w.Code != 401 || !strings.Contains(w.Body.String(), "no") || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
			t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
		}
		c := w.Result().Cookies()[0]
		if c.Path != "/page" {
			t.Errorf("%+v", c)
		}
		shown := []string{"Cookie", c.Name + "=" + c.Value}
		for _, target := range []string{"/page/?bad=1", "/page/", "/page"} {
			if w := s.get(target, shown...); w.Code != 401 || len(s.asked) != 1 {
				t.Errorf("%s: %d, asked %d times", target, w.Code, len(s.asked))
			}
		}
		if w := s.get("/page/?good=1", shown...); w.Code != 200 {
			t.Errorf("%d", w.Code)
		}
		s.get("/pager", shown...) // is another name
		if len(s.asked) != 3 {
			t.Errorf("asked %d times", len(s.asked))
		}
	})
}

// TestGrantLimit: beyond the limit nothing is remembered, until there is room again.
func TestGrantLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, func(c *Config) { c.MaxGrants = 4 })
		s.say = func(fact.FileAccess) Verdict { return Verdict{Allowed: true, Life: time.Minute} }
		for range 10 {
			if w := s.get("/a.txt"); w.Code != 200 {
				t.Errorf("%d", w.Code)
			}
		}
		if n := len(s.srv.grants.byID); n > 4 {
			t.Errorf("%d are remembered", n)
		}
		time.Sleep(2 * time.Minute)
		if c := s.get("/a.txt").Result().Cookies(); len(c) != 1 || len(s.srv.grants.byID) != 1 {
			t.Errorf("%v, %d", c, len(s.srv.grants.byID))
		}
	})
}

func TestDownload(t *testing.T) {
	s := newStage(t, nil)
	s.say = func(q fact.FileAccess) Verdict {
		return Verdict{Allowed: q.Params == "ok=1", Message: "no", Life: time.Hour}
	}
	get := func(file, save, query string, trusted bool) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/index/api/downloadFile?"+query, nil)
		r.Header.Set("Range", "bytes=0-3")
		w := httptest.NewRecorder()
		w.Header().Set("Cache-Control", "no-store")
		s.srv.Download(w, r, file, save, trusted)
		if strings.Contains(w.Body.String(), secret) {
			t.Errorf("%s shows what nobody may see", file)
		}
		return w
	}
	mp4 := filepath.Join(s.root, "record", "live", "cam", "2026-01-02", "2026-01-02-03-04-05-0.mp4")
	w := get(mp4, `../a"b\ü.mp4`, "", true)
	_, p, err := mime.ParseMediaType(w.Header().Get("Content-Disposition"))
	if w.Code != 206 || w.Body.String() != "mp4 " || w.Header().Get("Content-Type") != "video/mp4" || err != nil || p["filename"] != "ü.mp4" || len(s.asked) > 0 {
		t.Errorf("%d %v %v %v", w.Code, w.Header(), p, err)
	}
	if w := get(mp4, "", "ok=1", false); w.Code != 206 || w.Header().Get("Content-Disposition") != "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if got := s.asked[0]; got.Path != "/index/api/downloadFile" || got.FilePath != mp4 || got.IsDir {
		t.Errorf("%+v", got)
	}
	if w := get(mp4, "", "", false); w.Code != 401 {
		t.Errorf("%d", w.Code)
	}
	get(filepath.Join(s.root, "a.txt"), "", "ok=1", false) // each file is asked about
	if len(s.asked) != 3 {
		t.Errorf("asked %d times", len(s.asked))
	}
	for file, want := range map[string]int{
		filepath.Join(s.out, "key.pem"): 401, s.root + "/../out/key.pem": 401, s.root + "/.hidden": 401, "a.txt": 401, "": 401, s.root: 401,
		s.root + "/leads-out": 404, s.root + "/dir-out/key.pem": 404, s.root + "/none": 404, s.root + "/page": 404, s.root + "/pipe": 404,
		s.root + "x/a.txt": 401, s.root + "/" + strings.Repeat("x", 5000): 401,
	} {
		if w := get(file, "", "", true); w.Code != want {
			t.Errorf("%.80s: %d", file, w.Code)
		}
	}
	for in, want := range map[string]string{"a/b.mp4": "b.mp4", "..\\x": "x", "/": "download", "a\r\nb": "ab", strings.Repeat("é", 200): strings.Repeat("é", 127)} {
		if got := plainName(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

// TestAdmitted: who was let in by other means is not asked for.
func TestAdmitted(t *testing.T) {
	s := newStage(t, nil)
	for target, want := range map[string]bool{"/live/cam/hls.m3u8": true, "/live/none/hls.m3u8": false, "/live": false, "/../x": false} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
		w := httptest.NewRecorder()
		if got := s.srv.ServeAdmitted(w, r); got != want || want && w.Body.String() != "#EXTM3U\n" || len(s.asked) > 0 {
			t.Errorf("%s: %v %s", target, got, w.Body)
		}
	}
}

// TestSlowClient: who takes nothing is cut, and who takes its time is not. In virtual time, since a patience that is short enough to wait
// for would end for whoever does not get the processor for so long.
func TestSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, patience = 8 << 20, time.Minute
		s := newStage(t, func(c *Config) { c.Patience = patience })
		if err := os.Truncate(filepath.Join(s.root, "big.bin"), size); err != nil {
			t.Fatal(err)
		}
		returned := make(chan struct{}, 2)
		l := pipenet.Listen()
		web := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.srv.ServeHTTP(w, r)
			returned <- struct{}{}
		})}
		go func() { _ = web.Serve(l) }()
		defer web.Close()
		dial := func() net.Conn {
			near, err := l.Dial(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(near, "GET /big.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			return near
		}
		begun := time.Now()
		still := dial()
		defer still.Close()
		<-returned // although it took nothing
		if d := time.Since(begun); d != patience {
			t.Errorf("who takes nothing is cut after %v", d)
		}
		begun = time.Now()
		quick := dial()
		defer quick.Close()
		total := int64(0)
		for {
			n, err := io.CopyN(io.Discard, quick, 256<<10)
			total += n
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%d bytes, %v", total, err)
			}
			time.Sleep(10 * time.Second)
		}
		if d := time.Since(begun); total < size || d < 5*patience {
			t.Errorf("%d bytes in %v", total, d)
		}
		<-returned
	})
}

// TestLargeFile: a file of many pieces comes whole over TCP, where the operating system copies.
func TestLargeFile(t *testing.T) {
	s := newStage(t, func(c *Config) { c.Patience = 10 * time.Minute })
	const size = 64 << 20
	if err := os.Truncate(filepath.Join(s.root, "big.bin"), size); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s.srv)
	defer web.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, web.URL+"/big.bin", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := web.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); err != nil || n != size {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestParse(t *testing.T) {
	got := ParseVirtual(" Cam , /data/cam ;b,./b;;c;,d;.e,/e;f/g,/f;../x,/x;h,/a,b")
	if len(got) != 3 || got["cam"] != "/data/cam" || got["b"] != "./b" || got["h"] != "/a,b" {
		t.Errorf("%q", got)
	}
	if l := ParseList(" a;;b ; ", ";"); len(l) != 2 || l[0] != "a" || l[1] != "b" {
		t.Errorf("%q", l)
	}
}

// FuzzRequest: whatever a client sends, it gets nothing from outside, and the server goes on.
func FuzzRequest(f *testing.F) {
	s := newStage(f, nil)
	s.say = func(q fact.FileAccess) Verdict {
		if rel, err := filepath.Rel(s.root, q.FilePath); (err != nil || !filepath.IsLocal(rel)) && !strings.HasPrefix(q.FilePath, filepath.Join(s.out, "pub")) {
			f.Errorf("asked about %q", q.FilePath)
		}
		return Verdict{Allowed: true, Path: q.Params, Life: time.Second}
	}
	f.Add("/a.txt", "v=1", "bytes=0-1,5-", "ZLM_HTTP_COOKIE=abc", `"x"`)
	f.Add("/../out/key.pem", "", "bytes=-1", "a=b; ZLM_HTTP_COOKIE", "")
	f.Add("/dir-out//", "/", "bytes=9999999999999999999-", "ZLM_HTTP_COOKIE=\"\"", "W/\"")
	f.Add("/pub/..", "", "", "", "Mon, 02 Jan 2006 15:04:05 GMT")
	f.Fuzz(func(t *testing.T, path, query, ranges, cookie, tag string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.URL.Path, r.URL.RawQuery = path, query
		r.Header.Set("Range", ranges)
		r.Header.Set("Cookie", cookie)
		r.Header.Set("If-Range", tag)
		r.Header.Set("If-None-Match", tag)
		w := httptest.NewRecorder()
		s.srv.ServeHTTP(w, r)
		if strings.Contains(w.Body.String(), secret) {
			t.Errorf("%q shows what nobody may see", path)
		}
		switch w.Code {
		case 200, 206, 302, 304, 404, 412, 416:
		default:
			t.Errorf("%q: %d", path, w.Code)
		}
		w = httptest.NewRecorder()
		s.srv.Download(w, r, path, query, true)
		if strings.Contains(w.Body.String(), secret) {
			t.Errorf("%q shows what nobody may see", path)
		}
	})
}
