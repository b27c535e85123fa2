package api

import (
	"net/http"
	"sync/atomic"
)

// Readiness says whether the server takes streams. The zero value is not ready: its listeners are not open.
type Readiness struct {
	// Journal returns nil while events are journaled. It is set before the first request; nil: always.
	Journal func() error

	listening, stopping atomic.Bool
}

// Listening says that the listeners are open.
func (r *Readiness) Listening() { r.listening.Store(true) }

// Stopping says that the server is stopping; there is no way back.
func (r *Readiness) Stopping() { r.stopping.Store(true) }

// Reason is why the server is not ready.
type Reason struct {
	// Code is "journal", "listeners" or "stopping".
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Reasons returns why the server is not ready, nothing when it is.
func (r *Readiness) Reasons() []Reason {
	var out []Reason
	if r.Journal != nil {
		if err := r.Journal(); err != nil {
			out = append(out, Reason{"journal", err.Error()})
		}
	}
	switch {
	case r.stopping.Load():
		out = append(out, Reason{"stopping", "the server is stopping"})
	case !r.listening.Load():
		out = append(out, Reason{"listeners", "the listeners are not open yet"})
	}
	return out
}

func readOnly(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	return false
}

// serveHealth says that the process is up.
func (a *API) serveHealth(w http.ResponseWriter, r *http.Request) {
	if readOnly(w, r) {
		a.plain(w, http.StatusOK, map[string]string{"status": "ok"})
	}
}

// serveReady says whether the server takes streams. What is wrong in detail is for allowed addresses only.
func (a *API) serveReady(w http.ResponseWriter, r *http.Request) {
	if !readOnly(w, r) {
		return
	}
	reasons := a.deps.Readiness.Reasons()
	if len(reasons) == 0 {
		a.plain(w, http.StatusOK, map[string]string{"status": "ready"})
		return
	}
	if s := a.settings(); !a.allowed(r, &s) {
		for i := range reasons {
			reasons[i].Detail = ""
		}
	}
	a.plain(w, http.StatusServiceUnavailable, map[string]any{"status": "not ready", "reasons": reasons})
}

func (a *API) serveMetrics(w http.ResponseWriter, r *http.Request) {
	if !readOnly(w, r) {
		return
	}
	if s := a.settings(); !a.allowed(r, &s) {
		a.problem(w, http.StatusForbidden, ProblemForbidden, "this address is not allowed")
		return
	}
	a.deps.Metrics.ServeHTTP(w, r)
}

// plain writes JSON that is not ZLMediaKit's.
func (a *API) plain(w http.ResponseWriter, status int, v any) {
	b, err := marshal(v)
	if err != nil {
		a.log.Error("api: answer has no JSON form", "err", err)
		a.problem(w, http.StatusInternalServerError, "internal", "")
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the client has left
}
