package redisstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/hookline/hookline/internal/queue/port"
)

// poolSize bounds the connections: an endpoint has at most 64 deliveries in flight.
const poolSize = 64

// Names of the entry's fields beside the headers.
const (
	FieldKey     = "key"
	FieldBody    = "body"
	FieldHeaders = "h:" // prefix of the names in Message.Header
)

// appendOnce appends ARGV[4...] to the stream KEYS[1], unless its last entry has the id ARGV[1]; ARGV[2] is MAXLEN, or 0.
// It returns the entry's id in either case. If ARGV[3] is 1 a WAIT follows: it waits for what its connection has written,
// so that a repetition must write something too, behind the entry (XSETID changes nothing here).
const appendOnce = `
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if last[1] then
  local fields = last[1][2]
  for i = 1, #fields, 2 do
    if fields[i] == 'id' then
      if fields[i + 1] == ARGV[1] then
        if ARGV[3] == '1' then redis.call('XSETID', KEYS[1], last[1][1]) end
        return last[1][1]
      end
      break
    end
  end
end
if ARGV[2] ~= '0' then
  return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', unpack(ARGV, 4))
end
return redis.call('XADD', KEYS[1], '*', unpack(ARGV, 4))
`

// maxHeaders keeps a message within what a script can unpack.
const maxHeaders = 256

// Destination is a port.Destination.
type Destination struct {
	cfg    config
	opts   port.Options
	life   context.Context // ends with Close
	end    context.CancelCauseFunc
	dial   port.DialFunc
	client *redis.Client
	link   *port.Link
	script *redis.Script

	attempts port.Attempts
	closing  sync.Once
}

// Open opens the destination of rawURL. It connects in the background.
func Open(ctx context.Context, rawURL string, opts port.Options) (*Destination, error) {
	cfg, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	d := &Destination{cfg: cfg, opts: opts.WithDefaults(), script: redis.NewScript(appendOnce)}
	d.life, d.end = context.WithCancelCause(context.WithoutCancel(ctx))
	dialer := port.Dialer{Life: d.life, Opts: d.opts}
	d.dial = dialer.DialContext
	if cfg.secure {
		d.dial = dialer.DialTLS
	}
	d.client = redis.NewClient(&redis.Options{
		Addr:                  cfg.url.Hosts[0],
		Username:              cfg.url.User,
		Password:              cfg.url.Password,
		DB:                    cfg.database,
		Dialer:                d.dial,
		DialTimeout:           d.opts.ConnectTimeout,
		DialerRetries:         1,
		MaxRetries:            -1, // one command is one attempt
		ReadTimeout:           -1, // the context's deadline counts
		WriteTimeout:          -1,
		ContextTimeoutEnabled: true,
		PoolSize:              poolSize,
		PoolTimeout:           d.opts.Timeout,
		DisableIdentity:       true,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	})
	d.link = port.NewLink(d.String(), d.opts.Logger, d.probe)
	d.link.Start(d.life)
	return d, nil
}

// DiscardClientLog silences the client library, which otherwise writes to standard error what a destination reports as
// errors. The library has one logger for the whole process: call it once, before the first Open.
func DiscardClientLog() { redis.SetLogger(discard{}) }

type discard struct{}

// Printf implements the library's logger.
func (discard) Printf(context.Context, string, ...any) {}

// String is the URL without secrets.
func (d *Destination) String() string { return d.cfg.url.String() }

// Publish appends m to its Redis stream.
func (d *Destination) Publish(ctx context.Context, m port.Message) error {
	if d.life.Err() != nil {
		return port.ErrClosed
	}
	if err := d.link.Err(); err != nil {
		return err
	}
	if err := d.opts.Check(m); err != nil {
		return err
	}
	if len(m.Header) > maxHeaders {
		return port.Rejectedf("%d headers, limit %d", len(m.Header), maxHeaders)
	}
	// The client heeds a context's deadline, not its cancelling: what is cancelled is left to its deadline, and holds
	// its key until then.
	ctx, cancel := d.opts.Bound(ctx)
	defer cancel()
	deadline, _ := ctx.Deadline()
	ctx, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	stop := context.AfterFunc(d.life, func() { abort(port.ErrClosed) })
	defer stop()
	err := d.attempts.Do(ctx, m.Key, func() error {
		ctx, cancel := context.WithDeadline(d.life, deadline)
		defer cancel()
		return d.add(ctx, m)
	})
	return d.explain(ctx, err)
}

