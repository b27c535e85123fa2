package sequencer

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/journal"
)

// ErrNoRoom says that the journal is too far behind to take a new publication.
var ErrNoRoom = errors.New("sequencer: too many events wait for the journal")

const (
	shardCount = 64
	// publicationRoom is the number of events that an admitted publication may still raise: six schemas, the
	// publisher's report, its last files, the end, and as much again for a resume.
	publicationRoom = 24
	// indexBlock is how many hook_index values are reserved at a time; at most this many are skipped by a crash.
	indexBlock = 8192
	// maxBatch bounds one batch of the appender.
	maxBatch = 2048
	// keysPerShard bounds the keys that are remembered in memory; an evicted key is read from the journal again.
	keysPerShard = 2048
	// maxKey leaves room for the prefixes under which a key appears in the journal's state.
	maxKey = journal.MaxKey - 4096
	// warnIndex: several SDKs parse hook_index into 32 bits.
	warnIndex = 1 << 30
)

// Config of a Sequencer.
type Config struct {
	// Source is the mediaServerId.
	Source string
	// Capacity is the number of events that may wait for the journal, the room reserved for running publications
	// included. Default 1<<20.
	Capacity int
	// ShedAt is the number of waiting events beyond which those that may be shed are. Default 32768.
	ShedAt int
	// Admission is asked before a publication is admitted (free disk space); nil: always.
	Admission func() error
	// Clock gives the time of events; nil: time.Now. It may jump, back as well.
	Clock func() time.Time
	// Incarnation names this run; default: from the clock and the random source.
	Incarnation string
	// Committed is told how long each batch took until it was durable, from one goroutine; nil: nobody is. It must not
	// block.
	Committed func(d time.Duration)
	// Logger is for what an operator should know; default slog.Default().
	Logger *slog.Logger
}

// Sequencer is described in the package comment.
type Sequencer struct {
	cfg    Config
	j      journal.Journal
	log    *slog.Logger
	sink   func([]*journal.Record)
	source string
	inc    string
	epoch  int64

	seed   maphash.Seed
	shards [shardCount]shard

	index    atomic.Uint64 // next hook_index
	reserved atomic.Uint64 // durable: every index below it may be shown
	claimed  uint64        // owned by append: reserved once its batch is durable

	pending atomic.Int64 // raised, not yet durable
	rooms   atomic.Int64 // reserved for running publications
	raised  atomic.Uint64
	shed    atomic.Uint64
	dead    atomic.Pointer[error]

	kick    chan struct{}
	stop    chan struct{}
	flights chan flight
	wg      sync.WaitGroup
	closed  atomic.Bool
	warned  atomic.Bool
}

// flight is a batch on its way to stable storage.
type flight struct {
	ack      journal.Ack
	records  []*journal.Record
	reserved uint64
	start    time.Time
}

type shard struct {
	mu        sync.Mutex
	keys      map[string]*keyState
	live      map[string]*livePublication
	queue     []queued // raised, not yet taken by the appender
	evictions uint64   // how often a key was forgotten, see load
	shedKeys  map[string]struct{}
	raised    uint64 // events queued in this run
	written   uint64 // those of them that are durable
	waiters   []shardWaiter
}

type queued struct {
	record *journal.Record
	ops    []journal.Op
}

// keyState is what is remembered of a key; guarded by its shard's lock.
type keyState struct {
	seq     uint64
	durable uint64
	time    int64 // ns of the newest event
	marks   []journal.Mark
	gap     *event.Gap // shed and not yet named
	waiters []waiter
}

type waiter struct {
	seq  uint64
	done chan struct{}
}

// Open reads what an earlier run left and starts the appender. sink gets every record once it is durable, in the
// order of positions, from one goroutine; it must not block.
func Open(cfg Config, j journal.Journal, sink func([]*journal.Record)) (*Sequencer, error) {
	if cfg.Capacity <= 0 {
		cfg.Capacity = 1 << 20
	}
	if cfg.ShedAt <= 0 {
		cfg.ShedAt = 32768
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Incarnation == "" {
		cfg.Incarnation = newIncarnation()
	}
	s := &Sequencer{
		cfg: cfg, j: j, log: cfg.Logger, sink: sink, source: cfg.Source, inc: cfg.Incarnation,
		seed: maphash.MakeSeed(), kick: make(chan struct{}, 1), stop: make(chan struct{}),
		flights: make(chan flight, 4),
	}
	for i := range s.shards {
		s.shards[i].keys = map[string]*keyState{}
		s.shards[i].live = map[string]*livePublication{}
		s.shards[i].shedKeys = map[string]struct{}{}
	}
	if err := s.restore(); err != nil {
		return nil, err
	}
	s.wg.Add(3)
	go s.append()
	go s.complete()
	go s.heartbeat()
	return s, nil
}

func newIncarnation() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return fmt.Sprintf("%011x%08x", time.Now().UnixMilli(), binary.BigEndian.Uint32(b[:]))
}

// Identity returns who raises events now.
func (s *Sequencer) Identity() (source, incarnation string, epoch int64) {
	return s.source, s.inc, s.epoch
}

