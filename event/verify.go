package event

import (
	"crypto/ed25519"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Reasons why a request is not authentic. The errors of [Verifier.Verify] wrap one of these, [ErrBadID] or
// [ErrBadTimestamp].
var (
	// ErrMissingHeader: one of the three headers is absent or empty; the text names it.
	ErrMissingHeader = errors.New("event: missing header")
	// ErrTooOld: the attempt was made longer ago than the tolerance. Either it was recorded and played again, or a
	// clock is wrong.
	ErrTooOld = errors.New("event: webhook timestamp too old")
	// ErrTooNew: the attempt lies further in the future than the tolerance.
	ErrTooNew = errors.New("event: webhook timestamp too new")
	// ErrHeaderTooLong: webhook-signature is longer than [MaxSignatureBytes] or holds more than [MaxSignatures].
	ErrHeaderTooLong = errors.New("event: webhook-signature too long")
	// ErrNoMatch: no signature of the header was made by a key that the verifier knows over this id, time and body.
	ErrNoMatch = errors.New("event: no matching signature")
)

// Limits of a webhook-signature header. They bound what a forged request can cost: at most [MaxSignatures] × [MaxKeys]
// ed25519 verifications.
const (
	MaxSignatureBytes = 4 << 10
	MaxSignatures     = 2 * MaxKeys
)

// DefaultTolerance is how far the time of an attempt may be from the receiver's clock, both ways.
const DefaultTolerance = 5 * time.Minute

// HeaderGetter is what [Verifier.Verify] reads; net/http.Header is one.
type HeaderGetter interface {
	Get(key string) string
}

// Verifier checks requests as Standard Webhooks 1.0.0 describes. It is safe for concurrent use and does not change.
//
// It says that the request comes from who holds the key and was made about now. It does not tell a duplicate from a
// first delivery: that is what the id is for.
type Verifier struct {
	secrets   []Secret
	keys      []PublicKey
	tolerance time.Duration
	pool      sync.Pool // of *verification
}

// VerifierOption changes a [Verifier] that is being made.
type VerifierOption func(*Verifier)

// WithTolerance replaces [DefaultTolerance]; d must be positive.
func WithTolerance(d time.Duration) VerifierOption {
	return func(v *Verifier) { v.tolerance = d }
}

// NewVerifier returns a verifier that accepts a v1 signature by any of secrets and a v1a signature by any of keys; at
// least one in all and at most [MaxKeys] of each. Errors wrap [ErrBadKey] when a key is the reason.
func NewVerifier(secrets []Secret, keys []PublicKey, opts ...VerifierOption) (*Verifier, error) {
	if err := checkCounts(len(secrets), len(keys)); err != nil {
		return nil, err
	}
	v := &Verifier{tolerance: DefaultTolerance}
	for i, s := range secrets {
		if s.raw == nil {
			return nil, fmt.Errorf("%w: secret %d is the zero Secret", ErrBadKey, i+1)
		}
		v.secrets = append(v.secrets, s)
	}
	for i, k := range keys {
		if k.raw == "" {
			return nil, fmt.Errorf("%w: key %d is the zero PublicKey", ErrBadKey, i+1)
		}
		v.keys = append(v.keys, k)
	}
	for _, o := range opts {
		o(v)
	}
	if v.tolerance <= 0 {
		return nil, fmt.Errorf("event: tolerance %s is not positive", v.tolerance)
	}
	return v, nil
}

// ParseVerifier is [NewVerifier] for serialised keys: "whsec_" and "whpk_" in any mixture.
func ParseVerifier(keys []string, opts ...VerifierOption) (*Verifier, error) {
	var secrets []Secret
	var public []PublicKey
	for i, text := range keys {
		var err error
		switch kindOf(text) {
		case PublicKeyPrefix:
			var k PublicKey
			k, err = ParsePublicKey(text)
			public = append(public, k)
		case SigningKeyPrefix:
			err = fmt.Errorf("%w: a private key (%s) where the public one (%s) belongs", ErrBadKey, SigningKeyPrefix, PublicKeyPrefix)
		default:
			var s Secret
			s, err = ParseSecret(text)
			secrets = append(secrets, s)
		}
		if err != nil {
			return nil, fmt.Errorf("key %d of %d: %w", i+1, len(keys), err)
		}
	}
	return NewVerifier(secrets, public, opts...)
}

// Verify returns nil when the headers sign exactly these bytes of body and the attempt was made within the tolerance
// of now. The body must be what came over the wire, not JSON that was written anew.
func (v *Verifier) Verify(h HeaderGetter, body []byte) error {
	return v.VerifyAt(h, body, time.Now())
}

// VerifyAt is [Verifier.Verify] with a clock that shows now.
func (v *Verifier) VerifyAt(h HeaderGetter, body []byte, now time.Time) error {
	id, stamp, signatures := h.Get(HeaderID), h.Get(HeaderTimestamp), h.Get(HeaderSignature)
	switch {
	case id == "":
		return fmt.Errorf("%w: %s", ErrMissingHeader, HeaderID)
	case stamp == "":
		return fmt.Errorf("%w: %s", ErrMissingHeader, HeaderTimestamp)
	case signatures == "":
		return fmt.Errorf("%w: %s", ErrMissingHeader, HeaderSignature)
	}
	if err := CheckID(id); err != nil {
		return err
	}
	seconds, err := parseTimestamp(stamp)
	if err != nil {
		return err
	}
	sent := time.Unix(seconds, 0)
	if off := now.Sub(sent); off > v.tolerance {
		return fmt.Errorf("%w: %s, tolerated are %s", ErrTooOld, off.Round(time.Second), v.tolerance)
	}
	if off := sent.Sub(now); off > v.tolerance {
		return fmt.Errorf("%w: %s, tolerated are %s", ErrTooNew, off.Round(time.Second), v.tolerance)
	}
	if len(signatures) > MaxSignatureBytes {
		return fmt.Errorf("%w: %d bytes", ErrHeaderTooLong, len(signatures))
	}
	c, ok := v.pool.Get().(*verification)
	if !ok {
		c = &verification{keys: v.keys, scratch: *newScratch(v.secrets)}
	}
	defer v.pool.Put(c)
	return c.match(id, seconds, signatures, body)
}

// parseTimestamp accepts only what a signer writes: digits without sign and leading zeros. One text for one number
// makes the header as good as signed.
func parseTimestamp(s string) (int64, error) {
	if len(s) > 11 {
		return 0, fmt.Errorf("%w: %d bytes", ErrBadTimestamp, len(s))
	}
	if s[0] == '0' && len(s) > 1 {
		return 0, fmt.Errorf("%w: leading zero", ErrBadTimestamp)
	}
	var n int64
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("%w: byte %d is not a digit", ErrBadTimestamp, i)
		}
		n = n*10 + int64(c-'0')
	}
	return n, nil
}

