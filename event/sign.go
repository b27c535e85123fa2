package event

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"sync"
	"time"
)

// Headers of Standard Webhooks 1.0.0. Names are case-insensitive on the wire.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"
)

// MaxIDBytes is the longest id that is signed or verified.
const MaxIDBytes = 256

// Reasons why a request can't be signed or verified. The errors of [Signer] and [Verifier] wrap one of them.
var (
	// ErrBadID: the id is empty, too long, or holds a dot or anything but printable ASCII. A dot would let parts of
	// the signed text move from the id to the timestamp (Standard Webhooks 1.0.0, "Signature scheme").
	ErrBadID = errors.New("event: bad webhook id")
	// ErrBadTimestamp: not a plain decimal number of Unix seconds.
	ErrBadTimestamp = errors.New("event: bad webhook timestamp")
)

// Signature versions: HMAC-SHA256 and ed25519.
const (
	versionHMAC    = "v1"
	versionEd25519 = "v1a"
)

// Lengths of one signature in base64.
const (
	hmacText    = (sha256.Size + 2) / 3 * 4
	ed25519Text = (ed25519.SignatureSize + 2) / 3 * 4
)

// maxTimestamp keeps timestamps to eleven digits, until the year 5138.
const maxTimestamp = 99_999_999_999

// HeaderSetter is what [Signer.Headers] writes to; net/http.Header and most others are one.
type HeaderSetter interface {
	Set(key, value string)
}

// Signer signs requests as Standard Webhooks 1.0.0 describes. It is safe for concurrent use and does not change.
//
// While a secret is rotated the signer has both, and receivers accept whichever they know.
type Signer struct {
	secrets []Secret
	keys    []SigningKey
	pool    sync.Pool // of *scratch
}

// NewSigner returns a signer with one v1 signature for each secret and one v1a signature for each key, in this order;
// at least one in all and at most [MaxKeys] of each. Errors wrap [ErrBadKey].
func NewSigner(secrets []Secret, keys []SigningKey) (*Signer, error) {
	if err := checkCounts(len(secrets), len(keys)); err != nil {
		return nil, err
	}
	s := &Signer{}
	for i, sec := range secrets {
		if sec.raw == nil {
			return nil, fmt.Errorf("%w: secret %d is the zero Secret", ErrBadKey, i+1)
		}
		s.secrets = append(s.secrets, sec)
	}
	for i, key := range keys {
		if key.key == nil {
			return nil, fmt.Errorf("%w: key %d is the zero SigningKey", ErrBadKey, i+1)
		}
		s.keys = append(s.keys, key)
	}
	return s, nil
}

// ParseSigner is [NewSigner] for serialised keys: "whsec_" and "whsk_" in any mixture.
func ParseSigner(keys []string) (*Signer, error) {
	var secrets []Secret
	var signing []SigningKey
	for i, text := range keys {
		var err error
		switch kindOf(text) {
		case SigningKeyPrefix:
			var k SigningKey
			k, err = ParseSigningKey(text)
			signing = append(signing, k)
		case PublicKeyPrefix:
			err = fmt.Errorf("%w: a public key (%s) can't sign", ErrBadKey, PublicKeyPrefix)
		default:
			var s Secret
			s, err = ParseSecret(text)
			secrets = append(secrets, s)
		}
		if err != nil {
			return nil, fmt.Errorf("key %d of %d: %w", i+1, len(keys), err)
		}
	}
	return NewSigner(secrets, signing)
}

// Sign returns the value of webhook-signature for one attempt at t: signatures of "id.seconds.body" separated by
// spaces. It returns "", which no receiver accepts, for what [Signer.AppendSignature] refuses.
func (s *Signer) Sign(id string, t time.Time, body []byte) string {
	sc := s.scratch()
	defer s.pool.Put(sc)
	out, err := s.append(sc.out[:0], sc, id, t, body)
	sc.out = out
	if err != nil {
		return ""
	}
	return string(out)
}

// AppendSignature appends what [Signer.Sign] returns. It fails with [ErrBadID], see [CheckID], and with
// [ErrBadTimestamp] when t is before 1970 or after the year 5138; dst is then returned as it was.
//
// HMAC reads the body where it is. Ed25519 passes over its message twice and takes it in one piece, so that with a
// [SigningKey] the body is copied once, into memory that is used again.
func (s *Signer) AppendSignature(dst []byte, id string, t time.Time, body []byte) ([]byte, error) {
	sc := s.scratch()
	defer s.pool.Put(sc)
	return s.append(dst, sc, id, t, body)
}

