package receiver

import (
	"context"
	"errors"
	"time"

	"github.com/hookline/hookline/event"
)

// inboxScan is how often the store is looked through for what another process has left.
const inboxScan = 10 * time.Second

// start reads what the store holds, and goes on reading it now and then.
func (b *inbox) start() {
	b.wg.Go(func() {
		first := true
		for pause := retryMin; b.ctx.Err() == nil; {
			list, err := b.store.Waiting(b.ctx)
			switch {
			case err != nil && b.ctx.Err() == nil:
				b.r.log.Error("the inbox could not be read", "error", err)
			case err == nil:
				b.adopt(list, first)
				if first {
					first = false
					close(b.loaded)
				}
			}
			wait := inboxScan
			if first {
				wait, pause = pause, min(2*pause, retryMax)
			}
			rest(b.ctx, wait)
		}
	})
}

// adopt takes up streams of which entries wait. Later than at the start it takes one that nobody handles: its oldest entry is the same
// as the time before.
func (b *inbox) adopt(list []Backlog, all bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := make(map[Key]bool, len(list))
	for _, l := range list {
		seen[l.Key] = true
		s := b.streams[l.Key]
		if s == nil {
			s = &inboxStream{key: l.Key}
			b.streams[l.Key] = s
		}
		switch {
		case s.active || s.waiting > 0:
			s.orphan = ""
		case all || s.orphan == l.First:
			s.orphan = ""
			s.waiting += l.Count
			b.total += l.Count
			b.wake(s)
		default:
			s.orphan = l.First
		}
	}
	for k, s := range b.streams {
		if s.orphan != "" && !seen[k] {
			s.orphan = ""
			b.forget(s)
		}
	}
}

// wake has a stream handled unless it is already. The caller holds mu.
func (b *inbox) wake(s *inboxStream) {
	if s.active || b.stopped {
		return
	}
	s.active = true
	b.enqueue(s)
}

// enqueue puts a stream that is active behind those that are ready. The caller holds mu.
func (b *inbox) enqueue(s *inboxStream) {
	if b.stopped {
		return
	}
	b.ready = append(b.ready, s)
	if b.workers < b.cfg.Workers {
		b.workers++
		b.wg.Go(b.work)
	}
}

// work handles the oldest event of one stream after the other until none is ready.
func (b *inbox) work() {
	for {
		b.mu.Lock()
		if len(b.ready) == 0 || b.stopped {
			b.workers--
			b.mu.Unlock()
			return
		}
		s := b.ready[0]
		b.ready[0] = nil
		b.ready = b.ready[1:]
		added := s.added
		b.mu.Unlock()
		b.turn(s, added)
	}
}

// turn handles the oldest event of a stream, and says when its next is to be.
func (b *inbox) turn(s *inboxStream, added uint64) {
	ctx, cancel := context.WithTimeout(b.r.base, b.cfg.Timeout)
	defer cancel()
	e, err := b.try(ctx, s.key)
	if err == nil {
		b.done(s, e != nil, added)
		return
	}
	if b.r.base.Err() == nil {
		b.r.note(e, err)
	}
	b.mu.Lock()
	s.attempts++
	s.at, s.err, s.id = time.Now(), err.Error(), ""
	if bad := (*badEntry)(nil); errors.As(err, &bad) {
		s.id = bad.id
	} else if e != nil {
		s.id = e.ID
	}
	n := s.attempts
	if n == b.cfg.Attempts {
		b.stuck++
	}
	b.mu.Unlock()
	if n >= b.cfg.Attempts && b.askStuck(s.key, e, Stuck{n, err}) {
		b.done(s, true, added)
		return
	}
	b.pause(s, n)
}

// pause has a stream wait after its n-th failure.
func (b *inbox) pause(s *inboxStream, n int) {
	d := retryMax
	if shift := n - 1; shift < 10 {
		d = min(retryMin<<shift, retryMax)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return
	}
	s.timer = time.AfterFunc(d, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if s.timer != nil { // else Skip has ended the pause
			s.timer = nil
			b.enqueue(s)
		}
	})
}

// calm forgets the failures of the oldest event. The caller holds mu.
func (b *inbox) calm(s *inboxStream) {
	if s.attempts >= b.cfg.Attempts {
		b.stuck--
	}
	s.attempts, s.id, s.err, s.at = 0, "", "", time.Time{}
}

// done notes that an event of a stream is handled, or that there is none.
func (b *inbox) done(s *inboxStream, handled bool, added uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calm(s)
	switch {
	case handled:
		s.waiting--
		b.total--
	case s.added == added: // counted twice, or handled by another process
		b.total -= s.waiting
		s.waiting = 0
	}
	if s.waiting > 0 {
		b.enqueue(s)
		return
	}
	s.active = false
	b.forget(s)
}

