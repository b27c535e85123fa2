package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/config"
	"github.com/hookline/hookline/internal/decision"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/hls"
	"github.com/hookline/hookline/internal/httplive"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/journal/pebble"
	"github.com/hookline/hookline/internal/record"
	"github.com/hookline/hookline/internal/rtmp"
	"github.com/hookline/hookline/internal/rtsp"
	"github.com/hookline/hookline/internal/sequencer"
	"github.com/hookline/hookline/internal/stream"
	"github.com/hookline/hookline/internal/telemetry"
	"github.com/hookline/hookline/internal/tlscert"
	"github.com/hookline/hookline/internal/vod"
	"github.com/hookline/hookline/internal/webfile"
	"github.com/hookline/hookline/internal/webhook"
)

// Options of a Server.
type Options struct {
	// ConfigPath of config.ini; empty: none.
	ConfigPath string
	// Environ holds overrides, as os.Environ.
	Environ []string
	// Version of the build.
	Version string
	// Logger; its level follows Level, when that is given, and server.log_level.
	Logger *slog.Logger
	Level  *slog.LevelVar
	// Exit is called by restartServer; nil: the call is refused.
	Exit func()
}

// Server is a running Hookline.
type Server struct {
	opt   Options
	log   *slog.Logger
	store *config.Store

	journal *pebble.Journal
	seq     *sequencer.Sequencer
	eps     *endpoints
	ep      *delivery.Endpoint // of eps: the one that the hook.on_* URLs form
	decide  *decision.Service
	hub     *stream.Hub
	rtmp    *rtmp.Server
	rtsp    *rtsp.Server
	record  *record.Recorder
	vod     *vod.Server
	live    *httplive.Handler
	hls     *hls.Server
	files   *webfile.Server
	http    *http.Server
	web     *web

	deliverer, asker *webhook.Client
	router           *router
	tracer           *telemetry.Tracer // nil: no traces
	deliver, ask     webhook.Sender    // with spans, when there are traces

	rtmpListener, httpListener   net.Listener
	rtspListener, rtspsListener  net.Listener
	rtmpsListener, httpsListener net.Listener   // of TLS; nil without a certificate
	certs                        *tlscert.Store // of the TLS listeners
	diskFull                     atomic.Bool
	started                      time.Time
	clock                        *steady // by which events grow old
	failed                       chan error
	ctx                          context.Context
	cancel                       context.CancelFunc
	wg                           sync.WaitGroup
	closers                      []func() error // of what Start has built, newest last
}

// Start builds and starts a server. On failure nothing is left running.
func Start(ctx context.Context, opt Options) (_ *Server, err error) {
	s := &Server{opt: opt, log: opt.Logger, started: time.Now(), failed: make(chan error, 4)}
	s.clock = newSteady(opt.Logger, systemClock())
	if s.log == nil {
		s.log = slog.Default()
	}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			s.abandon()
		}
	}()
	for _, step := range []func() error{s.configure, s.openJournal, s.openEvents, s.openMedia, s.bind} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	s.announce(ctx)
	s.serve()
	return s, nil
}

// abandon closes what a failed Start has built.
func (s *Server) abandon() {
	s.cancel()
	for i := len(s.closers) - 1; i >= 0; i-- {
		if err := s.closers[i](); err != nil {
			s.log.Warn("while giving up the start", "err", err)
		}
	}
	s.wg.Wait()
}

func (s *Server) onFailure(close func() error) { s.closers = append(s.closers, close) }

func (s *Server) configure() error {
	var err error
	s.store, err = config.Open(config.Options{Path: s.opt.ConfigPath, Environ: s.opt.Environ, Log: s.log})
	if err != nil {
		return err
	}
	c := s.store.Config()
	if s.opt.Level != nil {
		s.opt.Level.Set(c.Server.LogLevel)
	}
	if names := c.Unimplemented(); len(names) > 0 {
		s.log.Warn("these keys are accepted, but their feature does not exist yet", "keys", names)
	}
	s.web = newWeb(c)
	return nil
}

