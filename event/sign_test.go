package event_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"pgregory.net/rapid"

	"github.com/hookline/hookline/event"
)

// TestPublishedVectors: the vectors of the reference libraries' tests. The released Go library has no v1a.
func TestPublishedVectors(t *testing.T) {
	for _, tt := range []struct{ key, want string }{
		{secretA, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
		{keyA, "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag=="},
	} {
		signer, err := event.ParseSigner([]string{tt.key})
		if err != nil {
			t.Fatal(err)
		}
		if got := signer.Sign(refID, time.Unix(refTime, 0), []byte(refBody)); got != tt.want {
			t.Errorf("signature %q, want %q", got, tt.want)
		}
	}
}

// TestReferenceLibrary: what we sign the reference library accepts, and the reverse.
func TestReferenceLibrary(t *testing.T) {
	other := publicOf(t, keyA)
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOfN(rapid.Byte(), event.MinSecretBytes, event.MaxSecretBytes).Draw(t, "secret")
		secret := event.SecretPrefix + base64.StdEncoding.EncodeToString(raw)
		id := rapid.StringMatching(`[!-\-/-~]{1,64}`).Draw(t, "id")
		body := rapid.SliceOf(rapid.Byte()).Draw(t, "body")
		now := time.Now()
		ref, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := event.ParseSigner([]string{keyB, secretB, secret})
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{}
		if err := signer.Headers(h, id, now, body); err != nil {
			t.Fatal(err)
		}
		if err := ref.Verify(body, h); err != nil {
			t.Fatalf("the reference library refuses ours: %v", err)
		}
		theirs, err := ref.Sign(id, now, body)
		if err != nil {
			t.Fatal(err)
		}
		h.Set(event.HeaderSignature, theirs)
		verifier, err := event.ParseVerifier([]string{other, secret})
		if err != nil {
			t.Fatal(err)
		}
		if err := verifier.Verify(h, body); err != nil {
			t.Fatalf("we refuse the reference library's: %v", err)
		}
	})
}

// TestEd25519Independently checks v1a with nothing of this package but the header.
func TestEd25519Independently(t *testing.T) {
	key := event.GenerateSigningKey()
	signer, err := event.NewSigner(nil, []event.SigningKey{key})
	if err != nil {
		t.Fatal(err)
	}
	text, _ := strings.CutPrefix(signer.Sign("id", time.Unix(12, 0), []byte("{}")), "v1a,")
	sig, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(key.Public().String(), "whpk_"))
	if err != nil {
		t.Fatal(err)
	}
	if !ed25519.Verify(pub, []byte("id.12.{}"), sig) {
		t.Error("not a signature of id.12.{}")
	}
}

func TestSignRefuses(t *testing.T) {
	signer, err := event.ParseSigner([]string{secretA, keyA})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(refTime, 0)
	for _, tt := range []struct {
		name, id string
		at       time.Time
		want     error
	}{
		{"no id", "", now, event.ErrBadID},
		{"dot", "a.b", now, event.ErrBadID},
		{"space", "a b", now, event.ErrBadID},
		{"line feed", "a\nb", now, event.ErrBadID},
		{"not ASCII", "ä", now, event.ErrBadID},
		{"too long", strings.Repeat("a", event.MaxIDBytes+1), now, event.ErrBadID},
		{"before 1970", "a", time.Unix(-1, 0), event.ErrBadTimestamp},
		{"zero time", "a", time.Time{}, event.ErrBadTimestamp},
		{"after 5138", "a", time.Unix(100_000_000_000, 0), event.ErrBadTimestamp},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{}
			if err := signer.Headers(h, tt.id, tt.at, nil); !errors.Is(err, tt.want) || len(h) != 0 {
				t.Errorf("Headers: %v, %v", err, h)
			}
			if got := signer.Sign(tt.id, tt.at, nil); got != "" {
				t.Errorf("Sign: %q", got)
			}
			if got, err := signer.AppendSignature([]byte("x"), tt.id, tt.at, nil); !errors.Is(err, tt.want) || string(got) != "x" {
				t.Errorf("AppendSignature: %q, %v", got, err)
			}
		})
	}
}

