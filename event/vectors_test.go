package event_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
)

// vectors is testdata/webhook-signatures.json, for the tests of receivers in any language.
type vectors struct {
	About  string         `json:"about"`
	Sign   []signVector   `json:"sign"`
	Verify []verifyVector `json:"verify"`
}

// signVector: signing body with keys in this order gives signature.
type signVector struct {
	Name      string   `json:"name"`
	Keys      []string `json:"keys"`
	Public    []string `json:"public,omitempty"`
	ID        string   `json:"id"`
	Timestamp int64    `json:"timestamp"`
	Body      string   `json:"body"`
	Signature string   `json:"signature"`
}

// verifyVector: verifying at now with keys gives error, which is "" when the request is authentic.
type verifyVector struct {
	Name      string            `json:"name"`
	Keys      []string          `json:"keys"`
	Tolerance int64             `json:"tolerance_seconds"`
	Now       int64             `json:"now"`
	Headers   map[string]string `json:"headers"`
	Body      string            `json:"body"`
	Error     string            `json:"error"`
}

// Keys of the vectors. The first secret and the first key are those of the reference libraries' own tests.
const (
	secretA = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	secretB = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw=="
	keyA    = "whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk="
	keyB    = "whsk_V0VCSE9PS0FTWU1NRVRSSUNURVNUUFJJVkFURUtFWTE="
	refID   = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	refBody = `{"test": 2432232314}`
	refTime = 1614265330
)

func publicOf(t testing.TB, key string) string {
	t.Helper()
	k, err := event.ParseSigningKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return k.Public().String()
}

func signVectors(t testing.TB) []signVector {
	const id = "019a2b4c5d6e7f80a1b2c3d4-2a"
	hook := `{"app":"live","stream":"机房 1","regist":true,"hook_index":42,"mediaServerId":"lab"}`
	list := []signVector{
		{Name: "reference secret", Keys: []string{secretA}, ID: refID, Timestamp: refTime, Body: refBody},
		{Name: "reference ed25519 key", Keys: []string{keyA}, ID: refID, Timestamp: refTime, Body: refBody},
		{Name: "secret of 64 bytes, body in UTF-8", Keys: []string{secretB}, ID: id, Timestamp: 1767323045, Body: hook},
		{Name: "two secrets while one is rotated", Keys: []string{secretB, secretA}, ID: id, Timestamp: 1767323045, Body: hook},
		{Name: "two ed25519 keys while one is rotated", Keys: []string{keyB, keyA}, ID: id, Timestamp: 1767323045, Body: hook},
		{Name: "secrets and keys", Keys: []string{secretA, secretB, keyA, keyB}, ID: id, Timestamp: 1767323045, Body: hook},
		{Name: "empty body", Keys: []string{secretA, keyA}, ID: id, Timestamp: 1767323045, Body: ""},
		{Name: "dots in the body", Keys: []string{secretA, keyA}, ID: id, Timestamp: 0, Body: ".1.{}.\n"},
		{Name: "600 bytes", Keys: []string{secretA, keyA}, ID: id, Timestamp: 99999999999, Body: strings.Repeat("0123456789", 60)},
	}
	for i := range list {
		v := &list[i]
		signer, err := event.ParseSigner(v.Keys)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range v.Keys {
			if strings.HasPrefix(k, event.SigningKeyPrefix) {
				v.Public = append(v.Public, publicOf(t, k))
			}
		}
		v.Signature = signer.Sign(v.ID, time.Unix(v.Timestamp, 0), []byte(v.Body))
	}
	return list
}

// errorNames are the names of the verifier's errors in the vectors.
func errorNames() map[string]error {
	return map[string]error{
		"missing_header": event.ErrMissingHeader, "bad_id": event.ErrBadID, "bad_timestamp": event.ErrBadTimestamp,
		"too_old": event.ErrTooOld, "too_new": event.ErrTooNew, "no_match": event.ErrNoMatch,
		"header_too_long": event.ErrHeaderTooLong,
	}
}

