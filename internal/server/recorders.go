package server

import (
	"cmp"
	"net/http"

	"github.com/hookline/hookline/internal/config"
	"github.com/hookline/hookline/internal/hls"
	"github.com/hookline/hookline/internal/stream"
)

// recorders are what the hub makes files with.
func (s *Server) recorders() []stream.Recorder {
	return append(s.hls.Recorders(), s.record.Format())
}

// openHLS builds the HLS server and returns the formats that its viewers ask for.
func (s *Server) openHLS(c *config.Config) []stream.Format {
	s.hls = hls.New(s.hlsConfig(c))
	s.onFailure(s.hls.Close)
	return s.hls.Formats()
}

func (s *Server) hlsConfig(c *config.Config) hls.Config {
	cfg := hls.DefaultConfig()
	h := c.HLS
	cfg.Root, cfg.FileBuffer, cfg.Extension = c.Protocol.HLSSavePath, h.FileBuffer, h.Extension
	cfg.Segment, cfg.Count, cfg.Delay, cfg.Retain, cfg.Keep = h.Segment, h.Count, h.Delay, h.Retain, h.Keep
	cfg.Report, cfg.DeleteDelay, cfg.FastRegister = h.Report, h.DeleteDelay, h.FastRegister
	cfg.LowLatency, cfg.Part = h.LowLatency, h.Part
	cfg.Wait = c.General.MaxStreamWait
	cfg.Vhosts, cfg.AllowCrossDomains = c.General.EnableVhost, c.HTTP.AllowCrossDomains
	cfg.SessionID, cfg.Logger = s.web.sessions.NewID, s.log
	cfg.Absent = func(w http.ResponseWriter, r *http.Request) bool { return s.files.ServeAdmitted(w, r) }
	if peer := peerIP(c.HTTP.ForwardedIPHeader); peer != nil {
		direct := cfg.Address
		cfg.Address = func(r *http.Request) (ip string, port int) {
			ip, port = direct(r)
			return cmp.Or(peer(r), ip), port
		}
	}
	return cfg
}