// Close ends everything.
func (d *Destination) Close() error {
	d.closing.Do(func() {
		d.end(port.ErrClosed)
		// It ends the commands that run. What it says concerns connections that are thrown away.
		_ = d.client.Close()
	})
	d.attempts.Close()
	d.link.Wait()
	return nil
}

func (d *Destination) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, d.opts.ConnectTimeout)
	defer cancel()
	// Not through the pool at first: it answers repeated failures with a goroutine that outlives its Close.
	conn, err := d.dial(ctx, "tcp", d.cfg.url.Hosts[0])
	if err != nil {
		return err
	}
	if err := conn.Close(); err != nil {
		return err
	}
	d.sweep(ctx)
	return d.client.Ping(ctx).Err()
}

// sweep tries the connections that lie in the pool. Those from before the server, or the way to it, was away fail here,
// all at once, and are thrown away; otherwise each of them would fail an attempt, and a queue that is back would count as
// down until the last of them is used up.
func (d *Destination) sweep(ctx context.Context) {
	conns := make([]*redis.Conn, d.client.PoolStats().IdleConns)
	var all sync.WaitGroup
	for i := range conns {
		conns[i] = d.client.Conn()
		all.Go(func() { _ = conns[i].Ping(ctx).Err() })
	}
	all.Wait() // each holds its own until then
	for _, c := range conns {
		_ = c.Close()
	}
}

func (d *Destination) add(ctx context.Context, m port.Message) error {
	stream := d.cfg.prefix
	if !d.cfg.single {
		stream += ":" + m.Key
	}
	// WAIT counts for what its own connection has written.
	if d.cfg.wait == 0 {
		return d.append(ctx, d.client, stream, m)
	}
	conn := d.client.Conn()
	defer conn.Close()
	if err := d.append(ctx, conn, stream, m); err != nil {
		return err
	}
	n, err := conn.Wait(ctx, d.cfg.wait, d.cfg.waitTimeout).Result()
	if err == nil && n < int64(d.cfg.wait) {
		err = fmt.Errorf("%d of %d replicas have it", n, d.cfg.wait)
	}
	return err
}

// commander is what a client and one of its connections have in common here.
type commander interface {
	redis.Scripter
	XAdd(ctx context.Context, a *redis.XAddArgs) *redis.StringCmd
}

func (d *Destination) append(ctx context.Context, c commander, stream string, m port.Message) error {
	fields := fields(m)
	if !d.cfg.dedup || d.cfg.single {
		return c.XAdd(ctx, &redis.XAddArgs{Stream: stream, MaxLen: d.cfg.maxLen, Approx: d.cfg.maxLen > 0, Values: fields}).Err()
	}
	wait := "0"
	if d.cfg.wait > 0 {
		wait = "1"
	}
	args := make([]any, 0, len(fields)+3)
	args = append(args, m.ID, strconv.FormatInt(d.cfg.maxLen, 10), wait)
	// The script goes by its digest, and whole when the server does not know it (yet, or after a restart).
	return d.script.Run(ctx, c, []string{stream}, append(args, fields...)...).Err()
}

func fields(m port.Message) []any {
	out := make([]any, 0, 2*(len(m.Header)+6))
	out = append(out, FieldKey, m.Key)
	own := 4
	if m.Seq == 0 {
		own = 3
	}
	for name, value := range m.Headers() {
		if own--; own < 0 {
			name = FieldHeaders + name
		}
		out = append(out, name, value)
	}
	return append(out, FieldBody, m.Body)
}

// explain turns errors into the classes of package port.
func (d *Destination) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if d.life.Err() != nil {
		return port.ErrClosed
	}
	if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil {
		return fmt.Errorf("publish: %w", cause)
	}
	var reply redis.Error
	if !errors.As(err, &reply) {
		// No answer: the connection, not the command.
		return d.link.Lost(err)
	}
	text := reply.Error()
	word, _, _ := strings.Cut(text, " ")
	switch {
	case word == "WRONGTYPE", word == "NOPERM",
		word == "ERR" && (strings.Contains(text, "unknown command") || strings.Contains(text, "invalid bulk length")):
		return port.Rejected(err)
	}
	// OOM, READONLY, LOADING, MISCONF, BUSY, CLUSTERDOWN, NOAUTH after a change of the password...
	return fmt.Errorf("publish: %w", err)
}