func TestBadKeys(t *testing.T) {
	b64 := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	half := base64.StdEncoding.EncodeToString(append([]byte("0123456789abcdef0123456789abcdef"), make([]byte, 32)...))
	for _, tt := range []struct {
		name, key, want string
		sign, verify    bool // refused there
	}{
		{"empty", "", "empty", true, true},
		{"no prefix", b64(32), `does not begin with "whsec_"`, true, true},
		{"prefix in capitals", "WHSEC_" + b64(32), `does not begin with "whsec_"`, true, true},
		{"nothing after the prefix", "whsec_", "0 bytes", true, true},
		{"23 bytes", "whsec_" + b64(23), "23 bytes", true, true},
		{"65 bytes", "whsec_" + b64(65), "65 bytes", true, true},
		{"not base64", "whsec_hunter2!hunter2!hunter2!hunter2!", "not base64", true, true},
		{"base64 of URLs", "whsec_" + strings.Repeat("-_", 16), "not base64", true, true},
		{"no padding", "whsec_" + strings.TrimRight(b64(32), "="), "not base64", true, true},
		{"line feed at the end", secretA + "\n", "white space", true, true},
		{"space before", " " + secretA, "does not begin", true, true},
		{"public key where a signer needs a private one", "whpk_" + b64(32), "can't sign", true, false},
		{"private key where a verifier needs the public one", keyA, "public one", false, true},
		{"public key of 31 bytes", "whpk_" + b64(31), "31 bytes", false, true},
		{"private key of 33 bytes", "whsk_" + b64(33), "33 bytes", true, false},
		{"private key whose halves do not fit", "whsk_" + half, "public half", true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check := func(where string, refused bool, err error) {
				if !refused {
					return
				}
				if !errors.Is(err, event.ErrBadKey) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%s: error %v, want %q", where, err, tt.want)
				}
				if _, rest, ok := strings.Cut(tt.key, "_"); ok && len(rest) > 8 && strings.Contains(err.Error(), rest[:8]) {
					t.Errorf("%s: the error shows the key: %v", where, err)
				}
			}
			_, err := event.ParseSigner([]string{tt.key})
			check("signer", tt.sign, err)
			_, err = event.ParseVerifier([]string{tt.key})
			check("verifier", tt.verify, err)
		})
	}
}