// verification is the memory of one check.
type verification struct {
	scratch
	keys []PublicKey
	want [][hmacText]byte // what each secret would have signed, in base64
	text []byte
	raw  []byte
	pub  []byte
}

// match looks for a signature that one of the keys made. Signatures of unknown versions and malformed ones match
// nothing.
func (c *verification) match(id string, seconds int64, signatures string, body []byte) error {
	c.begin(id, seconds)
	c.want = c.want[:0]
	for i := range c.macs {
		var text [hmacText]byte
		base64.StdEncoding.Encode(text[:], c.mac(i, body))
		c.want = append(c.want, text)
	}
	defer c.release()
	var message []byte
	count := 0
	for entry := range strings.SplitSeq(signatures, " ") {
		if count++; count > MaxSignatures {
			return fmt.Errorf("%w: more than %d signatures", ErrHeaderTooLong, MaxSignatures)
		}
		version, text, _ := strings.Cut(entry, ",")
		switch version {
		case versionHMAC:
			if c.matchHMAC(text) {
				return nil
			}
		case versionEd25519:
			if message == nil && len(c.keys) > 0 {
				message = c.message(body)
			}
			if c.matchEd25519(text, message) {
				return nil
			}
		}
	}
	return ErrNoMatch
}

// matchHMAC compares the base64 texts in constant time: no second text of the same bytes is accepted.
func (c *verification) matchHMAC(text string) bool {
	if len(text) != hmacText {
		return false
	}
	c.text = append(c.text[:0], text...)
	equal := 0
	for i := range c.want {
		equal |= subtle.ConstantTimeCompare(c.text, c.want[i][:])
	}
	return equal == 1
}

func (c *verification) matchEd25519(text string, message []byte) bool {
	if len(text) != ed25519Text {
		return false
	}
	c.text = append(c.text[:0], text...)
	raw, err := base64.StdEncoding.Strict().AppendDecode(c.raw[:0], c.text)
	if err != nil || len(raw) != ed25519.SignatureSize {
		return false
	}
	c.raw = raw
	for _, k := range c.keys {
		c.pub = append(c.pub[:0], k.raw...)
		if ed25519.Verify(c.pub, message, raw) {
			return true
		}
	}
	return false
}
