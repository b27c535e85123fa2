package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	indexRoot   = "/index/"
	indexPrefix = "/index/api/"
	// answerTimeout is the time in which a client has to take an answer.
	answerTimeout = 30 * time.Second
)

// Code is the code of an answer of /index/api.
type Code int

// The codes of ZLMediaKit.
const (
	CodeSuccess     Code = 0
	CodeOtherFailed Code = -1
	CodeAuthFailed  Code = -100
	CodeInvalidArgs Code = -300
	CodeException   Code = -400
	CodeNotFound    Code = -500
)

// answer is an object with an int code.
type answer = map[string]any

// callError is an answer that is not a success.
type callError struct {
	code Code
	msg  string
}

// Error implements error.
func (e *callError) Error() string { return e.msg }

func errNoStream() error { return &callError{CodeNotFound, "can not find the stream"} }

// endpoint is one call of /index/api.
type endpoint struct {
	name     string
	required []string
	// open needs neither an allowed address nor the secret.
	open bool
	// action is what the call changes, for the audit; empty: nothing.
	action string
	handle func(*call) (any, error)
}

// call is a request to an endpoint.
type call struct {
	api      *API
	w        http.ResponseWriter
	r        *http.Request
	settings Settings
	*params
}

// register fills the table of calls.
func (a *API) register() {
	tuple := []string{"schema", "vhost", "app", "stream"}
	list := []endpoint{
		{name: "close_stream", action: "streams.close", required: tuple, handle: closeStream},
		{name: "close_streams", action: "streams.close", handle: closeStreams},
		{name: "getAllSession", handle: getAllSession},
		{name: "getApiList", handle: getAPIList},
		{name: "getMediaInfo", required: tuple, handle: getMediaInfo},
		{name: "getMediaList", handle: getMediaList},
		{name: "getMediaPlayerList", required: tuple, handle: getMediaPlayerList},
		{name: "getServerConfig", handle: getServerConfig},
		{name: "getStatistic", handle: getStatistic},
		{name: "getThreadsLoad", handle: getThreadsLoad("event poller")},
		{name: "getWorkThreadsLoad", handle: getThreadsLoad("work poller")},
		{name: "isMediaOnline", required: tuple, handle: isMediaOnline},
		{name: "kick_session", action: "session.kick", required: []string{"id"}, handle: kickSession},
		{name: "kick_sessions", action: "session.kick", handle: kickSessions},
		{name: "login", required: []string{"digest"}, open: true, handle: logIn},
		{name: "logout", open: true, handle: logOut},
		{name: "restartServer", action: "process.restart", handle: restartServer},
		{name: "setServerConfig", action: "config.set", handle: setServerConfig},
		{name: "version", handle: version},
	}
	if a.deps.Files != nil {
		list = append(list, endpoint{name: "downloadFile", required: []string{"file_path"}, open: true, handle: downloadFile})
	}
	if a.deps.Records != nil {
		list = append(list, recordEndpoints()...)
	}
	if a.deps.Playback != nil {
		list = append(list, playbackEndpoints()...)
	}
	slices.SortFunc(list, func(x, y endpoint) int { return strings.Compare(x.name, y.name) })
	a.names = []string{indexRoot}
	a.calls[indexRoot] = &endpoint{handle: getAPIList}
	for _, e := range list {
		a.names = append(a.names, indexPrefix+e.name)
		a.calls[strings.ToLower(indexPrefix+e.name)] = &e
	}
	a.registerAbsent()
}

