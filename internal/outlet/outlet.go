package outlet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/hookline/hookline/internal/stream"
)

// Step is the number of bytes that must get through within Config.Timeout.
const Step = 256 << 10

// ErrEnding is returned by Write when Config.Ending says that there is no time for the rest of a large block.
var ErrEnding = errors.New("outlet: the session is ending")

// Config configures an Outlet.
type Config struct {
	// Timeout bounds the time in which a Step of bytes gets through. What is set on the connection may be a quarter less: a
	// timer for each write would cost more than what it bounds. It must be positive.
	Timeout time.Duration
	// SetDeadline sets the write deadline of the connection; the zero time lifts it. A session that is ended from outside
	// may set another one, or refuse. Default nil: the connection's SetWriteDeadline.
	SetDeadline func(t time.Time) error
	// Ending says that a large block shall not be finished. Default nil: never.
	Ending func() bool
}

// Outlet implements stream.DirectOutlet.
type Outlet struct {
	conn net.Conn
	cfg  Config
	raw  syscall.RawConn // nil: not direct

	mu       sync.Mutex  // held while writing; guards what follows
	err      error       // of the write that failed
	deadline time.Time   // of the connection, as far as it was set here
	rest     net.Buffers // what Try has left over
	buf      []byte      // of Send

	// Of the Try in progress, for push: a closure for each call would be an allocation for each call.
	blocks net.Buffers
	took   int
	failed error
	push   func(fd uintptr) bool
}

// New returns an outlet of conn, which stays the caller's to close.
func New(conn net.Conn, cfg Config) *Outlet {
	o := &Outlet{conn: conn, cfg: cfg}
	if o.cfg.SetDeadline == nil {
		o.cfg.SetDeadline = conn.SetWriteDeadline
	}
	if c, ok := conn.(*net.TCPConn); ok && canPush {
		if raw, err := c.SyscallConn(); err == nil {
			o.raw, o.push = raw, o.pushAll
		}
	}
	return o
}

// Direct implements stream.DirectOutlet.
func (o *Outlet) Direct() bool { return o.raw != nil }

// Try implements stream.DirectOutlet. While another goroutine writes it takes nothing.
func (o *Outlet) Try(blocks net.Buffers) (int, stream.Taken, error) {
	if o.raw == nil || !o.mu.TryLock() {
		return 0, stream.TookNothing, nil
	}
	defer o.mu.Unlock()
	if o.err != nil {
		return 0, stream.TookNothing, o.err
	}
	if len(o.rest) > 0 {
		return 0, stream.TookNothing, nil
	}
	if !o.deadline.IsZero() { // of a time when it was slow
		o.deadline = time.Time{}
		if err := o.cfg.SetDeadline(time.Time{}); err != nil {
			return 0, stream.TookNothing, o.fail(err)
		}
	}
	o.blocks, o.took, o.failed = blocks, 0, nil
	err := o.raw.Write(o.push)
	n := o.took
	o.blocks = nil
	if err == nil {
		err = o.failed
	}
	if err != nil {
		return n, stream.TookNothing, o.fail(err)
	}
	return n, o.keep(blocks, n), nil
}

// keep keeps what is left of blocks after n bytes.
func (o *Outlet) keep(blocks net.Buffers, n int) stream.Taken {
	if n == 0 && len(blocks) > 0 {
		return stream.TookNothing
	}
	for i, b := range blocks {
		if n < len(b) {
			o.rest = append(append(o.rest[:0], b[n:]), blocks[i+1:]...)
			return stream.TookLate
		}
		n -= len(b)
	}
	return stream.TookAll
}

// Write writes all of blocks, after what Try has left over, with one system call for up to a Step where the connection
// allows that. Between two blocks it gives up when ctx ends; the connection can still be used then. It uses up blocks, the
// slice, and returns how many bytes were written, those that were left over included.
func (o *Outlet) Write(ctx context.Context, blocks net.Buffers) (sent int64, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	sent, err = o.flush()
	for len(blocks) > 0 && err == nil {
		if sent > 0 && ctx.Err() != nil {
			return sent, ctx.Err()
		}
		n := int64(0)
		if len(blocks[0]) > Step {
			n, err = o.large(blocks[0])
			blocks = blocks[1:]
		} else {
			group := blocks[:fitting(blocks)]
			blocks = blocks[len(group):]
			n, err = o.group(group)
		}
		sent += n
	}
	return sent, err
}

// Send writes what build appends to its argument in one piece: a message of the connection's own.
func (o *Outlet) Send(build func(dst []byte) []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, err := o.flush(); err != nil {
		return err
	}
	o.buf = build(o.buf[:0])
	if err := o.bound(); err != nil {
		return err
	}
	if _, err := o.conn.Write(o.buf); err != nil {
		return o.fail(err)
	}
	return nil
}

// flush writes what Try has left over.
func (o *Outlet) flush() (sent int64, err error) {
	if o.err != nil {
		return 0, o.err
	}
	if len(o.rest) == 0 {
		return 0, nil
	}
	rest := o.rest
	o.rest = nil
	for i := 0; i < len(rest) && err == nil; i++ {
		var n int64
		n, err = o.large(rest[i])
		sent += n
	}
	return sent, err
}

func (o *Outlet) group(blocks net.Buffers) (int64, error) {
	if err := o.bound(); err != nil {
		return 0, err
	}
	n, err := blocks.WriteTo(o.conn)
	if err != nil {
		return n, o.fail(err)
	}
	return n, nil
}

// large writes one block in steps.
func (o *Outlet) large(block []byte) (sent int64, err error) {
	for len(block) > 0 {
		if sent > 0 && o.cfg.Ending != nil && o.cfg.Ending() {
			return sent, o.fail(ErrEnding)
		}
		if err := o.bound(); err != nil {
			return sent, err
		}
		n, err := o.conn.Write(block[:min(len(block), Step)])
		sent += int64(n)
		if err != nil {
			return sent, o.fail(err)
		}
		block = block[n:]
	}
	return sent, nil
}

// bound sees to it that the next write is bounded.
func (o *Outlet) bound() error {
	now := time.Now()
	if o.deadline.Sub(now) >= o.cfg.Timeout*3/4 {
		return nil
	}
	o.deadline = now.Add(o.cfg.Timeout)
	if err := o.cfg.SetDeadline(o.deadline); err != nil {
		return o.fail(err)
	}
	return nil
}

// fail closes the connection.
func (o *Outlet) fail(err error) error {
	o.err = fmt.Errorf("outlet: write: %w", err)
	o.rest = nil
	_ = o.conn.Close() // a part may have been written: nothing can follow
	return o.err
}

// fitting returns how many of the blocks have together at most a Step of bytes; at least one.
func fitting(blocks net.Buffers) int {
	size := Step
	for i, b := range blocks {
		if size -= len(b); size < 0 && i > 0 {
			return i
		}
	}
	return len(blocks)
}
