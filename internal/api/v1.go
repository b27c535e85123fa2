package api

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/journal"
)

const v1Prefix = "/api/v1/"

// serveV1 serves /api/v1.
func (a *API) serveV1(w http.ResponseWriter, r *http.Request) {
	s := a.settings()
	crossDomain(w, r, &s)
	w.Header().Set("Cache-Control", "no-store")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		a.problem(w, http.StatusMethodNotAllowed, ProblemMethod, "")
		return
	}
	if !a.admit(w, r, &s) {
		return
	}
	path := strings.TrimPrefix(r.URL.Path, v1Prefix)
	id, one := strings.CutPrefix(path, "events/")
	switch {
	case path == "events/stream", path == "events" && wantsStream(r):
		a.streamEvents(w, r)
		return
	case path == "events":
		a.listEvents(w, r)
	case one && id != "" && !strings.Contains(id, "/"):
		a.getEvent(w, r, id)
	case path == "dead-letters":
		a.listDeadLetters(w, r)
	case path == "endpoints":
		a.listEndpoints(w)
	default:
		a.problem(w, http.StatusNotFound, ProblemNotFound, "no such resource")
	}
}

// admit checks the address and the secret.
func (a *API) admit(w http.ResponseWriter, r *http.Request, s *Settings) bool {
	if !a.allowed(r, s) {
		a.problem(w, http.StatusForbidden, ProblemForbidden, "this address is not allowed")
		return false
	}
	if same(bearer(r), s.Secret) {
		return true
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="hookline"`)
	a.problem(w, http.StatusUnauthorized, ProblemUnauthorized, "the secret is missing or wrong")
	return false
}

// bearer returns the secret that came as a bearer token (RFC 6750), as the header secret or as the parameter secret.
func bearer(r *http.Request) string {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "bearer") {
		return strings.TrimSpace(token)
	}
	return cmp.Or(r.Header.Get("secret"), r.URL.Query().Get("secret"))
}

func wantsStream(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/event-stream")
}

// badParameter is an error of the client.
type badParameter struct{ name, want string }

// Error implements error.
func (e *badParameter) Error() string { return "parameter " + e.name + " must be " + e.want }

// number returns an unsigned parameter, def when it is absent.
func number(q url.Values, name string, def uint64) (uint64, error) {
	v := q.Get(name)
	if v == "" {
		return def, nil
	}
	n, err := strconv.ParseUint(v, 10, 63)
	if err != nil {
		return 0, &badParameter{name, "a non-negative integer"}
	}
	return n, nil
}

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// limit returns the parameter limit, 1 to maxLimit.
func limit(q url.Values) (int, error) {
	n, err := number(q, "limit", defaultLimit)
	if err != nil || n == 0 || n > maxLimit {
		return 0, &badParameter{"limit", "an integer from 1 to 1000"}
	}
	return int(n), nil
}

// instant returns a time: RFC 3339, or Unix seconds with a fraction; zero when it is absent.
func instant(q url.Values, name string) (time.Time, error) {
	v := q.Get(name)
	if v == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, v); err == nil {
		return t, nil
	}
	const farthest = 1 << 33 // in the year 2242; beyond, nanoseconds overflow
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || !(f >= 0 && f < farthest) {
		return time.Time{}, &badParameter{name, "a time in RFC 3339 or in Unix seconds"}
	}
	return time.Unix(0, int64(f*1e9)), nil
}

// endpointView is an element of /api/v1/endpoints.
type endpointView struct {
	Name        string   `json:"name"`
	Lag         uint64   `json:"lag"`
	Floor       uint64   `json:"floor"`
	Next        uint64   `json:"next"`
	Tail        uint64   `json:"tail"`
	Delivered   uint64   `json:"delivered"`
	Refused     uint64   `json:"refused"`
	DeadLetters uint64   `json:"deadLetters"`
	Gaps        uint64   `json:"gaps"`
	Attempts    uint64   `json:"attempts"`
	Retries     uint64   `json:"retries"`
	Cuts        uint64   `json:"cuts"`
	Lanes       int      `json:"lanes"`
	Parked      int      `json:"parked"`
	Held        int      `json:"held"`
	InFlight    int      `json:"inFlight"`
	Down        bool     `json:"down"`
	Gone        []string `json:"gone"`
	StoreFailed bool     `json:"storeFailed"`
}

func (a *API) endpoints() []EndpointStats {
	if a.deps.Endpoints == nil {
		return nil
	}
	list := slices.Clone(a.deps.Endpoints())
	slices.SortFunc(list, func(x, y EndpointStats) int { return strings.Compare(x.Name, y.Name) })
	return list
}

func (a *API) listEndpoints(w http.ResponseWriter) {
	views := []endpointView{}
	for _, e := range a.endpoints() {
		st := &e.Stats
		v := endpointView{
			Name: e.Name, Lag: lag(st), Floor: st.Floor, Next: st.Next, Tail: st.Tail, Delivered: st.Delivered,
			Refused: st.Refused, DeadLetters: st.DeadLetters, Gaps: st.Gaps, Attempts: st.Attempts,
			Retries: st.Retries, Cuts: st.Cuts, Lanes: st.Lanes, Parked: st.Parked, Held: st.Held,
			InFlight: st.InFlight, Down: st.Down, Gone: []string{}, StoreFailed: st.StoreFailed,
		}
		for _, u := range st.Gone {
			v.Gone = append(v.Gone, withoutSecrets(u))
		}
		slices.Sort(v.Gone)
		views = append(views, v)
	}
	a.plain(w, http.StatusOK, map[string]any{"endpoints": views})
}

// lag is the number of positions that are not done.
func lag(st *delivery.Stats) uint64 {
	if st.Tail <= st.Floor {
		return 0
	}
	return st.Tail - st.Floor
}

// withoutSecrets takes user, password and query out of a URL.
func withoutSecrets(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// deadLetterView is an element of /api/v1/dead-letters.
type deadLetterView struct {
	Endpoint string    `json:"endpoint"`
	Reason   string    `json:"reason"`
	Error    string    `json:"error"`
	Attempts int       `json:"attempts"`
	Time     time.Time `json:"time"` // when it was given up
	Event    any       `json:"event"`
}

// listDeadLetters lists dead letters by endpoint and position; cursor is "endpoint/position" of the last one seen.
func (a *API) listDeadLetters(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	n, err := limit(q)
	if err != nil {
		a.problem(w, http.StatusBadRequest, ProblemParameter, err.Error())
		return
	}
	var letters []delivery.DeadLetter
	if a.deps.DeadLetters != nil {
		if letters, err = a.deps.DeadLetters(q.Get("endpoint")); err != nil {
			a.unavailable(w, r, err)
			return
		}
	}
	if letters, err = behind(letters, q.Get("cursor")); err != nil {
		a.problem(w, http.StatusBadRequest, ProblemParameter, err.Error())
		return
	}
	more := len(letters) > n
	letters = letters[:min(n, len(letters))]
	views, cursor := []deadLetterView{}, q.Get("cursor")
	for i := range letters {
		views = append(views, viewOf(&letters[i]))
		cursor = letters[i].Endpoint + "/" + strconv.FormatUint(letters[i].Position, 10)
	}
	a.plain(w, http.StatusOK, map[string]any{"deadLetters": views, "cursor": cursor, "more": more})
}

// behind returns the letters after the cursor, sorted.
func behind(letters []delivery.DeadLetter, cursor string) ([]delivery.DeadLetter, error) {
	slices.SortStableFunc(letters, func(x, y delivery.DeadLetter) int {
		return cmp.Or(strings.Compare(x.Endpoint, y.Endpoint), cmp.Compare(x.Position, y.Position))
	})
	if cursor == "" {
		return letters, nil
	}
	slash := strings.LastIndexByte(cursor, '/')
	position, err := strconv.ParseUint(cursor[slash+1:], 10, 64)
	if slash < 0 || err != nil {
		return nil, &badParameter{"cursor", "one that this list has returned"}
	}
	at := slices.IndexFunc(letters, func(d delivery.DeadLetter) bool {
		return cmp.Or(strings.Compare(d.Endpoint, cursor[:slash]), cmp.Compare(d.Position, position)) > 0
	})
	if at < 0 {
		return nil, nil
	}
	return letters[at:], nil
}

func viewOf(d *delivery.DeadLetter) deadLetterView {
	v := deadLetterView{Endpoint: d.Endpoint, Reason: d.Reason, Error: d.Error, Attempts: d.Attempts, Time: d.Time}
	if rec := decode(d.Record); rec != nil {
		rec.Position = d.Position
		e := eventOf(rec)
		v.Event = &e
	}
	return v
}

// unavailable answers when the journal can't be read.
func (a *API) unavailable(w http.ResponseWriter, r *http.Request, err error) {
	a.log.ErrorContext(r.Context(), "api: can't read the journal", "path", r.URL.Path, "err", err)
	a.problem(w, http.StatusServiceUnavailable, ProblemJournal, "the journal can't be read")
}

var _ EventReader = journal.Journal(nil)