func TestKeyCounts(t *testing.T) {
	var nine []event.Secret
	var nineKeys []event.SigningKey
	var ninePublic []event.PublicKey
	for range event.MaxKeys + 1 {
		nine = append(nine, event.GenerateSecret())
		nineKeys = append(nineKeys, event.GenerateSigningKey())
		ninePublic = append(ninePublic, event.GenerateSigningKey().Public())
	}
	for name, make1 := range map[string]func() error{
		"signer without keys":           func() error { _, err := event.NewSigner(nil, nil); return err },
		"signer with nine secrets":      func() error { _, err := event.NewSigner(nine, nil); return err },
		"signer with nine keys":         func() error { _, err := event.NewSigner(nil, nineKeys); return err },
		"signer with a zero secret":     func() error { _, err := event.NewSigner([]event.Secret{{}}, nil); return err },
		"signer with a zero key":        func() error { _, err := event.NewSigner(nil, []event.SigningKey{{}}); return err },
		"verifier without keys":         func() error { _, err := event.NewVerifier(nil, nil); return err },
		"verifier with nine secrets":    func() error { _, err := event.NewVerifier(nine, nil); return err },
		"verifier with nine keys":       func() error { _, err := event.NewVerifier(nil, ninePublic); return err },
		"verifier with a zero secret":   func() error { _, err := event.NewVerifier([]event.Secret{{}}, nil); return err },
		"verifier with a zero key":      func() error { _, err := event.NewVerifier(nil, []event.PublicKey{{}}); return err },
		"the second of two keys is bad": func() error { _, err := event.ParseSigner([]string{secretA, "whsec_"}); return err },
	} {
		if err := make1(); !errors.Is(err, event.ErrBadKey) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := event.NewVerifier(nine[:1], nil, event.WithTolerance(0)); err == nil {
		t.Error("a tolerance of zero is accepted")
	}
	// As many keys as there may be: their signatures fit into the header that a verifier reads.
	signer, err := event.NewSigner(nine[:event.MaxKeys], nineKeys[:event.MaxKeys])
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	if err := signer.Headers(h, "a", time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	last, err := event.NewVerifier(nil, []event.PublicKey{nineKeys[event.MaxKeys-1].Public()})
	if err != nil {
		t.Fatal(err)
	}
	if err := last.Verify(h, nil); err != nil {
		t.Error(err)
	}
}

func TestKeysRoundTrip(t *testing.T) {
	secret, key := event.GenerateSecret(), event.GenerateSigningKey()
	again, err := event.ParseSecret(secret.Reveal())
	if err != nil || again.Reveal() != secret.Reveal() {
		t.Errorf("secret: %v", err)
	}
	keyAgain, err := event.ParseSigningKey(key.Reveal())
	if err != nil || keyAgain.Reveal() != key.Reveal() {
		t.Errorf("key: %v", err)
	}
	pub, err := event.ParsePublicKey(key.Public().String())
	if err != nil || pub != key.Public() {
		t.Errorf("public key: %v", err)
	}
	seed, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(key.Reveal(), "whsk_"))
	long := "whsk_" + base64.StdEncoding.EncodeToString(ed25519.NewKeyFromSeed(seed))
	if k, err := event.ParseSigningKey(long); err != nil || k.Public() != pub {
		t.Errorf("key of 64 bytes: %v", err)
	}
	if (event.Secret{}).Reveal() != "" || (event.SigningKey{}).Reveal() != "" || (event.PublicKey{}).String() != "" {
		t.Error("a zero key shows something")
	}
	if (event.SigningKey{}).Public() != (event.PublicKey{}) {
		t.Error("the zero key has a public key")
	}
	if event.GenerateSecret().Reveal() == secret.Reveal() {
		t.Error("two secrets are the same")
	}
}

// TestKeysDoNotPrint: neither bytes nor base64 of a key come out of what programs print in passing.
func TestKeysDoNotPrint(t *testing.T) {
	secret, err := event.ParseSecret("whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("S", 30))))
	if err != nil {
		t.Fatal(err)
	}
	key, err := event.ParseSigningKey("whsk_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("S", 32))))
	if err != nil {
		t.Fatal(err)
	}
	type inner struct {
		secret event.Secret
		Secret event.Secret
		key    event.SigningKey
		Key    event.SigningKey
	}
	v := inner{secret, secret, key, key}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", secret, "v", v)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", secret, "v", v)
	js, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{log.String(), string(js)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, value := range []any{secret, &secret, key, &key, v, &v, []event.Secret{secret}} {
			out = append(out, fmt.Sprintf(verb, value))
		}
	}
	signer, err := event.NewSigner([]event.Secret{secret}, []event.SigningKey{key})
	if err != nil {
		t.Fatal(err)
	}
	out = append(out, fmt.Sprintf("%+v", signer))
	for _, s := range out {
		for _, leak := range []string{"SSSS", "U1NT", "83 83", "5353", "0x53, 0x53"} {
			if strings.Contains(s, leak) {
				t.Errorf("shown: %s", s)
			}
		}
	}
}

// TestSignConcurrently: one signer and one verifier, many goroutines, bodies of different sizes.
func TestSignConcurrently(t *testing.T) {
	signer, err := event.ParseSigner([]string{secretA, secretB, keyA})
	if err != nil {
		t.Fatal(err)
	}
	verifiers := make([]*event.Verifier, 2)
	for i, k := range []string{secretB, publicOf(t, keyA)} {
		if verifiers[i], err = event.ParseVerifier([]string{k}); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 20 {
				body := []byte(strings.Repeat(string(rune('a'+g)), i*i*300))
				h := http.Header{}
				if err := signer.Headers(h, fmt.Sprintf("id-%d-%d", g, i), time.Now(), body); err != nil {
					t.Error(err)
				}
				for _, v := range verifiers {
					if err := v.Verify(h, body); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
}

func FuzzVerify(f *testing.F) {
	for _, v := range verifyVectors(f) {
		f.Add(v.Headers[event.HeaderID], v.Headers[event.HeaderTimestamp], v.Headers[event.HeaderSignature], []byte(v.Body), v.Now)
	}
	signer, err := event.ParseSigner([]string{secretA, keyA})
	if err != nil {
		f.Fatal(err)
	}
	verifier, err := event.ParseVerifier([]string{secretA, publicOf(f, keyA)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id, stamp, signatures string, body []byte, now int64) {
		h := getter{event.HeaderID: id, event.HeaderTimestamp: stamp, event.HeaderSignature: signatures}
		at := time.Unix(now, 0)
		err := verifier.VerifyAt(h, body, at)
		if err == nil {
			// Accepted: the header holds a signature that we make for the same.
			own := getter{}
			var seconds int64
			if _, err := fmt.Sscan(stamp, &seconds); err != nil {
				t.Fatal(err)
			}
			if err := signer.Headers(own, id, time.Unix(seconds, 0), body); err != nil {
				t.Fatal(err)
			}
			for _, s := range strings.Fields(own[event.HeaderSignature]) {
				if strings.Contains(signatures, s) {
					return
				}
			}
			t.Fatalf("accepted %q", signatures)
		}
		for _, e := range errorNames() {
			if errors.Is(err, e) {
				return
			}
		}
		t.Fatalf("error of no kind: %v", err)
	})
}

// getter is a set of headers as they came, without net/http's canonical form.
type getter map[string]string

func (g getter) Get(k string) string { return g[k] }
func (g getter) Set(k, v string)     { g[k] = v }

func BenchmarkSign(b *testing.B) {
	body := []byte(strings.Repeat("0123456789", 60))
	now := time.Unix(refTime, 0)
	for _, bm := range []struct {
		name string
		keys []string
	}{
		{"v1", []string{secretA}},
		{"v1x2", []string{secretA, secretB}},
		{"v1a", []string{keyA}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			signer, err := event.ParseSigner(bm.keys)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				_ = signer.Sign(refID, now, body)
			}
		})
	}
	b.Run("v1/append", func(b *testing.B) {
		signer, err := event.ParseSigner([]string{secretA})
		if err != nil {
			b.Fatal(err)
		}
		var buf []byte
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			buf, _ = signer.AppendSignature(buf[:0], refID, now, body)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	body := []byte(strings.Repeat("0123456789", 60))
	now := time.Unix(refTime, 0)
	for _, bm := range []struct{ name, sign, verify string }{
		{"v1", secretA, secretA},
		{"v1a", keyA, publicOf(b, keyA)},
	} {
		b.Run(bm.name, func(b *testing.B) {
			signer, err := event.ParseSigner([]string{bm.sign})
			if err != nil {
				b.Fatal(err)
			}
			verifier, err := event.ParseVerifier([]string{bm.verify})
			if err != nil {
				b.Fatal(err)
			}
			h := getter{}
			if err := signer.Headers(h, refID, now, body); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if err := verifier.VerifyAt(h, body, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