func (s *Server) openJournal() error {
	c := s.store.Config()
	var err error
	s.journal, err = pebble.Open(pebble.Config{Dir: c.JournalDir(), Fsync: c.Journal.Fsync, Logger: s.log})
	if err != nil {
		return err
	}
	s.onFailure(s.journal.Close)
	if !c.Journal.Fsync {
		s.log.Warn("journal.fsync is off: a power loss can take acknowledged events")
	}
	s.watchDisk()
	return nil
}

// openEvents builds the event plane: sequencer, endpoint, and the compensation of what a crash left.
func (s *Server) openEvents() error {
	c := s.store.Config()
	agent := "Hookline/" + s.opt.Version
	s.deliverer = webhook.New(webhook.Config{UserAgent: agent, MaxRedirects: redirects(c.Delivery.MaxRedirects)})
	s.asker = webhook.New(webhook.Config{UserAgent: agent, MaxRedirects: redirects(c.Delivery.MaxRedirects)})
	s.router = newRouter(s.deliverer, webhook.Config{
		UserAgent: agent, MaxRedirects: redirects(c.Delivery.MaxRedirects),
	}, s.log)
	s.onFailure(s.deliverer.Close)
	s.onFailure(s.router.Close)
	s.onFailure(s.asker.Close)
	s.eps = newEndpoints(s)
	err := s.openTraces(c)
	if err != nil {
		return err
	}
	s.seq, err = sequencer.Open(sequencer.Config{
		Source: c.General.MediaServerID, Admission: s.admission, Committed: s.web.metrics.Committed, Logger: s.log,
	}, s.journal, func(recs []*journal.Record) {
		if s.tracer != nil { // first: it learns to which trace the events belong
			s.tracer.Feed(recs)
		}
		s.eps.feed(recs)
		s.web.tail.Publish(recs)
	})
	if err != nil {
		return err
	}
	s.onFailure(s.seq.Close)
	s.onFailure(func() error { s.eps.each((*delivery.Endpoint).Close); return nil })
	if err := s.eps.open(c); err != nil {
		return err
	}
	s.ep = s.eps.byName[endpointName]
	recovered, err := s.openRecorder(c)
	if err != nil {
		return err
	}
	n, err := s.seq.Compensate(recovered.Of)
	if err != nil {
		return err
	}
	s.run(func() { recovered.Forget(s.settled) })
	if n > 0 {
		s.log.Warn("the last run died with live publications; their ends were raised now", "publications", n)
	}
	return nil
}

