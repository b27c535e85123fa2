package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// write is one write of a schedule.
type write struct {
	At   time.Duration // since the start of a turn
	Size int           // bytes
}

// schedule is what a viewer is written, again and again.
type schedule struct {
	Turn   time.Duration
	Writes []write
}

// bytes returns those of one turn.
func (s schedule) bytes() (n int) {
	for _, w := range s.Writes {
		n += w.Size
	}
	return n
}

// merged returns the schedule with about n writes in a turn: what is merged leaves with the last of it.
func (s schedule) merged(n float64) schedule {
	out := schedule{Turn: s.Turn}
	place := -1
	for i, w := range s.Writes {
		if p := int(float64(i) * n / float64(len(s.Writes))); n >= float64(len(s.Writes)) || p > place {
			place = p
			out.Writes = append(out.Writes, w)
			continue
		}
		last := &out.Writes[len(out.Writes)-1]
		last.At, last.Size = w.At, last.Size+w.Size
	}
	return out
}

// recordAfter is the time after which what was there before a viewer came has been sent.
const recordAfter = time.Second

// gap is the least time from one frame to the next of pubtool's generated stream that is not of the same moment.
const gap = 8 * time.Millisecond

// record plays through a relay and notes what comes, and when: who reads at once reads what was written.
// turn must be a time after which the stream repeats itself: 4 s, or for equal frames also a multiple of 160 ms.
func (s *scene) record(ctx context.Context, proto protocol, turn time.Duration) (out schedule, err error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return out, err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit+recordAfter+2*turn)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	defer ln.Close()
	viewer, err := startChild(ctx, rolePlay, playArgs{URL: proto.url(ln.Addr().String()), Viewers: 1})
	if err != nil {
		return out, err
	}
	down, err := ln.Accept()
	if err != nil {
		return out, errors.Join(err, viewer.stop())
	}
	out, err = relay(ctx, down, s.addr(proto), turn)
	var p played
	err = errors.Join(err, viewer.answer(&p)) // that it plays
	_, failed := endViewers(viewer, 1)
	return out, errors.Join(err, failed, down.Close())
}

// relay connects the viewer to the server at addr until a turn is recorded.
func relay(ctx context.Context, down net.Conn, addr string, turn time.Duration) (out schedule, err error) {
	up, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return out, err
	}
	var asking sync.WaitGroup
	asking.Go(func() { _, _ = io.Copy(up, down) })
	defer asking.Wait()
	// Not closed yet: the viewer must not see an end before it is told to end.
	defer func() { err = errors.Join(err, up.Close(), down.SetReadDeadline(time.Unix(1, 0))) }()
	defer context.AfterFunc(ctx, func() { _ = up.SetDeadline(time.Unix(1, 0)) })()
	buf := make([]byte, 1<<20)
	var first, start time.Time
	for {
		n, err := up.Read(buf)
		now := time.Now()
		if err == nil {
			_, err = down.Write(buf[:n])
		}
		switch {
		case err != nil:
			return out, errors.Join(err, ctx.Err())
		case first.IsZero():
			first = now
		case start.IsZero() && now.Sub(first) < recordAfter:
			continue
		case start.IsZero():
			start = now
		case now.Sub(start) > turn-gap/2:
			out.Turn = turn
			return out, nil
		}
		if !start.IsZero() {
			out.Writes = append(out.Writes, write{At: now.Sub(start), Size: n})
		}
	}
}

// loopArgs are the arguments of the bare loop.
type loopArgs struct {
	Viewers  int
	Schedule schedule
}

// loopChild is the ceiling of fan-out: it takes the viewers, and then one goroutine writes to one after the other what
// the schedule says, the same bytes from the same memory. It says where it listens, and when all are there.
func loopChild(ctx context.Context, raw []byte) error {
	var args loopArgs
	if err := json.Unmarshal(raw, &args); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	defer ln.Close()
	if err := say(ln.Addr().String()); err != nil {
		return err
	}
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	for len(conns) < args.Viewers {
		c, err := ln.Accept()
		if err != nil {
			return fmt.Errorf("bench: %w", err)
		}
		conns = append(conns, c)
		if err := welcome(c); err != nil {
			return fmt.Errorf("bench: %w", err)
		}
	}
	if err := say(true); err != nil {
		return err
	}
	return loop(ctx, conns, args.Schedule)
}

// welcome reads the request of a viewer and answers it.
func welcome(c net.Conn) error {
	const limit = time.Minute
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	buf, n := make([]byte, 8<<10), 0
	for !bytes.Contains(buf[:n], []byte("\r\n\r\n")) {
		if n == len(buf) {
			return bytes.ErrTooLarge
		}
		m, err := c.Read(buf[n:])
		if err != nil {
			return err
		}
		n += m
	}
	if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	return c.SetDeadline(time.Now().Add(benchLimit)) // for all that it is written
}

// loop writes until ctx ends. A viewer that has left is no longer written to.
func loop(ctx context.Context, conns []net.Conn, s schedule) error {
	most := 0
	for _, w := range s.Writes {
		most = max(most, w.Size)
	}
	block := bytes.Repeat([]byte{0xff}, most)
	for turn := time.Now(); ; turn = turn.Add(s.Turn) {
		for _, w := range s.Writes {
			if pause(ctx, time.Until(turn.Add(w.At))) != nil {
				return nil
			}
			for i, c := range conns {
				if c == nil {
					continue
				}
				if _, err := c.Write(block[:w.Size]); err != nil {
					if errors.Is(err, os.ErrDeadlineExceeded) {
						return fmt.Errorf("bench: %w", err)
					}
					_ = c.Close()
					conns[i] = nil
				}
			}
		}
	}
}
