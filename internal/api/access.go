package api

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // the digest of ZLMediaKit's login is MD5
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

const (
	cookieChallenge = "ZLM_UNLOGIN"
	cookieLogin     = "ZLM_LOGINED"
	challengeLife   = time.Minute
	loginLife       = 24 * time.Hour
	// maxLogins is the number of logins at a time; only who knows the secret makes one, and the oldest goes.
	maxLogins = 1024
)

// same compares secrets in constant time; an empty one equals nothing.
func same(got, want string) bool {
	if want == "" {
		return false
	}
	// Digests, so that the time does not tell the length either.
	g, w := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(g[:], w[:]) == 1
}

// allowed says whether the client's address is inside http.allow_ip_range.
func (a *API) allowed(r *http.Request, s *Settings) bool {
	return a.deps.Allowed(ClientAddr(r, s.ForwardedIPHeader))
}

// ClientAddr returns the address of the client, invalid when it is unknown. Of a list in the proxy's header the last
// counts: it is what the nearest proxy saw, the others are the client's word.
func ClientAddr(r *http.Request, header string) netip.Addr {
	if header != "" {
		if values := r.Header.Values(header); len(values) > 0 {
			v := values[len(values)-1]
			v = strings.TrimSpace(v[strings.LastIndexByte(v, ',')+1:])
			if ap, err := netip.ParseAddrPort(v); err == nil {
				return ap.Addr().Unmap()
			}
			addr, err := netip.ParseAddr(v)
			if err != nil {
				return netip.Addr{}
			}
			return addr.Unmap()
		}
	}
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// logins holds who is logged in and makes challenges. Challenges are not stored: a crowd of strangers costs nothing.
type logins struct {
	key [32]byte
	now func() time.Time

	mu   sync.Mutex
	live map[string]login // guarded by mu, by the hash of the cookie
}

type login struct {
	until  time.Time
	secret [sha256.Size]byte // of the secret that was right: a new secret ends all logins
}

func newLogins() *logins {
	l := &logins{now: time.Now, live: map[string]login{}}
	_, _ = rand.Read(l.key[:]) // never fails since Go 1.24
	return l
}

// challenge returns 32 hex digits: seconds, four random bytes and a MAC over both.
func (l *logins) challenge() string {
	var b [16]byte
	binary.BigEndian.PutUint32(b[:], uint32(l.now().Unix()))
	_, _ = rand.Read(b[4:8])
	copy(b[8:], l.mac(b[:8]))
	return hex.EncodeToString(b[:])
}

func (l *logins) mac(b []byte) []byte {
	h := hmac.New(sha256.New, l.key[:])
	h.Write(b)
	return h.Sum(nil)[:8]
}

// issued says whether c is a challenge of this process that has not expired.
func (l *logins) issued(c string) bool {
	b, err := hex.DecodeString(c)
	if err != nil || len(b) != 16 || !hmac.Equal(b[8:], l.mac(b[:8])) {
		return false
	}
	age := l.now().Sub(time.Unix(int64(binary.BigEndian.Uint32(b)), 0))
	return age >= 0 && age <= challengeLife
}

// digest is what a client answers to a challenge.
func digest(secret, challenge string) string {
	sum := md5.Sum([]byte("zlmediakit:" + secret + ":" + challenge)) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

// begin makes a login and returns its cookie.
func (l *logins) begin(secret string) string {
	cookie := rand.Text()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.live) >= maxLogins {
		l.evict()
	}
	l.live[cookieKey(cookie)] = login{until: l.now().Add(loginLife), secret: sha256.Sum256([]byte(secret))}
	return cookie
}

// evict removes the expired logins, or else the oldest. The lock is held.
func (l *logins) evict() {
	oldest, first, now := "", time.Time{}, l.now()
	for k, v := range l.live {
		if now.After(v.until) {
			delete(l.live, k)
		} else if oldest == "" || v.until.Before(first) {
			oldest, first = k, v.until
		}
	}
	if len(l.live) >= maxLogins {
		delete(l.live, oldest)
	}
}

// cookieKey hashes a cookie, so that looking it up takes no time that depends on it.
func cookieKey(cookie string) string {
	sum := sha256.Sum256([]byte(cookie))
	return string(sum[:])
}

// valid says whether the cookie is a login under the present secret.
func (l *logins) valid(cookie, secret string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, ok := l.live[cookieKey(cookie)]
	return ok && secret != "" && !l.now().After(v.until) && v.secret == sha256.Sum256([]byte(secret))
}

func (l *logins) end(cookie string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.live, cookieKey(cookie))
}

// cookieOf returns the value of a cookie, "" when the request has none.
func cookieOf(r *http.Request, name string) string {
	c, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}

func setCookie(w http.ResponseWriter, r *http.Request, name, value string, life time.Duration) {
	// Strict: calls of the API change things, also by GET, and no other site may make them in somebody's name.
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure exactly when the connection is
		Name: name, Value: value, Path: "/", MaxAge: int(life / time.Second), Secure: r.TLS != nil,
		HttpOnly: name == cookieLogin, SameSite: http.SameSiteStrictMode,
	})
}
