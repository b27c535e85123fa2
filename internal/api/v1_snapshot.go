package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/sequencer"
	"github.com/hookline/hookline/internal/stream"
)

const (
	// snapshotTime bounds the wait for the journal.
	snapshotTime = 10 * time.Second
	// maxPlace bounds the cursor of a snapshot, in bytes: it names a stream.
	maxPlace = 128 << 10
)

// snapshotView is a page of the live state.
type snapshotView struct {
	Source      string `json:"source"`
	Incarnation string `json:"incarnation"`
	Epoch       int64  `json:"epoch"`
	// IndexFloor is the hook_index that would have been given next when the snapshot was begun.
	IndexFloor uint64 `json:"index_floor"`
	// EventsCursor is where to go on with the events.
	EventsCursor uint64     `json:"eventsCursor"`
	Streams      []liveView `json:"streams"`
	Cursor       string     `json:"cursor,omitempty"`
	More         bool       `json:"more"`
}

// liveView is a live publication.
type liveView struct {
	Stream      string         `json:"stream"`
	Publication string         `json:"publication"`
	Seq         uint64         `json:"seq"`
	Schemas     []string       `json:"schemas"`
	Since       time.Time      `json:"since"`
	Params      string         `json:"params"`
	Origin      string         `json:"originTypeStr"`
	Publisher   *publisherView `json:"publisher,omitempty"`
	// Readers is what the hub counts now, absent when no schema is registered. It has no part in Seq.
	Readers *int `json:"readers,omitempty"`
}

type publisherView struct {
	Protocol string `json:"protocol"`
	fact.Client
}

// snapshot shows what is live, so that it can be joined with later events.
func (c *v1Call) snapshot() error {
	n, err := limit(c.query)
	if err != nil {
		return err
	}
	at, err := placeOf(c.query.Get("cursor"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), snapshotTime)
	defer cancel()
	snap, err := c.api.deps.Operations.Snapshot(ctx, at, n)
	if errors.Is(err, sequencer.ErrPlace) {
		return &refusal{http.StatusConflict, ProblemRestarted, "the server has been restarted since; begin a new snapshot"}
	}
	if err != nil {
		return err
	}
	v := snapshotView{
		Source: snap.Source, Incarnation: snap.Incarnation, Epoch: snap.Epoch, IndexFloor: snap.Index, EventsCursor: snap.Cursor,
		Streams: make([]liveView, 0, len(snap.Entries)), More: snap.Next != nil,
	}
	for i := range snap.Entries {
		v.Streams = append(v.Streams, c.api.viewLive(&snap.Entries[i]))
	}
	if v.Cursor, err = placeText(snap.Next); err != nil {
		return err
	}
	return c.answerTagged(v)
}

func (a *API) viewLive(e *sequencer.LivePublication) liveView {
	v := liveView{
		Stream: e.Stream.Key(), Publication: e.Publication, Seq: e.Seq, Schemas: e.Schemas, Params: e.Params,
		Since: time.UnixMilli(e.Start).UTC(), Origin: e.OriginType.String(),
	}
	if v.Schemas == nil {
		v.Schemas = []string{}
	}
	if e.Protocol != "" {
		v.Publisher = &publisherView{e.Protocol, e.Publisher}
	}
	f := stream.Filter{Vhost: e.Stream.Vhost, App: e.Stream.App, Stream: e.Stream.Stream}
	if info, ok := a.deps.Hub.Get(f); ok && info.Publication == e.Publication {
		v.Readers = &info.TotalReaderCount
	}
	return v
}

// placeText makes a cursor of a place, "" of none.
func placeText(p *sequencer.Place) (string, error) {
	if p == nil {
		return "", nil
	}
	b, err := json.Marshal(p)
	return base64.RawURLEncoding.EncodeToString(b), err
}

func placeOf(cursor string) (at sequencer.Place, err error) {
	if cursor == "" {
		return at, nil
	}
	bad := &badParameter{"cursor", "one of an earlier page"}
	if len(cursor) > maxPlace {
		return at, bad
	}
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || json.Unmarshal(b, &at) != nil || at.Incarnation == "" {
		return at, bad
	}
	return at, nil
}
