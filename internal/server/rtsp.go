package server

import (
	"errors"

	"github.com/hookline/hookline/internal/api"
	"github.com/hookline/hookline/internal/config"
	"github.com/hookline/hookline/internal/rtsp"
)

// openRTSP builds the RTSP server.
func (s *Server) openRTSP(c *config.Config) {
	s.rtsp = rtsp.New(s.rtspConfig(c), s.hub, s.decide)
	s.onFailure(s.rtsp.Close)
}

func (s *Server) rtspConfig(c *config.Config) rtsp.Config {
	cfg := rtsp.Config{
		Handshake: c.RTSP.Handshake, KeepAlive: c.RTSP.KeepAlive, MaxConnections: c.Limits.MaxConnections,
		MaxPerIP: c.Limits.MaxConnectionsPerIP, EnableVhost: c.General.EnableVhost, AuthBasic: c.RTSP.AuthBasic,
		PortMin: c.RTSP.PortMin, PortMax: c.RTSP.PortMax,
		MulticastMin: c.RTSP.MulticastMin, MulticastMax: c.RTSP.MulticastMax, MulticastTTL: c.RTSP.MulticastTTL,
		Registry: rtspSessions{s.web.sessions}, NewID: s.web.sessions.NewID, Logger: s.log,
	}
	switch c.RTSP.Transport {
	case 0:
		cfg.Transport = rtsp.TCPOnly
	case 1:
		cfg.Transport = rtsp.UDPOnly
	case 2:
		cfg.Transport = rtsp.MulticastOnly
	}
	return cfg
}

// bindRTSP opens the listener of RTSP; that of RTSPS is with the others of TLS.
func (s *Server) bindRTSP(c *config.Config) (err error) {
	s.rtspListener, err = s.listen("rtsp.port", c.RTSP.Port)
	return err
}

// serveRTSP lets clients in.
func (s *Server) serveRTSP() {
	for _, l := range present(s.rtspListener, s.rtspsListener) {
		s.run(func() {
			if err := s.rtsp.Serve(l); !errors.Is(err, rtsp.ErrServerClosed) {
				s.failed <- err
			}
		})
	}
}

// RTSPAddr returns the address on which RTSP is served, "" when it is off.
func (s *Server) RTSPAddr() string { return addrOf(s.rtspListener) }

// rtspSessions lists the sessions of RTSP with the others.
type rtspSessions struct{ *api.Sessions }

// Add implements rtsp.Registry.
func (r rtspSessions) Add(x rtsp.Session) (remove func()) {
	return r.Sessions.Add(api.Session{
		ID: x.ID, PeerIP: x.PeerIP, PeerPort: x.PeerPort, LocalIP: x.LocalIP, LocalPort: x.LocalPort,
		Type: x.Type, TypeID: x.TypeID, Kick: x.Kick,
	})
}
