package rtsp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/format/rtp"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
)

const (
	// receiverReportEvery is the time between two receiver reports for a track.
	receiverReportEvery = 5 * time.Second
	udpBuffer           = 2 << 20
	// maxDatagram bounds the datagrams that are read; what is longer is cut.
	maxDatagram = 16 << 10
)

// publication is what a session publishes.
type publication struct {
	s         *session
	publisher *stream.Publisher
	key       string
	bytes     atomic.Uint64
	wg        sync.WaitGroup // of the goroutines that read UDP

	mu        sync.Mutex // guards what follows: packets of UDP come in goroutines of their own
	line      rtp.Timeline
	tracks    []*ingest
	recording bool
	badPacket uint64
}

// ingest is one track that comes in.
type ingest struct {
	format  rtp.Format
	track   *media.Track
	depack  *rtp.Depacketizer
	time    *rtp.TrackTime
	dts     *rtp.DTS      // of video that may have B-frames
	order   rtp.Reorderer // of UDP
	rec     rtp.Reception
	report  time.Time
	set     bool
	udp     bool
	channel [2]int
	media   *net.UDPConn
	control *net.UDPConn
	back    *net.UDPAddr // where reports go
	packet  rtp.Packet   // the one that came, over TCP
}

// announce takes ANNOUNCE. It is answered when on_publish has decided.
func (s *session) announce(q *request) error {
	if s.pub != nil || s.view != nil {
		return s.answer(q, &reply{status: 455})
	}
	name, params, err := target(q.url, s.cfg.EnableVhost)
	if err != nil {
		return s.answer(q, &reply{status: 404})
	}
	name.Stream = strings.TrimSuffix(name.Stream, ".sdp")
	sdp, err := rtp.ParseSDP(q.body)
	if err != nil || name.Stream == "" {
		return s.answer(q, &reply{status: 400})
	}
	p := &publication{s: s, key: name.Key()}
	for _, f := range sdp.Media {
		if err := p.add(f); err != nil {
			s.log.Warn("RTSP track can't be used", "stream", p.key, "encoding", f.Name, "error", err)
		}
	}
	if !slices.ContainsFunc(p.tracks, func(t *ingest) bool { return t.depack != nil }) {
		return s.answer(q, &reply{status: 415})
	}
	origin := s.protocol + "://" + name.Key()
	if params != "" {
		origin += "?" + params
	}
	s.pub = p // its bytes count from here
	s.listening(func(ctx context.Context) {
		p.publisher, err = s.srv.hub.Publish(ctx, stream.PublishRequest{
			MediaInfo: fact.MediaInfo{Schema: FormatName, Protocol: s.protocol, Stream: name, Params: params},
			Peer:      s.peer, OriginType: fact.OriginRTSPPush, OriginURL: origin, Bytes: &p.bytes,
			Kick: func() { s.end(fact.EndKicked) },
		})
	})
	if err != nil {
		s.pub = nil
		_ = s.answer(q, publishRefusal(err))
		return err
	}
	s.log.Info("RTSP publisher started", "stream", p.key)
	video, audio := p.kinds()
	p.publisher.Metadata(nil, video, audio, 0, 0, 0)
	return s.answer(q, &reply{status: 200})
}

func (p *publication) kinds() (video, audio bool) {
	for _, t := range p.tracks {
		if t.depack != nil {
			video = video || t.format.Codec.Kind() == media.Video
			audio = audio || t.format.Codec.Kind() == media.Audio
		}
	}
	return video, audio
}

// add takes a media of the session description. Every media has its place, also one that can't be used: SETUP names it.
func (p *publication) add(f rtp.Format) error {
	t := &ingest{format: f, track: f.Track}
	p.tracks = append(p.tracks, t)
	if !f.Known || f.Track == nil {
		return rtp.ErrUnsupported
	}
	d, err := rtp.NewDepacketizer(f)
	if err != nil {
		return err
	}
	t.depack, t.time = d, p.line.Track(f.ClockRate)
	if f.Codec == media.H264 || f.Codec == media.H265 {
		t.dts = rtp.NewDTS(f.Track)
	}
	return nil
}

// publishRefusal translates an error of Hub.Publish. The text is the body, as in ZLMediaKit.
func publishRefusal(err error) *reply {
	var refused *stream.RefusedError
	switch {
	case errors.As(err, &refused):
		return textReply(401, refused.Message)
	case errors.Is(err, stream.ErrBusy):
		return textReply(406, "Already publishing")
	case errors.Is(err, stream.ErrNoRoom), errors.Is(err, stream.ErrStopping):
		return textReply(503, err.Error())
	default:
		return textReply(500, "internal error")
	}
}

func textReply(status int, text string) *reply {
	return &reply{status: status, header: []string{"Content-Type", "text/plain"}, body: text}
}