func redirects(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// admission refuses publications while the journal's disk is nearly full.
func (s *Server) admission() error {
	if s.diskFull.Load() {
		return errors.New("the journal's disk is nearly full (journal.min_free_mb)")
	}
	return nil
}

func (s *Server) openMedia() error {
	c := s.store.Config()
	s.decide = decision.New(decisionConfig(c), decision.Deps{
		Sequence: stamps{s.seq}, Sender: s.ask,
		Observer: decisionObserver{s.web.metrics.DecisionObserver(), s.web.attempts, s.tracer}, Endpoint: endpointName,
		Barrier: barrier{seq: s.seq, ep: s.ep, max: c.Delivery.Barrier},
	})
	formats := slices.Concat(rtmp.Formats(c.RTMP.Enhanced), rtsp.Formats(rtsp.Packing{VideoMTU: c.RTP.VideoMTU, AudioMTU: c.RTP.AudioMTU, Single: !c.RTP.STAP}),
		httplive.Formats(c.RTMP.Enhanced), s.openHLS(c))
	s.hub = stream.New(hubConfig(c), facts{s.seq}, gate{s.decide, s.ep}, formats)
	s.hub.SetRecorders(s.recorders())
	s.onFailure(func() error { return s.hub.Stop(s.ctx) })
	s.hls.SetHub(s.hub)
	s.openVOD(c)
	s.rtmp = rtmp.New(rtmp.Config{
		Handshake: c.RTMP.Handshake, KeepAlive: c.RTMP.KeepAlive, MaxConnections: c.Limits.MaxConnections,
		MaxPerIP: c.Limits.MaxConnectionsPerIP, EnableVhost: c.General.EnableVhost,
		Limits: rtmp.Limits{
			MessageBytes: c.Limits.RTMPMessageBytes, DataBytes: c.Limits.RTMPDataBytes,
			ChunkStreams: c.Limits.RTMPChunkStreams, Commands: c.Limits.RTMPCommands,
		},
		Registry: rtmpSessions{s.web.sessions}, NewID: s.web.sessions.NewID, Logger: s.log,
	}, rtmp.HubOf(s.hub))
	s.onFailure(s.rtmp.Close)
	s.openRTSP(c)
	s.live = httplive.New(s.liveConfig(c), s.hub)
	s.openFiles(c)
	return s.openWeb()
}

// bind takes the ports, so that one that is in use is found before anything is announced.
func (s *Server) bind() (err error) {
	c := s.store.Config()
	if s.rtmpListener, err = s.listen("rtmp.port", c.RTMP.Port); err != nil {
		return err
	}
	if s.httpListener, err = s.listen("http.port", c.HTTP.Port); err != nil {
		return err
	}
	if err := s.bindRTSP(c); err != nil {
		return err
	}
	return s.bindTLS()
}

// AutoPort, as a port in the environment or the file, lets the system choose; for tests and the demo.
const AutoPort = 65535

func (s *Server) listen(key string, port int) (net.Listener, error) {
	if port == 0 {
		return nil, nil //nolint:nilnil // off
	}
	addr := s.store.Config().General.ListenIP
	if port == AutoPort {
		port = 0
	}
	var lc net.ListenConfig
	l, err := lc.Listen(s.ctx, "tcp", net.JoinHostPort(addr.String(), strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("%s = %d: %w", key, port, err)
	}
	s.onFailure(l.Close)
	return l, nil
}

// announce raises on_server_started and gives the receiver time to accept it before anybody is let in.
func (s *Server) announce(ctx context.Context) {
	c := s.store.Config()
	s.seq.Raise(fact.ServerStarted(c.All()))
	if hookURLs(c)[event.OnServerStarted] == "" {
		return
	}
	if s.seq.WaitDurable(ctx, "", s.seq.Last("")) != nil {
		return
	}
	if !s.ep.WaitQuiet(ctx, "", c.Delivery.StartHold) {
		s.log.Warn("the receiver has not accepted on_server_started yet; it will be delivered later",
			"waited", c.Delivery.StartHold)
	}
}

// serve opens the doors and starts what runs beside.
func (s *Server) serve() {
	s.store.OnChange(s.reconfigured)
	for _, l := range present(s.rtmpListener, s.rtmpsListener) {
		s.run(func() {
			if err := s.rtmp.Serve(l); !errors.Is(err, rtmp.ErrServerClosed) {
				s.failed <- err
			}
		})
	}
	for _, l := range present(s.httpListener, s.httpsListener) {
		s.run(func() {
			if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				s.failed <- err
			}
		})
	}
	s.serveRTSP()
	s.run(func() { s.certs.Watch(s.ctx) })
	s.run(s.keepalives)
	s.run(s.retention)
	s.run(s.pruneDead)
	s.run(s.followDisk)
	s.run(func() { s.store.Watch(s.ctx) })
	s.web.ready.Listening()
	s.log.Info("hookline is up", "version", s.opt.Version, "rtmp", s.RTMPAddr(), "http", s.HTTPAddr(),
		"rtsp", s.RTSPAddr(), "rtsps", addrOf(s.rtspsListener), "rtmps", addrOf(s.rtmpsListener), "https", addrOf(s.httpsListener), "media_server_id", s.store.Config().General.MediaServerID, "journal", s.store.Config().JournalDir())
}

func (s *Server) run(f func()) {
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		f()
	}()
}

