package rtmp

import (
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/format/amf"
)

// TestTimeouts runs sessions over pipes in virtual time.
func TestTimeouts(t *testing.T) {
	connect := func(c *Client) error {
		_, err := c.request("connect", amf.Object{{Name: "app", Value: "live"}})
		return err
	}
	for _, tc := range []struct {
		name  string
		do    func(c *Client) // until the server hangs up
		after time.Duration
		end   fact.EndReason
	}{
		{"nothing at all", func(c *Client) { _, _ = c.conn.Read(make([]byte, 1)) }, 15 * time.Second, ""},
		{"one byte a second", func(c *Client) {
			for _, err := c.conn.Write([]byte{3}); err == nil; _, err = c.conn.Write([]byte{3}) {
				time.Sleep(time.Second)
			}
		}, 15 * time.Second, ""},
		{"no command", func(c *Client) {
			if dialHandshake(c.conn, c.conn) == nil && connect(c) == nil {
				_, _ = c.next()
			}
		}, 15 * time.Second, ""},
		{"pings only", func(c *Client) {
			if dialHandshake(c.conn, c.conn) != nil || connect(c) != nil {
				return
			}
			for {
				if c.send(func(dst []byte) []byte { return appendEvent(dst, eventPingRequest, 1) }) != nil {
					return
				}
				if _, err := c.in.next(); err != nil {
					return
				}
				time.Sleep(700 * time.Millisecond)
			}
		}, 16 * time.Second, ""},
		{"publisher falls silent", func(c *Client) {
			if dialHandshake(c.conn, c.conn) != nil || connect(c) != nil {
				return
			}
			_ = c.sendStreamCommand(1, "publish", nil, "a", "live")
			if c.await(codePublishStart) != nil {
				return
			}
			for range 10 {
				_ = c.WriteTag(TypeAudio, 0, []byte("\xaf\x01x"))
				time.Sleep(10 * time.Second)
			}
			_ = c.WriteTag(TypeDataAMF0, 0, []byte("\x02\x00\x01x")) // is no media
			_, _ = c.next()
		}, 105 * time.Second, fact.EndTimeout},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := newFakeHub()
				srv := New(Config{Logger: slog.New(slog.DiscardHandler)}, hub)
				client, server := net.Pipe()
				start := time.Now()
				srv.Accept(server)
				c := &Client{conn: client, timeout: time.Hour, input: &countingReader{r: client}}
				c.in = newChunkReader(newBufio(client))
				tc.do(c)
				synctest.Wait()
				if n := srv.Connections(); n != 0 {
					t.Errorf("%d sessions are left", n)
				}
				if took := time.Since(start); took < tc.after-time.Second || took > tc.after+time.Second {
					t.Errorf("ended after %v, want %v", took, tc.after)
				}
				if tc.end != "" {
					expectEnd(t, hub, tc.end)
				}
				client.Close()
				srv.Close()
			})
		})
	}
}

// fakeRegistry is a Registry.
type fakeRegistry struct {
	mu       sync.Mutex
	sessions map[string]Session
	changed  chan struct{}
}

func newFakeRegistry() *fakeRegistry {
	return &fakeRegistry{sessions: make(map[string]Session), changed: make(chan struct{})}
}

// Add implements Registry.
func (r *fakeRegistry) Add(s Session) func() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions[s.ID] = s
	r.signal()
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.sessions, s.ID)
		r.signal()
	}
}

func (r *fakeRegistry) signal() {
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *fakeRegistry) kickAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sessions {
		s.Kick()
	}
}

func (r *fakeRegistry) waitSessions(t *testing.T, want int) {
	t.Helper()
	for {
		r.mu.Lock()
		n, changed := len(r.sessions), r.changed
		r.mu.Unlock()
		if n == want {
			return
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatal("sessions stay listed")
		}
	}
}
