package rtmp

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Errors of the handshake.
var (
	// ErrNotRTMP: the first byte is no RTMP version (HTTP, TLS, a port scan).
	ErrNotRTMP = errors.New("rtmp: peer does not speak RTMP")
	// ErrEncrypted: the peer wants RTMPE (version 6), which is broken cryptography and not supported; use rtmps.
	ErrEncrypted = errors.New("rtmp: RTMPE is not supported, use rtmps")
)

const (
	versionPlain     = 3
	versionEncrypted = 6

	handshakeSize = 1536 // C1, C2, S1, S2 (spec 5.2.3)
	digestSize    = sha256.Size
	digestSpan    = 728 // the offset of a digest inside its block is below this
	blockSize     = 764 // C1 and S1 are 8 bytes and two blocks, one with a key and one with a digest

	serverKeyShort = 36 // the part of the key that signs S1; the whole signs S2
	clientKeyShort = 30 // likewise for C1 and C2
)

// The keys are public constants of the digest handshake that every Flash player and server knows. They prove nothing
// about the peer, they only tell players that the server is recent enough for H.264.
const (
	keyTail   = "\xf0\xee\xc2\x4a\x80\x68\xbe\xe8\x2e\x00\xd0\xd1\x02\x9e\x7e\x57\x6e\xec\x5d\x2d\x29\x80\x6f\xab\x93\xb8\xe6\x36\xcf\xeb\x31\xae"
	serverKey = "Genuine Adobe Flash Media Server 001" + keyTail
	clientKey = "Genuine Adobe Flash Player 001" + keyTail
)

// schema says which of the two blocks comes first.
type schema int

const (
	digestFirst schema = iota
	keyFirst
)

// digestAt returns where the digest of b is. b is a C1 or S1.
func digestAt(b []byte, s schema) int {
	block := 8
	if s == keyFirst {
		block += blockSize
	}
	sum := 0
	for _, c := range b[block : block+4] {
		sum += int(c)
	}
	return block + 4 + sum%digestSpan
}

// digestOf returns the digest of b, which leaves out the 32 bytes at offset at.
func digestOf(b []byte, at int, key string) []byte {
	h := hmac.New(sha256.New, []byte(key))
	h.Write(b[:at])
	h.Write(b[at+digestSize:])
	return h.Sum(nil)
}

// sign writes the digest into b, a C1 or S1 that is complete otherwise, and returns it.
func sign(b []byte, s schema, key string) []byte {
	at := digestAt(b, s)
	copy(b[at:], digestOf(b, at, key))
	return b[at : at+digestSize]
}

// findDigest looks for a valid digest under both schemas.
func findDigest(b []byte, key string) (digest []byte, s schema, ok bool) {
	for _, s := range []schema{digestFirst, keyFirst} {
		at := digestAt(b, s)
		if d := b[at : at+digestSize]; hmac.Equal(d, digestOf(b, at, key)) {
			return d, s, true
		}
	}
	return nil, 0, false
}

// answer fills b, a C2 or S2, with random bytes and the signature that answers the peer's digest.
func answer(b, peerDigest []byte, key string) error {
	at := handshakeSize - digestSize
	if _, err := rand.Read(b[:at]); err != nil {
		return fmt.Errorf("rtmp: handshake: %w", err)
	}
	h := hmac.New(sha256.New, []byte(key))
	h.Write(peerDigest)
	h2 := hmac.New(sha256.New, h.Sum(nil))
	h2.Write(b[:at])
	copy(b[at:], h2.Sum(nil))
	return nil
}

// hello fills b, a C1 or S1, with a version and random bytes.
func hello(b []byte, version [4]byte) error {
	binary.BigEndian.PutUint32(b, 0)
	copy(b[4:8], version[:])
	if _, err := rand.Read(b[8:handshakeSize]); err != nil {
		return fmt.Errorf("rtmp: handshake: %w", err)
	}
	return nil
}

// checkVersion judges C0 or S0.
func checkVersion(v byte) error {
	switch v {
	case versionPlain:
		return nil
	case versionEncrypted:
		return ErrEncrypted
	default:
		return fmt.Errorf("%w: first byte is 0x%02x", ErrNotRTMP, v)
	}
}

