package decision

import (
	"context"
	"encoding/json"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/stream"
)

type authBody struct {
	stream.PlayQuestion
	UserName      string `json:"user_name"`
	MustNoEncrypt bool   `json:"must_no_encrypt"`
	Realm         string `json:"realm"`
	common
}

// Realm asks on_rtsp_realm. An empty realm demands no credentials. Not allowed: nobody answered, and whoever wants to
// play is refused.
func (s *Service) Realm(ctx context.Context, q stream.PlayQuestion) (realm string, outcome fact.Outcome) {
	cfg := s.cfg.Load()
	q.Vhost = orDefault(q.Vhost, cfg.DefaultVhost)
	body := playBody{PlayQuestion: q}
	a := s.ask(ctx, cfg, question{hook: event.OnRTSPRealm, key: q.Key(), vhost: q.Vhost, body: &body, common: &body.common})
	if a.body != nil {
		realm = member(a.body, "realm")
	}
	return realm, a.outcome
}

// Credentials asks on_rtsp_auth for the password of a user. plain: the user sent the password itself, so that it has to be
// the password itself that comes back. encrypted: passwd is md5(user:realm:password) in hex. Without a hook nobody has a
// password.
func (s *Service) Credentials(ctx context.Context, q stream.PlayQuestion, user, realm string, plain bool) (passwd string, encrypted bool, outcome fact.Outcome) {
	cfg := s.cfg.Load()
	q.Vhost = orDefault(q.Vhost, cfg.DefaultVhost)
	body := authBody{PlayQuestion: q, UserName: user, MustNoEncrypt: plain, Realm: realm}
	a := s.ask(ctx, cfg, question{hook: event.OnRTSPAuth, key: q.Key(), vhost: q.Vhost, body: &body, common: &body.common})
	if a.outcome.By == ByDefault {
		a.outcome.Allowed = false
	}
	if a.body != nil {
		passwd = member(a.body, "passwd")
		encrypted = truth(a.body, "encrypted")
	}
	return passwd, encrypted, a.outcome
}

// member returns a string member of a JSON object, "" when there is none.
func member(body []byte, name string) string {
	var p map[string]json.RawMessage
	var v string
	if json.Unmarshal(body, &p) != nil || json.Unmarshal(p[name], &v) != nil {
		return ""
	}
	return v
}

// truth reads a member under the rules of the options of on_publish.
func truth(body []byte, name string) (v bool) {
	var p patch
	if json.Unmarshal(body, &p) == nil {
		p.boolean(name, &v)
	}
	return v
}
