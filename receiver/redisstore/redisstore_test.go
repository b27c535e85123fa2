package redisstore_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/queue/queuetest"
	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/redisstore"
	"github.com/hookline/hookline/receiver/storetest"
)

// patience is how long a server may take for an answer, and a test may stand still in the middle of an update.
const patience = 2 * time.Minute

func TestMain(m *testing.M) { leaktest.Main(m) }

// server is a real redis-server that syncs each write.
type server struct {
	tb   testing.TB
	dir  string
	port string
	cmd  *exec.Cmd
}

func start(tb testing.TB) *server {
	tb.Helper()
	s := &server{tb: tb, dir: tb.TempDir(), port: strconv.Itoa(queuetest.FreePort(tb))}
	s.run()
	tb.Cleanup(s.kill)
	return s
}

func (s *server) run() {
	s.tb.Helper()
	s.cmd = exec.Command(queuetest.Binary(s.tb, "redis-server"), "--bind", "127.0.0.1", "--port", s.port, "--dir", s.dir,
		"--appendonly", "yes", "--appendfsync", "always", "--save", "")
	var output bytes.Buffer
	s.cmd.Stdout, s.cmd.Stderr = &output, &output
	if err := s.cmd.Start(); err != nil {
		s.tb.Fatal(err)
	}
	queuetest.Await(s.tb, "redis-server", func() bool {
		c := s.client()
		defer c.Close()
		return c.Ping(context.Background()).Err() == nil
	})
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func (s *server) client() *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: net.JoinHostPort("127.0.0.1", s.port),
		// Each write is synced, which takes a while on a busy machine.
		DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, PoolTimeout: patience,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// harness uses a prefix of the server.
func harness(t *testing.T, s *server, prefix string) *storetest.Harness {
	t.Helper()
	c := s.client()
	t.Cleanup(func() { _ = c.Close() })
	return &storetest.Harness{
		Store: redisstore.New(c, redisstore.Config{Prefix: prefix, Lease: patience}),
		Effect: func(ctx context.Context, name string) error {
			redisstore.OnCommit(ctx, func(tx redis.Pipeliner) { tx.RPush(ctx, prefix+"effects", name) })
			return nil
		},
		Effects: func() ([]string, error) { return c.LRange(context.Background(), prefix+"effects", 0, -1).Result() },
		// The receiver's end: Redis lives on, with the lock of an update that will never commit, whose lease is over soon.
		Crash: func(t *testing.T) *storetest.Harness {
			image := prefix + "image" + strconv.FormatInt(time.Now().UnixNano(), 36) + ":"
			ctx := context.Background()
			for _, key := range c.Keys(ctx, prefix+"*").Val() {
				name := key[len(prefix):]
				if err := c.Copy(ctx, key, image+name, 0, false).Err(); err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(name, "lock:") {
					if err := c.PExpire(ctx, image+name, time.Second).Err(); err != nil {
						t.Fatal(err)
					}
				}
			}
			return harness(t, s, image)
		},
	}
}

func TestStore(t *testing.T) {
	s := start(t)
	n := 0
	storetest.Run(t, func(t *testing.T) *storetest.Harness {
		n++
		return harness(t, s, "test"+strconv.Itoa(n)+":")
	})
}

// TestServerKilled kills Redis: what was committed is there afterwards, with its mark.
func TestServerKilled(t *testing.T) {
	s := start(t)
	h := harness(t, s, "kill:")
	k := receiver.Key{Source: "s", Stream: "a"}
	update := func() error {
		return h.Store.Update(t.Context(), k, func(ctx context.Context, m receiver.Mark) (receiver.Mark, error) {
			m.Epoch, m.Seq = 1, m.Seq+1
			return m, h.Effect(ctx, strconv.FormatUint(m.Seq, 10))
		})
	}
	for range 3 {
		for range 5 {
			if err := update(); err != nil {
				t.Fatal(err)
			}
		}
		s.kill()
		if err := update(); err == nil {
			t.Error("an update without a server")
		}
		s.run()
	}
	var got receiver.Mark
	err := h.Store.Update(t.Context(), k, func(_ context.Context, m receiver.Mark) (receiver.Mark, error) {
		got = m
		return m, nil
	})
	list, failed := h.Effects()
	if err != nil || failed != nil || got.Seq != 15 || len(list) != 15 {
		t.Errorf("%v %v, mark %s, effects %v", err, failed, got, list)
	}
}

// TestLeaseLost commits nothing when the lock has gone to another.
func TestLeaseLost(t *testing.T) {
	s := start(t)
	h := harness(t, s, "lease:")
	c := s.client()
	defer c.Close()
	k := receiver.Key{Source: "s", Stream: "a"}
	err := h.Store.Update(t.Context(), k, func(ctx context.Context, m receiver.Mark) (receiver.Mark, error) {
		if err := c.Set(ctx, "lease:lock:"+k.Digest(), "another", time.Minute).Err(); err != nil {
			t.Error(err)
		}
		m.Epoch, m.Seq = 1, 1
		return m, h.Effect(ctx, "lost")
	})
	list, failed := h.Effects()
	if !errors.Is(err, redisstore.ErrLeaseLost) || failed != nil || len(list) != 0 {
		t.Errorf("%v, %v, effects %v", err, failed, list)
	}
	if owner := c.Get(t.Context(), "lease:lock:"+k.Digest()).Val(); owner != "another" {
		t.Errorf("the lock is %q's", owner)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = h.Store.Update(ctx, k, func(context.Context, receiver.Mark) (receiver.Mark, error) {
		t.Error("an update of a stream that is another's")
		return receiver.Mark{}, nil
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for the lock: %v", err)
	}
}

func BenchmarkStore(b *testing.B) {
	c := start(b).client()
	defer c.Close()
	storetest.Bench(b, redisstore.New(c, redisstore.Config{}))
}