func verifyVectors(t testing.TB) []verifyVector {
	const id, now, body = "019a2b4c5d6e7f80a1b2c3d4-2a", 1767323045, `{"code":0}`
	sign := func(key, id string, at int64) string {
		s, err := event.ParseSigner([]string{key})
		if err != nil {
			t.Fatal(err)
		}
		return s.Sign(id, time.Unix(at, 0), []byte(body))
	}
	good, goodB, ed, edB := sign(secretA, id, now), sign(secretB, id, now), sign(keyA, id, now), sign(keyB, id, now)
	pubA := publicOf(t, keyA)
	make1 := func(name, fails string, change func(*verifyVector)) verifyVector {
		v := verifyVector{
			Name: name, Keys: []string{secretA, pubA}, Tolerance: 300, Now: now, Body: body, Error: fails,
			Headers: map[string]string{
				event.HeaderID: id, event.HeaderTimestamp: strconv.Itoa(now), event.HeaderSignature: good,
			},
		}
		change(&v)
		return v
	}
	set := func(name, value string) func(*verifyVector) {
		return func(v *verifyVector) { v.Headers[name] = value }
	}
	signature := func(s string) func(*verifyVector) { return set(event.HeaderSignature, s) }
	without := func(name string) func(*verifyVector) { return func(v *verifyVector) { delete(v.Headers, name) } }
	at := func(seconds int64) func(*verifyVector) { return func(v *verifyVector) { v.Now = seconds } }
	return []verifyVector{
		make1("v1", "", signature(good)),
		make1("v1a", "", signature(ed)),
		make1("v1 of a secret that is not known, then one that is", "", signature(goodB+" "+good)),
		make1("v1a of a key that is not known, then one that is", "", signature(edB+" "+ed)),
		make1("unknown versions and malformed signatures are passed over", "", signature("v2,AAAA v1 v1, ,, v1a,! "+good+",x "+good)),
		make1("two spaces", "", signature(goodB+"  "+good)),
		make1("oldest that is tolerated", "", at(now+300)),
		make1("newest that is tolerated", "", at(now-300)),
		make1("too old", "too_old", at(now+301)),
		make1("too new", "too_new", at(now-301)),
		make1("no id", "missing_header", without(event.HeaderID)),
		make1("no timestamp", "missing_header", without(event.HeaderTimestamp)),
		make1("no signature", "missing_header", without(event.HeaderSignature)),
		make1("id with a dot", "bad_id", set(event.HeaderID, "a.b")),
		make1("id with a space", "bad_id", set(event.HeaderID, "a b")),
		make1("id too long", "bad_id", set(event.HeaderID, strings.Repeat("a", 257))),
		make1("timestamp is no number", "bad_timestamp", set(event.HeaderTimestamp, "now")),
		make1("timestamp with a sign", "bad_timestamp", set(event.HeaderTimestamp, "+1767323045")),
		make1("negative timestamp", "bad_timestamp", set(event.HeaderTimestamp, "-1767323045")),
		make1("timestamp with a leading zero", "bad_timestamp", set(event.HeaderTimestamp, "01767323045")),
		make1("timestamp with a fraction", "bad_timestamp", set(event.HeaderTimestamp, "1767323045.0")),
		make1("timestamp beyond 64 bits", "bad_timestamp", set(event.HeaderTimestamp, "99999999999999999999")),
		make1("another timestamp within the tolerance", "no_match", set(event.HeaderTimestamp, "1767323046")),
		make1("another id", "no_match", set(event.HeaderID, id+"0")),
		make1("another body", "no_match", func(v *verifyVector) { v.Body += " " }),
		make1("another secret", "no_match", signature(goodB)),
		make1("another key", "no_match", signature(edB)),
		make1("v1 under the name v1a and the reverse", "no_match", signature("v1a"+strings.TrimPrefix(good, "v1")+" v1"+strings.TrimPrefix(ed, "v1a"))),
		make1("v1 without padding", "no_match", signature(strings.TrimRight(good, "="))),
		make1("v1a without padding", "no_match", signature(strings.TrimRight(ed, "="))),
		make1("v1 cut off", "no_match", signature(good[:20])),
		make1("versions are case-sensitive", "no_match", signature("V1"+strings.TrimPrefix(good, "v1"))),
		make1("no secret for v1", "no_match", func(v *verifyVector) { v.Keys = []string{pubA} }),
		make1("no key for v1a", "no_match", func(v *verifyVector) {
			v.Keys = []string{secretA}
			v.Headers[event.HeaderSignature] = ed
		}),
		make1("sixteen signatures", "", signature(strings.Repeat("v2,A ", 15)+good)),
		make1("seventeen signatures", "header_too_long", signature(strings.Repeat("v2,A ", 16)+good)),
		make1("signature header too long", "header_too_long", signature(good+strings.Repeat(" ", 5000))),
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from what the code gives now; if that is meant: go test ./event -update\n%s", path, got)
	}
}

