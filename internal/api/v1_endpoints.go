package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

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
		Name: e.Name, Format: e.Format, State: e.State, Events: e.Events, Streams: e.Streams, Paused: e.Paused,
		Lag: lag(st), Floor: st.Floor, Next: st.Next, Tail: st.Tail, Delivered: st.Delivered,
		Refused: st.Refused, DeadLetters: st.DeadLetters, Gaps: st.Gaps, Attempts: st.Attempts,
		Retries: st.Retries, Cuts: st.Cuts, Lanes: st.Lanes, Parked: st.Parked, Held: st.Held,
		InFlight: st.InFlight, Down: st.Down, Gone: []string{}, StoreFailed: st.StoreFailed,
	}
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
	return c.answer(http.StatusOK, map[string]any{"endpoints": views})
}

func (c *v1Call) getEndpoint() error {
	e, err := c.api.endpoint(c.path[0])
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, viewEndpoint(&e))
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
