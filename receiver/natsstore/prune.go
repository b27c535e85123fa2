package natsstore

import (
	"context"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookline/hookline/receiver"
)

// Prune implements [receiver.Pruner]. It holds the names of all marks in memory meanwhile.
func (s *Store) Prune(ctx context.Context, old func(digest string, m receiver.Mark) bool) (removed int, err error) {
	prefix := "$KV." + s.cfg.Bucket + ".mark."
	info, err := s.stream.Info(ctx, jetstream.WithSubjectFilter(prefix+"*"))
	if err != nil {
		return 0, fmt.Errorf("natsstore: %w", err)
	}
	for subject := range info.State.Subjects {
		e, err := s.read(ctx, subject)
		if err != nil {
			return removed, err
		}
		m, err := receiver.ParseMark(e.text)
		if err != nil {
			return removed, fmt.Errorf("natsstore: %s: %w", subject, err)
		}
		if e.seq == 0 || e.owner != "" || m.IsZero() || !old(strings.TrimPrefix(subject, prefix), m) {
			continue
		}
		// Up to the message that was looked at: one that is newer stays.
		err = s.stream.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(e.seq+1))
		if err != nil {
			return removed, fmt.Errorf("natsstore: %w", err)
		}
		if now, err := s.read(ctx, subject); err != nil {
			return removed, err
		} else if now.seq != 0 {
			continue
		}
		removed++
	}
	return removed, nil
}

var _ receiver.Pruner = (*Store)(nil)
