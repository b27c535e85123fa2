package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
)

// Vhosts of streams whose events the receiver treats badly.
const (
	vhostOK   = "__defaultVhost__"
	vhostFail = "fail.invalid" // 500 at once
	vhostHang = "hang.invalid" // no answer
)

const (
	okAnswer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 26\r\n\r\n" +
		`{"code":0,"msg":"success"}`
	failAnswer = "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nContent-Length: 27\r\n\r\n" +
		`{"code":-1,"msg":"failure"}`
)

// startReceiver starts the receiver and returns its URL.
func startReceiver(ctx context.Context) (string, *child, error) {
	c, err := startChild(ctx, roleReceiver, nil)
	if err != nil {
		return "", nil, err
	}
	var addr string
	if err := c.answer(&addr); err != nil {
		return "", nil, errors.Join(err, c.stop())
	}
	return "http://" + addr + "/index/hook/on_stream_changed", c, nil
}

// serveReceiver answers until ctx ends. It does as little as it can, so that what is measured is the senders.
func serveReceiver(ctx context.Context) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	var wg sync.WaitGroup
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	if err := say(ln.Addr().String()); err != nil {
		return errors.Join(err, ln.Close())
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			break
		}
		wg.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = c.Close() })
			defer stop()
			serveConn(c)
			_ = c.Close()
		})
	}
	wg.Wait()
	return nil
}

// serveConn answers the requests of a connection until it ends or says something else than HTTP/1.1.
func serveConn(c net.Conn) {
	in := bufio.NewReaderSize(c, 4<<10)
	for {
		vhost, err := readRequest(in)
		if err != nil {
			return
		}
		switch vhost {
		case vhostHang:
			_, _ = io.Copy(io.Discard, in) // until the sender gives up
			return
		case vhostFail:
			_, err = io.WriteString(c, failAnswer)
		default:
			_, err = io.WriteString(c, okAnswer)
		}
		if err != nil {
			return
		}
	}
}

// readRequest reads one request and returns what of its vhost matters.
func readRequest(in *bufio.Reader) (vhost string, err error) {
	length := 0
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return "", err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, ok := bytes.Cut(line, []byte(": "))
		switch {
		case first || !ok:
		case len(name) == 14 && bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return "", err
			}
		case len(name) == 7 && bytes.EqualFold(name, []byte("X-Vhost")):
			vhost = troubled(value)
		}
	}
	_, err = in.Discard(length)
	return vhost, err
}

// troubled returns the vhost if events of it are treated badly, without allocating.
func troubled(vhost []byte) string {
	switch string(vhost) {
	case vhostFail:
		return vhostFail
	case vhostHang:
		return vhostHang
	}
	return vhostOK
}