func (s *Sequencer) shardOf(key string) *shard {
	return &s.shards[maphash.String(s.seed, key)%shardCount]
}

// load returns the key's state with the shard locked; a key that is not in memory is read from the journal, without
// the lock.
func (s *Sequencer) load(sh *shard, key string) *keyState {
	for {
		sh.mu.Lock()
		if ks := sh.keys[key]; ks != nil {
			return ks
		}
		before := sh.evictions
		sh.mu.Unlock()
		fresh := s.recall(key)
		sh.mu.Lock()
		if ks := sh.keys[key]; ks != nil {
			return ks
		}
		if sh.evictions != before { // it may have come, raised and been forgotten meanwhile
			sh.mu.Unlock()
			continue
		}
		sh.evict()
		sh.keys[key] = fresh
		return fresh
	}
}

// recall rebuilds the state of a key from its newest record.
func (s *Sequencer) recall(key string) *keyState {
	floor := s.j.Info().SeqFloor
	last, err := s.j.LastOfKey(key)
	if err != nil {
		// Reading failed, so the journal is ill and nothing new will be written either; never reuse a seq.
		s.log.Error("journal: can't read the last event of a stream", "stream", key, "err", err)
		s.die(err)
	}
	if last == nil {
		return &keyState{seq: floor, durable: floor}
	}
	return &keyState{
		seq: last.Seq, durable: last.Seq, time: last.Time.UnixNano(),
		marks: advance(last.Marks, last),
	}
}

// evict makes room by forgetting keys with nothing under way. The map's iteration order picks them at random.
func (sh *shard) evict() {
	if len(sh.keys) < keysPerShard {
		return
	}
	drop := keysPerShard / 8
	for key, ks := range sh.keys {
		if ks.seq != ks.durable || ks.gap != nil || len(ks.waiters) > 0 {
			continue
		}
		delete(sh.keys, key)
		sh.evictions++
		if drop--; drop == 0 {
			return
		}
	}
}

// advance returns the marks after r. The result is a new slice: records share theirs.
func advance(marks []journal.Mark, r *journal.Record) []journal.Mark {
	if r.Type == event.OnEventGap {
		return marks
	}
	m := journal.Mark{Type: r.Type, Schema: r.Schema, Seq: r.Seq, Index: r.Index, Epoch: r.Epoch}
	if r.Class == event.History {
		m.Schema = journal.HistorySchema
	}
	next := make([]journal.Mark, 0, len(marks)+1)
	next = append(next, marks...)
	for i := range next {
		if next[i].Type == m.Type && next[i].Schema == m.Schema {
			next[i] = m
			return next
		}
	}
	return append(next, m)
}

// Raise turns a fact into an event and queues it for the journal. It never waits for the journal's writer.
func (s *Sequencer) Raise(f fact.Fact) {
	meta := f.Meta()
	body, err := json.Marshal(f)
	if err != nil { // facts are our own plain structs
		s.log.Error("event: fact has no JSON form", "type", meta.Type, "stream", meta.Key, "err", err)
		return
	}
	s.RaiseBody(meta, schemaOf(f), body, f)
}

func schemaOf(f fact.Fact) string {
	switch f := f.(type) {
	case *fact.Registered:
		return f.Schema
	case *fact.Unregistered:
		return f.Schema
	}
	return ""
}

// RaiseBody is Raise for a body that is JSON already; f may be nil when meta.Live is LiveNone.
func (s *Sequencer) RaiseBody(meta fact.Meta, schema string, body []byte, f fact.Fact) {
	if s.dead.Load() != nil || s.closed.Load() {
		s.shed.Add(1) // never journaled, never shown; the next start compensates for what was live
		return
	}
	if len(meta.Key) > maxKey || len(body) > journal.MaxBody {
		// Sessions limit what a peer can say far below this.
		s.log.Error("event: too large to be journaled", "type", meta.Type, "key_bytes", len(meta.Key), "body_bytes", len(body))
		s.shed.Add(1)
		return
	}
	sh := s.shardOf(meta.Key)
	ks := s.load(sh, meta.Key)
	if meta.Shed && s.pending.Load() > int64(s.cfg.ShedAt) {
		s.shedLocked(sh, ks, meta, schema)
		sh.mu.Unlock()
		return
	}
	if ks.gap != nil {
		s.nameGapLocked(sh, ks, meta.Key)
	}
	r := s.recordLocked(ks, meta, schema, body)
	var ops []journal.Op
	if meta.Live != fact.LiveNone {
		ops = sh.liveLocked(meta, f)
	}
	sh.queue = append(sh.queue, queued{r, ops})
	sh.raised++
	sh.mu.Unlock()
	s.pending.Add(1)
	s.raised.Add(1)
	s.wake()
}

