package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hookline/hookline/internal/queue/port"
)

const (
	heartbeat = 4 * time.Second // the client library gives up a connection that was silent for three of them
	// maxPending bounds the messages on the channel, and with them what the listeners below must be able to hold:
	// the client library drops what a listener has no room for.
	maxPending   = 1024
	closeTimeout = time.Second
	frameSize    = 128 << 10
)

var errStalled = errors.New("no confirm in time")

// pending is a message on its way.
type pending struct {
	ctx      context.Context
	key      string
	msg      amqp.Publishing
	done     chan error // one result, buffered
	tag      uint64     // owned by the session's writer until it is in the map
	returned *amqp.Return
}

// session is one connection with one channel in confirm mode. Three goroutines: the writer publishes, the listener
// takes returns and confirms in the order in which the server sent them, and the owner's wait ends both.
type session struct {
	cfg  config
	raw  net.Conn
	conn *amqp.Connection
	ch   *amqp.Channel

	in    chan *pending // to the writer
	slots chan struct{} // one per message on the channel

	ending sync.Once
	dead   chan struct{} // closed when the session is over
	err    error         // why; set before dead is closed

	confirmed atomic.Uint64 // number of confirms so far
	useful    atomic.Bool   // something was confirmed
	blocked   atomic.Pointer[string]

	mu      sync.Mutex
	waiting map[uint64]*pending // guarded by mu; by delivery tag
}

// connect opens a session.
func (d *Destination) connect(address string) (*session, error) {
	dial := d.dial.DialContext
	if d.cfg.secure {
		dial = d.dial.DialTLS
	}
	raw, err := dial(d.life, "tcp", address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(d.life, func() { _ = raw.Close() })
	defer stop()
	s := &session{
		cfg: d.cfg, raw: raw,
		in: make(chan *pending), slots: make(chan struct{}, maxPending),
		dead: make(chan struct{}), waiting: map[uint64]*pending{},
	}
	if err := s.open(d); err != nil {
		return nil, errors.Join(err, closed(raw.Close()))
	}
	return s, nil
}

// closed drops the error of closing what is closed already.
func closed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (s *session) open(d *Destination) error {
	if err := s.raw.SetDeadline(time.Now().Add(d.opts.ConnectTimeout)); err != nil {
		return err
	}
	user, password := d.cfg.url.User, d.cfg.url.Password
	if user == "" {
		user, password = "guest", "guest"
	}
	sasl := amqp.Authentication(&amqp.PlainAuth{Username: user, Password: password})
	if d.cfg.external {
		sasl = &amqp.ExternalAuth{}
	}
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(d.opts.Name)
	var err error
	s.conn, err = amqp.Open(s.raw, amqp.Config{
		SASL: []amqp.Authentication{sasl}, Vhost: d.cfg.vhost, Heartbeat: heartbeat,
		FrameSize: frameSize, Properties: properties, Locale: "en_US",
	})
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	// Opening has ended the deadline; the channel is opened under one again, by the heartbeat's.
	if s.ch, err = s.conn.Channel(); err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	if err := s.ch.Confirm(false); err != nil {
		return fmt.Errorf("confirm mode: %w", err)
	}
	if s.cfg.declare {
		if err := s.ch.ExchangeDeclare(s.cfg.exchange, s.cfg.kind, true, false, false, false, nil); err != nil {
			return fmt.Errorf("declare the exchange: %w", err)
		}
	}
	return nil
}

// wait runs the session until it fails or life ends, and returns why; gone is called before the messages in flight
// learn of it, so that none of them comes back into a session that is over.
func (s *session) wait(life context.Context, gone func(error)) error {
	returns := s.ch.NotifyReturn(make(chan amqp.Return, maxPending))
	confirms := s.ch.NotifyPublish(make(chan amqp.Confirmation, maxPending))
	chClosed := s.ch.NotifyClose(make(chan *amqp.Error, 1))
	connClosed := s.conn.NotifyClose(make(chan *amqp.Error, 1))
	blocked := s.conn.NotifyBlocked(make(chan amqp.Blocking, 8))
	var running sync.WaitGroup
	running.Go(s.write)
	running.Go(func() { s.listen(returns, confirms) })
	running.Go(func() { s.watch(chClosed, connClosed, blocked) })

	select {
	case <-s.dead:
	case <-life.Done():
		// With nothing in flight the server gets a goodbye; what is in flight is not waited for.
		_ = s.conn.CloseDeadline(time.Now().Add(closeTimeout))
		s.fail(port.ErrClosed)
	}
	gone(s.err)
	_ = s.raw.Close()
	running.Wait()
	s.release()
	return s.err
}

// fail ends the session. The connection is reset, which also frees a writer that hangs in it.
func (s *session) fail(err error) {
	s.ending.Do(func() {
		s.err = err
		close(s.dead)
		_ = s.raw.Close()
	})
}

// publish hands p to the writer and waits for its result.
func (s *session) publish(ctx context.Context, p *pending) error {
	before := s.confirmed.Load()
	select {
	case s.in <- p:
	case <-s.dead:
		return unsent(s.err)
	case <-ctx.Done():
		s.suspect(ctx, before)
		return fmt.Errorf("publish: %w", context.Cause(ctx))
	}
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
		s.suspect(ctx, before)
		return fmt.Errorf("publish: %w", context.Cause(ctx))
	}
}

