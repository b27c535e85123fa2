package api

import (
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func decodeCode(t *testing.T, w *world, r *http.Request) (*httptest.ResponseRecorder, string) {
	t.Helper()
	rec := w.serve(r)
	body := rec.Body.String()
	code, _, _ := strings.Cut(body[strings.Index(body, `"code":`)+7:], ",")
	return rec, strings.TrimRight(code, "}")
}

// TestParameters checks where parameters come from.
func TestParameters(t *testing.T) {
	const form, jsonType = "application/x-www-form-urlencoded", "application/json"
	tuple := "schema=rtmp&vhost=v&app=live&stream=fix000"
	secret := "secret=" + testSecret
	cases := []struct {
		name, method, target, typ, body string
		header                          map[string]string
		code                            string
	}{
		{"query", "GET", "isMediaOnline?" + secret + "&" + tuple, "", "", nil, "0"},
		{"no case in path and names", "GET", "ISMEDIAonline?SECRET=" + testSecret + "&Schema=rtmp&VHOST=v&aPp=live&streaM=x", "", "", nil, "0"},
		{"form", "POST", "isMediaOnline", form, secret + "&" + tuple, nil, "0"},
		{"form with charset", "POST", "isMediaOnline", form + "; charset=utf-8", secret + "&" + tuple, nil, "0"},
		{"put", "PUT", "isMediaOnline", form, secret + "&" + tuple, nil, "0"},
		{"delete", "DELETE", "isMediaOnline?" + secret, form, tuple, nil, "0"},
		{"json", "POST", "isMediaOnline", jsonType, `{"secret":"` + testSecret + `","schema":1,"vhost":true,"app":1.5,"stream":"s"}`, nil, "0"},
		{"null is absent", "POST", "isMediaOnline", jsonType, `{"secret":"` + testSecret + `","schema":1,"vhost":true,"app":null,"stream":"s"}`, nil, "-300"},
		{"an array spoils what sorts behind it", "POST", "isMediaOnline?" + secret, jsonType, `{"schema":"a","vhost":"v","app":"l","stream":"s","m":[]}`, nil, "-300"},
		{"but not what sorts before it", "POST", "isMediaOnline?" + secret + "&schema=1&vhost=1&stream=1", jsonType, `{"zz":{},"app":"l"}`, nil, "0"},
		{"header", "GET", "isMediaOnline?" + tuple, "", "", map[string]string{"Secret": testSecret}, "0"},
		{"query wins over body and header", "POST", "isMediaOnline?secret=x&" + tuple, form, secret, map[string]string{"secret": testSecret}, "-100"},
		{"empty is absent", "GET", "isMediaOnline?secret=&schema=rtmp&vhost=v&app=&stream=s", "", "", map[string]string{"secret": testSecret}, "-300"},
		{"empty in the query, given in the body", "POST", "isMediaOnline?app=&schema=rtmp&vhost=v&stream=s", form, secret + "&app=a", nil, "0"},
		{"first of two", "GET", "isMediaOnline?" + secret + "&secret=x&" + tuple, "", "", nil, "0"},
		{"other body", "POST", "isMediaOnline", "text/plain", secret + "&" + tuple, nil, "-100"},
		{"json behind a byte order mark", "POST", "isMediaOnline?" + secret, jsonType, "\ufeff" + `{"schema":"a","vhost":"v","app":"l","stream":"s"}`, nil, "0"},
		{"junk as json", "POST", "isMediaOnline?" + secret, jsonType, `{"schema`, nil, "-300"},
		{"json that is no object", "POST", "isMediaOnline?" + secret, jsonType, `[1]`, nil, "-300"},
		{"bad escapes stay", "GET", "isMediaOnline?" + secret + "&schema=%zz&vhost=%&app=%4&stream=%00%ff", "", "", nil, "0"},
		{"too many", "GET", "version?" + strings.Repeat("a&", 1025), "", "", nil, "-300"},
		{"too many in json", "POST", "version", jsonType, manyMembers(1025), nil, "-300"},
		{"pairs without a name", "GET", "version?&&=&=x&" + secret, "", "", nil, "0"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := goldenWorld(t)
			r := request(t, c.method, "/index/api/"+"version", c.typ, c.body)
			r.URL = parseTarget("/index/api/" + c.target)
			for k, v := range c.header {
				r.Header.Set(k, v)
			}
			rec, code := decodeCode(t, w, r)
			if rec.Code != http.StatusOK || code != c.code {
				t.Errorf("status %d: %s, want code %s", rec.Code, rec.Body, c.code)
			}
		})
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	b.WriteString("{")
	for i := range n {
		b.WriteString(`"k` + id10(uint64(i)) + `":1,`)
	}
	return b.String() + `"z":1}`
}

// parseTarget takes what url.Parse refuses, as a server's request line may have it.
func parseTarget(s string) *url.URL {
	path, query, _ := strings.Cut(s, "?")
	return &url.URL{Path: path, RawQuery: query}
}

func TestBodyLimit(t *testing.T) {
	w := newWorld(t)
	body := "secret=" + testSecret + "&x="
	for _, c := range []struct {
		name   string
		length int
		known  bool
		status int
	}{
		{"at the limit", 40960, true, http.StatusOK},
		{"beyond", 40961, true, http.StatusRequestEntityTooLarge},
		{"beyond, chunked", 40961, false, http.StatusRequestEntityTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request(t, "POST", "/index/api/version", "application/x-www-form-urlencoded",
				body+strings.Repeat("x", c.length-len(body)))
			if !c.known {
				r.ContentLength = -1
			}
			if rec := w.serve(r); rec.Code != c.status {
				t.Errorf("status %d, want %d: %s", rec.Code, c.status, rec.Body)
			}
		})
	}
}

