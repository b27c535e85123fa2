package receiver_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/receivertest"
)

// loopbackConns is how many streams, each with a connection of its own, send at a time.
const loopbackConns = 32

// BenchmarkLoopback is what one receiver with the memory store handles over real HTTP on the loopback, signed events of the
// form zlm, in order within each stream; and in the same run what a handler of net/http does that reads the body only.
// ratio is the first through the second. cpu-µs/event is the time of processors that an event costs, the client's part with it:
// other work on the machine changes it little.
func BenchmarkLoopback(b *testing.B) {
	secret := event.GenerateSecret()
	r, err := receiver.New(quiet(), receiver.WithSecrets(secret.Reveal()))
	if err != nil {
		b.Fatal(err)
	}
	lanes := loopbackRequests(b, secret)
	bare := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			b.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"code":0,"msg":"success"}`)
	})
	b.ResetTimer()
	before := cpuTime(b)
	kit := postAll(b, r, lanes)
	used := cpuTime(b) - before
	b.StopTimer()
	if st := r.Stats(); st.Handled != uint64(b.N) {
		b.Fatalf("%+v", st)
	}
	plain := postAll(b, bare, lanes)
	b.ReportMetric(float64(b.N)/kit.Seconds(), "events/s")
	b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-µs/event")
	b.ReportMetric(float64(b.N)/plain.Seconds(), "bare/s")
	b.ReportMetric(plain.Seconds()/kit.Seconds(), "ratio")
}

// cpuTime is what the process has used so far.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// loopbackRequests returns b.N requests as they are on the wire, those of a connection one after the other.
func loopbackRequests(b *testing.B, secret event.Secret) [][][]byte {
	b.Helper()
	signer, err := event.NewSigner([]event.Secret{secret}, nil)
	if err != nil {
		b.Fatal(err)
	}
	s := receivertest.New(nil)
	lanes := make([][][]byte, loopbackConns)
	for i := range b.N {
		e := s.Register(fmt.Sprintf("live/%d", i%loopbackConns), "rtmp")
		if e.Seq%2 == 0 {
			e.Body["regist"] = false
		}
		e.Body["event"], e.Body["hook_index"], e.Body["mediaServerId"] = e.Envelope, e.HookIndex, e.Source
		body, err := json.Marshal(e.Body)
		if err != nil {
			b.Fatal(err)
		}
		req := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/hooks", bytes.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		if err := signer.Headers(req.Header, e.ID, time.Now(), body); err != nil {
			b.Fatal(err)
		}
		var wire bytes.Buffer
		if err := req.Write(&wire); err != nil {
			b.Fatal(err)
		}
		lanes[i%loopbackConns] = append(lanes[i%loopbackConns], wire.Bytes())
	}
	return lanes
}

// postAll sends the requests of each lane over a connection, the next when the last is answered, and returns how long all took.
func postAll(b *testing.B, h http.Handler, lanes [][][]byte) time.Duration {
	b.Helper()
	web := httptest.NewServer(h)
	defer web.Close()
	var wg sync.WaitGroup
	begin := time.Now()
	for _, lane := range lanes {
		wg.Go(func() {
			conn, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", web.Listener.Addr().String())
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			in := bufio.NewReader(conn)
			for _, wire := range lane {
				if _, err := conn.Write(wire); err != nil {
					b.Error(err)
					return
				}
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					b.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, resp.Body)
				if err != nil || resp.StatusCode != http.StatusOK {
					b.Error(resp.Status, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(begin)
}