// recordLocked takes seq, hook_index and time together.
func (s *Sequencer) recordLocked(ks *keyState, meta fact.Meta, schema string, body []byte) *journal.Record {
	ks.seq++
	index := s.nextIndex()
	now := s.cfg.Clock().UTC()
	if n := now.UnixNano(); n > ks.time {
		ks.time = n
	} else { // the clock stepped back: event time never decreases within a key
		now = time.Unix(0, ks.time).UTC()
	}
	r := &journal.Record{
		Key: meta.Key, Seq: ks.seq, Index: index, ID: s.id(index), Type: meta.Type, Schema: schema,
		Class: meta.Class, Time: now, Source: s.source, Incarnation: s.inc, Epoch: s.epoch,
		Publication: meta.Publication, Compensation: meta.Compensation, Marks: ks.marks, Body: body,
	}
	ks.marks = advance(ks.marks, r)
	return r
}

// id is unique for ever: the incarnation names the run and a hook_index is never given out twice.
func (s *Sequencer) id(index uint64) string {
	const digits = "0123456789abcdef"
	var buf [48]byte
	b := append(append(buf[:0], s.inc...), '-')
	shift := 60
	for shift > 0 && index>>shift == 0 {
		shift -= 4
	}
	for ; shift >= 0; shift -= 4 {
		b = append(b, digits[index>>shift&15])
	}
	return string(b)
}

func (s *Sequencer) nextIndex() uint64 {
	i := s.index.Add(1) - 1
	if i >= warnIndex && s.warned.CompareAndSwap(false, true) {
		s.log.Warn("hook_index has passed 2^30; receivers that parse it into 32 bits will break at 2^31", "hook_index", i)
	}
	return i
}

func (s *Sequencer) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// Last returns the newest seq raised for the key, 0 when there is none.
func (s *Sequencer) Last(key string) uint64 {
	seq, _ := s.newest(key)
	return seq
}

// newest returns seq and time, in Unix nanoseconds, of the newest event of the key; zeros when there is none.
func (s *Sequencer) newest(key string) (seq uint64, at int64) {
	sh := s.shardOf(key)
	sh.mu.Lock()
	if ks := sh.keys[key]; ks != nil {
		defer sh.mu.Unlock()
		return ks.seq, ks.time
	}
	sh.mu.Unlock()
	// Not remembered: read it, but don't remember it. Decisions name keys that never come to life.
	if last, err := s.j.LastOfKey(key); err == nil && last != nil {
		return last.Seq, last.Time.UnixNano()
	}
	return 0, 0
}

// Stamp gives a request that has no seq (decision, question) its identity: one id and one hook_index for all its
// attempts, and the newest seq of the key, which is durable or will be waited for by WaitDurable. Its time is not before
// that of the key's newest event.
func (s *Sequencer) Stamp(key string) (id string, index, after uint64, t time.Time) {
	after, newest := s.newest(key)
	index = s.nextIndex()
	if index >= s.reserved.Load() {
		s.waitReserved(index)
	}
	if t = s.cfg.Clock().UTC(); t.UnixNano() < newest {
		t = time.Unix(0, newest).UTC()
	}
	return s.id(index), index, after, t
}

// waitReserved waits until the reservation of index is durable: an index that was shown must never come again. The
// appender reserves half a block ahead, so this happens only when more than 4,096 requests came between two batches.
func (s *Sequencer) waitReserved(index uint64) {
	for index >= s.reserved.Load() && s.dead.Load() == nil && !s.closed.Load() {
		s.wake()
		select {
		case <-time.After(time.Millisecond):
		case <-s.stop:
		}
	}
}

// WaitDurable waits until all events of the key up to seq are durable.
func (s *Sequencer) WaitDurable(ctx context.Context, key string, seq uint64) error {
	sh := s.shardOf(key)
	sh.mu.Lock()
	ks := sh.keys[key]
	if ks == nil || ks.durable >= seq {
		sh.mu.Unlock()
		return nil
	}
	w := waiter{seq: seq, done: make(chan struct{})}
	ks.waiters = append(ks.waiters, w)
	sh.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stop:
		return journal.ErrClosed
	}
}

// Admit reserves room for the terminal events of one publication.
func (s *Sequencer) Admit() (release func(), err error) {
	if err := s.Healthy(); err != nil {
		return nil, err
	}
	if s.cfg.Admission != nil {
		if err := s.cfg.Admission(); err != nil {
			return nil, err
		}
	}
	if s.rooms.Add(publicationRoom)+s.pending.Load() > int64(s.cfg.Capacity) {
		s.rooms.Add(-publicationRoom)
		return nil, ErrNoRoom
	}
	var once sync.Once
	return func() { once.Do(func() { s.rooms.Add(-publicationRoom) }) }, nil
}

// Healthy returns nil while events are being journaled.
func (s *Sequencer) Healthy() error {
	if p := s.dead.Load(); p != nil {
		return *p
	}
	return s.j.Healthy()
}

// Stats are counters since the start, and the present backlog.
type Stats struct {
	Raised, Shed, NextIndex uint64
	Pending, Rooms          int64
	Keys                    int
}

// Stats returns a snapshot.
func (s *Sequencer) Stats() Stats {
	st := Stats{
		Raised: s.raised.Load(), Shed: s.shed.Load(), NextIndex: s.index.Load(),
		Pending: s.pending.Load(), Rooms: s.rooms.Load(),
	}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		st.Keys += len(sh.keys)
		sh.mu.Unlock()
	}
	return st
}
