package api

import (
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/attempts"
	"github.com/hookline/hookline/internal/delivery"
)

// endpointView is an element of /api/v1/endpoints. What only a Platform knows is absent without one.
type endpointView struct {
	Name        string   `json:"name"`
	Format      string   `json:"format,omitempty"`
	State       string   `json:"state,omitempty"`
	URLs        []string `json:"urls,omitempty"`
	Events      []string `json:"events,omitempty"`
	Streams     []string `json:"streams,omitempty"`
	Paused      bool     `json:"paused"`
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
	// LagSeconds is the age of the oldest event that still has to be sent.
	LagSeconds float64 `json:"lagSeconds"`
	// Latency of the answers of the last minutes, absent without any.
	Latency *latencyView `json:"latency,omitempty"`
	// Results counts requests since the start.
	Results   map[string]uint64 `json:"results"`
	LastError *lastErrorView    `json:"lastError,omitempty"`
	Targets   []targetView      `json:"targets"`
	// Origin says where it is defined, and Config how: the keys of its section, secrets masked.
	Origin string            `json:"origin,omitempty"`
	Config map[string]string `json:"config,omitempty"`
}

// latencyView has percentiles, in milliseconds.
type latencyView struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
}

// lastErrorView is the newest attempt that was not accepted.
type lastErrorView struct {
	Time   time.Time  `json:"time"`
	URL    string     `json:"url"`
	Error  string     `json:"error"`
	Type   event.Type `json:"type"`
	Stream string     `json:"stream"`
	Event  string     `json:"event"`
}

// targetView is the state of one URL.
type targetView struct {
	URL         string     `json:"url"`
	State       string     `json:"state"`
	InFlight    int        `json:"inFlight"`
	Slots       int        `json:"slots"`
	Failures    int        `json:"failures"`
	LatencyMS   float64    `json:"latencyMs"`
	DownSince   *time.Time `json:"downSince,omitempty"`
	NextProbe   *time.Time `json:"nextProbe,omitempty"`
	LastSuccess *time.Time `json:"lastSuccess,omitempty"`
	LastError   string     `json:"lastError,omitempty"`
	LastErrorAt *time.Time `json:"lastErrorAt,omitempty"`
}

// observed fills in what is known from attempts.
func (v *endpointView) observed(st *delivery.Stats) {
	v.LagSeconds, v.Results, v.Targets = lagSeconds(st), map[string]uint64{}, []targetView{}
	for r := range attempts.Results {
		v.Results[r.String()] = st.Results[r]
	}
	if st.P50 > 0 {
		v.Latency = &latencyView{millis(st.P50), millis(st.P90), millis(st.P99)}
	}
	if e := &st.LastError; !e.Time.IsZero() {
		v.LastError = &lastErrorView{
			Time: e.Time.UTC(), URL: e.URL, Error: e.Text, Type: e.Type, Stream: e.Stream, Event: e.Event,
		}
	}
	for i := range st.URLs {
		u := &st.URLs[i]
		v.Targets = append(v.Targets, targetView{
			URL: u.URL, State: u.State, InFlight: u.InFlight, Slots: u.Slots, Failures: u.Failures,
			LatencyMS: millis(u.Latency), DownSince: timeOf(u.DownSince), NextProbe: timeOf(u.NextProbe),
			LastSuccess: timeOf(u.LastSuccess), LastError: u.LastError, LastErrorAt: timeOf(u.LastErrorAt),
		})
	}
}

// lagSeconds is the age of the oldest event that still has to be sent, 0 when there is none.
func lagSeconds(st *delivery.Stats) float64 {
	if st.Oldest.IsZero() {
		return 0
	}
	return max(0, math.Round(time.Since(st.Oldest).Seconds()*1e3)/1e3)
}

// endpoints returns the endpoints by name.
func (a *API) endpoints() []EndpointInfo {
	var list []EndpointInfo
	switch {
	case a.deps.Platform != nil:
		list = slices.Clone(a.deps.Platform.Endpoints())
	case a.deps.Endpoints != nil:
		for _, e := range a.deps.Endpoints() {
			list = append(list, EndpointInfo{Name: e.Name, Stats: e.Stats})
		}
	}
	slices.SortFunc(list, func(x, y EndpointInfo) int { return strings.Compare(x.Name, y.Name) })
	return list
}

func viewEndpoint(e *EndpointInfo) endpointView {
	st := &e.Stats
	v := endpointView{
		Name: e.Name, Format: e.Format, Origin: e.Origin, Config: e.Keys, State: e.State, Events: e.Events, Streams: e.Streams, Paused: e.Paused,
		Lag: lag(st), Floor: st.Floor, Next: st.Next, Tail: st.Tail, Delivered: st.Delivered,
		Refused: st.Refused, DeadLetters: st.DeadLetters, Gaps: st.Gaps, Attempts: st.Attempts,
		Retries: st.Retries, Cuts: st.Cuts, Lanes: st.Lanes, Parked: st.Parked, Held: st.Held,
		InFlight: st.InFlight, Down: st.Down, Gone: []string{}, StoreFailed: st.StoreFailed,
	}
	v.observed(st)
	for _, u := range st.Gone {
		v.Gone = append(v.Gone, withoutSecrets(u))
	}
	for _, u := range e.URLs {
		if clean := withoutSecrets(u); clean != "" {
			u = clean // a list of brokers is no URL; user and password are out of it already
		}
		v.URLs = append(v.URLs, u)
	}
	slices.Sort(v.Gone)
	slices.Sort(v.URLs)
	v.URLs = slices.Compact(v.URLs)
	return v
}

func (c *v1Call) listEndpoints() error {
	views := []endpointView{}
	for _, e := range c.api.endpoints() {
		views = append(views, viewEndpoint(&e))
	}
	return c.answerTagged(map[string]any{"endpoints": views})
}

func (c *v1Call) getEndpoint() error {
	return c.showEndpoint(http.StatusOK, c.path[0])
}

func (a *API) endpoint(name string) (EndpointInfo, error) {
	for _, e := range a.endpoints() {
		if e.Name == name {
			return e, nil
		}
	}
	return EndpointInfo{}, ErrNoEndpoint
}

// pause returns the handler of pause and of resume. It answers with the endpoint as it is afterwards.
func pause(paused bool) func(*v1Call) error {
	return func(c *v1Call) error {
		c.note("endpoint", clip(c.path[0], maxName))
		if err := checkText("name", c.path[0], maxName); err != nil {
			return err
		}
		if err := c.api.deps.Platform.Pause(c.path[0], paused); err != nil {
			return err
		}
		return c.getEndpoint()
	}
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
