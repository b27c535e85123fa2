package api

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/journal"
)

const v1Prefix = "/api/v1/"

// v1Call is a request to /api/v1.
type v1Call struct {
	api      *API
	w        http.ResponseWriter
	r        *http.Request
	settings Settings
	// query holds the parameters that the route declares; others are ignored.
	query url.Values
	// path holds what stands in place of the names in the route's pattern.
	path []string
	who  caller
	// about goes into the audit line: names and values, as for slog.
	about []any
}

// serveV1 serves /api/v1.
func (a *API) serveV1(w http.ResponseWriter, r *http.Request) {
	s := a.settings()
	crossDomain(w, r, &s)
	w.Header().Set("Cache-Control", "no-store")
	found, path, methods := a.routeV1(r.Method, strings.TrimPrefix(r.URL.Path, v1Prefix))
	if s.AllowCrossDomains && r.Header.Get("Origin") != "" {
		w.Header().Set("Access-Control-Expose-Headers", "ETag, Location, Retry-After")
	}
	if r.Method == http.MethodOptions {
		allow := strings.Join(append(methods, http.MethodOptions), ", ")
		w.Header().Set("Allow", allow)
		if w.Header().Get("Access-Control-Allow-Methods") != "" {
			w.Header().Set("Access-Control-Allow-Methods", allow)
		}
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if found == nil && len(methods) > 0 {
		w.Header().Set("Allow", strings.Join(append(methods, http.MethodOptions), ", "))
		a.problem(w, http.StatusMethodNotAllowed, ProblemMethod, "this path knows "+strings.Join(methods, ", "))
		return
	}
	c := &v1Call{api: a, w: w, r: r, settings: s, path: path}
	if !c.admit(found) {
		return
	}
	if found == nil {
		a.problem(w, http.StatusNotFound, ProblemNotFound, "no such resource")
		return
	}
	c.query = declared(r.URL.Query(), found.params)
	if !found.waits(c) {
		select {
		case a.busy <- struct{}{}:
			defer func() { <-a.busy }()
		default:
			w.Header().Set("Retry-After", "1")
			a.problem(w, http.StatusServiceUnavailable, ProblemTooManyCalls, "too many calls at a time")
			return
		}
	}
	err := found.handle(c)
	if found.action != "" {
		c.audit(found.action, err)
	}
	if err != nil {
		c.fail(err)
	}
}

// declared returns the parameters that a route has: what is not declared can't have an effect.
func declared(q url.Values, names []string) url.Values {
	out := url.Values{}
	for _, name := range names {
		if v, ok := q[name]; ok {
			out[name] = v
		}
	}
	return out
}

// admit checks the address and the secret. What changes something wants the secret in a header, which no link and no
// form of another site can send; cookies don't count anywhere here.
func (c *v1Call) admit(found *v1Route) bool {
	a := c.api
	if !a.allowed(c.r, &c.settings) {
		a.problem(c.w, http.StatusForbidden, ProblemForbidden, "this address is not allowed")
		return false
	}
	if c.struck() {
		return false
	}
	reads := c.r.Method == http.MethodGet || c.r.Method == http.MethodHead
	token, want := headerSecret(c.r), "the secret is missing or wrong"
	if reads {
		token = bearer(c.r)
	} else if found != nil && c.r.URL.Query().Has("secret") {
		want = "the secret is missing or wrong; what changes something takes it as a bearer token, not as a parameter"
	}
	if who, ok := c.settings.identify(token); ok {
		if c.who = who; reads || who.admin {
			return true
		}
		a.problem(c.w, http.StatusForbidden, ProblemReadOnly, "this token may only read")
		return false
	}
	a.strikes.add(ClientAddr(c.r, c.settings.ForwardedIPHeader), time.Now())
	c.w.Header().Set("WWW-Authenticate", `Bearer realm="hookline"`)
	a.problem(c.w, http.StatusUnauthorized, ProblemUnauthorized, want)
	return false
}

// bearer returns the secret that came as headerSecret has it, or as the parameter secret.
func bearer(r *http.Request) string {
	return cmp.Or(headerSecret(r), r.URL.Query().Get("secret"))
}

// headerSecret returns the secret that came as a bearer token (RFC 6750) or as the header secret.
func headerSecret(r *http.Request) string {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "bearer") {
		return strings.TrimSpace(token)
	}
	return r.Header.Get("secret")
}

// audit tells who changed what, or tried to.
func (c *v1Call) audit(action string, err error) {
	x := Action{Action: action, By: c.who.name, Result: "done"}
	if err != nil {
		_, x.Result, _ = c.problemOf(err)
	}
	c.api.tell(c.r, &c.settings, x, c.about, err)
}

