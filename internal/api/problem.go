package api

import "net/http"

// Problem is an error of /api/v1, RFC 9457.
type Problem struct {
	// Type is a URI reference that names the kind of problem, "about:blank" when Status says it all.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Code is stable and meant for programs.
	Code string `json:"code"`
	// Errors are the members of the body that are wrong.
	Errors FieldErrors `json:"errors,omitempty"`
}

// Codes of problems.
const (
	ProblemUnauthorized = "unauthorized"
	ProblemForbidden    = "address_not_allowed"
	ProblemReadOnly     = "read_only_token"
	ProblemTooMany      = "too_many_failures"
	ProblemTooManyCalls = "too_many_calls"
	ProblemParameter    = "invalid_parameter"
	ProblemNotFound     = "not_found"
	ProblemMethod       = "method_not_allowed"
	ProblemBusy         = "too_many_event_streams"
	ProblemStopping     = "stopping"
	ProblemJournal      = "journal_unavailable"
	ProblemRestarted    = "snapshot_restarted"
	ProblemConflict     = "conflict"
	ProblemBody         = "invalid_body"
	ProblemMedia        = "unsupported_media_type"
	ProblemField        = "invalid_field"
	ProblemPrecondition = "precondition_failed"
)

func (a *API) problem(w http.ResponseWriter, status int, code, detail string) {
	a.writeProblem(w, Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Code: code,
	})
}

func (a *API) writeProblem(w http.ResponseWriter, p Problem) {
	b, err := marshal(p)
	if err != nil { // plain strings
		a.log.Error("api: problem has no JSON form", "err", err)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(b) // the client has left
}
