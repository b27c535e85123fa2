package webhook

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

// errStale: a reused connection ended before the first byte of an answer.
var errStale = errors.New("webhook: kept connection was closed by the receiver")

const (
	// inlineBody is the largest body that is copied behind the head so that both leave in one segment and one syscall.
	inlineBody = 32 << 10
	// keptBuffer is the largest buffer that goes back to the pool.
	keptBuffer = 64 << 10
)

// conn is one connection. It is owned by one attempt at a time, or by the pool.
type conn struct {
	key    string
	raw    net.Conn
	stream net.Conn // raw, or TLS over it
	reused bool
	idle   time.Time // since when; guarded by the pool's lock
	probe  *probe    // nil: the socket can't be looked at
	abort  func()    // bound once, so that an attempt does not allocate it
}

func newConn(key string, raw, stream net.Conn) *conn {
	c := &conn{key: key, raw: raw, stream: stream, probe: newProbe(raw)}
	c.abort = func() { _ = raw.SetDeadline(time.Unix(1, 0)) }
	return c
}

// close closes the socket without a TLS goodbye: that one would wait for a receiver that does not read.
func (c *conn) close() { _ = c.raw.Close() }

// remote is the address at the other end; invalid when it has none.
func (c *conn) remote() netip.AddrPort {
	ap, err := netip.ParseAddrPort(c.raw.RemoteAddr().String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// passes says whether a connection from the pool, which another guard may have let through, passes this one.
func (c *conn) passes(ctx context.Context, g Guard) bool {
	return g == nil || g(ctx, "tcp", c.remote()) == nil
}

// usable reports whether a connection from the pool is still open and silent. Bytes that nobody asked for would be
// taken for the next answer.
func (c *conn) usable() bool {
	if c.probe == nil {
		return true
	}
	state := c.probe.look()
	// Under TLS the bytes may be a session ticket.
	return state == socketQuiet || state == socketReadable && c.stream != c.raw
}

// answer is one HTTP response, copied out of the buffers.
type answer struct {
	status     int
	body       []byte
	location   string
	from       netip.Addr // of a redirect: who answered
	retryAfter time.Duration
}

func (a answer) reply() Reply {
	return Reply{Status: a.status, Body: a.body, RetryAfter: a.retryAfter}
}

// scratch is what an exchange needs and nobody keeps.
type scratch struct {
	userAgent string
	out       []byte
	in        *bufio.Reader
	resp      fasthttp.Response
}

func newScratch(userAgent string) *scratch {
	return &scratch{userAgent: userAgent, in: bufio.NewReaderSize(nil, maxHeaderBytes)}
}

// recycle drops references and large buffers.
func (s *scratch) recycle() {
	s.in.Reset(nil)
	s.resp.Reset()
	s.resp.ReleaseBody(keptBuffer)
	if cap(s.out) > keptBuffer {
		s.out = nil
	}
}

// exchange writes one request and reads one answer. keep says that the connection can carry another.
func (c *conn) exchange(
	ctx context.Context, s *scratch, t *target, r *Request, deadline time.Time,
) (ans answer, keep bool, err error) {
	if err := c.raw.SetDeadline(deadline); err != nil {
		return answer{}, false, c.lost(err)
	}
	stop := func() bool { return true }
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, c.abort)
	}
	err = c.write(s, t, r)
	if err == nil {
		ans, keep, err = c.read(s)
	}
	// When stop comes too late the deadline is or will be in the past: the connection is spoilt, the answer is not.
	if !stop() {
		keep = false
	}
	c.reused = true
	return ans, keep && err == nil, err
}

func (c *conn) write(s *scratch, t *target, r *Request) error {
	var err error
	if s.out, err = t.appendHead(s.out[:0], r, s.userAgent); err != nil {
		return err
	}
	inline := len(r.Body) <= inlineBody
	if inline {
		s.out = append(s.out, r.Body...)
	}
	if _, err = c.stream.Write(s.out); err == nil && !inline {
		_, err = c.stream.Write(r.Body)
	}
	if err != nil {
		return c.lost(fmt.Errorf("webhook: write: %w", err))
	}
	return nil
}

// lost marks the error of a connection that died without an answer as stale, if the connection was an old one.
func (c *conn) lost(err error) error {
	ended := errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	if c.reused && ended {
		return fmt.Errorf("%w: %w", errStale, err)
	}
	return err
}

func (c *conn) read(s *scratch) (ans answer, keep bool, err error) {
	s.in.Reset(c.stream)
	if _, err := s.in.Peek(1); err != nil {
		return answer{}, false, c.lost(fmt.Errorf("webhook: no answer: %w", err))
	}
	if err := s.resp.ReadLimitBody(s.in, MaxReplyBytes); err != nil {
		return answer{}, false, readError(err)
	}
	h := &s.resp.Header
	ans = answer{
		status:     h.StatusCode(),
		body:       bytes.Clone(s.resp.Body()),
		retryAfter: retryAfter(h.Peek(fasthttp.HeaderRetryAfter), time.Now),
	}
	if ans.status < 100 || ans.status > 999 {
		return answer{}, false, fmt.Errorf("webhook: bad answer: status %d", ans.status)
	}
	if isRedirect(ans.status) {
		ans.location, ans.from = string(h.Peek(fasthttp.HeaderLocation)), c.remote().Addr()
	}
	keep = !s.resp.ConnectionClose() && s.in.Buffered() == 0 && ans.status != http.StatusSwitchingProtocols
	return ans, keep, nil
}

func readError(err error) error {
	var header *fasthttp.ErrSmallBuffer
	if errors.Is(err, fasthttp.ErrBodyTooLarge) || errors.As(err, &header) {
		return fmt.Errorf("%w: body over %d or header over %d bytes", ErrTooLarge, MaxReplyBytes, maxHeaderBytes)
	}
	if errors.Is(err, fasthttp.ErrTimeout) {
		return fmt.Errorf("%w: in the answer's header", ErrTimeout)
	}
	return fmt.Errorf("webhook: bad answer: %w", err)
}

// maxRetryAfter caps what a receiver can ask for.
const maxRetryAfter = time.Hour

// retryAfter reads the header of that name: seconds or a date (RFC 9110, section 10.2.3). Junk is 0.
func retryAfter(v []byte, now func() time.Time) time.Duration {
	if len(v) == 0 {
		return 0
	}
	if d, ok := retrySeconds(v); ok {
		return d
	}
	at, err := http.ParseTime(string(v))
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now()), 0), maxRetryAfter)
}

func retrySeconds(v []byte) (time.Duration, bool) {
	for _, b := range v {
		if b < '0' || b > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil || n > int64(maxRetryAfter/time.Second) {
		return maxRetryAfter, true
	}
	return time.Duration(n) * time.Second, true
}
