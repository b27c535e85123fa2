package api

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hookline/hookline/event"
)

// replayView is a replay of /api/v1.
type replayView struct {
	ID        string `json:"id,omitempty"` // a dry run has none
	Endpoint  string `json:"endpoint"`
	State     string `json:"state"`
	Error     string `json:"error,omitempty"`
	From      uint64 `json:"from"`
	To        uint64 `json:"to"`
	At        uint64 `json:"at"`
	Count     uint64 `json:"count"`
	Delivered uint64 `json:"delivered"`
	Failed    uint64 `json:"failed"`
	// Missed, when it is done, are events that retention removed meanwhile; Gap is what it had removed before.
	Missed  uint64       `json:"missed,omitempty"`
	Gap     *positionGap `json:"gap,omitempty"`
	DryRun  bool         `json:"dryRun,omitempty"`
	Started *time.Time   `json:"started,omitempty"`
	Ended   *time.Time   `json:"ended,omitempty"`
}

func viewReplay(r *ReplayInfo) replayView {
	v := replayView{
		ID: r.ID, Endpoint: r.Endpoint, State: r.State, From: r.From, To: r.To, At: r.At, Count: r.Count,
		Delivered: r.Delivered, Failed: r.Failed, Missed: r.Missed, Error: r.Error,
	}
	if r.GapTo > 0 {
		v.Gap = &positionGap{r.GapFrom, r.GapTo, gapRetention}
	}
	if !r.Started.IsZero() {
		v.Started = &r.Started
	}
	if !r.Ended.IsZero() {
		v.Ended = &r.Ended
	}
	return v
}

// replayBody is the body of a request for a replay.
type replayBody struct {
	Endpoint string    `json:"endpoint"`
	From     uint64    `json:"from"`
	To       uint64    `json:"to"`
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until"`
	Types    []string  `json:"types"`
	Streams  []string  `json:"streams"`
	Stall    int       `json:"stallSeconds"`
	DryRun   bool      `json:"dryRun"`
}

const (
	// maxStall is the longest time, in seconds, that a replay may wait for its receiver.
	maxStall = 86400

	// maxPatterns is the number of patterns for streams in one request, and maxPattern their length in bytes.
	maxPatterns = 100
	maxPattern  = 1024
)

// request checks the body.
func (b *replayBody) request() (ReplayRequest, error) {
	req := ReplayRequest{
		Endpoint: b.Endpoint, From: b.From, To: b.To, Since: b.Since, Until: b.Until, Streams: b.Streams, DryRun: b.DryRun,
		Stall: time.Duration(b.Stall) * time.Second,
	}
	const most = 1 << 63
	switch {
	case b.Endpoint == "":
		return req, &badParameter{"endpoint", "the name of an endpoint"}
	case b.From >= most || b.To >= most:
		return req, &badParameter{"from", "a position, as to"}
	case b.To != 0 && b.From > b.To:
		return req, &badParameter{"to", "0 or not before from"}
	case !b.Since.IsZero() && !b.Until.IsZero() && !b.Since.Before(b.Until):
		return req, &badParameter{"until", "after since"}
	case b.Stall < 0 || b.Stall > maxStall:
		return req, &badParameter{"stallSeconds", "1 to 86400, or 0 for the default"}
	case len(b.Streams) > maxPatterns:
		return req, &badParameter{"streams", "at most 100 patterns"}
	case len(b.Types) > len(event.Types()):
		return req, &badParameter{"types", "names of event types, each once"}
	}
	if err := checkText("endpoint", b.Endpoint, maxName); err != nil {
		return req, err
	}
	for _, p := range b.Streams {
		if err := checkText("streams", p, maxPattern); err != nil || p == "" {
			return req, &badParameter{"streams", "patterns of 1 to 1024 bytes"}
		}
	}
	for _, name := range b.Types {
		if !slices.Contains(event.Types(), event.Type(name)) {
			return req, &badParameter{"types", "names of event types"}
		}
		req.Types = append(req.Types, event.Type(name))
	}
	return req, nil
}

// startReplay starts a replay: 201 with its place; a dry run: 200.
func (c *v1Call) startReplay() error {
	var in replayBody
	if err := c.body(&in); err != nil {
		return err
	}
	req, err := in.request()
	if err != nil {
		return err
	}
	c.note("endpoint", req.Endpoint, "dry_run", req.DryRun)
	info, err := c.api.deps.Platform.StartReplay(req)
	if err != nil {
		return err
	}
	v := viewReplay(&info)
	if v.DryRun = req.DryRun; v.DryRun {
		c.note("count", info.Count)
		return c.answer(http.StatusOK, v)
	}
	c.note("replay", info.ID, "from", info.From, "to", info.To)
	c.w.Header().Set("Location", v1Prefix+"replays/"+url.PathEscape(info.ID))
	return c.answer(http.StatusCreated, v)
}

// listReplays lists replays, the newest first.
func (c *v1Call) listReplays() error {
	list := slices.Clone(c.api.deps.Platform.Replays())
	slices.SortFunc(list, func(x, y ReplayInfo) int {
		return cmp.Or(y.Started.Compare(x.Started), strings.Compare(x.ID, y.ID))
	})
	views := []replayView{}
	for i := range list[:min(len(list), maxLimit)] {
		views = append(views, viewReplay(&list[i]))
	}
	return c.answer(http.StatusOK, map[string]any{"replays": views})
}

func (c *v1Call) getReplay() error {
	for _, r := range c.api.deps.Platform.Replays() {
		if r.ID == c.path[0] {
			return c.answer(http.StatusOK, viewReplay(&r))
		}
	}
	return ErrNoReplay
}

func (c *v1Call) cancelReplay() error {
	if err := checkText("id", c.path[0], maxName); err != nil {
		return err
	}
	c.note("replay", c.path[0])
	if err := c.api.deps.Platform.CancelReplay(c.path[0]); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