// suspect ends a session in which a message timed out while nothing at all was confirmed.
func (s *session) suspect(ctx context.Context, before uint64) {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && s.confirmed.Load() == before {
		s.fail(port.Unavailable(errStalled))
	}
}

// write is the only publisher on the channel, so that it knows each message's delivery tag before the confirm can come.
func (s *session) write() {
	for {
		select {
		case p := <-s.in:
			if !s.send(p) {
				return
			}
		case <-s.dead:
			return
		}
	}
}

// send publishes p; false: the session is over.
func (s *session) send(p *pending) bool {
	select {
	case s.slots <- struct{}{}:
	case <-s.dead:
		p.done <- unsent(s.err)
		return false
	}
	if p.ctx.Err() != nil {
		// Given up before a byte of it was sent.
		<-s.slots
		return true
	}
	p.tag = s.ch.GetNextPublishSeqNo()
	s.mu.Lock()
	s.waiting[p.tag] = p
	s.mu.Unlock()
	if err := s.ch.PublishWithContext(p.ctx, s.cfg.exchange, p.key, s.cfg.mandatory, false, p.msg); err != nil {
		if p.ctx.Err() != nil && !s.ch.IsClosed() {
			// It gave up in between, and its tag goes to the next.
			s.take(p.tag)
			return true
		}
		// The channel tells why it closed better than the call; give it the time of a heartbeat's beat.
		select {
		case <-s.dead:
		case <-time.After(closeTimeout):
			s.fail(port.Unavailable(err))
		}
		return false
	}
	return true
}

// listen settles messages. The server returns a message before it confirms it, and the client library queues both in
// that order: whatever was returned is there when the confirm is read.
func (s *session) listen(returns <-chan amqp.Return, confirms <-chan amqp.Confirmation) {
	for {
		select {
		case c, ok := <-confirms:
			if !ok {
				return
			}
			s.drain(returns)
			s.settle(c)
		case <-s.dead:
			s.rest(returns, confirms)
			return
		}
	}
}

// rest settles what the server has said before the session ended.
func (s *session) rest(returns <-chan amqp.Return, confirms <-chan amqp.Confirmation) {
	for {
		select {
		case c, ok := <-confirms:
			if !ok {
				return
			}
			s.drain(returns)
			s.settle(c)
		default:
			return
		}
	}
}

func (s *session) drain(returns <-chan amqp.Return) {
	for {
		select {
		case r, ok := <-returns:
			if !ok {
				return
			}
			s.mark(&r)
		default:
			return
		}
	}
}

// mark notes a return at the oldest message with its id; the server names no tag.
func (s *session) mark(r *amqp.Return) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var oldest *pending
	for _, p := range s.waiting {
		if p.msg.MessageId == r.MessageId && p.returned == nil && (oldest == nil || p.tag < oldest.tag) {
			oldest = p
		}
	}
	if oldest != nil {
		oldest.returned = r
	}
}

func (s *session) settle(c amqp.Confirmation) {
	s.confirmed.Add(1)
	p := s.take(c.DeliveryTag)
	switch {
	case p == nil:
	case p.returned != nil:
		p.done <- port.Rejectedf("routing key %s: %d %s", p.key, p.returned.ReplyCode, p.returned.ReplyText)
	case !c.Ack:
		p.done <- errors.New("publish: the server could not take it (nack)")
	default:
		s.useful.Store(true)
		p.done <- nil
	}
}

func (s *session) take(tag uint64) *pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.waiting[tag]
	if p != nil {
		delete(s.waiting, tag)
		<-s.slots
	}
	return p
}

// watch ends the session when the server or the network does.
func (s *session) watch(chClosed, connClosed <-chan *amqp.Error, blocked <-chan amqp.Blocking) {
	for {
		select {
		case e := <-chClosed:
			s.fail(ending(e))
			return
		case e := <-connClosed:
			s.fail(ending(e))
			return
		case b, ok := <-blocked:
			switch {
			case !ok:
				blocked = nil
			case b.Active:
				s.blocked.Store(&b.Reason)
			default:
				s.blocked.Store(nil)
			}
		case <-s.dead:
			return
		}
	}
}

func ending(e *amqp.Error) error {
	if e == nil {
		return port.Unavailable(amqp.ErrClosed)
	}
	return classify(e)
}

// release gives the reason to everything that still waits. Nobody else touches the session any more.
func (s *session) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.waiting {
		p.done <- s.err
	}
	clear(s.waiting)
}
