package natsstore_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/natstest"
	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/natsstore"
	"github.com/hookline/hookline/receiver/storetest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// effects reads what handlers have put, in the order of the commits.
func effects(js jetstream.JetStream, bucket string) (list []string, err error) {
	stream, err := js.Stream(context.Background(), "KV_"+bucket)
	if err != nil {
		return nil, err
	}
	last := stream.CachedInfo().State.LastSeq
	for seq := uint64(1); seq <= last; seq++ {
		m, err := stream.GetMsg(context.Background(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if m.Subject[:len("$KV."+bucket+".effect.")] == "$KV."+bucket+".effect." {
			list = append(list, string(m.Data))
		}
	}
	return list, nil
}

// long is a lease that outlasts any standstill of the test, short one that a test waits for to end.
const long, short = 2 * time.Minute, time.Second

func harness(t *testing.T, js jetstream.JetStream, bucket string, lease time.Duration) *storetest.Harness {
	t.Helper()
	store, err := natsstore.New(t.Context(), js, natsstore.Config{Bucket: bucket, Lease: lease})
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	return &storetest.Harness{
		Store: store,
		Effect: func(ctx context.Context, name string) error {
			natsstore.Put(ctx, fmt.Sprintf("effect.%d-%d", n.Add(1), time.Now().UnixNano()), []byte(name))
			return nil
		},
		Effects: func() ([]string, error) { return effects(js, bucket) },
		// The receiver's end: NATS lives on, with the name in the entry of an update that will never commit.
		Crash: func(t *testing.T) *storetest.Harness {
			image := bucket + strconv.FormatInt(time.Now().UnixNano(), 36)
			if _, err := natsstore.New(t.Context(), js, natsstore.Config{Bucket: image}); err != nil {
				t.Fatal(err)
			}
			from, err := js.Stream(t.Context(), "KV_"+bucket)
			if err != nil {
				t.Fatal(err)
			}
			for seq := uint64(1); seq <= from.CachedInfo().State.LastSeq; seq++ {
				m, err := from.GetMsg(t.Context(), seq)
				if errors.Is(err, jetstream.ErrMsgNotFound) {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				m.Header.Del(jetstream.ExpectedLastSubjSeqHeader)
				for _, h := range []string{"Nats-Batch-Id", "Nats-Batch-Sequence", "Nats-Batch-Commit"} {
					m.Header.Del(h)
				}
				subject := "$KV." + image + m.Subject[len("$KV."+bucket):]
				if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Header: m.Header, Data: m.Data}); err != nil {
					t.Fatal(err)
				}
			}
			return harness(t, js, image, short) // nobody else updates what is in it
		},
	}
}

func TestStore(t *testing.T) {
	js := natstest.JetStream(t)
	n := 0
	storetest.Run(t, func(t *testing.T) *storetest.Harness {
		n++
		return harness(t, js, "test"+strconv.Itoa(n), long)
	})
}

// TestLeaseLost commits nothing, neither mark nor value, when the entry has gone to another.
func TestLeaseLost(t *testing.T) {
	js := natstest.JetStream(t)
	h := harness(t, js, "lease", short)
	k := receiver.Key{Source: "s", Stream: "a"}
	subject := "$KV.lease.mark." + k.Digest()
	for _, effect := range []bool{false, true} {
		err := h.Store.Update(t.Context(), k, func(ctx context.Context, m receiver.Mark) (receiver.Mark, error) {
			other := &nats.Msg{Subject: subject, Header: nats.Header{"Hookline-Owner": {"another"}}}
			if _, err := js.PublishMsg(ctx, other); err != nil {
				t.Error(err)
			}
			m.Epoch, m.Seq = 1, 1
			if effect {
				return m, h.Effect(ctx, "lost")
			}
			return m, nil
		})
		list, failed := h.Effects()
		if !errors.Is(err, natsstore.ErrLeaseLost) || failed != nil || len(list) != 0 {
			t.Errorf("%v, %v, effects %v", err, failed, list)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := h.Store.Update(ctx, k, func(context.Context, receiver.Mark) (receiver.Mark, error) {
		t.Error("an update of a stream that is another's")
		return receiver.Mark{}, nil
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for the entry: %v", err)
	}
}

// TestValuesAreKV reads as a bucket what a handler has put, and refuses a bucket that knows no batches.
func TestValuesAreKV(t *testing.T) {
	js := natstest.JetStream(t)
	store, err := natsstore.New(t.Context(), js, natsstore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	err = store.Update(t.Context(), receiver.Key{Stream: "a"}, func(ctx context.Context, m receiver.Mark) (receiver.Mark, error) {
		natsstore.Put(ctx, "live.a", []byte("on"))
		natsstore.Put(ctx, "count", []byte("1"))
		m.Epoch, m.Seq = 1, 1
		return m, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), "hookline")
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"live.a": "on", "count": "1"} {
		if e, err := kv.Get(t.Context(), key); err != nil || string(e.Value()) != want {
			t.Errorf("%s: %v, %v", key, e, err)
		}
	}
	err = store.Update(t.Context(), receiver.Key{Stream: "a"}, func(ctx context.Context, m receiver.Mark) (receiver.Mark, error) {
		for i := range natsstore.MaxPuts + 1 {
			natsstore.Put(ctx, strconv.Itoa(i), nil)
		}
		return m, nil
	})
	if !errors.Is(err, natsstore.ErrTooManyPuts) {
		t.Errorf("too many values: %v", err)
	}
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "plain"}); err != nil {
		t.Fatal(err)
	}
	if _, err := natsstore.New(t.Context(), js, natsstore.Config{Bucket: "plain"}); err == nil {
		t.Error("a bucket without batches is taken")
	}
}

func BenchmarkStore(b *testing.B) {
	store, err := natsstore.New(b.Context(), natstest.JetStream(b), natsstore.Config{})
	if err != nil {
		b.Fatal(err)
	}
	storetest.Bench(b, store)
}