// note adds to the audit line.
func (c *v1Call) note(attrs ...any) { c.about = append(c.about, attrs...) }

// refusal is an error of the client with a status of its own.
type refusal struct {
	status       int
	code, detail string
}

// Error implements error.
func (e *refusal) Error() string { return e.detail }

// fail answers with a problem.
func (c *v1Call) fail(err error) {
	if c.failField(err) {
		return
	}
	status, code, detail := c.problemOf(err)
	if code == ProblemJournal {
		c.api.log.ErrorContext(c.r.Context(), "api: a request failed", "path", c.r.URL.Path, "err", err)
	}
	c.api.problem(c.w, status, code, detail)
}

// problemOf says what a client is told of an error.
func (c *v1Call) problemOf(err error) (status int, code, detail string) {
	var bad *badParameter
	var refused *refusal
	switch {
	case errors.As(err, new(FieldErrors)):
		return http.StatusBadRequest, ProblemField, err.Error()
	case errors.As(err, &bad):
		return http.StatusBadRequest, ProblemParameter, err.Error()
	case errors.As(err, &refused):
		return refused.status, refused.code, refused.detail
	case errors.Is(err, ErrNoEndpoint):
		return http.StatusNotFound, ProblemNotFound, "there is no endpoint of this name"
	case errors.Is(err, ErrNoBackup):
		return http.StatusNotFound, ProblemNotFound, "there is no backup of this name"
	case errors.Is(err, ErrNoReplay):
		return http.StatusNotFound, ProblemNotFound, "there is no replay of this id"
	case errors.Is(err, delivery.ErrNoDeadLetter):
		return http.StatusNotFound, ProblemNotFound, "there is no dead letter at this position"
	case errors.Is(err, errNoEvent):
		return http.StatusNotFound, ProblemNotFound, "the journal has no such event"
	case errors.Is(err, errNoHistory):
		return http.StatusNotFound, ProblemNotFound, "the journal has no event of this stream"
	case errors.Is(err, ErrConflict):
		return http.StatusConflict, ProblemConflict, err.Error()
	}
	return http.StatusServiceUnavailable, ProblemJournal, "the journal can't be read or written"
}

// answer writes a success.
func (c *v1Call) answer(status int, v any) error {
	c.api.plain(c.w, status, v)
	return nil
}

// answerTagged is answer with an ETag, for what clients ask for again and again. Who has it gets 304.
func (c *v1Call) answerTagged(v any) error {
	b, err := marshal(v)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	tag := `"` + hex.EncodeToString(sum[:12]) + `"`
	c.w.Header().Set("ETag", tag)
	c.w.Header().Set("Cache-Control", "no-cache")
	for has := range strings.SplitSeq(c.r.Header.Get("If-None-Match"), ",") {
		if has = strings.TrimPrefix(strings.TrimSpace(has), "W/"); has == tag {
			c.w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	return c.answer(http.StatusOK, v)
}

// maxRequest bounds the body of a request to /api/v1, in bytes; http.maxReqSize may be less.
const maxRequest = 256 << 10

// body reads a JSON object that has no members but those of v. Its type is application/json, or one of kinds.
func (c *v1Call) body(v any, kinds ...string) error {
	kind, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" && !slices.Contains(kinds, kind) {
		return &refusal{http.StatusUnsupportedMediaType, ProblemMedia, "the body must be application/json"}
	}
	most := min(c.settings.MaxReqSize, maxRequest)
	rc := http.NewResponseController(c.w)
	_ = rc.SetReadDeadline(time.Now().Add(bodyTimeout)) // not every writer has one
	b, err := io.ReadAll(io.LimitReader(c.r.Body, most+1))
	_ = rc.SetReadDeadline(time.Time{})
	if err != nil {
		c.w.Header().Set("Connection", "close")
		return &refusal{http.StatusBadRequest, ProblemBody, "the body did not arrive"}
	}
	if int64(len(b)) > most {
		c.w.Header().Set("Connection", "close")
		return &refusal{http.StatusRequestEntityTooLarge, ProblemBody, "the body is too large"}
	}
	in := json.NewDecoder(strings.NewReader(string(b)))
	in.DisallowUnknownFields()
	if err := in.Decode(v); err != nil {
		return &refusal{http.StatusBadRequest, ProblemBody, "the body is not what is expected: " + clip(err.Error(), 200)}
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return &refusal{http.StatusBadRequest, ProblemBody, "the body is more than one object"}
	}
	return nil
}

func clip(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "") }

func wantsStream(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/event-stream")
}

var _ EventReader = journal.Journal(nil)
