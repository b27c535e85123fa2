package natsjs

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookline/hookline/internal/queue/port"
)

// ensureStream creates the stream, once per connection, if that was asked for and it is missing.
func (d *Destination) ensureStream(ctx context.Context, js jetstream.JetStream) error {
	if !d.cfg.create || d.isEnsured() {
		return nil
	}
	select {
	case <-d.ensure:
		defer func() { d.ensure <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if d.isEnsured() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	_, err := js.Stream(ctx, d.cfg.stream.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = js.CreateStream(ctx, d.cfg.stream)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			// Somebody else was faster.
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("create stream %s: %w", d.cfg.stream.Name, err)
	}
	d.setEnsured(true)
	return nil
}

// noStream tells why nobody answered a publish. Only the server's own word that no stream has the subject is final:
// without a leader, or while the server still recovers its streams, nobody answers either.
func (d *Destination) noStream(ctx context.Context, js jetstream.JetStream, subject string) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	_, err := js.StreamNameBySubject(ctx, subject)
	switch {
	case err == nil:
		return port.Unavailable(jetstream.ErrNoStreamResponse)
	case !errors.Is(err, jetstream.ErrStreamNotFound):
		return port.Unavailable(err)
	case d.cfg.create:
		// It was removed; the next attempt creates it again.
		d.setEnsured(false)
		return port.Unavailable(err)
	}
	return port.Rejectedf("no stream has the subject %s", subject)
}

func (d *Destination) isEnsured() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ensured
}

func (d *Destination) setEnsured(yes bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ensured = yes
}
