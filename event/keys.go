package event

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Prefixes of serialised keys (Standard Webhooks 1.0.0, "Signature scheme").
const (
	SecretPrefix     = "whsec_"
	SigningKeyPrefix = "whsk_"
	PublicKeyPrefix  = "whpk_"
)

// Bounds of a symmetric secret in bytes (Standard Webhooks 1.0.0: "at least 24 bytes (192 bits, 512 maximum)").
const (
	MinSecretBytes = 24
	MaxSecretBytes = 64
)

// MaxKeys is the largest number of secrets, and of ed25519 keys, in a [Signer] or a [Verifier].
const MaxKeys = 8

// ErrBadKey is wrapped by every reason why a key can't be used. No such error holds any part of the key.
var ErrBadKey = errors.New("event: bad key")

// Secret is a symmetric secret. It prints as "whsec_[redacted]" with every verb, also from inside other values, and
// is {} in JSON; only [Secret.Reveal] shows it. The zero Secret is none.
type Secret struct {
	// raw is a function, so that fmt has nothing to print where it can't call Format: inside unexported fields.
	raw func() []byte
}

// ParseSecret parses "whsec_" and base64 (RFC 4648 section 4, with padding) of 24 to 64 bytes.
// Errors wrap [ErrBadKey].
func ParseSecret(s string) (Secret, error) {
	raw, err := decodeKey(s, SecretPrefix)
	if err != nil {
		return Secret{}, err
	}
	if len(raw) < MinSecretBytes || len(raw) > MaxSecretBytes {
		return Secret{}, fmt.Errorf("%w: a secret of %d bytes; needed are %d to %d", ErrBadKey, len(raw), MinSecretBytes, MaxSecretBytes)
	}
	return Secret{func() []byte { return raw }}, nil
}

// GenerateSecret returns a new random secret of 32 bytes.
func GenerateSecret() Secret {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails since Go 1.24
	return Secret{func() []byte { return raw }}
}

// Reveal returns the secret as [ParseSecret] reads it; "" for the zero Secret.
func (s Secret) Reveal() string {
	if s.raw == nil {
		return ""
	}
	return SecretPrefix + base64.StdEncoding.EncodeToString(s.raw())
}

// Format implements [fmt.Formatter] and never shows the secret.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, SecretPrefix+"[redacted]") }

// SigningKey is an ed25519 private key. It prints as "whsk_[redacted]" like [Secret]; only [SigningKey.Reveal] shows
// it. The zero SigningKey is none.
type SigningKey struct {
	key func() ed25519.PrivateKey // a function for the reason that Secret.raw is one
}

// ParseSigningKey parses "whsk_" and base64 of the 32 bytes of an RFC 8032 private key (the seed), or of these and the
// public key (64 bytes, as some tools write it). Errors wrap [ErrBadKey].
func ParseSigningKey(s string) (SigningKey, error) {
	raw, err := decodeKey(s, SigningKeyPrefix)
	if err != nil {
		return SigningKey{}, err
	}
	if len(raw) != ed25519.SeedSize && len(raw) != ed25519.PrivateKeySize {
		return SigningKey{}, fmt.Errorf("%w: an ed25519 private key of %d bytes; needed are %d or %d", ErrBadKey, len(raw), ed25519.SeedSize, ed25519.PrivateKeySize)
	}
	key := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
	if len(raw) == ed25519.PrivateKeySize && !key.Equal(ed25519.PrivateKey(raw)) {
		return SigningKey{}, fmt.Errorf("%w: the public half of the ed25519 private key does not belong to it", ErrBadKey)
	}
	return SigningKey{func() ed25519.PrivateKey { return key }}, nil
}

// GenerateSigningKey returns a new random key.
func GenerateSigningKey() SigningKey {
	seed := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(seed) // never fails since Go 1.24
	key := ed25519.NewKeyFromSeed(seed)
	return SigningKey{func() ed25519.PrivateKey { return key }}
}

// Public returns what receivers verify with; the zero PublicKey for the zero SigningKey.
func (k SigningKey) Public() PublicKey {
	if k.key == nil {
		return PublicKey{}
	}
	return PublicKey{string(k.key()[ed25519.SeedSize:])}
}

// Reveal returns the key as [ParseSigningKey] reads it, in the form of 32 bytes; "" for the zero SigningKey.
func (k SigningKey) Reveal() string {
	if k.key == nil {
		return ""
	}
	return SigningKeyPrefix + base64.StdEncoding.EncodeToString(k.key().Seed())
}

// Format implements [fmt.Formatter] and never shows the key.
func (SigningKey) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, SigningKeyPrefix+"[redacted]")
}

// PublicKey is an ed25519 public key. It is no secret, and comparable. The zero PublicKey is none.
type PublicKey struct {
	raw string
}

// ParsePublicKey parses "whpk_" and base64 of 32 bytes. Errors wrap [ErrBadKey].
func ParsePublicKey(s string) (PublicKey, error) {
	raw, err := decodeKey(s, PublicKeyPrefix)
	if err != nil {
		return PublicKey{}, err
	}
	if len(raw) != ed25519.PublicKeySize {
		return PublicKey{}, fmt.Errorf("%w: an ed25519 public key of %d bytes; needed are %d", ErrBadKey, len(raw), ed25519.PublicKeySize)
	}
	return PublicKey{string(raw)}, nil
}

// String returns the key as [ParsePublicKey] reads it; "" for the zero PublicKey.
func (k PublicKey) String() string {
	if k.raw == "" {
		return ""
	}
	return PublicKeyPrefix + base64.StdEncoding.EncodeToString([]byte(k.raw))
}

// decodeKey returns the bytes of s. What s holds is in no error, not even when it is of the wrong kind.
func decodeKey(s, prefix string) ([]byte, error) {
	text, ok := strings.CutPrefix(s, prefix)
	switch {
	case s == "":
		return nil, fmt.Errorf("%w: empty", ErrBadKey)
	case !ok && kindOf(s) != "":
		return nil, fmt.Errorf("%w: it begins with %q where %q is needed", ErrBadKey, kindOf(s), prefix)
	case !ok:
		return nil, fmt.Errorf("%w: it does not begin with %q", ErrBadKey, prefix)
	case strings.ContainsAny(text, " \t\r\n"):
		return nil, fmt.Errorf("%w: white space in it", ErrBadKey)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%w: what follows %q is not base64 with padding: %w", ErrBadKey, prefix, err)
	}
	return raw, nil
}

// kindOf returns the prefix that s begins with, "" for none.
func kindOf(s string) string {
	for _, p := range []string{SecretPrefix, SigningKeyPrefix, PublicKeyPrefix} {
		if strings.HasPrefix(s, p) {
			return p
		}
	}
	return ""
}
