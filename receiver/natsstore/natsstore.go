// Package natsstore keeps the marks of a receiver in a key-value bucket of NATS JetStream, in the atomic batch in which the
// values are written that the handler hands over with [Put]. So both are there or none is, whenever the receiver dies. It needs
// a server of version 2.12 or later. What JetStream itself loses when it dies is a matter of its configuration: replicas, and
// "sync_interval: always" for a single server.
//
// Several processes may share a bucket. A stream belongs to one of them while it is being handled: the entry of the mark says to
// which. It has a lease, which is renewed while the handler runs; should it be lost all the same (the process stood still), the
// commit fails, so that two never both commit.
package natsstore

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/internal/lease"
)

// Config of a [Store].
type Config struct {
	// Bucket is the name of the bucket; letters, digits, - and _. Default "hookline". New creates it if it is not there.
	Bucket string
	// Replicas of the bucket that New creates. Default 1.
	Replicas int
	// Lease is how long a stream is kept for a process that has died. Default 10 s.
	Lease time.Duration
}

// ErrLeaseLost says that the stream was given to another process while the handler ran. Nothing was committed.
var ErrLeaseLost = errors.New("natsstore: the lease of the stream was lost")

// MaxPuts is the largest number of values that one handler may put: the server's limit for a batch, less the mark. With an inbox it is one
// less, for the event that is removed from it.
const MaxPuts = 999

// ErrTooManyPuts says that a handler has put more values than fit in a batch.
var ErrTooManyPuts = fmt.Errorf("natsstore: more than %d values", MaxPuts)

// ownerHeader of an entry names who updates it. The body is the mark's text.
const ownerHeader = "Hookline-Owner"

// Store implements [receiver.InboxStore] and [receiver.Pruner].
type Store struct {
	cfg    Config
	js     jetstream.JetStream
	stream jetstream.Stream
}

// New returns a store on a connection, which stays the caller's to close.
func New(ctx context.Context, js jetstream.JetStream, cfg Config) (*Store, error) {
	if cfg.Bucket == "" {
		cfg.Bucket = "hookline"
	}
	if cfg.Lease <= 0 {
		cfg.Lease = 10 * time.Second
	}
	// A bucket that the client library makes allows no batches, so the stream below it is made here. Without AllowDirect
	// the leader is asked, who knows the newest.
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "KV_" + cfg.Bucket, Subjects: []string{"$KV." + cfg.Bucket + ".>"}, Replicas: max(cfg.Replicas, 1),
		MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, AllowRollup: true, DenyDelete: true, AllowAtomicPublish: true,
	})
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		stream, err = js.Stream(ctx, "KV_"+cfg.Bucket)
	}
	if err != nil {
		return nil, fmt.Errorf("natsstore: %w", err)
	}
	if !stream.CachedInfo().Config.AllowAtomicPublish {
		return nil, fmt.Errorf("natsstore: bucket %s does not allow atomic batches (allow_atomic)", cfg.Bucket)
	}
	return &Store{cfg: cfg, js: js, stream: stream}, nil
}

type effectsKey struct{}

// effects is what a handler has handed over.
type effects struct {
	list    []*nats.Msg
	removed []string // subjects of the inbox that have a marker in list
}

func effectsOf(ctx context.Context) *effects {
	e, ok := ctx.Value(effectsKey{}).(*effects)
	if !ok {
		panic("natsstore: no update in this context")
	}
	return e
}

// Put has value written under the key in the store's bucket, with the mark. The key has parts of letters, digits and - _ = /,
// with dots between them, and does not begin with "mark." or "inbox.". Put panics when ctx is not that of a handler of a sequenced event.
func Put(ctx context.Context, key string, value []byte) {
	e := effectsOf(ctx)
	e.list = append(e.list, &nats.Msg{Subject: key, Data: value})
}

// Update implements [receiver.Store]:
//
//  1. write our name into the entry of the key, waiting for whoever has it;
//  2. call f, and renew the lease meanwhile;
//  3. in one batch, if the entry is as we wrote it: what f has put, and the entry with the new mark and without our name.
func (s *Store) Update(ctx context.Context, k receiver.Key, f func(context.Context, receiver.Mark) (receiver.Mark, error)) error {
	l, err := s.lock(ctx, "$KV."+s.cfg.Bucket+".mark."+k.Digest())
	if err != nil {
		return err
	}
	defer l.release()
	m, err := receiver.ParseMark(l.text)
	if err != nil {
		return err
	}
	var e effects
	next, err := f(context.WithValue(ctx, effectsKey{}, &e), m)
	if err != nil {
		return err
	}
	text := next.String()
	if len(e.list) == 0 && (text == l.text || l.text == "" && next.IsZero()) {
		return nil
	}
	if len(e.list) > MaxPuts {
		return ErrTooManyPuts
	}
	for _, m := range e.list {
		m.Subject = "$KV." + s.cfg.Bucket + "." + m.Subject
	}
	if err := l.commit(ctx, text, e.list); err != nil {
		return err
	}
	for _, subject := range e.removed {
		s.sweep(ctx, subject)
	}
	return nil
}

// entry is what the bucket has for a key.
type entry struct {
	text, owner string
	seq         uint64 // 0: there is none
}

