package boltstore_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/boltstore"
	"github.com/hookline/hookline/receiver/storetest"
)

// effectsBucket has what the handlers of the tests do.
var effectsBucket = []byte("effects")

// openDB opens a file. Commits are not delayed to be shared: the tests make few at a time.
func openDB(t *testing.T, file string) *bbolt.DB {
	t.Helper()
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	db.MaxBatchDelay = 0
	t.Cleanup(func() { _ = db.Close() })
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(effectsBucket)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func open(t *testing.T, file string) *storetest.Harness {
	t.Helper()
	db := openDB(t, file)
	store, err := boltstore.New(db)
	if err != nil {
		t.Fatal(err)
	}
	return &storetest.Harness{
		Store: store,
		Effect: func(ctx context.Context, name string) error {
			boltstore.OnCommit(ctx, func(tx *bbolt.Tx) error {
				b := tx.Bucket(effectsBucket)
				n, err := b.NextSequence()
				if err != nil {
					return err
				}
				return b.Put(binary.BigEndian.AppendUint64(nil, n), []byte(name))
			})
			return nil
		},
		Effects: func() (list []string, err error) {
			err = db.View(func(tx *bbolt.Tx) error {
				return tx.Bucket(effectsBucket).ForEach(func(_, v []byte) error {
					list = append(list, string(v))
					return nil
				})
			})
			return list, err
		},
		Crash: func(t *testing.T) *storetest.Harness {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			image := filepath.Join(t.TempDir(), "image.db")
			if err := os.WriteFile(image, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			return open(t, image)
		},
	}
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) *storetest.Harness { return open(t, filepath.Join(t.TempDir(), "test.db")) })
}

// TestSlowStreamHoldsUpNoOther runs an update of one stream inside that of another.
func TestSlowStreamHoldsUpNoOther(t *testing.T) {
	h := open(t, filepath.Join(t.TempDir(), "test.db"))
	set := func(m receiver.Mark) (receiver.Mark, error) {
		m.Epoch, m.Seq = 1, m.Seq+1
		return m, nil
	}
	slow, other := receiver.Key{Stream: "slow"}, receiver.Key{Stream: "other"}
	err := h.Store.Update(t.Context(), slow, func(ctx context.Context, m receiver.Mark) (receiver.Mark, error) {
		if err := h.Store.Update(ctx, other, func(_ context.Context, m receiver.Mark) (receiver.Mark, error) { return set(m) }); err != nil {
			t.Error(err)
		}
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		err := h.Store.Update(short, slow, func(_ context.Context, m receiver.Mark) (receiver.Mark, error) {
			t.Error("two updates of one key at once")
			return m, nil
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the second update: %v", err)
		}
		return set(m)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestEffectFails rolls back the mark with an effect that fails when it is committed.
func TestEffectFails(t *testing.T) {
	h := open(t, filepath.Join(t.TempDir(), "test.db"))
	failed := errors.New("effect failed")
	k := receiver.Key{Stream: "a"}
	err := h.Store.Update(t.Context(), k, func(ctx context.Context, m receiver.Mark) (receiver.Mark, error) {
		boltstore.OnCommit(ctx, func(*bbolt.Tx) error { return failed })
		m.Epoch, m.Seq = 1, 7
		return m, nil
	})
	if !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
	_ = h.Store.Update(t.Context(), k, func(_ context.Context, m receiver.Mark) (receiver.Mark, error) {
		if m.Seq != 0 {
			t.Errorf("mark %s", m)
		}
		return m, nil
	})
	defer func() {
		if recover() == nil {
			t.Error("OnCommit outside of an update does not panic")
		}
	}()
	boltstore.OnCommit(t.Context(), nil)
}

func BenchmarkStore(b *testing.B) {
	db, err := bbolt.Open(filepath.Join(b.TempDir(), "bench.db"), 0o600, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	store, err := boltstore.New(db)
	if err != nil {
		b.Fatal(err)
	}
	storetest.Bench(b, store)
}