// acceptHandshake is the server's side. r and w are the connection; whoever calls it sets the deadline. Nothing is
// allocated before the version was seen.
func acceptHandshake(r io.Reader, w io.Writer) error {
	var version [1]byte
	if _, err := io.ReadFull(r, version[:]); err != nil {
		return fmt.Errorf("rtmp: handshake: %w", err)
	}
	if err := checkVersion(version[0]); err != nil {
		return err
	}
	c1 := make([]byte, handshakeSize)
	if _, err := io.ReadFull(r, c1); err != nil {
		return fmt.Errorf("rtmp: handshake: C1: %w", noEOF(err))
	}
	reply, err := serverReply(c1)
	if err != nil {
		return err
	}
	if _, err := w.Write(reply); err != nil {
		return fmt.Errorf("rtmp: handshake: %w", err)
	}
	// C2 is not checked: encoders send their own idea of it.
	if _, err := io.ReadFull(r, c1); err != nil {
		return fmt.Errorf("rtmp: handshake: C2: %w", noEOF(err))
	}
	return nil
}

// serverReply returns S0, S1 and S2 for c1.
func serverReply(c1 []byte) ([]byte, error) {
	reply := make([]byte, 1+2*handshakeSize)
	reply[0] = versionPlain
	s1, s2 := reply[1:1+handshakeSize], reply[1+handshakeSize:]

	digest, s, ok := findDigest(c1, clientKey[:clientKeyShort])
	if !ok { // the simple handshake: S2 echoes C1
		if err := hello(s1, [4]byte{}); err != nil {
			return nil, err
		}
		copy(s2, c1)
		return reply, nil
	}
	if err := hello(s1, [4]byte{4, 5, 0, 1}); err != nil {
		return nil, err
	}
	sign(s1, s, serverKey[:serverKeyShort])
	if err := answer(s2, digest, serverKey); err != nil {
		return nil, err
	}
	return reply, nil
}

// dialHandshake is the client's side, with a digest; a server that answers without one is accepted.
func dialHandshake(r io.Reader, w io.Writer) error {
	c := make([]byte, 1+handshakeSize)
	c[0] = versionPlain
	c1 := c[1:]
	if err := hello(c1, [4]byte{9, 0, 124, 2}); err != nil {
		return err
	}
	own := bytes.Clone(sign(c1, digestFirst, clientKey[:clientKeyShort]))
	if _, err := w.Write(c); err != nil {
		return fmt.Errorf("rtmp: handshake: %w", err)
	}

	s := make([]byte, 1+2*handshakeSize)
	if _, err := io.ReadFull(r, s[:1]); err != nil {
		return fmt.Errorf("rtmp: handshake: %w", noEOF(err))
	}
	if err := checkVersion(s[0]); err != nil {
		return err
	}
	if _, err := io.ReadFull(r, s[1:]); err != nil {
		return fmt.Errorf("rtmp: handshake: S1 and S2: %w", noEOF(err))
	}
	s1, s2 := s[1:1+handshakeSize], s[1+handshakeSize:]
	digest, _, ok := findDigest(s1, serverKey[:serverKeyShort])
	c2 := c1
	switch {
	case !ok:
		copy(c2, s1) // simple: C2 echoes S1
	case !validAnswer(s2, own, serverKey):
		return errors.New("rtmp: handshake: the server's answer does not fit its digest")
	default:
		if err := answer(c2, digest, clientKey); err != nil {
			return err
		}
	}
	if _, err := w.Write(c2); err != nil {
		return fmt.Errorf("rtmp: handshake: %w", err)
	}
	return nil
}

// validAnswer checks the signature of a C2 or S2.
func validAnswer(b, digest []byte, key string) bool {
	at := handshakeSize - digestSize
	h := hmac.New(sha256.New, []byte(key))
	h.Write(digest)
	h2 := hmac.New(sha256.New, h.Sum(nil))
	h2.Write(b[:at])
	return hmac.Equal(b[at:], h2.Sum(nil))
}

// noEOF turns the end of the input into what it is inside of something: unexpected.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