// pretty returns v as the golden files have it.
func pretty(t *testing.T, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSignatureVectors(t *testing.T) {
	golden(t, "testdata/webhook-signatures.json", pretty(t, vectors{
		About: "Standard Webhooks 1.0.0 as Hookline sends it. sign: the keys in this order over id, timestamp (Unix seconds) " +
			"and body give signature; public holds the public halves of the whsk_ keys. verify: keys, headers and body, " +
			"checked when the clock shows now, are authentic when error is empty and refused for that reason otherwise.",
		Sign: signVectors(t), Verify: verifyVectors(t),
	}))
}

// TestReadVectors uses the file alone, as a test in another language would.
func TestReadVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/webhook-signatures.json")
	if err != nil {
		t.Fatal(err)
	}
	var file vectors
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Sign) == 0 || len(file.Verify) == 0 {
		t.Fatal("no vectors")
	}
	for _, v := range file.Sign {
		t.Run("sign/"+v.Name, func(t *testing.T) { checkSign(t, v) })
	}
	for _, v := range file.Verify {
		t.Run("verify/"+v.Name, func(t *testing.T) { checkVerify(t, v) })
	}
}

func checkSign(t *testing.T, v signVector) {
	signer, err := event.ParseSigner(v.Keys)
	if err != nil {
		t.Fatal(err)
	}
	if got := signer.Sign(v.ID, time.Unix(v.Timestamp, 999), []byte(v.Body)); got != v.Signature {
		t.Errorf("signature %q, want %q", got, v.Signature)
	}
	for _, k := range v.Keys {
		if !strings.HasPrefix(k, event.SecretPrefix) {
			k = publicOf(t, k)
		}
		h := http.Header{}
		h.Set(event.HeaderID, v.ID)
		h.Set(event.HeaderTimestamp, strconv.FormatInt(v.Timestamp, 10))
		h.Set(event.HeaderSignature, v.Signature)
		verifier, err := event.ParseVerifier([]string{k})
		if err != nil {
			t.Fatal(err)
		}
		if err := verifier.VerifyAt(h, []byte(v.Body), time.Unix(v.Timestamp, 0)); err != nil {
			t.Errorf("with %s alone: %v", k, err)
		}
	}
}

func checkVerify(t *testing.T, v verifyVector) {
	verifier, err := event.ParseVerifier(v.Keys, event.WithTolerance(time.Duration(v.Tolerance)*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	for k, s := range v.Headers {
		h.Set(k, s)
	}
	err = verifier.VerifyAt(h, []byte(v.Body), time.Unix(v.Now, 0))
	want := errorNames()[v.Error]
	if v.Error != "" && want == nil {
		t.Fatalf("no error has the name %q", v.Error)
	}
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
	for name, e := range errorNames() {
		if name != v.Error && errors.Is(err, e) {
			t.Errorf("error %v is also %s", err, name)
		}
	}
}
