package rtmp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

// halves is a connection whose two directions are independent.
type halves struct {
	io.Reader
	io.Writer
}

func TestHandshakeDigest(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	done := make(chan error, 1)
	go func() { done <- acceptHandshake(server, server) }()
	if err := dialHandshake(client, client); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestServerReplySchemas(t *testing.T) {
	for _, s := range []schema{digestFirst, keyFirst} {
		c1 := make([]byte, handshakeSize)
		if err := hello(c1, [4]byte{9, 0, 124, 2}); err != nil {
			t.Fatal(err)
		}
		digest := bytes.Clone(sign(c1, s, clientKey[:clientKeyShort]))
		reply, err := serverReply(c1)
		if err != nil {
			t.Fatal(err)
		}
		_, got, ok := findDigest(reply[1:1+handshakeSize], serverKey[:serverKeyShort])
		if !ok || got != s {
			t.Errorf("schema %d: S1 has schema %d, found %v", s, got, ok)
		}
		if !validAnswer(reply[1+handshakeSize:], digest, serverKey) {
			t.Errorf("schema %d: S2 does not answer the digest", s)
		}
	}
}

func TestHandshakeSimple(t *testing.T) {
	c1 := bytes.Repeat([]byte{0xab}, handshakeSize)
	in := append([]byte{3}, c1...)
	in = append(in, make([]byte, handshakeSize)...)
	var out bytes.Buffer
	if err := acceptHandshake(bytes.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes()[1+handshakeSize:], c1) {
		t.Error("S2 does not echo C1")
	}
}

func TestClientAcceptsSimpleServer(t *testing.T) {
	reply := append([]byte{3}, make([]byte, 2*handshakeSize)...)
	var out bytes.Buffer
	if err := dialHandshake(halves{bytes.NewReader(reply), &out}, &out); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes()[1+handshakeSize:], reply[1:1+handshakeSize]) {
		t.Error("C2 does not echo S1")
	}
}

func TestClientRefusesWrongAnswer(t *testing.T) {
	s1 := make([]byte, handshakeSize)
	sign(s1, digestFirst, serverKey[:serverKeyShort])
	reply := append(append([]byte{3}, s1...), make([]byte, handshakeSize)...)
	if err := dialHandshake(bytes.NewReader(reply), io.Discard); err == nil {
		t.Error("accepted a server that signs S1 and not S2")
	}
}

func TestHandshakeRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   string
		want error
	}{
		{"nothing", "", io.EOF},
		{"http", "GET / HTTP/1.1\r\n\r\n", ErrNotRTMP},
		{"tls", "\x16\x03\x01", ErrNotRTMP},
		{"version 0", "\x00", ErrNotRTMP},
		{"rtmpe", "\x06", ErrEncrypted},
		{"short C1", "\x03abc", io.ErrUnexpectedEOF},
		{"short C2", "\x03" + strings.Repeat("a", handshakeSize+5), io.ErrUnexpectedEOF},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := strings.NewReader(tc.in)
			if err := acceptHandshake(in, io.Discard); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if errors.Is(tc.want, ErrNotRTMP) && in.Len() != len(tc.in)-1 {
				t.Error("read on after a byte that is not RTMP")
			}
		})
	}
}
