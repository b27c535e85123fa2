package webfile

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hookline/hookline/internal/fact"
)

// cookieName is ZLMediaKit's. HLS has cookies of the same name, for the directories of streams.
const cookieName = "ZLM_HTTP_COOKIE"

// grant is a verdict that is remembered. It is immutable.
type grant struct {
	path    string // what it covers
	params  string // of the request about which the Gate was asked
	allowed bool
	message string
	until   time.Time
}

// covers says whether a grant is about a path: the directory and what lies below.
func (g *grant) covers(p string) bool {
	rest, ok := strings.CutPrefix(p, g.path)
	return ok && (rest == "" || strings.HasSuffix(g.path, "/") || rest[0] == '/')
}

// grants remembers verdicts. Its methods are safe for concurrent use.
type grants struct {
	mu    sync.Mutex
	byID  map[string]*grant // guarded by mu; by cookieID or visitorID
	swept time.Time         // guarded by mu
}

// sweepEvery is how often those that are over are looked for, when new ones come.
const sweepEvery = 10 * time.Second

func cookieID(value string) string { return "c" + value }

// visitorID is the identity of a visitor without cookies, "" when it has none.
func visitorID(ip, params string) string {
	if params == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(ip + "\x00" + params))
	return "v" + string(sum[:])
}

// find returns what is known of a request. A refusal holds only for the query to which it was given, and for none.
func (g *grants) find(r *http.Request, ip string, now time.Time) *grant {
	ids := make([]string, 0, 4)
	for _, c := range r.CookiesNamed(cookieName) {
		if len(ids) < cap(ids) {
			ids = append(ids, cookieID(c.Value))
		}
	}
	if v := visitorID(ip, r.URL.RawQuery); v != "" {
		ids = append(ids, v)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, id := range ids {
		x := g.byID[id]
		if x == nil || now.After(x.until) || !x.covers(r.URL.Path) {
			continue
		}
		if x.allowed || r.URL.RawQuery == "" || r.URL.RawQuery == x.params {
			return x
		}
	}
	return nil
}

// remember keeps a verdict about q and returns the cookie for it, nil when there is no room.
func (g *grants) remember(r *http.Request, q *fact.FileAccess, ip string, v Verdict, now time.Time, most int) *http.Cookie {
	x := &grant{path: Scope(q, v.Path), params: r.URL.RawQuery, allowed: v.Allowed, message: v.Message, until: now.Add(v.Life)}
	var secret [16]byte
	_, _ = rand.Read(secret[:]) // never fails since Go 1.24
	value := hex.EncodeToString(secret[:])
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Sub(g.swept) >= sweepEvery {
		g.swept = now
		for id, old := range g.byID {
			if now.After(old.until) {
				delete(g.byID, id)
			}
		}
	}
	if len(g.byID)+2 > most {
		return nil
	}
	g.byID[cookieID(value)] = x
	if id := visitorID(ip, r.URL.RawQuery); id != "" {
		g.byID[id] = x
	}
	return &http.Cookie{ //nolint:gosec // there are visitors without TLS
		Name: cookieName, Value: value, Path: (&url.URL{Path: x.path}).EscapedPath(), MaxAge: int(v.Life / time.Second),
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteLaxMode,
	}
}

// Scope is the path that a verdict covers: what it says, or else the directory that was asked about, or that of the file.
func Scope(q *fact.FileAccess, said string) string {
	switch {
	case said == "" && q.IsDir:
		return q.Path
	case said == "":
		return q.Path[:strings.LastIndexByte(q.Path, '/')+1]
	}
	if said[0] != '/' {
		said = "/" + said
	}
	return said
}
