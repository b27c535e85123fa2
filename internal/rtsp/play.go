package rtsp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/format/rtp"
	"github.com/hookline/hookline/internal/stream"
)

// view is what a session plays.
type view struct {
	name   fact.Stream
	base   string // URL of the description
	viewer *stream.Viewer
	offers []offer
	outs   map[int]*out // by the number of the track
	over   string       // "tcp", "udp" or overMulticast, the same for all tracks
	cast   *caster      // of overMulticast

	paused  atomic.Bool
	begun   bool               // by PLAY
	sped    bool               // it has asked for another speed of delivery
	cancel  context.CancelFunc // of the goroutine that writes; nil before PLAY, and while a file pauses
	done    chan struct{}
	failed  error          // why the goroutine ended by itself; written before done is closed
	sent    atomic.Int64   // bytes
	reports sync.WaitGroup // of the goroutines that read reports
}

// out is the way of one track to the player.
type out struct {
	channel  [2]int
	media    *net.UDPConn
	control  *net.UDPConn
	toMedia  *net.UDPAddr
	toReport *net.UDPAddr
	source   uint32 // SSRC of what was sent over UDP, 0: nothing was; owned by who sends
}

// overMulticast is what view.over says of multicast.
const overMulticast = "multicast"

func (v *view) udp() bool { return v.over == "udp" }

// playing says that PLAY was answered, also if PAUSE was since.
func (v *view) playing() bool { return v.begun }

// describe takes DESCRIBE: it asks whether the stream may be played, waits for it and attaches the viewer.
func (s *session) describe(q *request) error {
	if s.pub != nil || s.view != nil {
		return s.answer(q, &reply{status: 455})
	}
	name, params, err := target(q.url, s.cfg.EnableVhost)
	if err != nil {
		return s.answer(q, &reply{status: 404})
	}
	info := fact.MediaInfo{Schema: FormatName, Protocol: s.protocol, Stream: name, Params: params}
	var viewer *stream.Viewer
	var refusal *reply
	s.listening(func(ctx context.Context) {
		var through bool
		if through, refusal = s.authorize(q, stream.PlayQuestion{MediaInfo: info, Client: s.peer.Client}); refusal != nil {
			return
		}
		viewer, err = s.srv.hub.Play(ctx, stream.PlayRequest{
			MediaInfo: info, Peer: s.peer, Format: FormatName, Admitted: through, Kick: func() { s.end(fact.EndKicked) },
		})
	})
	if refusal != nil {
		return s.answer(q, refusal)
	}
	if err != nil {
		_ = s.answer(q, playRefusal(err))
		return err
	}
	v := &view{name: name, viewer: viewer, outs: map[int]*out{}}
	s.view = v
	var sdp string
	length := "now-"
	if c := s.control(); c != nil {
		length = span(0, c.Duration())
	}
	if sdp, v.offers = describe(viewer.Program(), name.Stream, length); len(v.offers) == 0 {
		return s.answer(q, textReply(415, "no track of this stream can be carried by RTP"))
	}
	v.base, _, _ = strings.Cut(q.url, "?")
	v.base = strings.TrimSuffix(v.base, "/") + "/"
	return s.answer(q, &reply{status: 200, header: []string{
		"Content-Base", v.base, "Content-Type", "application/sdp",
	}, body: sdp})
}

// playRefusal translates an error of Hub.Play.
func playRefusal(err error) *reply {
	var refused *stream.RefusedError
	switch {
	case errors.As(err, &refused):
		return textReply(401, refused.Message)
	case errors.Is(err, stream.ErrNotFound):
		return textReply(404, "no such stream")
	case errors.Is(err, stream.ErrStopping):
		return textReply(503, err.Error())
	default:
		return textReply(500, "internal error")
	}
}

