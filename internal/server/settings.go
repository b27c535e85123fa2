package server

import (
	"net/http"
	"strings"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/api"
	"github.com/hookline/hookline/internal/config"
	"github.com/hookline/hookline/internal/decision"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/httplive"
	"github.com/hookline/hookline/internal/stream"
)

// endpointName is the name of the endpoint that the hook.on_* URLs form together.
const endpointName = "hook"

func hookURLs(c *config.Config) map[event.Type]string {
	urls := map[event.Type]string{}
	if !c.Hook.Enable {
		return urls
	}
	for _, t := range event.Types() {
		if url := c.Hook.URL(string(t)); url != "" {
			urls[t] = url
		}
	}
	return urls
}

func endpointConfig(c *config.Config) delivery.Config {
	var schemas []string
	if v, _ := c.Get("hook.stream_changed_schemas"); v != "" {
		for s := range strings.SplitSeq(v, "/") {
			if s = strings.TrimSpace(s); s != "" {
				schemas = append(schemas, s)
			}
		}
	}
	d := c.Delivery
	return delivery.Config{
		Name: endpointName, URLs: hookURLs(c), Schemas: schemas, Timeout: c.Hook.Timeout, Concurrency: d.Concurrency,
		Window: d.Window, BackoffMin: d.BackoffMin, BackoffMax: d.BackoffMax, MaxAge: d.MaxAge,
		RejectAttempts: d.RejectAttempts, Policy: delivery.Policy(d.Policy), Signer: signer(c.Hook.Secrets),
	}
}

// signer of secrets that the configuration has checked; nil for none.
func signer(secrets []string) *event.Signer {
	if len(secrets) == 0 {
		return nil
	}
	s, err := event.ParseSigner(secrets)
	if err != nil {
		return nil
	}
	return s
}

func decisionConfig(c *config.Config) decision.Config {
	return decision.Config{
		Enable: c.Hook.Enable, URLs: hookURLs(c), Timeout: c.Hook.Timeout, Retry: c.Hook.Retry,
		RetryDelay: c.Hook.RetryDelay, Defaults: options(c.Protocol), Signer: signer(c.Hook.Secrets),
		Files: mayRead(c),
	}
}

func options(p config.Protocol) stream.Options {
	return stream.Options{
		ModifyStamp: p.ModifyStamp, EnableAudio: p.EnableAudio, AddMuteAudio: p.AddMuteAudio, AutoClose: p.AutoClose,
		ContinuePush: p.ContinuePush, PacedSender: p.PacedSender, EnableHLS: p.EnableHLS,
		EnableHLSFMP4: p.EnableHLSFMP4, EnableMP4: p.EnableMP4, EnableRTSP: p.EnableRTSP, EnableRTMP: p.EnableRTMP,
		EnableTS: p.EnableTS, EnableFMP4: p.EnableFMP4, HLSDemand: p.HLSDemand, RTSPDemand: p.RTSPDemand,
		RTMPDemand: p.RTMPDemand, TSDemand: p.TSDemand, FMP4Demand: p.FMP4Demand, MP4MaxSecond: p.MP4MaxSecond,
		MP4AsPlayer: p.MP4AsPlayer, MP4SavePath: p.MP4SavePath, HLSSavePath: p.HLSSavePath,
	}
}

func hubConfig(c *config.Config) stream.Config {
	h := stream.DefaultConfig()
	g := c.General
	h.MaxStreamWait, h.NoneReaderDelay, h.MergeWrite = g.MaxStreamWait, g.StreamNoneReader, g.MergeWrite
	h.FlowThreshold = uint64(max(0, g.FlowThreshold))
	h.WaitTrackReady, h.WaitAddTrack, h.WaitAudioData = g.WaitTrackReady, g.WaitAddTrack, g.WaitAudioTrackData
	h.UnreadyFrameCache = g.UnreadyFrameCache
	l := c.Limits
	h.GOPMaxBytes, h.GOPMaxDuration, h.MediaMaxBytes = int(l.GOPMaxBytes), l.GOPMax, int(l.MediaMaxBytes)
	h.GOPs = c.Record.GOPs
	h.ViewerLagBytes, h.ViewerLagDuration = int(l.ViewerLagBytes), l.ViewerLag
	return h
}

// peerIP returns what finds the client's address in a trusted header, nil when none is trusted.
func peerIP(header string) func(*http.Request) string {
	if header == "" {
		return nil
	}
	return func(r *http.Request) string {
		if a := api.ClientAddr(r, header); a.IsValid() {
			return a.String()
		}
		return ""
	}
}

func (s *Server) liveConfig(c *config.Config) httplive.Config {
	return httplive.Config{
		EnableVhost: c.General.EnableVhost, AllowCrossDomains: c.HTTP.AllowCrossDomains,
		SessionID: s.web.sessions.NewID, Registry: liveSessions{s.web.sessions, c.Limits},
		PeerIP: peerIP(c.HTTP.ForwardedIPHeader),
	}
}