// TestAccess checks address and secret.
func TestAccess(t *testing.T) {
	cases := []struct {
		name, remote, header, secret string
		forwarded                    []string
		configured                   string
		code                         string
	}{
		{"allowed", "127.0.0.1:1", "", testSecret, nil, testSecret, "0"},
		{"mapped", "[::ffff:127.0.0.1]:1", "", testSecret, nil, testSecret, "0"},
		{"other address", "10.1.1.1:1", "", testSecret, nil, testSecret, "-100"},
		{"no address", "@", "", testSecret, nil, testSecret, "-100"},
		{"wrong", "127.0.0.1:1", "", "lab-secret", nil, testSecret, "-100"},
		{"none", "127.0.0.1:1", "", "", nil, testSecret, "-100"},
		{"none configured", "127.0.0.1:1", "", "", nil, "", "-100"},
		{"header not configured", "10.1.1.1:1", "", testSecret, []string{"127.0.0.1"}, testSecret, "-100"},
		{"proxy", "10.1.1.1:1", "X-Real-IP", testSecret, []string{"127.0.0.1"}, testSecret, "0"},
		{"proxy with port", "10.1.1.1:1", "X-Real-IP", testSecret, []string{"127.0.0.1:99"}, testSecret, "0"},
		{"the last of a list counts", "10.1.1.1:1", "X-Real-IP", testSecret, []string{"127.0.0.1, 10.2.2.2"}, testSecret, "-100"},
		{"the last header counts", "10.1.1.1:1", "X-Real-IP", testSecret, []string{"127.0.0.1", "10.2.2.2"}, testSecret, "-100"},
		{"junk from the proxy", "127.0.0.1:1", "X-Real-IP", testSecret, []string{"junk"}, testSecret, "-100"},
		{"not through the proxy", "127.0.0.1:1", "X-Real-IP", testSecret, nil, testSecret, "0"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.settings.Secret, w.settings.ForwardedIPHeader = c.configured, c.header
			r := request(t, "GET", "/index/api/version?secret="+c.secret, "", "")
			r.RemoteAddr = c.remote
			for _, f := range c.forwarded {
				r.Header.Add("X-Real-IP", f)
			}
			if _, code := decodeCode(t, w, r); code != c.code {
				t.Errorf("code %s, want %s", code, c.code)
			}
		})
	}
}

