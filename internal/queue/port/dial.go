package port

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
	"time"
)

// Dialer opens the connections of a destination: through Options.Dial, bounded by Options.ConnectTimeout, ended by the
// destination's Close, and reset when they are closed.
type Dialer struct {
	// Life ends with the destination.
	Life context.Context
	Opts Options
}

// DialContext opens a TCP connection, which the end of Life closes. When it is closed it is reset: what our kernel has
// not sent by then is thrown away, so that an attempt that was given up cannot arrive after the network has healed.
func (d Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.Opts.ConnectTimeout)
	defer cancel()
	stop := context.AfterFunc(d.Life, cancel)
	defer stop()
	dial := d.Opts.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		// It fails on a connection that is already gone; the first use tells.
		_ = tcp.SetLinger(0)
	}
	b := &bound{Conn: conn}
	b.stop = context.AfterFunc(d.Life, func() { _ = conn.Close() })
	if raw, ok := conn.(syscall.Conn); ok {
		return &boundSocket{b, raw}, nil
	}
	return b, nil
}

// bound is a connection that ends with a context.
type bound struct {
	net.Conn
	stop func() bool
}

// Close implements net.Conn.
func (b *bound) Close() error {
	b.stop()
	return b.Conn.Close()
}

// boundSocket is bound with the socket in reach: clients look there whether the server has closed a connection of their
// pool before they use it.
type boundSocket struct {
	*bound
	syscall.Conn
}

// DialTLS is DialContext and a TLS handshake, within the same time.
func (d Dialer) DialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, d.Opts.ConnectTimeout)
	defer cancel()
	stop := context.AfterFunc(d.Life, cancel)
	defer stop()
	secure := tls.Client(conn, d.TLSConfig(address))
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS with %s: %w", address, err), conn.Close())
	}
	return secure, nil
}

// TLSConfig is Options.TLS with the name of the server at address.
func (d Dialer) TLSConfig(address string) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if d.Opts.TLS != nil {
		config = d.Opts.TLS.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = address
		if host, _, err := net.SplitHostPort(address); err == nil {
			config.ServerName = host
		}
	}
	return config
}

// Back-off between attempts to connect.
const (
	backoffFirst = 50 * time.Millisecond
	backoffLast  = 5 * time.Second
)

// Backoff is the pause before attempt n (from 0) to connect: doubled from 50 ms to 5 s, and spread by half, so that many
// clients of a server that comes back do not arrive together.
func Backoff(n int) time.Duration {
	d := backoffLast
	if n < 7 {
		d = min(backoffFirst<<max(n, 0), backoffLast)
	}
	return d/2 + rand.N(d/2) //nolint:gosec // jitter
}

// Sleep waits for d or the end of ctx; false: ctx ended.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
