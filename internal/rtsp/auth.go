package rtsp

import (
	"crypto/md5" //nolint:gosec // RFC 2617 and RFC 7616 demand it
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/stream"
)

// access is the state of RTSP's own authentication of one connection. Owned by the session's run.
type access struct {
	asked bool
	realm string
	nonce string
	tries int
	ok    bool
}

// maxTries bounds the wrong passwords of one connection.
const maxTries = 5

// authorize runs RTSP's own authentication for DESCRIBE. It returns nil when the viewer may go on, else the answer.
// through says that a password was accepted, so that on_play is not asked.
func (s *session) authorize(q *request, ask stream.PlayQuestion) (through bool, answer *reply) {
	a := &s.access
	if a.ok {
		return a.realm != "", nil
	}
	if !a.asked {
		realm, outcome := s.srv.gate.Realm(s.ctx, ask)
		s.note(event.OnRTSPRealm, ask, outcome)
		if !outcome.Allowed {
			return false, &reply{status: 401, header: []string{"X-Reason", outcome.Message}}
		}
		a.asked, a.realm = true, realm
		var nonce [16]byte
		_, _ = rand.Read(nonce[:]) // never fails since Go 1.24
		a.nonce = hex.EncodeToString(nonce[:])
	}
	if a.realm == "" {
		a.ok = true
		return false, nil
	}
	given := q.header["authorization"]
	if given == "" {
		return false, s.challenge()
	}
	if a.tries++; a.tries > maxTries {
		return false, &reply{status: 401}
	}
	if !s.check(q, given, ask) {
		return false, s.challenge()
	}
	a.ok = true
	return true, nil
}

func (s *session) note(t event.Type, ask stream.PlayQuestion, o fact.Outcome) {
	if o.By == "default" {
		return // nobody was asked
	}
	s.srv.hub.Note(&fact.Decided{Type: t, Live: ask.Stream, MediaInfo: ask.MediaInfo, Client: ask.Client, Outcome: o})
}

// challenge demands credentials. MD5 stands last, although it is the weaker: ffmpeg knows only that, and takes the last
// challenge that it sees.
func (s *session) challenge() *reply {
	realm := strings.ReplaceAll(s.access.realm, `"`, "")
	if s.cfg.AuthBasic {
		return &reply{status: 401, header: []string{"WWW-Authenticate", fmt.Sprintf(`Basic realm="%s"`, realm)}}
	}
	digest := fmt.Sprintf(`Digest realm="%s", nonce="%s"`, realm, s.access.nonce)
	return &reply{status: 401, header: []string{
		"WWW-Authenticate", digest + ", algorithm=SHA-256", "WWW-Authenticate", digest,
	}}
}

// check asks for the password of the user and compares.
func (s *session) check(q *request, given string, ask stream.PlayQuestion) bool {
	scheme, rest, _ := strings.Cut(given, " ")
	var user, plain string
	fields := map[string]string{}
	basic := strings.EqualFold(scheme, "Basic")
	switch {
	case basic && s.cfg.AuthBasic:
		b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
		if err != nil {
			return false
		}
		user, plain, _ = strings.Cut(string(b), ":")
	case strings.EqualFold(scheme, "Digest") && !s.cfg.AuthBasic:
		fields = digestFields(rest)
		user = fields["username"]
		if fields["nonce"] != s.access.nonce || fields["realm"] != strings.ReplaceAll(s.access.realm, `"`, "") {
			return false
		}
	default:
		return false
	}
	passwd, encrypted, outcome := s.srv.gate.Credentials(s.ctx, ask, user, s.access.realm, basic)
	s.note(event.OnRTSPAuth, ask, outcome)
	if !outcome.Allowed {
		return false
	}
	if basic {
		if encrypted { // the receiver has no plain password although it was told that one is needed: compare what can be compared
			return same(md5Hex(user+":"+s.access.realm+":"+plain), passwd)
		}
		return same(plain, passwd)
	}
	return same(strings.ToLower(fields["response"]), expected(fields, q.method, user, s.access.realm, passwd, encrypted))
}

// expected is the response of RFC 7616 section 3.4.1; "" when it can't be told.
func expected(f map[string]string, method, user, realm, passwd string, encrypted bool) string {
	hash := md5Hex
	if strings.EqualFold(f["algorithm"], "SHA-256") {
		if encrypted {
			return "" // the receiver knows only the MD5 form
		}
		hash = sha256Hex
	}
	ha1 := passwd
	if !encrypted {
		ha1 = hash(user + ":" + realm + ":" + passwd)
	}
	ha2 := hash(method + ":" + f["uri"])
	if f["qop"] != "" {
		return hash(strings.Join([]string{strings.ToLower(ha1), f["nonce"], f["nc"], f["cnonce"], f["qop"], ha2}, ":"))
	}
	return hash(strings.ToLower(ha1) + ":" + f["nonce"] + ":" + ha2)
}

// same compares in constant time; nothing is the same as "".
func same(a, b string) bool {
	return b != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

func md5Hex(s string) string {
	h := md5.Sum([]byte(s)) //nolint:gosec // see the import
	return hex.EncodeToString(h[:])
}

func sha256Hex(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// digestFields reads name=value and name="value", separated by commas.
func digestFields(s string) map[string]string {
	out := map[string]string{}
	for len(s) > 0 && len(out) < 32 {
		name, rest, ok := strings.Cut(s, "=")
		if !ok {
			break
		}
		name = strings.ToLower(strings.Trim(name, " ,\t"))
		var value string
		if v, quoted := strings.CutPrefix(rest, `"`); quoted {
			value, rest, _ = strings.Cut(v, `"`)
			_, rest, _ = strings.Cut(rest, ",")
		} else {
			value, rest, _ = strings.Cut(rest, ",")
		}
		out[name] = strings.TrimSpace(value)
		s = rest
	}
	return out
}