// TestLogin walks through the cookies.
func TestLogin(t *testing.T) {
	w := newWorld(t)
	now := time.Unix(1e9, 0)
	w.api.logins.now = func() time.Time { return now }
	call := func(target string, cookies ...*http.Cookie) (*httptest.ResponseRecorder, string) {
		r := request(t, "GET", "/index/api/"+target, "", "")
		for _, c := range cookies {
			r.AddCookie(c)
		}
		return decodeCode(t, w, r)
	}
	cookie := func(rec *httptest.ResponseRecorder) *http.Cookie {
		t.Helper()
		list := rec.Result().Cookies()
		if len(list) != 1 {
			t.Fatalf("cookies: %v", list)
		}
		return list[0]
	}
	rec, code := call("version")
	challenge := cookie(rec)
	if code != "-100" || challenge.Name != "ZLM_UNLOGIN" || challenge.MaxAge != 60 || len(challenge.Value) != 32 ||
		!strings.Contains(rec.Body.String(), `"cookie":"`+challenge.Value+`"`) {
		t.Fatalf("challenge %v: %s", challenge, rec.Body)
	}
	answer := "login?digest=" + strings.ToUpper(digest(testSecret, challenge.Value))
	for name, bad := range map[string]*http.Cookie{
		"forged": {Name: "ZLM_UNLOGIN", Value: strings.Repeat("0", 32)}, "absent": {Name: "x", Value: "y"},
	} {
		if _, code := call("login?digest="+digest(testSecret, bad.Value), bad); code != "-100" {
			t.Errorf("%s challenge: code %s", name, code)
		}
	}
	if _, code := call("login?digest=00", challenge); code != "-100" {
		t.Errorf("wrong digest: code %s", code)
	}
	if _, code := call("login", challenge); code != "-300" {
		t.Errorf("no digest: code %s", code)
	}
	rec, code = call(answer, challenge)
	login := cookie(rec)
	if code != "0" || login.Name != "ZLM_LOGINED" || login.MaxAge != 86400 || !login.HttpOnly {
		t.Fatalf("login %v: %s", login, rec.Body)
	}
	if _, code = call("version", login); code != "0" {
		t.Errorf("logged in: code %s", code)
	}
	now = now.Add(61 * time.Second)
	if _, code = call(answer, challenge); code != "-100" {
		t.Errorf("old challenge: code %s", code)
	}
	w.settings.Secret = "another"
	if _, code = call("version", login); code != "-100" {
		t.Errorf("a login must end with its secret: code %s", code)
	}
	w.settings.Secret = testSecret
	if rec, code = call("logout", login); code != "0" || !strings.Contains(rec.Body.String(), login.Value) {
		t.Errorf("logout: %s", rec.Body)
	}
	if _, code = call("version", login); code != "-100" {
		t.Errorf("logged out: code %s", code)
	}
	late := w.api.logins.begin(testSecret)
	now = now.Add(25 * time.Hour)
	if w.api.logins.valid(late, testSecret) {
		t.Error("a login lasts a day")
	}
	for range maxLogins + 10 {
		w.api.logins.begin(testSecret)
	}
	if n := len(w.api.logins.live); n > maxLogins {
		t.Errorf("%d logins", n)
	}
}

func TestCrossDomain(t *testing.T) {
	w := newWorld(t)
	r := request(t, "OPTIONS", "/index/api/version", "", "")
	r.Header.Set("Origin", "http://example.org")
	r.Header.Set("Access-Control-Request-Headers", "secret")
	rec := w.serve(r)
	h := rec.Header()
	if rec.Code != 200 || h.Get("Access-Control-Allow-Origin") != "http://example.org" || h.Get("Allow") == "" ||
		h.Get("Access-Control-Allow-Credentials") != "true" || h.Get("Access-Control-Allow-Headers") != "secret" {
		t.Errorf("%d %v", rec.Code, h)
	}
	w.settings.AllowCrossDomains = false
	if rec = w.serve(r); rec.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%v", rec.Header())
	}
	if rec = w.serve(request(t, "PATCH", "/index/api/version", "", "")); rec.Code != http.StatusMethodNotAllowed {
		t.Errorf("PATCH: %d", rec.Code)
	}
}