// setupRecord takes SETUP of a publisher.
func (s *session) setupRecord(q *request, o spec) error {
	p := s.pub
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.find(q.url)
	if t == nil {
		return s.answer(q, &reply{status: 404})
	}
	if t.set {
		return s.answer(q, &reply{status: 455})
	}
	if o.tcp {
		if o.interleaved[0] < 0 {
			n := 2 * slices.Index(p.tracks, t)
			o.interleaved = [2]int{n, n + 1}
		}
		t.set, t.channel = true, o.interleaved
		return s.answer(q, &reply{status: 200, header: []string{"Transport", tcpTransport(t.channel, 0, true)}})
	}
	var err error
	if t.media, t.control, err = s.srv.ports.pair(nil); err != nil {
		s.log.Warn("RTSP publisher over UDP", "stream", p.key, "error", err)
		return s.answer(q, &reply{status: 461})
	}
	t.set, t.udp = true, true
	t.back = &net.UDPAddr{IP: net.ParseIP(s.peer.IP), Port: o.clientPort[1]}
	_ = t.media.SetReadBuffer(udpBuffer)
	port := t.media.LocalAddr().(*net.UDPAddr).Port //nolint:forcetypeassert // of ListenUDP
	return s.answer(q, &reply{status: 200, header: []string{"Transport", udpTransport(o.clientPort, port, 0, true)}})
}

// find returns the track that a SETUP names: by the control of its description, or else the next one. mu is held.
func (p *publication) find(url string) *ingest {
	for _, t := range p.tracks {
		if c := t.format.Control; c != "" && c != "*" && (url == c || strings.HasSuffix(url, "/"+c) || strings.HasSuffix(c, "/"+url)) {
			return t
		}
	}
	for _, t := range p.tracks {
		if !t.set {
			return t
		}
	}
	return nil
}

// record takes RECORD.
func (s *session) record(q *request) error {
	p := s.pub
	if p == nil {
		return s.answer(q, &reply{status: 455})
	}
	p.mu.Lock()
	again := p.recording
	ready := slices.ContainsFunc(p.tracks, func(t *ingest) bool { return t.set && t.depack != nil })
	p.recording = p.recording || ready
	p.mu.Unlock()
	switch {
	case again:
		return s.answer(q, &reply{status: 200})
	case !ready:
		return s.answer(q, &reply{status: 455})
	}
	for _, t := range p.tracks {
		if t.udp {
			p.wg.Add(2)
			go p.receive(t, t.media, false)
			go p.receive(t, t.control, true)
		}
	}
	s.allow(s.cfg.KeepAlive)
	return s.answer(q, &reply{status: 200})
}

// receive reads the datagrams of one socket.
func (p *publication) receive(t *ingest, conn *net.UDPConn, control bool) {
	defer p.wg.Done()
	from, _ := netip.ParseAddr(p.s.peer.IP) // none: no datagram is the publisher's
	buf := make([]byte, maxDatagram)
	for {
		n, addr, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return // closed
		}
		if addr.Addr().Unmap().WithZone("") != from.Unmap().WithZone("") {
			continue // not the publisher's
		}
		p.bytes.Add(uint64(n))
		now := time.Now()
		p.mu.Lock()
		if control {
			p.controlPacket(t, buf[:n], now)
		} else {
			err = p.datagram(t, buf[:n], now)
		}
		p.mu.Unlock()
		if err != nil {
			p.s.end(fact.EndKicked)
			return
		}
	}
}

// datagram takes a packet of UDP, in any order. mu is held.
func (p *publication) datagram(t *ingest, b []byte, now time.Time) error {
	pkt, err := rtp.Parse(b)
	if err != nil {
		p.bad(err)
		return nil
	}
	t.rec.Packet(&pkt, now, t.format.ClockRate)
	return p.packets(t, t.order.Push(&pkt, now), now)
}

// packets takes packets in their order. mu is held.
func (p *publication) packets(t *ingest, in []rtp.Packet, now time.Time) error {
	for i := range in {
		if err := p.packet(t, &in[i], now); err != nil {
			return err
		}
	}
	return nil
}

// interleaved takes a frame of the connection.
func (p *publication) interleaved(ch uint8, b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.tracks {
		if !t.set || t.udp || !p.recording {
			continue
		}
		now := time.Now()
		switch int(ch) {
		case t.channel[0]:
			var err error
			if t.packet, err = rtp.Parse(b); err != nil {
				p.bad(err)
				return nil
			}
			t.rec.Packet(&t.packet, now, t.format.ClockRate)
			return p.packet(t, &t.packet, now)
		case t.channel[1]:
			p.controlPacket(t, b, now)
			return nil
		}
	}
	return nil
}

// packet takes the next packet of a track. mu is held.
func (p *publication) packet(t *ingest, pkt *rtp.Packet, now time.Time) error {
	if t.depack == nil || pkt.PT != t.format.PT {
		return nil
	}
	p.s.touch(p.s.cfg.KeepAlive)
	units, err := t.depack.Push(pkt)
	if err != nil {
		p.bad(err)
	}
	for _, u := range units {
		if err := p.unit(t, u, now); err != nil {
			return err
		}
	}
	// Over the connection no report goes out while there is more to read: the publisher may have closed already, a second write would
	// fail then, and what it sent last would be lost with the connection.
	if now.Sub(t.report) >= receiverReportEvery && (t.udp || p.s.r.Buffered() == 0) {
		t.report = now
		p.sendReport(t, now)
	}
	return nil
}