func (s *Store) read(ctx context.Context, subject string) (entry, error) {
	m, err := s.stream.GetLastMsgForSubject(ctx, subject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return entry{}, nil
	case err != nil:
		return entry{}, fmt.Errorf("natsstore: %w", err)
	}
	return entry{string(m.Data), m.Header.Get(ownerHeader), m.Sequence}, nil
}

// message returns an entry that replaces the one with the given sequence.
func message(subject, text, owner string, after uint64) *nats.Msg {
	m := &nats.Msg{Subject: subject, Data: []byte(text), Header: nats.Header{}}
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(after, 10))
	if owner != "" {
		m.Header.Set(ownerHeader, owner)
	}
	return m
}

// write writes an entry; taken says that somebody else was before.
func (s *Store) write(ctx context.Context, subject, text, owner string, after uint64) (seq uint64, taken bool, err error) {
	ack, err := s.js.PublishMsg(ctx, message(subject, text, owner, after))
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
		return 0, true, nil
	case err != nil:
		return 0, false, fmt.Errorf("natsstore: %w", err)
	}
	return ack.Sequence, false, nil
}

// held is an entry that has our name.
type held struct {
	s              *Store
	subject, token string
	text           string
	gone           bool // our name is not there any more
	renewal        *lease.Renewal
	seq            uint64 // of the entry; of renew until it has ended
	lost           bool   // of renew until it has ended
}

// lock writes our name into the entry, and renews it. An entry that does not change for a lease belongs to nobody any more; no clocks are
// compared.
func (s *Store) lock(ctx context.Context, subject string) (*held, error) {
	l := &held{s: s, subject: subject, token: rand.Text()}
	var seen uint64
	var since time.Time
	err := lease.Await(ctx, func() (taken, again bool, err error) {
		e, err := s.read(ctx, subject)
		if err != nil {
			return false, false, err
		}
		if seen != e.seq {
			seen, since = e.seq, time.Now()
		}
		if e.owner != "" && e.owner != l.token && time.Since(since) <= s.cfg.Lease {
			return false, false, nil
		}
		seq, other, err := s.write(ctx, subject, e.text, l.token, e.seq)
		if err != nil || other {
			return false, true, err // should it have been written, the lease ends it
		}
		l.text, l.seq = e.text, seq
		return true, false, nil
	})
	if err != nil {
		return nil, err
	}
	l.renewal = lease.Renew(ctx, s.cfg.Lease, l.renew)
	return l, nil
}

// renew writes the entry anew, so that others see it change.
func (l *held) renew(ctx context.Context) (lost bool) {
	seq, taken, err := l.s.write(ctx, l.subject, l.text, l.token, l.seq)
	switch {
	case taken:
		l.lost = true // or it is ours, by a write whose answer was lost; what is unsure is not committed
	case err == nil:
		l.seq = seq
	}
	return taken
}

// commit writes the mark without our name, and what was put.
func (l *held) commit(ctx context.Context, text string, puts []*nats.Msg) error {
	l.renewal.Settle()
	if l.lost {
		return ErrLeaseLost
	}
	if len(puts) == 0 {
		_, taken, err := l.s.write(ctx, l.subject, text, "", l.seq)
		if taken {
			return ErrLeaseLost
		}
		l.gone = err == nil
		return err
	}
	err := l.s.batch(ctx, append(puts, message(l.subject, text, "", l.seq)))
	l.gone = err == nil
	return err
}

// The headers of an atomic batch (NATS ADR-50).
const (
	batchID     = "Nats-Batch-Id"
	batchSeq    = "Nats-Batch-Sequence"
	batchCommit = "Nats-Batch-Commit"
)

// batch publishes messages that are stored all or none.
func (s *Store) batch(ctx context.Context, messages []*nats.Msg) error {
	id, conn := rand.Text(), s.js.Conn()
	for i, m := range messages {
		if m.Header == nil {
			m.Header = nats.Header{}
		}
		m.Header.Set(batchID, id)
		m.Header.Set(batchSeq, strconv.Itoa(i+1))
		last := i == len(messages)-1
		if last {
			m.Header.Set(batchCommit, "1")
		}
		if i > 0 && !last { // the server speaks about the first, which opens the batch, and the last
			if err := conn.PublishMsg(m); err != nil {
				return fmt.Errorf("natsstore: %w", err)
			}
			continue
		}
		answer, err := conn.RequestMsgWithContext(ctx, m)
		if err != nil {
			return fmt.Errorf("natsstore: %w", err)
		}
		if err := said(answer.Data, last, len(messages)); err != nil {
			return err
		}
	}
	return nil
}

// said reads the answer to the first or last message of a batch.
func said(data []byte, last bool, n int) error {
	var ack struct {
		Error *jetstream.APIError `json:"error"`
		Count int                 `json:"count"`
	}
	if len(data) > 0 || last {
		if err := json.Unmarshal(data, &ack); err != nil {
			return fmt.Errorf("natsstore: answer: %w", err)
		}
	}
	switch {
	case ack.Error != nil && ack.Error.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
		return ErrLeaseLost
	case ack.Error != nil:
		return fmt.Errorf("natsstore: %w", ack.Error)
	case last && ack.Count != n:
		return fmt.Errorf("natsstore: the server stored %d of %d messages", ack.Count, n)
	}
	return nil
}

// release takes our name out of the entry if it is still there. When that fails, the lease ends it.
func (l *held) release() {
	l.renewal.Settle()
	if l.gone || l.lost {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, _, _ = l.s.write(ctx, l.subject, l.text, "", l.seq)
}