// RTMPAddr returns the address on which RTMP is served, "" when it is off.
func (s *Server) RTMPAddr() string { return addrOf(s.rtmpListener) }

// HTTPAddr returns the address on which HTTP is served, "" when it is off.
func (s *Server) HTTPAddr() string { return addrOf(s.httpListener) }

func addrOf(l net.Listener) string {
	if l == nil {
		return ""
	}
	return l.Addr().String()
}

// Reload reads the configuration file and the certificates again.
func (s *Server) Reload() error { return errors.Join(s.store.Reload(), s.certs.Reload()) }

// reconfigured applies a new configuration.
func (s *Server) reconfigured(old, c *config.Config, _ []string) {
	if s.opt.Level != nil {
		s.opt.Level.Set(c.Server.LogLevel)
	}
	s.web.attempts.Configure(attemptsConfig(c))
	s.eps.apply(c)
	s.decide.SetConfig(decisionConfig(c))
	s.hub.Reconfigure(hubConfig(c))
	s.live.Reconfigure(s.liveConfig(c))
	s.hls.Reconfigure(s.hlsConfig(c))
	s.files.Reconfigure(s.filesConfig(c))
	s.rtmp.SetTimeouts(c.RTMP.Handshake, c.RTMP.KeepAlive)
	s.rtsp.Reconfigure(s.rtspConfig(c))
	s.record.Reconfigure(s.recordConfig(c))
	s.vod.Reconfigure(s.vodConfig(c))
	if old.TLS.Certificates != c.TLS.Certificates {
		s.replaceCertificates(c)
	}
}

// Wait blocks until ctx ends or the server can't go on, and returns why in the second case.
func (s *Server) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.failed:
		return err
	}
}

// Stop ends the server in good order; see the package comment. It returns the first thing that went wrong.
func (s *Server) Stop(ctx context.Context) error {
	s.web.ready.Stopping()
	s.log.Info("stopping")
	limit := s.store.Config().Delivery.Drain
	ctx, cancel := context.WithTimeout(ctx, limit+10*time.Second)
	defer cancel()
	s.cancel()
	err := errors.Join(s.stopMedia(ctx), s.stopEvents(ctx, limit))
	s.wg.Wait()
	s.log.Info("stopped")
	return err
}

func (s *Server) stopMedia(ctx context.Context) error {
	s.rtmp.Stopping()
	s.hls.Hang()
	hub := s.hub.Stop(ctx)
	s.web.api.Close()
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := s.http.Shutdown(short); err != nil {
		_ = s.http.Close() // long polls and tails
	}
	for _, l := range present(s.httpListener, s.httpsListener) {
		_ = l.Close()
	}
	s.live.Close()
	return errors.Join(hub, s.vod.Close(), s.hls.Close(), s.rtmp.Close(), s.rtsp.Close())
}

func (s *Server) stopEvents(ctx context.Context, limit time.Duration) error {
	s.seq.Raise(fact.ServerExited{})
	short, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := s.seq.WaitDurable(short, "", s.seq.Last("")); err != nil {
		s.log.Error("on_server_exited is not durable", "err", err)
	}
	s.eps.stop(short)
	for _, e := range s.eps.stats() {
		if st := e.Stats; st.Floor < st.Tail || st.Parked > 0 {
			s.log.Warn("not everything was delivered; the rest follows after the next start", "endpoint", e.Name,
				"events", st.Tail-st.Floor, "parked_streams", st.Parked)
		}
	}
	s.record.Wait() // its notes wait for what is durable
	err := s.seq.Close()
	s.closeTraces(ctx)
	return errors.Join(err, s.journal.Close(), s.router.Close(), s.deliverer.Close(), s.asker.Close())
}