func TestSetServerConfig(t *testing.T) {
	w := newWorld(t)
	var got map[string]string
	var changed int
	var fails error
	w.config.set = func(v map[string]string) (int, error) {
		got = v
		return changed, fails
	}
	changed = 2
	_, m := w.get("/index/api/setServerConfig?hook.on_play=http%3A%2F%2Fa%3Fb%3D1&Hook.Enable=&plain=1")
	if !maps.Equal(got, map[string]string{"hook.on_play": "http://a?b=1", "Hook.Enable": ""}) {
		t.Errorf("set %v", got)
	}
	if m["changed"] != 2.0 || m["code"] != 0.0 {
		t.Errorf("%v", m)
	}
	fails = errors.New("disk full")
	if _, m = w.get("/index/api/setServerConfig?a.b=1"); m["code"] != 0.0 || m["changed"] != 2.0 || m["msg"] != "disk full" {
		t.Errorf("in effect but not saved: %v", m)
	}
	changed = 0
	if _, m = w.get("/index/api/setServerConfig?a.b=1"); m["code"] != -1.0 || m["msg"] != "disk full" {
		t.Errorf("refused: %v", m)
	}
	fails = unshown{errors.New("hook.on_play = \"http://user:hidden@\"; allowed: a URL"), "hook.on_play: allowed is a URL"}
	if _, m = w.get("/index/api/setServerConfig?a.b=1"); m["code"] != -1.0 || m["msg"] != fails.Error() {
		t.Errorf("refused: %v", m)
	}
	if log := w.log.String(); !strings.Contains(log, `result=-1 err="hook.on_play: allowed is a URL"`) || strings.Contains(log, "hidden") {
		t.Errorf("the log does not say what is wrong, or shows the value: %s", log)
	}
}

// TestKeepAlive: pools of connections learn when one of theirs is closed, as from ZLMediaKit.
func TestKeepAlive(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name  string
		life  time.Duration
		ask   func(*http.Request)
		want  string
		token string
	}{
		{"said", 30 * time.Second, func(*http.Request) {}, "timeout=30", "keep-alive"},
		{"none", 0, func(*http.Request) {}, "", ""},
		{"the client closes", time.Minute, func(r *http.Request) { r.Close = true }, "", ""},
		{"HTTP/2 has no such header", time.Minute, func(r *http.Request) { r.ProtoMajor = 2 }, "", ""},
	} {
		w.mu.Lock()
		w.settings.KeepAlive = c.life
		w.mu.Unlock()
		r := request(t, "GET", "/index/api/version?secret="+testSecret, "", "")
		c.ask(r)
		rec := w.serve(r)
		if got, token := rec.Header().Get("Keep-Alive"), rec.Header().Get("Connection"); got != c.want || token != c.token {
			t.Errorf("%s: %q %q, want %q %q", c.name, got, token, c.want, c.token)
		}
	}
}

// unshown is an error that can be told without its values.
type unshown struct {
	error
	safe string
}

func (r unshown) Refusals() string { return r.safe }

// TestIntegers: languages write whole numbers in several ways, and what begins like one is one.
func TestIntegers(t *testing.T) {
	for v, want := range map[string]int{
		"10": 10, "10.0": 10, " 7": 7, "-3": -3, "+4": 4, "12abc": 12, "1e3": 1, "true": 0, "abc": 0, "": 0, "-": 0, "--1": 0,
		"99999999999": 0, "0x10": 0,
	} {
		p := params{values: map[string]param{"n": {"n", v}}}
		if got := p.integer("N"); got != want {
			t.Errorf("%q: %d, want %d", v, got, want)
		}
	}
}

func TestReaders(t *testing.T) {
	w := goldenWorld(t)
	watched := w.hub.list[0]
	watched.Stream.Stream = "watched"
	w.hub.list = append(w.hub.list, watched)
	tuple := "schema=hls&vhost=v&app=live&stream=watched"
	if _, m := w.get("/index/api/getMediaPlayerList?" + tuple); len(m["data"].([]any)) != 1 {
		t.Errorf("players: %v", m)
	}
	if _, m := w.get("/index/api/getMediaPlayerList?" + tuple + "x"); m["code"] != -500.0 {
		t.Errorf("players of no stream: %v", m)
	}
	if _, m := w.get("/index/api/close_stream?" + tuple); m["code"] != -1.0 || m["result"] != -1.0 {
		t.Errorf("close with readers: %v", m)
	}
	if _, m := w.get("/index/api/close_streams?app=live&force=junk"); m["count_hit"] != 7.0 || m["count_closed"] != 6.0 {
		t.Errorf("close all: %v", m)
	}
	if _, m := w.get("/index/api/close_streams?app=live&force=TRUE"); m["count_closed"] != 7.0 {
		t.Errorf("close all with force: %v", m)
	}
}

