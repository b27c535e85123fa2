package server

import (
	"cmp"
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/hookline/hookline/internal/api"
	"github.com/hookline/hookline/internal/config"
	"github.com/hookline/hookline/internal/decision"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/hls"
	"github.com/hookline/hookline/internal/webfile"
)

// openFiles builds what serves files.
func (s *Server) openFiles(c *config.Config) {
	s.files = webfile.New(s.filesConfig(c), fileGate{s})
}

func (s *Server) filesConfig(c *config.Config) webfile.Config {
	cfg := webfile.DefaultConfig()
	cfg.Root, cfg.Virtual, cfg.DirMenu = c.HTTP.RootPath, webfile.ParseVirtual(c.HTTP.VirtualPath), c.HTTP.DirMenu
	cfg.NotFound, cfg.CharSet, cfg.NoStore = c.HTTP.NotFound, c.HTTP.CharSet, webfile.ParseList(c.HTTP.NoStore, ",")
	cfg.AllowCrossDomains, cfg.Downloads = c.HTTP.AllowCrossDomains, webfile.ParseList(c.API.DownloadRoot, ";")
	if c.General.EnableVhost {
		cfg.Vhost = hls.VhostOf
	}
	cfg.SessionID = api.ConnectionID
	if peer := peerIP(c.HTTP.ForwardedIPHeader); peer != nil {
		direct := cfg.Address
		cfg.Address = func(r *http.Request) (ip string, port int) {
			ip, port = direct(r)
			return cmp.Or(peer(r), ip), port
		}
	}
	return cfg
}

// mayRead says whom http.allow_ip_range lets have files while nobody is asked.
func mayRead(c *config.Config) func(ip string) bool {
	return func(ip string) bool {
		a, err := netip.ParseAddr(ip)
		return err == nil && c.HTTP.AllowIPRange.Contains(a.Unmap().WithZone(""))
	}
}

// fileGate asks on_http_access, and states what came of it.
type fileGate struct{ s *Server }

// Access implements webfile.Gate.
func (g fileGate) Access(ctx context.Context, q fact.FileAccess, header http.Header) webfile.Verdict {
	v := g.s.decide.Access(ctx, q, header)
	if v.Outcome.By != decision.ByDefault {
		f := &fact.FileAccessed{FileAccess: q, Outcome: v.Outcome}
		if v.Life > 0 {
			f.Scope, f.Seconds = webfile.Scope(&q, v.Path), int(v.Life/time.Second)
		}
		g.s.seq.Raise(f)
	}
	return webfile.Verdict{Allowed: v.Outcome.Allowed, Message: v.Outcome.Message, Path: v.Path, Life: v.Life}
}
