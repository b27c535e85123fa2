package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Token is a secret of somebody who is not the holder of api.secret.
type Token struct {
	Name string
	// Admin says that it may change things.
	Admin  bool
	Digest [sha256.Size]byte // SHA-256 of the token
}

// caller is who makes a request.
type caller struct {
	name  string
	admin bool
}

// identify returns whose token it is. It takes the same time for each.
func (s *Settings) identify(token string) (who caller, ok bool) {
	if same(token, s.Secret) {
		who, ok = caller{bySecret, true}, true
	}
	got := sha256.Sum256([]byte(token))
	for i := range s.Tokens {
		t := &s.Tokens[i]
		if subtle.ConstantTimeCompare(got[:], t.Digest[:]) == 1 && !ok {
			who, ok = caller{t.Name, t.Admin}, true
		}
	}
	return who, ok && token != ""
}

// Names of callers without a token.
const (
	bySecret = "api.secret"
	byLogin  = "login"
)

// Action is something that somebody did, or was refused, by API.
type Action struct {
	Action, By, Address string
	// Result is "done" or the code of the refusal.
	Result string
	// About names what it was about; it never holds a secret.
	About map[string]any
}

const (
	// maxCalls is the number of calls of /api/v1 at a time, beside event streams and long polls.
	maxCalls = 64
	// An address may be wrong maxStrikes times at once, and once more every strikeEvery.
	maxStrikes  = 30
	strikeEvery = 2 * time.Second
	// maxStruck is the number of addresses that are remembered.
	maxStruck = 4096
)

// strikes counts wrong secrets by address, so that nobody can try many. The zero value is ready.
type strikes struct {
	mu  sync.Mutex
	all map[netip.Addr]strike // guarded by mu
}

// strike is a bucket that runs empty with time.
type strike struct {
	level float64
	at    time.Time
}

func (s strike) now(t time.Time) float64 {
	return max(0, s.level-float64(t.Sub(s.at))/float64(strikeEvery))
}

// group is what counts as one address: of IPv6 the network, within which addresses are free.
func group(a netip.Addr) netip.Addr {
	if a.Is6() && !a.Is4In6() {
		const network = 64
		p, err := a.Prefix(network)
		if err == nil {
			return p.Addr()
		}
	}
	return a
}

// out says whether an address has been wrong too often.
func (s *strikes) out(a netip.Addr, t time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, ok := s.all[group(a)]
	return ok && x.now(t) > maxStrikes-1
}

// add notes that an address was wrong.
func (s *strikes) add(a netip.Addr, t time.Time) {
	a = group(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[netip.Addr]strike{}
	}
	x, ok := s.all[a]
	if !ok && len(s.all) >= maxStruck {
		s.forget(t)
	}
	s.all[a] = strike{min(x.now(t)+1, maxStrikes), t}
}

// forget makes room: those that have run empty go, or else whoever was wrong least. mu is held.
func (s *strikes) forget(t time.Time) {
	var least netip.Addr
	for a, x := range s.all {
		if x.now(t) == 0 {
			delete(s.all, a)
		} else if !least.IsValid() || x.now(t) < s.all[least].now(t) {
			least = a
		}
	}
	if len(s.all) >= maxStruck {
		delete(s.all, least)
	}
}

// struck answers whoever was wrong too often.
func (c *v1Call) struck() bool {
	if !c.api.strikes.out(ClientAddr(c.r, c.settings.ForwardedIPHeader), time.Now()) {
		return false
	}
	c.w.Header().Set("Retry-After", "2")
	c.api.problem(c.w, http.StatusTooManyRequests, ProblemTooMany, "too many wrong secrets from this address; wait a few seconds")
	return true
}

// tell hands an action to the log and to who wants to know. about holds names and values, as for slog.
func (a *API) tell(r *http.Request, s *Settings, x Action, about []any, err error) {
	x.Address = r.RemoteAddr
	if addr := ClientAddr(r, s.ForwardedIPHeader); addr.IsValid() {
		x.Address = addr.String()
	}
	attrs := append([]any{"action", x.Action, "peer", x.Address}, about...)
	attrs = append(attrs, "by", x.By, "result", x.Result)
	x.About = aboutOf(about)
	if err != nil {
		a.log.WarnContext(r.Context(), "admin action failed", append(attrs, "err", err)...)
	} else {
		a.log.InfoContext(r.Context(), "admin action", attrs...)
	}
	if a.deps.Audit != nil {
		a.deps.Audit(x)
	}
}

// aboutOf makes names and values, as for slog, a map.
func aboutOf(pairs []any) map[string]any {
	out := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if name, ok := pairs[i].(string); ok {
			out[name] = pairs[i+1]
		}
	}
	return out
}

// errRefused stands for the reason of a refusal, which may quote a value.
var errRefused = errors.New("refused")

// refusals is an error that can say what is wrong without quoting values.
type refusals interface {
	error
	Refusals() string
}

// audit tells of a call of /index/api that changes something. failed is why it did not.
func (c *call) audit(action string, code Code, failed error) {
	x := Action{Action: action, By: bySecret, Result: "done"}
	if !same(c.text("secret"), c.settings.Secret) {
		x.By = byLogin
	}
	var err error
	if code != CodeSuccess {
		x.Result, err = strconv.Itoa(int(code)), errRefused
		var r refusals
		if errors.As(failed, &r) { // clients tend to swallow the answer: the log says what is wrong
			err = errors.New(r.Refusals())
		}
	}
	c.api.tell(c.r, &c.settings, x, c.aboutCall(), err)
}

// aboutCall names what a call of /index/api is about: of a change of the configuration the keys, and no value.
func (c *call) aboutCall() (about []any) {
	for _, name := range []string{"schema", "vhost", "app", "stream", "id", "peer_ip", "local_port", "force"} {
		if v := c.values[name].value; v != "" {
			about = append(about, name, clip(v, maxText))
		}
	}
	keys := slices.Sorted(maps.Keys(c.dotted()))
	if len(keys) > 0 {
		about = append(about, "keys", clip(strings.Join(keys, ","), 2*maxText))
	}
	return about
}