// setupPlay takes SETUP of a player.
func (s *session) setupPlay(q *request, o spec) error {
	v := s.view
	n, ok := v.trackOf(q.url)
	if !ok {
		return s.answer(q, &reply{status: 404})
	}
	over := "udp"
	switch {
	case o.multicast:
		over = overMulticast
	case o.tcp:
		over = "tcp"
	}
	if v.outs[n] != nil || v.playing() || v.over != "" && v.over != over {
		return s.answer(q, &reply{status: 455})
	}
	w := &out{}
	transport := ""
	var err error
	switch {
	case o.multicast:
		if transport, err = s.setupMulticast(v, n); err != nil {
			s.log.Warn("RTSP player by multicast", "stream", v.name.Key(), "error", err)
			return s.answer(q, &reply{status: 461})
		}
	case o.tcp:
		if o.interleaved[0] < 0 {
			o.interleaved = [2]int{2 * n, 2*n + 1}
		}
		w.channel = o.interleaved
		transport = tcpTransport(w.channel, 0, false)
	default:
		if w.media, w.control, err = s.srv.ports.pair(nil); err != nil {
			s.log.Warn("RTSP player over UDP", "stream", v.name.Key(), "error", err)
			return s.answer(q, &reply{status: 461})
		}
		ip := net.ParseIP(s.peer.IP)
		w.toMedia = &net.UDPAddr{IP: ip, Port: o.clientPort[0]}
		w.toReport = &net.UDPAddr{IP: ip, Port: o.clientPort[1]}
		port := w.media.LocalAddr().(*net.UDPAddr).Port //nolint:forcetypeassert // of ListenUDP
		transport = udpTransport(o.clientPort, port, 0, false)
	}
	v.over, v.outs[n] = over, w
	return s.answer(q, &reply{status: 200, header: []string{"Transport", transport}})
}

// trackOf returns the track that a URL names. A URL that names none means the only one, or the first that is not set up.
func (v *view) trackOf(url string) (int, bool) {
	if i := strings.LastIndex(url, trackName); i >= 0 {
		digits, _, _ := strings.Cut(url[i+len(trackName):], "?")
		n, err := strconv.Atoi(strings.TrimSuffix(digits, "/"))
		for _, o := range v.offers {
			if err == nil && o.number == n {
				return n, true
			}
		}
		return 0, false
	}
	for _, o := range v.offers {
		if v.outs[o.number] == nil {
			return o.number, true
		}
	}
	return 0, false
}

// play takes PLAY.
func (s *session) play(q *request) error {
	v := s.view
	if v == nil || len(v.outs) == 0 {
		return s.answer(q, &reply{status: 455})
	}
	c := s.control()
	header, moved, ok := s.steer(q, c)
	if !ok {
		return s.answer(q, &reply{status: 457})
	}
	playing := v.playing()
	if v.cancel != nil && (!moved || v.cast != nil) {
		err := s.answer(q, &reply{status: 200, header: header}) // also the keep-alive of some players
		v.paused.Store(false)
		if c != nil { // behind the answer: players drop what comes before
			_ = c.Pause(false)
		}
		return err
	}
	// The answer says which packets are the first from there, so nothing may be on its way meanwhile.
	v.halt()
	if c != nil {
		_ = c.Pause(false)
	}
	if v.cast != nil {
		return s.playMulticast(q)
	}
	first, info, err := s.opening(c != nil)
	if err != nil {
		_ = s.answer(q, playRefusal(stream.ErrNotFound))
		return err
	}
	if info != "" {
		header = append(header, "RTP-Info", info)
	}
	if err := s.answer(q, &reply{status: 200, header: header}); err != nil {
		return err
	}
	if !playing {
		s.beginView(v)
	}
	ctx, stop := context.WithCancel(s.ctx)
	v.cancel, v.done = stop, make(chan struct{})
	go s.serveView(ctx, v, first)
	return nil
}

// beginView is what the first PLAY of a view does once.
func (s *session) beginView(v *view) {
	v.begun = true
	if v.udp() {
		s.allow(playerTimeout)
		for _, w := range v.outs {
			v.reports.Add(1)
			go s.listenReports(v, w)
		}
	} else {
		s.allow(0)
	}
	s.log.Info("RTSP viewer started", "stream", v.name.Key(), "transport", v.over)
}

// openingBytes bounds what is held back while an answer to PLAY waits for the first packets of a file.
const openingBytes = 1 << 20

// opening takes what the player gets first, and describes the first packet of each track. Of a live stream that is what is there
// already; a file that was told to go on is waited for.
func (s *session) opening(file bool) (first net.Buffers, info string, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Opening)
	defer cancel()
	if !file {
		cancel()
	}
	for size, whole := 0, false; !whole && size < openingBytes; {
		bufs, err := s.view.viewer.Next(ctx)
		switch over := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded); {
		case err != nil && !over && len(first) == 0:
			return nil, "", err
		case err != nil: // what ended the stream is said again
			return first, info, nil
		}
		for _, b := range bufs {
			size += len(b)
		}
		first = append(first, bufs...)
		info, whole = s.view.rtpInfo(first)
	}
	return first, info, nil
}

