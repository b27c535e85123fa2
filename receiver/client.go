package receiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Fetcher reads events that are missing; [API] is one.
type Fetcher interface {
	// Fetch returns the events of the stream with a seq in missed, in seq order, as far as the sender still has them.
	Fetch(ctx context.Context, stream string, missed Range) ([]*Event, error)
}

// Snapshotter reads the live state; [API] is one.
type Snapshotter interface {
	Snapshot(ctx context.Context) (*Snapshot, error)
}

// Snapshot is what is live at the sender.
type Snapshot struct {
	Source string
	Epoch  int64
	// IndexFloor: a stream that is absent was not live after the events below this hook_index.
	IndexFloor uint64
	Entries    []SnapshotEntry
	// Asked and Media are of plain ZLMediaKit, which knows nothing of the above: when the list was asked for, and the list of
	// getMediaList. Media is not nil then.
	Asked time.Time
	Media []StreamChanged
}

// SnapshotEntry is a live publication.
type SnapshotEntry struct {
	Stream      string    `json:"stream"`
	Publication string    `json:"publication"`
	Seq         uint64    `json:"seq"`
	Schemas     []string  `json:"schemas"`
	Since       time.Time `json:"since"`
	Params      string    `json:"params"`
	Origin      string    `json:"originTypeStr"`
	Publisher   *struct {
		IP string `json:"ip"`
	} `json:"publisher"`
	Readers *int `json:"readers"`
}

const (
	// pageLimit is how many entries one request asks for.
	pageLimit = 1000
	// maxPages bounds a snapshot, maxFetch the events of one fetch, maxAnswer the bytes of an answer.
	maxPages  = 1000
	maxFetch  = 10000
	maxAnswer = 32 << 20
	// restarts is how often a snapshot is begun anew because the sender restarted.
	restarts = 3
)

var errRestarted = errors.New("receiver: the sender restarted during the snapshot")

// API reads from a Hookline server.
type API struct {
	// URL is the server's HTTP address: "http://127.0.0.1:8080".
	URL string
	// Secret is api.secret.
	Secret string
	// Client is used for requests; nil: one with a time-out of ten seconds.
	Client *http.Client
}

// Fetch implements [Fetcher] with /api/v1/events.
func (a *API) Fetch(ctx context.Context, stream string, missed Range) ([]*Event, error) {
	var out []*Event
	for after := missed.From - 1; after < missed.To; {
		var page struct {
			Events []apiEvent `json:"events"`
			More   bool       `json:"more"`
		}
		err := a.get(ctx, "events", url.Values{
			"stream": {stream}, "after": {strconv.FormatUint(after, 10)}, "before": {strconv.FormatUint(missed.To+1, 10)},
			"limit": {strconv.Itoa(pageLimit)},
		}, &page)
		if err != nil {
			return nil, err
		}
		for _, e := range page.Events {
			if check(&e.Envelope) != nil || e.Seq <= after {
				return nil, errors.New("receiver: the list of events is not in order")
			}
			after = e.Seq
			out = append(out, &Event{Envelope: e.Envelope, HookIndex: e.HookIndex, Body: e.Body})
		}
		if !page.More || len(page.Events) == 0 || len(out) >= maxFetch {
			break
		}
	}
	return out, nil
}

// Snapshot implements [Snapshotter] with /api/v1/snapshot, all pages of it.
func (a *API) Snapshot(ctx context.Context) (*Snapshot, error) {
	for n := 1; ; n++ {
		s, err := a.snapshot(ctx)
		if !errors.Is(err, errRestarted) || n == restarts {
			return s, err
		}
	}
}

func (a *API) snapshot(ctx context.Context) (*Snapshot, error) {
	var s *Snapshot
	q := url.Values{"limit": {strconv.Itoa(pageLimit)}}
	for range maxPages {
		var page struct {
			Source     string          `json:"source"`
			Epoch      int64           `json:"epoch"`
			IndexFloor uint64          `json:"index_floor"`
			Streams    []SnapshotEntry `json:"streams"`
			Cursor     string          `json:"cursor"`
			More       bool            `json:"more"`
		}
		if err := a.get(ctx, "snapshot", q, &page); err != nil {
			return nil, err
		}
		if s == nil {
			s = &Snapshot{Source: page.Source, Epoch: page.Epoch, IndexFloor: page.IndexFloor}
		}
		s.Entries = append(s.Entries, page.Streams...)
		if !page.More {
			return s, nil
		}
		q.Set("cursor", page.Cursor)
	}
	return nil, errors.New("receiver: the snapshot does not end")
}

func (a *API) get(ctx context.Context, what string, q url.Values, v any) error {
	u := strings.TrimSuffix(a.URL, "/") + "/api/v1/" + what + "?" + q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, http.NoBody)
	if err != nil {
		return fmt.Errorf("receiver: %w", err)
	}
	if a.Secret != "" {
		req.Header.Set("Authorization", "Bearer "+a.Secret)
	}
	client := a.Client
	if client == nil {
		client = &http.Client{Timeout: 10 * time.Second}
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("receiver: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusConflict && q.Has("cursor") {
		return errRestarted
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("receiver: /api/v1/%s answers %d", what, resp.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(v); err != nil {
		return fmt.Errorf("receiver: /api/v1/%s: %w", what, err)
	}
	return nil
}
