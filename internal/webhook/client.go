package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Errors of an attempt, found in Reply.Err. An attempt whose context ended wraps the context's error instead.
var (
	// ErrTimeout: no complete answer within the request's Timeout.
	ErrTimeout = errors.New("webhook: timed out")
	// ErrTooLarge: the answer's body exceeds MaxReplyBytes, or its header 8 KiB. The connection was dropped.
	ErrTooLarge = errors.New("webhook: answer too large")
	// ErrURL: the URL is not an absolute http or https URL.
	ErrURL = errors.New("webhook: bad URL")
	// ErrHeader: the caller gave a header name that is not a token (RFC 9110, section 5.6.2).
	ErrHeader = errors.New("webhook: bad header name")
	// ErrRefused: the guard refused the address that the host name resolved to.
	ErrRefused = errors.New("webhook: address refused")
	// ErrClosed: the client was closed.
	ErrClosed = errors.New("webhook: client is closed")
)

// Limits that hold for every client.
const (
	defaultTimeout     = 10 * time.Second // hook.timeoutSec's default, for a request that names none
	defaultIdleTimeout = 30 * time.Second
	defaultMaxIdle     = 128
	defaultRedirects   = 3
	maxHeaderBytes     = 8 << 10
)

// Config of a client. The zero value is usable.
type Config struct {
	// UserAgent is sent verbatim; default "Hookline".
	UserAgent string
	// Guard judges every address right before it is dialled; nil allows all, which is for URLs that the operator wrote.
	Guard Guard
	// MaxRedirects followed within one attempt; 0: the default of 3, negative: none.
	MaxRedirects int
	// IdleTimeout after which an unused connection is closed; default 30 s.
	IdleTimeout time.Duration
	// MaxIdlePerHost is the number of unused connections kept per scheme, host and port; default 128.
	MaxIdlePerHost int
	// TLS says at every connection by what https receivers are verified and which certificate they get; nil: the system's
	// authorities, no certificate. Verification can't be switched off. See Credentials.
	TLS func() (*tls.Config, error)
	// Proxy is http://[user:password@]host:port; empty: none. The guard judges its address, and no redirect is followed:
	// where the proxy connects to can't be seen.
	Proxy string
	// Resolver is optional: the system's.
	Resolver *net.Resolver
}

// Client is a Sender over its own HTTP/1.1 connections. Proxies named in the environment are not used: the guard
// could not see where they connect to.
type Client struct {
	userAgent string
	redirects int
	guard     Guard
	resolver  *net.Resolver
	tls       func() (*tls.Config, error)
	proxy     *proxy
	proxyErr  error // why the proxy can't be used; fails every attempt
	pool      *pool
	targets   targetCache
	scratches sync.Pool // of *scratch
}

var _ Sender = (*Client)(nil)

// New returns a client. Close it when no Send is running any more.
func New(cfg Config) *Client {
	c := &Client{
		userAgent: fallback(cfg.UserAgent, "Hookline"),
		redirects: fallback(cfg.MaxRedirects, defaultRedirects),
		guard:     cfg.Guard,
		resolver:  cfg.Resolver,
		tls:       cfg.TLS,
		pool:      newPool(fallback(cfg.IdleTimeout, defaultIdleTimeout), fallback(cfg.MaxIdlePerHost, defaultMaxIdle)),
	}
	if c.tls == nil {
		def := newTLS()
		c.tls = func() (*tls.Config, error) { return def, nil }
	}
	if cfg.Proxy != "" {
		c.redirects = -1
		if c.proxy, c.proxyErr = parseProxy(cfg.Proxy); c.proxy != nil {
			c.targets.route = c.proxy.route
		}
	}
	c.scratches.New = func() any { return newScratch(c.userAgent) }
	return c
}