// rtpInfo describes the first packet of each track that is set up, as far as they are in bufs, and says whether all are. They stand
// in the order of the description, and end before the first that is not known: live555, which VLC plays with, goes by the order
// and not by the URL.
func (v *view) rtpInfo(bufs net.Buffers) (info string, whole bool) {
	found := map[int]string{}
	for _, b := range bufs {
		for ch, raw := range rtp.Packets(b) {
			n := int(ch) / 2
			if ch&1 != 0 || found[n] != "" || v.outs[n] == nil {
				continue
			}
			if p, err := rtp.Parse(raw); err == nil {
				found[n] = fmt.Sprintf("url=%s%s%d;seq=%d;rtptime=%d", v.base, trackName, n, p.Seq, p.Timestamp)
			}
		}
		if len(found) == len(v.outs) {
			break
		}
	}
	var parts []string
	for _, o := range v.offers {
		if v.outs[o.number] == nil {
			continue
		}
		if found[o.number] == "" {
			break
		}
		parts = append(parts, found[o.number])
	}
	return strings.Join(parts, ","), len(found) == len(v.outs)
}

// listenReports takes the receiver's reports of UDP as signs of life.
func (s *session) listenReports(v *view, w *out) {
	defer v.reports.Done()
	buf := make([]byte, 2048)
	for {
		n, from, err := w.control.ReadFromUDP(buf)
		if err != nil {
			return // closed
		}
		if !from.IP.Equal(w.toReport.IP) {
			continue
		}
		if r, err := rtp.ParseRTCP(buf[:n]); err == nil && r.Receiver {
			s.touch(playerTimeout)
		}
	}
}

// serveView writes what the viewer gets until it ends. first is what was taken already.
func (s *session) serveView(ctx context.Context, v *view, first net.Buffers) {
	defer close(v.done)
	c := &screen{s: s, v: v}
	if v.udp() {
		// The reports, which line up the tracks, come on another socket, and must be there before the first packets.
		v.datagrams(first, true)
		pause(ctx, reportLead)
	}
	n, err := c.Write(ctx, first)
	v.viewer.Sent(int(n))
	if err == nil {
		err = v.viewer.Serve(ctx, c)
	}
	if ctx.Err() == nil { // else it was halted: to leave, or to go on elsewhere
		v.failed = err
		if v.udp() {
			v.bye()
			pause(ctx, farewell)
		}
		s.end(fact.EndUnpublish)
	}
}

// parting returns why a viewer is served no longer; err is why that ended by itself, if it did.
func (s *session) parting(err error) string {
	switch r := s.reason.Load(); {
	case err != nil:
		return err.Error()
	case r != nil:
		return string(*r)
	}
	return "left"
}

// A GOP that is sent at once overruns the buffers of players: between bursts they get time to read. The bound is about
// 60 Mbit/s.
const (
	udpBurst = 32 << 10
	udpPause = 4 * time.Millisecond
	// reportLead is how much earlier than the first packets the first reports go out.
	reportLead = 20 * time.Millisecond
	// byeLag is how much later than the last packets the end is told.
	byeLag = 100 * time.Millisecond
	// farewell is how long a player that was told has to leave by itself: GStreamer comes back to say so when it finds the
	// connection closed, and takes the answer for an error. The hub is patient for longer (stream.Config.ViewerLinger).
	farewell = 3 * time.Second
)

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// screen is the stream.DirectOutlet of a view. What is shown while it is paused is lost: a live stream goes on meanwhile.
type screen struct {
	s *session
	v *view
}

// Write implements stream.Outlet.
func (c *screen) Write(ctx context.Context, blocks net.Buffers) (n int64, err error) {
	switch {
	case c.v.paused.Load():
		if !c.v.udp() {
			n, err = c.s.out.Write(ctx, nil) // what is left over belongs to a packet that was begun
		}
	case c.v.udp():
		n = c.v.spread(ctx, blocks)
	case c.v.plain():
		n, err = c.s.out.Write(ctx, blocks)
	default:
		own := make(net.Buffers, 0, len(blocks))
		for _, b := range blocks {
			if b = c.v.own(b); len(b) > 0 {
				own = append(own, b)
			}
		}
		n, err = c.s.out.Write(ctx, own)
	}
	c.v.sent.Add(n)
	return n, err
}

