package ordercheck

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"

	"github.com/hookline/hookline/event"
)

// ErrNoEnvelope says that a body has no "event" member: it does not come from Hookline.
var ErrNoEnvelope = errors.New("ordercheck: body has no event member")

// Body is the part of a hook's body that the checker, or somebody who prints it, reads.
type Body struct {
	Event event.Envelope
	// Index is hook_index; HasIndex tells an absent one from 0.
	Index    uint64
	HasIndex bool
	// Vhost, App, Stream, Schema and Params are as in the body: not replaced, unlike Event.Stream.
	Vhost, App, Stream, Schema, Params string
	// Regist is set for on_stream_changed, Player for on_flow_report.
	Regist, Player *bool
	// Reason is that of on_publication_ended or of a gap notice.
	Reason string
	// Gaps are what the body announces: itself when it is on_event_gap, and the list in event.gap.
	Gaps []event.Gap
	// Late marks a redriven dead letter; Replay holds the id of a replay that somebody asked for.
	Late   bool
	Replay string

	digest uint64 // of everything that must be the same on every attempt
}

// members are the members of a body that are read.
type members struct {
	Index  *uint64 `json:"hook_index"`
	Vhost  string  `json:"vhost"`
	App    string  `json:"app"`
	Stream string  `json:"stream"`
	Schema string  `json:"schema"`
	Params string  `json:"params"`
	Regist *bool   `json:"regist"`
	Player *bool   `json:"player"`
	Reason string  `json:"reason"`
}

// marks are what a later attempt may add to the event member.
type marks struct {
	Late   bool   `json:"late"`
	Replay string `json:"replay"`
}

// Parse reads the body of a hook. It fails with [ErrNoEnvelope] when the body is a JSON object without an event
// member; the other members are set nonetheless.
func Parse(body []byte) (*Body, error) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, fmt.Errorf("ordercheck: body is not a JSON object: %w", err)
	}
	if raw == nil {
		return nil, errors.New("ordercheck: body is null")
	}
	b, err := read(body)
	if err != nil {
		return nil, err
	}
	env, ok := raw["event"]
	if !ok {
		return b, ErrNoEnvelope
	}
	if err := b.envelope(env); err != nil {
		return nil, err
	}
	return b, b.finish(body, raw)
}

// ParseCloudEvents reads a request in one of the CloudEvents forms: one event, or a batch.
func ParseCloudEvents(body []byte, batch bool) ([]*Body, error) {
	var list []event.CloudEvent
	var err error
	if batch {
		list, err = event.ParseCloudEventBatch(body, event.BatchLimit{})
	} else {
		var ce event.CloudEvent
		ce.Envelope, ce.HookIndex, ce.Body, err = event.ParseCloudEvent(body)
		list = []event.CloudEvent{ce}
	}
	if err != nil {
		return nil, fmt.Errorf("ordercheck: %w", err)
	}
	out := make([]*Body, 0, len(list))
	for i := range list {
		b, err := fromCloudEvent(&list[i])
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", i+1, err)
		}
		out = append(out, b)
	}
	return out, nil
}

func fromCloudEvent(ce *event.CloudEvent) (*Body, error) {
	b, err := read(ce.Body)
	if err != nil {
		return nil, err
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(ce.Body, &raw); err != nil {
		return nil, fmt.Errorf("ordercheck: data: %w", err)
	}
	if !b.HasIndex || b.Index != ce.HookIndex {
		return nil, fmt.Errorf("ordercheck: hookindex is %d, hook_index %d", ce.HookIndex, b.Index)
	}
	b.Event, b.Late, b.Replay, b.Gaps = ce.Envelope, ce.Envelope.Late, ce.Envelope.Replay, slices.Clone(ce.Envelope.Gap)
	return b, b.finish(ce.Body, raw)
}

// read reads the members that the hooks have.
func read(body []byte) (*Body, error) {
	var m members
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("ordercheck: body: %w", err)
	}
	b := &Body{
		Vhost: m.Vhost, App: m.App, Stream: m.Stream, Schema: m.Schema, Params: m.Params,
		Regist: m.Regist, Player: m.Player, Reason: m.Reason,
	}
	if m.Index != nil {
		b.Index, b.HasIndex = *m.Index, true
	}
	return b, nil
}

// finish takes what a gap notice names, and the digest.
func (b *Body) finish(body []byte, raw map[string]json.RawMessage) error {
	if b.Event.Type == event.OnEventGap {
		var g event.Gap
		if err := json.Unmarshal(body, &g); err != nil {
			return fmt.Errorf("ordercheck: gap notice: %w", err)
		}
		b.Gaps = append(b.Gaps, g)
	}
	b.digest = digest(raw, b.Event)
	return nil
}

func (b *Body) envelope(raw json.RawMessage) error {
	if err := json.Unmarshal(raw, &b.Event); err != nil {
		return fmt.Errorf("ordercheck: event member: %w", err)
	}
	var m marks
	if err := json.Unmarshal(raw, &m); err != nil {
		return fmt.Errorf("ordercheck: event member: %w", err)
	}
	b.Late, b.Replay = m.Late, m.Replay
	b.Gaps = slices.Clone(b.Event.Gap)
	return nil
}

// digest hashes the members in a fixed order. What the delivery may add to a later attempt (gap, late, replay) is
// left out.
func digest(raw map[string]json.RawMessage, env event.Envelope) uint64 {
	h := fnv.New64a()
	keys := make([]string, 0, len(raw))
	for k := range raw {
		if k != "event" {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	var flat bytes.Buffer
	for _, k := range keys {
		flat.Reset()
		flat.WriteString(strconv.Quote(k))
		// The value was part of a valid document.
		_ = json.Compact(&flat, raw[k])
		_, _ = h.Write(flat.Bytes())
	}
	env.Gap, env.Late, env.Replay, env.Prev = nil, false, "", nil // prev is compared by itself
	own, err := json.Marshal(env)
	if err == nil {
		_, _ = h.Write(own)
	}
	return h.Sum64()
}
