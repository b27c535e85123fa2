package config

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

// Token is a line of [tokens]: who may use /api/v1 beside the holder of api.secret, and for what.
type Token struct {
	Name  string
	Admin bool // may change things
	// Digest is the SHA-256 of the token.
	Digest [sha256.Size]byte
}

const (
	tokenPrefix = "tokens."
	tokenHash   = "sha256:"
	// minToken is the shortest token in bytes, and maxTokens the largest number of them.
	minToken  = 16
	maxTokens = 100

	tokenAllowed = "NAME=read:TOKEN or NAME=admin:TOKEN; TOKEN has at least 16 visible characters, or is sha256: and the " +
		"64 hex digits of its SHA-256; at most 100 tokens"
)

// token takes a line of [tokens]. It returns what is allowed when it is not.
func (b *builder) token(name, value string) (allowed string) {
	t := Token{Name: strings.TrimPrefix(name, tokenPrefix)}
	role, text, _ := strings.Cut(value, ":")
	t.Admin = role == "admin"
	visible := !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f })
	if !endpointName.MatchString(t.Name) || role != "read" && role != "admin" || !visible || len(b.c.API.Tokens) >= maxTokens {
		return tokenAllowed
	}
	if digits, ok := strings.CutPrefix(text, tokenHash); ok {
		digest, err := hex.DecodeString(digits)
		if err != nil || len(digest) != len(t.Digest) {
			return tokenAllowed
		}
		t.Digest = [sha256.Size]byte(digest)
	} else {
		if len(text) < minToken {
			return tokenAllowed
		}
		t.Digest = sha256.Sum256([]byte(text))
	}
	b.c.API.Tokens = slices.DeleteFunc(b.c.API.Tokens, func(x Token) bool { return x.Name == t.Name })
	b.c.API.Tokens = append(b.c.API.Tokens, t)
	return ""
}
