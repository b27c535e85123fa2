package server

import (
	"net/http"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/hookline/hookline/internal/api"
	"github.com/hookline/hookline/internal/attempts"
	"github.com/hookline/hookline/internal/config"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/httplive"
	"github.com/hookline/hookline/internal/rtmp"
)

// web is what of the HTTP side must exist before the event plane does.
type web struct {
	sessions *api.Sessions
	metrics  *api.Metrics
	attempts *attempts.Log
	tail     *api.Broadcaster
	ready    *api.Readiness
	api      *api.API
}

func newWeb(c *config.Config) *web {
	return &web{
		sessions: api.NewSessions(), metrics: api.NewMetrics(), attempts: attempts.NewLog(attemptsConfig(c)),
		tail: api.NewBroadcaster(), ready: &api.Readiness{},
	}
}

// openWeb builds API and HTTP server over everything else.
func (s *Server) openWeb() error {
	c := s.store.Config()
	s.web.ready.Journal = s.healthy
	platform := newPlatform(s.eps)
	s.web.api = api.New(api.Deps{
		Settings: func() api.Settings { return settings(s.store.Config()) },
		Allowed:  func(a netip.Addr) bool { return s.store.Config().HTTP.AllowIPRange.Contains(a) },
		Config:   configStore{s.store}, Hub: s.hub, Sessions: s.web.sessions, Journal: s.journal, Broadcaster: s.web.tail,
		Platform: platform, Operations: &operations{Sequencer: s.seq, s: s}, Endpoints: s.eps.stats,
		DeadLetters: func(name string) ([]delivery.DeadLetter, error) { return delivery.ReadDeadLetters(s.journal, name) },
		Attempts:    s.web.attempts,
		Audit: func(x api.Action) {
			s.seq.Raise(&fact.AdminAction{Action: x.Action, By: x.By, Address: x.Address, Result: x.Result, About: x.About})
		},
		Records:   records{s.hub, s.record, func() string { return s.store.Config().Protocol.MP4SavePath }},
		Files:     s.files,
		Playback:  playback{s.hub, s.vod},
		Readiness: s.web.ready, Metrics: s.web.metrics, Version: buildVersion(s.opt.Version),
		Restart: s.opt.Exit, Listeners: s.listeners, Fallback: http.HandlerFunc(s.fallback), Logger: s.log,
	})
	s.web.metrics.Watch(api.Sources{
		Sequencer: s.seq.Stats, Hub: s.hub.Stats, Sessions: s.web.sessions, Journal: s.journal.Info, Healthy: s.healthy,
		Version:           buildVersion(s.opt.Version),
		Endpoints:         s.eps.stats,
		Replays:           platform.Replays,
		DeadLetters:       (&deadCount{s: s}).count,
		CertificateExpiry: func() time.Time { return s.certs.Expiry() },
	})
	s.http = api.NewServer(api.ServerConfig{
		IdleTimeout: func() time.Duration { return s.store.Config().HTTP.KeepAlive }, MaxConnections: c.Limits.MaxConnections,
		MaxPerIP: c.Limits.MaxConnectionsPerIP, HTTP2: c.HTTP.HTTP2, Logger: s.log,
	}, s.web.api, s.web.sessions)
	return nil
}

// fallback serves HLS, live streams and files.
func (s *Server) fallback(w http.ResponseWriter, r *http.Request) {
	switch {
	case s.hls.Match(r):
		s.hls.ServeHTTP(w, r)
	case httplive.Match(r):
		s.live.ServeHTTP(w, r)
	default:
		s.files.ServeHTTP(w, r)
	}
}

// healthy says whether events are journaled and publications admitted.
func (s *Server) healthy() error {
	if err := s.seq.Healthy(); err != nil {
		return err
	}
	return s.admission()
}

func (s *Server) listeners() int {
	return len(present(s.rtmpListener, s.httpListener, s.rtmpsListener, s.httpsListener, s.rtspListener, s.rtspsListener))
}

func settings(c *config.Config) api.Settings {
	var tokens []api.Token
	for _, t := range c.API.Tokens {
		tokens = append(tokens, api.Token{Name: t.Name, Admin: t.Admin, Digest: t.Digest})
	}
	return api.Settings{
		Tokens: tokens,
		Secret: c.API.Secret, AllowCrossDomains: c.HTTP.AllowCrossDomains, MaxReqSize: c.HTTP.MaxReqSize,
		ForwardedIPHeader: c.HTTP.ForwardedIPHeader, KeepAlive: c.HTTP.KeepAlive, CharSet: c.HTTP.CharSet, NotFound: c.HTTP.NotFound,
		EnableVhost: c.General.EnableVhost, Debug: c.API.Debug,
	}
}

type configStore struct{ *config.Store }

func (s configStore) All() map[string]string { return s.Config().All() }

// buildVersion fills ZLMediaKit's version answer from what the build knows.
func buildVersion(version string) api.Version {
	v := api.Version{BuildTime: "", BranchName: "hookline", CommitHash: version}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				v.BuildTime = s.Value
			}
		}
	}
	return v
}

// rtmpSessions and liveSessions list the sessions of the protocols.
type rtmpSessions struct{ *api.Sessions }

func (l rtmpSessions) Add(s rtmp.Session) (remove func()) {
	return l.Sessions.Add(api.Session{
		ID: s.ID, PeerIP: s.PeerIP, PeerPort: s.PeerPort, LocalIP: s.LocalIP, LocalPort: s.LocalPort, Type: s.Type,
		TypeID: s.TypeID, Kick: s.Kick,
	})
}

type liveSessions struct {
	*api.Sessions
	limits config.Limits
}

func (l liveSessions) Add(s httplive.Session) (remove func(), ok bool) {
	session := api.Session{
		ID: s.ID, PeerIP: s.PeerIP, PeerPort: s.PeerPort, LocalIP: s.LocalIP, LocalPort: s.LocalPort, Type: s.Type,
		TypeID: s.TypeID, Shared: s.Shared, Kick: s.Kick,
	}
	if s.Shared {
		return l.AddWithin(session, l.limits.MaxConnections, l.limits.MaxConnectionsPerIP)
	}
	return l.Sessions.Add(session), true
}

var _ http.Handler = (*api.API)(nil)
