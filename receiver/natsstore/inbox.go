package natsstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookline/hookline/receiver"
)

// An entry of the inbox is a value of the bucket under "inbox.<digest>.<ID>", its order is that of the stream's sequences. What was
// handled leaves a marker in its place, in the batch of the mark, until it is purged right after that: as long as it is there the entry is not taken
// again, and rightly so.
const (
	// nameHeader of an entry has the key's text.
	nameHeader = "Hookline-Key"
	// kvOperation of a marker is kvPurge, as of a key of a bucket that was purged.
	kvOperation = "KV-Operation"
	kvPurge     = "PURGE"
)

func (s *Store) inboxSubject(digest string) string {
	return "$KV." + s.cfg.Bucket + ".inbox." + digest + "."
}

// Accept implements [receiver.InboxStore]. An entry must fit in a message of the server: max_payload, 1 MiB unless configured otherwise.
func (s *Store) Accept(ctx context.Context, entries []receiver.Entry) error {
	for i := range entries {
		e := &entries[i]
		name, err := e.Key.MarshalText()
		if err != nil {
			return fmt.Errorf("natsstore: %w", err)
		}
		m := message(s.inboxSubject(e.Key.Digest())+e.ID, string(e.Data), "", 0) // nothing may be there
		m.Header.Set(nameHeader, string(name))
		_, err = s.js.PublishMsg(ctx, m)
		var api *jetstream.APIError
		if errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
			continue // it is there, or was handled
		}
		if err != nil {
			return fmt.Errorf("natsstore: %w", err)
		}
	}
	return nil
}

// oldest returns the oldest message of a key's inbox that is no marker; nil: there is none. Markers that were left are purged.
func (s *Store) oldest(ctx context.Context, digest string) (*jetstream.RawStreamMsg, error) {
	for after := uint64(0); ; {
		m, err := s.stream.GetMsg(ctx, after+1, jetstream.WithGetMsgSubject(s.inboxSubject(digest)+"*"))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("natsstore: %w", err)
		case m.Header.Get(kvOperation) != kvPurge:
			return m, nil
		}
		after = m.Sequence
		s.sweep(ctx, m.Subject)
	}
}

// sweep removes a marker. When that fails, it is removed when it is met again.
func (s *Store) sweep(ctx context.Context, subject string) {
	_ = s.stream.Purge(ctx, jetstream.WithPurgeSubject(subject))
}

// Waiting implements [receiver.InboxStore].
func (s *Store) Waiting(ctx context.Context) ([]receiver.Backlog, error) {
	prefix := "$KV." + s.cfg.Bucket + ".inbox."
	info, err := s.stream.Info(ctx, jetstream.WithSubjectFilter(prefix+">"))
	if err != nil {
		return nil, fmt.Errorf("natsstore: %w", err)
	}
	counts := map[string]int{}
	for subject := range info.State.Subjects {
		digest, _, _ := strings.Cut(strings.TrimPrefix(subject, prefix), ".")
		counts[digest]++
	}
	var out []receiver.Backlog
	for digest, n := range counts {
		m, err := s.oldest(ctx, digest)
		if err != nil {
			return nil, err
		}
		if m == nil {
			continue
		}
		b := receiver.Backlog{Count: n, First: m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]}
		if err := b.Key.UnmarshalText([]byte(m.Header.Get(nameHeader))); err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

// First implements [receiver.InboxStore].
func (s *Store) First(ctx context.Context, k receiver.Key) (receiver.Entry, bool, error) {
	e := receiver.Entry{Key: k}
	m, err := s.oldest(ctx, k.Digest())
	if err != nil || m == nil {
		return e, false, err
	}
	e.ID, e.Data = m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], m.Data
	return e, true, nil
}

// Remove implements [receiver.InboxStore].
func (s *Store) Remove(ctx context.Context, k receiver.Key, id string) error {
	e := effectsOf(ctx)
	subject := s.inboxSubject(k.Digest()) + id
	e.removed = append(e.removed, subject)
	marker := &nats.Msg{Subject: strings.TrimPrefix(subject, "$KV."+s.cfg.Bucket+"."), Header: nats.Header{}}
	marker.Header.Set(kvOperation, kvPurge)
	e.list = append(e.list, marker)
	return nil
}

var _ receiver.InboxStore = (*Store)(nil)
