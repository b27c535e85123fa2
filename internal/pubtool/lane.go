package pubtool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/hookline/hookline/internal/rtmp"
)

// maxGoodbye bounds the end of a publication, also when the run is over.
const maxGoodbye = 5 * time.Second

// lane publishes one stream key, one publication after the other. It belongs to one goroutine.
type lane struct {
	*runner
	target target
	number uint64
	count  int // of attempts
	dice   *rand.Rand
}

// plan is what the dice say of a publication.
type plan struct {
	life time.Duration // 0: no limit
	end  End
}

func (l *lane) plan() plan {
	p := plan{life: l.cfg.Life, end: EndUnpublish}
	if l.cfg.LifeJitter > 0 {
		p.life += max(time.Duration(l.dice.Int64N(int64(l.cfg.LifeJitter)+1)), 1)
	}
	switch x := l.dice.Float64(); {
	case x < l.cfg.ResetRate:
		p.end = EndReset
	case x < l.cfg.ResetRate+l.cfg.HalfCloseRate:
		p.end = EndHalfClose
	}
	return p
}

// publish makes one publication. With Churn it tries until the server has decided; false: it had no chance to.
func (l *lane) publish(ctx context.Context) bool {
	todo := l.plan()
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		if l.attempt(ctx, todo) {
			return true
		}
		spread := time.Duration(l.spread() * float64(pause))
		if !l.cfg.Churn || !sleep(ctx, pause+spread) {
			return false
		}
	}
}

// spread keeps a crowd from coming back at the same moment. It is not of the dice: how often a server can't be reached
// must not change what the publications after it do.
func (l *lane) spread() float64 { return rand.Float64() } //nolint:gosec // G404: no secret

// attempt connects and publishes; true: the server has decided.
func (l *lane) attempt(ctx context.Context, todo plan) (decided bool) {
	l.count++
	p := Publication{ID: fmt.Sprintf("%s-%d-%d", l.id, l.number, l.count), Key: l.target.key}
	url, params := l.target.with(p.ID)
	p.Params = params
	src, err := l.open()
	if err != nil {
		l.unreachable(err)
		return false
	}
	defer src.close()
	p.Started = time.Now()
	c, err := l.dial(ctx, url)
	if err != nil {
		var status *rtmp.StatusError
		if !errors.As(err, &status) {
			if ctx.Err() == nil {
				l.unreachable(err)
			}
			return false
		}
		l.finish(ctx, p, EndRefused, err)
		return true
	}
	defer c.Close()
	if err := l.ask(ctx, c); err != nil {
		end := EndUnanswered
		if errors.As(err, new(*rtmp.StatusError)) {
			end = EndRefused
		}
		l.finish(ctx, p, end, err)
		return end == EndRefused
	}
	l.run(ctx, c, src, p, todo)
	return true
}

func (l *lane) dial(ctx context.Context, url string) (*rtmp.Client, error) {
	select {
	case l.dials <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-l.dials }()
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Timeout)
	defer cancel()
	return rtmp.Dialer{WriteTimeout: l.cfg.Timeout}.Dial(ctx, url)
}

func (l *lane) ask(ctx context.Context, c *rtmp.Client) error {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Timeout)
	defer cancel()
	return c.Publish(ctx)
}

// run sends media and ends the publication that was accepted.
func (l *lane) run(ctx context.Context, c *rtmp.Client, src source, p Publication, todo plan) {
	p.Accepted = time.Now()
	l.live.Add(1)
	defer l.live.Add(-1)
	if l.cfg.OnAccepted != nil {
		l.cfg.OnAccepted(p)
	}
	s := &sender{lane: l, c: c, src: src, life: todo.life, p: &p}
	end, err := s.send(ctx)
	if end == "" {
		end = todo.end
	}
	said := l.part(ctx, c, end)
	switch {
	case err != nil:
	case errors.Is(said, context.DeadlineExceeded):
		err = said // it said goodbye, and nobody listened
	case said != nil:
		end, err = EndLost, said
	}
	_ = c.Close()
	<-c.Done()
	l.finish(ctx, p, end, err)
}

// part ends the connection in the way that end says.
func (l *lane) part(ctx context.Context, c *rtmp.Client, end End) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(maxGoodbye, l.cfg.Timeout))
	defer cancel()
	switch end {
	case EndUnpublish, EndSource:
		return c.Unpublish(ctx)
	case EndReset:
		return c.Reset()
	case EndHalfClose:
		if err := c.CloseWrite(); err != nil {
			return err
		}
		select {
		case <-c.Done():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	case EndLost, EndRefused, EndUnanswered:
	}
	return nil
}

// finish tells what became of p.
func (l *lane) finish(ctx context.Context, p Publication, end End, err error) {
	p.Ended, p.End = time.Now(), end
	if err != nil {
		p.Error = err.Error()
		var status *rtmp.StatusError
		if errors.As(err, &status) {
			p.Code = status.Code
		}
	}
	if end.chosen() || end == EndUnanswered && ctx.Err() != nil {
		err = nil // no failure
	}
	l.over(p, err)
}

// sender sends the media of one publication.
type sender struct {
	*lane
	c     *rtmp.Client
	src   source
	life  time.Duration
	p     *Publication
	timer *time.Timer
}

// send sends until it is time to end, which end "" says, or until something else ends the publication.
func (s *sender) send(ctx context.Context) (end End, err error) {
	start := time.Now()
	s.timer = time.NewTimer(time.Hour)
	defer s.timer.Stop()
	for ctx.Err() == nil {
		m, err := s.src.next()
		if errors.Is(err, io.EOF) {
			return "", nil
		}
		if err != nil {
			return EndSource, err
		}
		at := m.at
		if s.life > 0 {
			at = min(at, s.life)
		}
		if s.cfg.Realtime && !s.wait(ctx, start.Add(at)) {
			break
		}
		if s.life > 0 && m.at >= s.life {
			return "", nil
		}
		if err := s.write(m); err != nil {
			return EndLost, err
		}
	}
	return EndUnpublish, nil
}

// wait returns false when ctx ended before the time. When the connection did, it returns: the next write says why.
func (s *sender) wait(ctx context.Context, until time.Time) bool {
	d := time.Until(until)
	if d <= 0 {
		return true
	}
	s.timer.Reset(d)
	select {
	case <-s.timer.C:
	case <-s.c.Done():
	case <-ctx.Done():
		return false
	}
	return true
}

func (s *sender) write(m message) error {
	if err := s.c.WriteTag(m.typ, uint32(m.at.Milliseconds()), m.body); err != nil {
		return err
	}
	s.p.Messages++
	s.p.Bytes += uint64(len(m.body))
	s.bytes.Add(uint64(len(m.body)))
	return nil
}
