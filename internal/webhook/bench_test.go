package webhook

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

const benchReceiverEnv = "HOOKLINE_BENCH_RECEIVER"

// serveBenchReceiver is the body of a process of its own, so that the CPU time of the benchmark is the client's. It
// reads requests of a known size and ends with its standard input.
func serveBenchReceiver() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(ln.Addr())
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				br := bufio.NewReader(c)
				for readRequest(br) != nil {
					if _, err := io.WriteString(c, okWire()); err != nil {
						return
					}
				}
			}()
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func startBenchReceiver(b *testing.B) string {
	b.Helper()
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^$")
	cmd.Env = append(os.Environ(), benchReceiverEnv+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return "http://" + strings.TrimSpace(line) + "/index/hook/on_stream_changed"
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSend compares this client with net/http's keep-alive client on the same receiver: 600-byte bodies, 16 in
// flight. cpu-ns/op is the process time of the client alone.
func BenchmarkSend(b *testing.B) {
	to := startBenchReceiver(b)
	body := []byte(`{"pad":"` + strings.Repeat("x", 590) + `"}`)
	run := func(post func() error) func(b *testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(8)
			start := cpuTime()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := post(); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(cpuTime()-start)/float64(b.N), "cpu-ns/op")
		}
	}
	c := newClient(b, Config{})
	ctx := b.Context()
	b.Run("webhook", run(func() error {
		return c.Send(ctx, Request{URL: to, Body: body, Timeout: 10 * time.Second}).Err
	}))
	std := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 10 * time.Second}
	b.Run("net-http", run(func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := std.Do(req)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		return err
	}))
	std.CloseIdleConnections()
}

func BenchmarkClassify(b *testing.B) {
	b.ReportAllocs()
	r := Reply{Status: 200, Body: []byte(okBody)}
	for b.Loop() {
		Classify(r)
	}
}