// unit hands on one access unit. mu is held.
func (p *publication) unit(t *ingest, u rtp.Unit, now time.Time) error {
	f := &media.Frame{PTS: t.time.PTS(u.Time, now), Data: u.Data}
	f.DTS = f.PTS
	if t.dts != nil {
		f.DTS = t.dts.Of(u.Data, f.PTS) // with the parameter sets, which it needs
		t.takeSets(f)
		any, key := media.Picture(t.format.Codec, f.Data)
		if !any {
			if err := p.publisher.WriteFrame(&media.Frame{Track: t.track, DTS: f.DTS, PTS: f.PTS, Config: true}); err != nil {
				return fmt.Errorf("rtsp: publish: %w", err)
			}
			return nil
		}
		f.Key = key
	} else if t.track.Codec.Kind() == media.Video {
		if next := media.FrameTrack(t.track, t.track.Codec, f.Data); next != nil {
			t.track = next
		}
		f.Key = media.IsKeyFrame(t.track.Codec, f.Data)
	}
	f.Track = t.track
	if err := p.publisher.WriteFrame(f); err != nil {
		return fmt.Errorf("rtsp: publish: %w", err)
	}
	return nil
}

// takeSets moves the parameter sets of a frame into the configuration of its track.
func (t *ingest) takeSets(f *media.Frame) {
	sets := media.FindParameterSets(t.format.Codec, f.Data)
	if len(sets.SPS) == 0 && len(sets.PPS) == 0 {
		return
	}
	if next := t.track.WithParameterSets(sets); next != t.track {
		t.track = next
	}
	rest := make([]byte, 0, len(f.Data))
	for nalu := range media.NALUnits(f.Data) {
		if !isSet(t.format.Codec, nalu) {
			rest = append(binary.BigEndian.AppendUint32(rest, uint32(len(nalu))), nalu...)
		}
	}
	if t.track.Ready() {
		f.Data = rest
	}
}

func isSet(c media.Codec, nalu []byte) bool {
	typ := media.NALUType(c, nalu)
	if c == media.H265 {
		return typ >= media.H265NALVPS && typ <= media.H265NALPPS
	}
	return typ == media.H264NALSPS || typ == media.H264NALPPS
}

// controlPacket takes RTCP of the publisher. mu is held.
func (p *publication) controlPacket(t *ingest, b []byte, now time.Time) {
	r, err := rtp.ParseRTCP(b)
	if err != nil {
		p.bad(err)
		return
	}
	if r.Sender != nil && t.time != nil {
		t.time.Report(r.Sender)
		t.rec.SenderReport(r.Sender, now)
	}
}

// sendReport tells the publisher what arrived. mu is held.
func (p *publication) sendReport(t *ingest, now time.Time) {
	rr := t.rec.AppendReport(nil, 1, now)
	if len(rr) == 0 {
		return
	}
	if t.udp {
		_, _ = t.control.WriteToUDP(rr, t.back)
		return
	}
	_ = p.s.write(func(dst []byte) []byte {
		dst = append(dst, '$', byte(t.channel[1]), byte(len(rr)>>8), byte(len(rr)))
		return append(dst, rr...)
	})
}

// bad says once what was wrong first; the count is logged at the end. mu is held.
func (p *publication) bad(err error) {
	if p.badPacket++; p.badPacket == 1 {
		p.s.log.Warn("RTP packet can't be used", "stream", p.key, "error", err)
	}
}

// udpParting is how long datagrams are taken after TEARDOWN: they come by another way, and may be later.
const udpParting = 50 * time.Millisecond

// drain takes the last datagrams of a publisher that is done, and closes the sockets.
func (p *publication) drain(reason fact.EndReason) {
	until := time.Unix(1, 0)
	if reason == fact.EndUnpublish || reason == fact.EndConnectionLost {
		until = time.Now().Add(udpParting)
	}
	for _, t := range p.tracks {
		if t.udp {
			_ = t.media.SetReadDeadline(until)
			_ = t.control.SetReadDeadline(until)
		}
	}
	p.wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.tracks {
		if !t.udp {
			continue
		}
		_ = t.media.Close()
		_ = t.control.Close()
		_ = p.packets(t, t.order.Rest(), time.Now()) // the hub may have ended it
	}
}

// endPublication ends the publication.
func (s *session) endPublication(reason fact.EndReason) {
	p := s.pub
	if p == nil {
		return
	}
	s.pub = nil
	p.drain(reason)
	p.publisher.Close(reason)
	var lost uint64
	for _, t := range p.tracks {
		if t.depack != nil {
			n, _ := t.depack.Stats()
			lost += n
		}
	}
	s.log.Info("RTSP publisher ended", "stream", p.key, "reason", string(reason), "bytes", p.bytes.Load(),
		"bad_packets", p.badPacket, "lost_packets", lost)
}