func TestRestart(t *testing.T) {
	synctest.Test(t, restart) // in virtual time: a restart comes after a second
}

func restart(t *testing.T) {
	w := newWorld(t)
	if _, m := w.get("/index/api/restartServer"); m["code"] != -1.0 {
		t.Errorf("without a way: %v", m)
	}
	w = newWorld(t, func(d *Deps) { d.Restart = func() { t.Error("restarted after Close") } })
	for range 2 {
		if _, m := w.get("/index/api/restartServer"); m["code"] != 0.0 || m["msg"] == "" {
			t.Errorf("%v", m)
		}
	}
	w.api.Close()
	time.Sleep(time.Hour)
	restarts := 0
	w = newWorld(t, func(d *Deps) { d.Restart = func() { restarts++ } })
	for range 2 {
		w.get("/index/api/restartServer")
	}
	time.Sleep(time.Hour)
	synctest.Wait()
	if restarts != 1 {
		t.Errorf("%d restarts", restarts)
	}
}

func TestDebugLogHasNoSecrets(t *testing.T) {
	w := newWorld(t)
	w.settings.Debug = true
	w.serve(request(t, "GET", "/index/api/version?SeCret="+testSecret+"&app=live&api.secret=hush&hook.on_play=http://u:hush@x", "", ""))
	if log := w.log.String(); strings.Contains(log, testSecret) || strings.Contains(log, "hush") || !strings.Contains(log, "app=live") {
		t.Errorf("log: %s", log)
	}
}

func TestFallback(t *testing.T) {
	w := newWorld(t, func(d *Deps) {
		d.Fallback = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	})
	for path, want := range map[string]int{
		"/live/a.live.flv": 418, "/": 418, "/index": 418, "/index/a.live.flv": 418, "/healthz": 200, "/metrics": 418,
	} {
		if rec := w.serve(request(t, "GET", path, "", "")); rec.Code != want {
			t.Errorf("%s: %d, want %d", path, rec.Code, want)
		}
	}
	s := &stuck{ResponseWriter: &discardWriter{h: http.Header{}}, deadline: make(chan time.Time, 2)}
	w.api.ServeHTTP(s, request(t, "GET", "/healthz", "", ""))
	w.api.ServeHTTP(s, request(t, "GET", "/live/a.live.flv", "", ""))
	if d, none := <-s.deadline, <-s.deadline; d.IsZero() || !none.IsZero() {
		t.Errorf("an answer's deadline must not cut the live stream behind it: %v, %v", d, none)
	}
	if rec := newWorld(t).serve(request(t, "GET", "/x", "", "")); rec.Code != 404 {
		t.Errorf("no fallback: %d", rec.Code)
	}
}

// FuzzParams reads parameters of anything: no panic, and everything as text.
func FuzzParams(f *testing.F) {
	f.Add("a=1&b=%20+", "application/json", `{"a":1,"b":[]}`)
	f.Add("%=%zz&&==", "application/x-www-form-urlencoded", "a=%00&\xff=\xfe")
	f.Add("", "application/json; charset", `{"a":"\ud800","b":1e999,"c":null}`)
	f.Add("secret=a&SECRET=b", "multipart/form-data", "")
	f.Fuzz(func(t *testing.T, query, contentType, body string) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.URL.RawQuery = query
		r.Header.Set("Content-Type", contentType)
		p, err := readParams(httptest.NewRecorder(), r, 4096)
		if err != nil {
			return
		}
		for key, v := range p.values {
			if key != strings.ToLower(v.name) {
				t.Errorf("%q under %q", v.name, key)
			}
			if v.value != "" && p.text(v.name) != v.value {
				t.Errorf("%q: %q, want %q", v.name, p.text(v.name), v.value)
			}
		}
		if len(p.values) > 2*maxParams {
			t.Errorf("%d parameters", len(p.values))
		}
		_, _ = p.integer("a"), p.flag("a")
	})
}