// settled notes that the oldest event of a stream was skipped from outside, and ends its pause.
func (b *inbox) settled(k Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.streams[k]
	if s == nil {
		return
	}
	b.calm(s)
	s.waiting--
	b.total--
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
		b.enqueue(s)
	}
}

// try handles the oldest event of a stream once. The event is nil when there is none, or when it can't be read.
func (b *inbox) try(ctx context.Context, k Key) (*Event, error) {
	var e *Event
	err := guard(func() (err error) {
		e, err = b.handle(ctx, k, b.r.fetcher != nil && k.Replay == "")
		if missing := (*missingError)(nil); errors.As(err, &missing) {
			if err = b.r.fetch(ctx, k, e, missing.missed); err == nil {
				e, err = b.handle(ctx, k, false)
			}
		}
		return err
	})
	return e, err
}

// handle brings the oldest event of a stream to the handlers. In one transaction: its effect, its mark, and its removal.
func (b *inbox) handle(ctx context.Context, k Key, fetch bool) (*Event, error) {
	var s step
	e, err := b.first(ctx, k, func(ctx context.Context, m Mark, o *opened) (next Mark, gone bool, err error) {
		if o.err != nil {
			return m, false, o.err
		}
		next, err = b.r.proceed(ctx, m, o.event, o.named, fetch, &s)
		return next, true, err
	})
	if err == nil && e != nil {
		b.r.committed(k, e, &s)
	}
	return e, err
}

// opened is the oldest entry of a stream.
type opened struct {
	id    string // of the entry
	event *Event
	named []event.Gap
	err   error // why it can't be read
}

// badEntry is the error of an entry that can't be read.
type badEntry struct {
	id string // of the entry
	error
}

// first updates k with the oldest entry of its inbox, which f says whether to remove. The event is nil when there is none that can be
// read.
func (b *inbox) first(ctx context.Context, k Key, f func(context.Context, Mark, *opened) (Mark, bool, error)) (*Event, error) {
	var o opened
	err := b.store.Update(ctx, k, func(ctx context.Context, m Mark) (Mark, error) {
		entry, ok, err := b.store.First(ctx, k)
		if err != nil || !ok {
			return m, err
		}
		o.id = entry.ID
		if o.event, err = openEntry(entry); err == nil {
			o.named, err = gapsOf(o.event)
		}
		if err != nil {
			o.event, o.err = nil, &badEntry{entry.ID, err}
		}
		next, gone, err := f(ctx, m, &o)
		if err != nil || !gone {
			return m, err
		}
		return next, b.store.Remove(ctx, k, entry.ID)
	})
	return o.event, err
}

// askStuck asks OnStuck about an event, and says whether it is skipped.
func (b *inbox) askStuck(k Key, e *Event, stuck Stuck) bool {
	f := b.r.handlers.stuck
	if f == nil || e == nil || b.r.base.Err() != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(b.r.base, b.cfg.Timeout)
	defer cancel()
	skipped, err := b.skip(ctx, k, e.ID, func(ctx context.Context, e *Event) (bool, error) { return f(ctx, e, stuck) })
	if err != nil && b.r.base.Err() == nil {
		b.r.note(e, err)
	}
	return skipped && err == nil
}

// skip takes the oldest event of k out of the inbox if it has this id and f agrees. An entry that can't be read has its own.
func (b *inbox) skip(ctx context.Context, k Key, id string, f func(context.Context, *Event) (bool, error)) (skipped bool, err error) {
	var s step
	var e *Event
	err = guard(func() (err error) {
		e, err = b.first(ctx, k, func(ctx context.Context, m Mark, o *opened) (Mark, bool, error) {
			if o.err != nil {
				skipped = o.id == id
				return m, skipped, nil
			}
			if o.event.ID != id {
				return m, false, nil
			}
			s = m.advance(&o.event.Envelope, o.named)
			s.next.heard(m)
			s.tellMissed()
			o.event.Late, o.event.NewEpoch = s.act == applyLate, s.reset
			var err error
			skipped, err = f(ctx, o.event)
			return s.next, skipped, err
		})
		return err
	})
	if err != nil || !skipped {
		return false, err
	}
	b.r.stats.skipped.Add(1)
	b.r.log.Warn("an event was skipped", "stream", k.Stream, "id", id)
	for i := range s.gaps {
		b.r.logGap(k.Stream, &s.gaps[i])
	}
	if e != nil {
		b.r.follow(k, e, &s)
	}
	return true, nil
}

// stop has no more events handled, and waits for those that are.
func (b *inbox) stop() {
	b.mu.Lock()
	if !b.stopped {
		b.stopped = true
		b.cancel()
		for _, s := range b.streams {
			if s.timer != nil {
				s.timer.Stop()
				s.timer = nil
			}
		}
	}
	b.mu.Unlock()
	b.wg.Wait()
}