func fallback[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Close closes the idle connections and makes every later Send fail with ErrClosed. A Send that is running goes on
// until its own deadline or its context ends; its connection is closed then. Close is idempotent.
func (c *Client) Close() error {
	c.pool.close()
	return nil
}

// Send implements Sender.
func (c *Client) Send(ctx context.Context, r Request) Reply {
	start := time.Now()
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	deadline := start.Add(timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	reply := c.send(ctx, &r, deadline)
	end := time.Now()
	reply.Latency = end.Sub(start)
	if reply.Err != nil {
		reply.Err = attemptError(ctx, reply.Err, !end.Before(deadline))
	}
	return reply
}

func (c *Client) send(ctx context.Context, r *Request, deadline time.Time) Reply {
	if err := ctx.Err(); err != nil {
		return Reply{Err: err}
	}
	if c.proxyErr != nil {
		return Reply{Err: c.proxyErr}
	}
	t, err := c.targets.get(r.URL)
	if err != nil {
		return Reply{Err: err}
	}
	var hop Guard // of redirects, beside the client's
	for hops := 0; ; hops++ {
		ans, err := c.roundTrip(ctx, t, r, hop, deadline)
		if err != nil {
			return Reply{Err: err}
		}
		// A redirect that is not followed is the answer: the caller sees its status.
		if !isRedirect(ans.status) || hops >= c.redirects {
			return ans.reply()
		}
		next, ok := t.redirect(ans.location)
		if !ok {
			return ans.reply()
		}
		if t = next; hops == 0 {
			hop = redirectGuard(ans.from)
		}
	}
}

// roundTrip sends the request once, or twice when the first connection came from the pool and turned out to have been
// closed by the receiver before it answered a byte. The receiver may then have seen the request twice: delivery is at
// least once, and both carry the same event id.
func (c *Client) roundTrip(
	ctx context.Context, t *target, r *Request, hop Guard, deadline time.Time,
) (answer, error) {
	if cn := c.pool.take(t.key); cn != nil && !cn.passes(ctx, hop) {
		cn.close()
	} else if cn != nil {
		ans, err := c.exchange(ctx, cn, t, r, deadline)
		if !errors.Is(err, errStale) || ctx.Err() != nil {
			return ans, err
		}
	}
	cn, err := c.dial(ctx, t, both(c.guard, hop), deadline)
	if err != nil {
		return answer{}, err
	}
	return c.exchange(ctx, cn, t, r, deadline)
}

func (c *Client) exchange(ctx context.Context, cn *conn, t *target, r *Request, deadline time.Time) (answer, error) {
	s := c.scratches.Get().(*scratch) //nolint:forcetypeassert // the pool holds nothing else
	ans, keep, err := cn.exchange(ctx, s, t, r, deadline)
	s.recycle()
	c.scratches.Put(s)
	if keep {
		c.pool.put(cn)
	} else {
		cn.close()
	}
	return ans, err
}

func (c *Client) dial(ctx context.Context, t *target, guard Guard, deadline time.Time) (*conn, error) {
	if c.pool.isClosed() {
		return nil, ErrClosed
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	var cfg *tls.Config
	if t.secure {
		base, err := c.tls()
		if err != nil {
			return nil, err
		}
		cfg = base.Clone()
		cfg.ServerName, cfg.NextProtos = t.host, []string{"http/1.1"}
	}
	d := net.Dialer{ControlContext: control(guard), Resolver: c.resolver}
	addr := t.addr
	if c.proxy != nil {
		addr = c.proxy.addr
	}
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("webhook: connect: %w", err)
	}
	if !t.secure {
		return newConn(t.key, raw, raw), nil
	}
	if c.proxy != nil {
		if err := c.proxy.tunnel(ctx, raw, t.addr, deadline); err != nil {
			_ = raw.Close()
			return nil, err
		}
	}
	secured := tls.Client(raw, cfg)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("webhook: TLS handshake: %w", err)
	}
	return newConn(t.key, raw, secured), nil
}

// attemptError gives a failed attempt one of the documented causes: a context that ended explains whatever the
// connection said, and a deadline is ErrTimeout however it surfaced.
func attemptError(ctx context.Context, err error, expired bool) error {
	if cause := ctx.Err(); errors.Is(cause, context.Canceled) {
		return fmt.Errorf("webhook: attempt ended: %w", cause)
	}
	var timeout net.Error
	late := expired || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
	if late && !errors.Is(err, ErrTimeout) {
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return err
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect,
		http.StatusPermanentRedirect:
		return true
	}
	return false
}