// spread sends datagrams with pauses.
func (v *view) spread(ctx context.Context, blocks net.Buffers) (sent int64) {
	burst := 0
	for i := range blocks {
		n := v.datagrams(blocks[i:i+1], false)
		sent += int64(n)
		if burst += n; burst >= udpBurst {
			burst = 0
			pause(ctx, udpPause)
		}
	}
	return sent
}

// Direct implements stream.DirectOutlet.
func (c *screen) Direct() bool { return !c.v.udp() && c.v.plain() && c.s.out.Direct() }

// Try implements stream.DirectOutlet.
func (c *screen) Try(blocks net.Buffers) (int, stream.Taken, error) {
	if c.v.paused.Load() {
		return 0, stream.TookAll, nil
	}
	n, taken, err := c.s.out.Try(blocks)
	c.v.sent.Add(int64(n))
	return n, taken, err
}

// plain says that the player set up every track on the channels that the blocks have.
func (v *view) plain() bool {
	for _, o := range v.offers {
		w := v.outs[o.number]
		if w == nil || w.channel != [2]int{2 * o.number, 2*o.number + 1} {
			return false
		}
	}
	return true
}

// own returns the packets of a block that the player set up, on its channels.
func (v *view) own(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for ch, raw := range rtp.Packets(b) {
		if w := v.outs[int(ch)/2]; w != nil {
			out = append(out, '$', byte(w.channel[ch&1]), byte(len(raw)>>8), byte(len(raw)))
			out = append(out, raw...)
		}
	}
	return out
}

// datagrams sends packets, or only the reports among them, over UDP. What the socket does not take is lost, as on any network.
func (v *view) datagrams(bufs net.Buffers, reports bool) int {
	n := 0
	for _, b := range bufs {
		for ch, raw := range rtp.Packets(b) {
			w := v.outs[int(ch)/2]
			if w == nil || reports && ch&1 == 0 {
				continue
			}
			conn, to := w.media, w.toMedia
			if ch&1 != 0 {
				conn, to = w.control, w.toReport
			}
			w.source = rtp.Source(raw, ch&1 != 0)
			if _, err := conn.WriteToUDP(raw, to); err == nil {
				n += len(raw)
			}
		}
	}
	return n
}

// bye says that nothing follows. Players look at reports first, so what was sent before gets time to be read: some stop at once.
// Who sends has stopped.
func (v *view) bye() {
	waited := false
	for _, w := range v.outs {
		if w.source == 0 {
			continue
		}
		if !waited {
			waited = true
			time.Sleep(byeLag)
		}
		_, _ = w.control.WriteToUDP(rtp.AppendBye(nil, w.source), w.toReport)
		w.source = 0
	}
}

// pause takes PAUSE. A file stops, for all who watch it, and nothing of it is sent behind the answer, which a player that seeks next
// would take for what it has sought; a live stream goes on meanwhile.
func (s *session) pause(q *request) error {
	v := s.view
	if v == nil || !v.playing() {
		return s.answer(q, &reply{status: 455})
	}
	if c := s.control(); c != nil {
		_ = c.Pause(true)
		if v.cast == nil {
			v.halt()
		}
	} else {
		v.paused.Store(true)
	}
	return s.answer(q, &reply{status: 200})
}

// halt ends the goroutine that writes and waits for its last write.
func (v *view) halt() {
	if v.cancel != nil {
		v.cancel()
		<-v.done
		v.cancel = nil
	}
}

// endView ends playing. asked: the player wanted that.
func (s *session) endView(asked bool) {
	v := s.view
	if v == nil {
		return
	}
	s.view = nil
	v.halt()
	s.ended = v.over == "tcp" && errors.Is(v.failed, stream.ErrEnded)
	if v.begun && v.cast == nil {
		s.log.Info("RTSP viewer ended", "stream", v.name.Key(), "bytes", v.sent.Load(), "why", s.parting(v.failed))
	}
	if v.udp() && !asked {
		v.bye()
	}
	if v.cast != nil {
		v.cast.leave(s, v)
		v.cast.release()
	}
	for _, w := range v.outs {
		if w.media != nil {
			_ = w.media.Close()
			_ = w.control.Close()
		}
	}
	v.reports.Wait()
	v.viewer.Close()
}