// serveIndex serves /index/api.
func (a *API) serveIndex(w http.ResponseWriter, r *http.Request) {
	s := a.settings()
	crossDomain(w, r, &s)
	path := strings.ToLower(r.URL.Path)
	e := a.calls[path]
	if e == nil {
		e = a.absent[path]
	}
	if e == nil {
		a.notFound(w, &s)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	switch r.Method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete:
	case http.MethodHead: // ZLMediaKit says 200 to anything, and does nothing
		w.WriteHeader(http.StatusOK)
		return
	case http.MethodOptions:
		w.Header().Set("Allow", indexMethods)
		w.WriteHeader(http.StatusOK)
		return
	default:
		w.Header().Set("Allow", indexMethods)
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	p, err := readParams(w, r, s.MaxReqSize)
	if err != nil {
		w.Header().Set("Connection", "close")
		status := http.StatusOK
		if errors.Is(err, errTooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		a.answer(w, &s, status, answer{"code": CodeInvalidArgs, "msg": err.Error()})
		return
	}
	a.run(e, &call{api: a, w: w, r: r, settings: s, params: p})
}

// answered is what a handler returns when it has answered by itself.
type answered struct{}

// run checks the caller and the parameters, makes the call and answers.
func (a *API) run(e *endpoint, c *call) {
	var result any
	err := c.check(e)
	if err == nil {
		result, err = e.handle(c)
	}
	code := CodeSuccess
	if err != nil {
		var failed *callError
		if !errors.As(err, &failed) {
			failed = &callError{CodeException, err.Error()}
		}
		code = failed.code
		m := answer{"code": failed.code, "msg": failed.msg}
		if failed.code == CodeAuthFailed {
			challenge := a.logins.challenge()
			m["cookie"] = challenge
			setCookie(c.w, c.r, cookieChallenge, challenge, challengeLife)
		}
		result = m
	}
	if e.action != "" && code != CodeAuthFailed {
		c.audit(e.action, code, err)
	}
	if c.settings.Debug {
		a.log.InfoContext(c.r.Context(), "api call", "path", indexPrefix+e.name, "peer", c.r.RemoteAddr,
			"params", c.loggable(), "code", int(code))
	}
	if _, ok := result.(answered); !ok {
		a.answer(c.w, &c.settings, http.StatusOK, result)
	}
}

// check applies the secret rules and looks for required parameters.
func (c *call) check(e *endpoint) error {
	if !e.open {
		if err := c.authorize(); err != nil {
			return err
		}
	}
	if c.missing(e.required) {
		return &callError{CodeInvalidArgs, `Required parameter missed: "` + strings.Join(e.required, `","`) + `"`}
	}
	return nil
}

// authorize applies the secret rules.
func (c *call) authorize() error {
	if !c.api.allowed(c.r, &c.settings) {
		return &callError{CodeAuthFailed, "Your ip is not allowed to access the service."}
	}
	peer, secret := ClientAddr(c.r, c.settings.ForwardedIPHeader), c.text("secret")
	if c.api.strikes.out(peer, time.Now()) {
		return &callError{CodeAuthFailed, "Too many wrong secrets from this address; wait a few seconds"}
	}
	if !same(secret, c.settings.Secret) && !c.api.logins.valid(cookieOf(c.r, cookieLogin), c.settings.Secret) {
		if secret != "" { // who gives none is a page that asks for the login, not somebody who tries
			c.api.strikes.add(peer, time.Now())
		}
		return &callError{CodeAuthFailed, "Please login first"}
	}
	return nil
}

// downloadFile serves a file: to those who know the secret, and to those whom on_http_access lets.
func downloadFile(c *call) (any, error) {
	trusted := false
	if c.text("secret") != "" || cookieOf(c.r, cookieLogin) != "" {
		trusted = c.authorize() == nil
	}
	c.api.deps.Files.Download(c.w, c.r, c.text("file_path"), c.text("save_name"), trusted)
	return answered{}, nil
}

// loggable returns names and values of the parameters without secrets.
func (c *call) loggable() []string {
	out := make([]string, 0, len(c.values))
	for key, v := range c.values {
		if key == "digest" || strings.Contains(key, "secret") || strings.Contains(key, "pass") ||
			strings.Contains(key, "token") || strings.Contains(key, "pwd") || strings.Contains(key, "on_") {
			out = append(out, v.name+"=***")
			continue
		}
		out = append(out, v.name+"="+v.value[:min(len(v.value), 256)])
	}
	slices.Sort(out)
	return out
}

// answer writes a JSON object.
func (a *API) answer(w http.ResponseWriter, s *Settings, status int, v any) {
	b, err := marshal(v)
	if err != nil {
		a.log.Error("api: answer has no JSON form", "err", err)
		b = []byte(`{"code":-400,"msg":"internal error"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset="+s.CharSet)
	w.WriteHeader(status)
	_, _ = w.Write(b) // the client has left
}

// marshal is json.Marshal without escapes for HTML: URLs stay readable.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

const indexMethods = "GET, POST, PUT, DELETE, OPTIONS"

// keepAlive tells a client how long its connection stays open without a request, as ZLMediaKit does: pools of
// connections that do not know send a request into one that is being closed.
func keepAlive(h http.Header, r *http.Request, s *Settings) {
	if seconds := int(s.KeepAlive / time.Second); seconds > 0 && r.ProtoMajor == 1 && !r.Close {
		h.Set("Connection", "keep-alive")
		h.Set("Keep-Alive", "timeout="+strconv.Itoa(seconds))
	}
}

// crossDomain answers the questions of browsers.
func crossDomain(w http.ResponseWriter, r *http.Request, s *Settings) {
	h := w.Header()
	h.Set("Server", "Hookline")
	h.Set("X-Content-Type-Options", "nosniff")
	keepAlive(h, r, s)
	if !s.AllowCrossDomains {
		return
	}
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" {
		return
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", indexMethods)
		if want := r.Header.Get("Access-Control-Request-Headers"); want != "" {
			h.Set("Access-Control-Allow-Headers", want)
		}
		h.Set("Access-Control-Max-Age", "86400")
	}
}