// Headers sets webhook-id, webhook-timestamp (t, the time of this attempt) and webhook-signature. Nothing is set when
// it fails; see [Signer.AppendSignature].
func (s *Signer) Headers(h HeaderSetter, id string, t time.Time, body []byte) error {
	sc := s.scratch()
	defer s.pool.Put(sc)
	out, err := s.append(sc.out[:0], sc, id, t, body)
	sc.out = out
	if err != nil {
		return err
	}
	h.Set(HeaderID, id)
	h.Set(HeaderTimestamp, strconv.FormatInt(t.Unix(), 10))
	h.Set(HeaderSignature, string(out))
	return nil
}

func (s *Signer) scratch() *scratch {
	if sc, ok := s.pool.Get().(*scratch); ok {
		return sc
	}
	return newScratch(s.secrets)
}

func (s *Signer) append(dst []byte, sc *scratch, id string, t time.Time, body []byte) ([]byte, error) {
	if err := CheckID(id); err != nil {
		return dst, err
	}
	seconds := t.Unix()
	if seconds < 0 || seconds > maxTimestamp {
		return dst, fmt.Errorf("%w: out of range", ErrBadTimestamp)
	}
	sc.begin(id, seconds)
	for i := range sc.macs {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, versionHMAC+","...)
		dst = base64.StdEncoding.AppendEncode(dst, sc.mac(i, body))
	}
	if len(s.keys) == 0 {
		return dst, nil
	}
	message := sc.message(body)
	for i, key := range s.keys {
		if i > 0 || len(sc.macs) > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, versionEd25519+","...)
		dst = base64.StdEncoding.AppendEncode(dst, ed25519.Sign(key.key(), message))
	}
	sc.release()
	return dst, nil
}

// CheckID returns an error that wraps [ErrBadID] unless id can be signed: 1 to [MaxIDBytes] bytes of printable ASCII
// without a space and without a dot.
func CheckID(id string) error {
	switch {
	case id == "":
		return fmt.Errorf("%w: empty", ErrBadID)
	case len(id) > MaxIDBytes:
		return fmt.Errorf("%w: %d bytes, more than %d", ErrBadID, len(id), MaxIDBytes)
	}
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c > '~' {
			return fmt.Errorf("%w: byte %d is not printable ASCII", ErrBadID, i)
		} else if c == '.' {
			return fmt.Errorf("%w: a dot at byte %d", ErrBadID, i)
		}
	}
	return nil
}

func checkCounts(secrets, keys int) error {
	switch {
	case secrets+keys == 0:
		return fmt.Errorf("%w: no key at all", ErrBadKey)
	case secrets > MaxKeys:
		return fmt.Errorf("%w: %d secrets, more than %d", ErrBadKey, secrets, MaxKeys)
	case keys > MaxKeys:
		return fmt.Errorf("%w: %d ed25519 keys, more than %d", ErrBadKey, keys, MaxKeys)
	}
	return nil
}

// keptMessage is the largest message buffer that stays in a scratch, in bytes.
const keptMessage = 64 << 10

// scratch is the memory of one signing or verification. Its owner holds it alone.
type scratch struct {
	macs []hash.Hash // one for each secret
	// msg begins with "id.seconds."; the body follows only for ed25519.
	msg  []byte
	head int // length of "id.seconds."
	out  []byte
	sum  [sha256.Size]byte
}

func newScratch(secrets []Secret) *scratch {
	sc := &scratch{macs: make([]hash.Hash, len(secrets))}
	for i, s := range secrets {
		sc.macs[i] = hmac.New(sha256.New, s.raw())
	}
	return sc
}

func (sc *scratch) begin(id string, seconds int64) {
	sc.msg = append(append(sc.msg[:0], id...), '.')
	sc.msg = append(strconv.AppendInt(sc.msg, seconds, 10), '.')
	sc.head = len(sc.msg)
}

// mac returns the HMAC of secret i; it is overwritten by the next.
func (sc *scratch) mac(i int, body []byte) []byte {
	m := sc.macs[i]
	m.Reset()
	_, _ = m.Write(sc.msg[:sc.head]) // a hash never fails
	_, _ = m.Write(body)
	return m.Sum(sc.sum[:0])
}

// message returns "id.seconds.body" in one piece.
func (sc *scratch) message(body []byte) []byte {
	sc.msg = append(sc.msg[:sc.head], body...)
	return sc.msg
}

// release lets go of a buffer that was made for an unusually large body.
func (sc *scratch) release() {
	if cap(sc.msg) > keptMessage {
		sc.msg = nil
	}
}
