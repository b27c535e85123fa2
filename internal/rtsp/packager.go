package rtsp

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/hookline/hookline/internal/format/rtp"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
)

// FormatName is the name of the format and of its schema.
const FormatName = "rtsp"

const (
	firstPT = 96
	// reportEvery is the time between two sender reports of a track.
	reportEvery = 5 * time.Second
)

// Packing says how RTP packets are written.
type Packing struct {
	// VideoMTU and AudioMTU bound packets in bytes (rtp.videoMtuSize, rtp.audioMtuSize). Default 1400.
	VideoMTU, AudioMTU int
	// Single writes no aggregation packets of H.264 (rtp.h264_stap_a=0). Default false.
	Single bool
}

// Formats returns the wire formats of this package.
func Formats(how Packing) []stream.Format {
	return []stream.Format{{Name: FormatName, Schema: FormatName, Carries: rtp.Carries, New: func(p stream.Program) stream.Packager {
		return newPackager(p, how)
	}}}
}

// packager writes RTP packets in the interleaved framing, with a sender report of each track at least every reportEvery and at
// every place where a viewer may start, so that players line up the tracks at once.
type packager struct {
	tracks   []lane
	wall     time.Time // of PTS 0
	reported time.Duration
	begun    bool
	how      Packing
}

// lane is one track on the wire.
type lane struct {
	track *media.Track
	enc   *rtp.Encoder // nil: RTP can't carry the codec
}

func newPackager(p stream.Program, how Packing) *packager {
	k := &packager{how: how}
	k.learn(p)
	return k
}

func (p *Packing) mtu(k media.Kind) int {
	if k == media.Video {
		return p.VideoMTU
	}
	return p.AudioMTU
}

// learn adds encoders for tracks that are new, and renews those whose configuration changed: the stream of packets goes on.
func (k *packager) learn(p stream.Program) {
	for i, t := range p.Tracks {
		if i == len(k.tracks) {
			// The start of RTP's counters is random so that streams differ (RFC 3550 section 5.1); it is no secret.
			n := rand.Uint64() //nolint:gosec // see above
			cfg := rtp.EncoderConfig{
				PT: rtp.PayloadType(t, firstPT+uint8(i)), SSRC: uint32(n), Seq: uint16(n >> 48),
				Base: uint32(n >> 16), Channel: uint8(2 * i), MTU: k.how.mtu(t.Codec.Kind()), Single: k.how.Single,
			}
			enc, err := rtp.NewEncoder(t, cfg)
			if err != nil {
				enc = nil // the SDP leaves the track out
			}
			k.tracks = append(k.tracks, lane{track: t, enc: enc})
			continue
		}
		if l := &k.tracks[i]; l.track != t {
			l.track = t
			if l.enc != nil && l.enc.Renew(t) != nil {
				l.enc = nil
			}
		}
	}
}

// Start implements stream.Packager. What a player needs first it gets by DESCRIBE.
func (k *packager) Start() []byte { return nil }

// Change implements stream.Packager. New parameter sets stand before the next key frame.
func (k *packager) Change(dst []byte, p stream.Program) []byte {
	k.learn(p)
	return dst
}

// Append implements stream.Packager.
func (k *packager) Append(dst []byte, f *media.Frame) []byte {
	if !k.begun {
		k.begun = true
		k.wall = time.Now().Add(-f.PTS)
		k.reported = f.PTS - reportEvery
	}
	if f.Key || f.PTS-k.reported >= reportEvery {
		k.reported = f.PTS
		for _, l := range k.tracks {
			if l.enc != nil {
				dst = l.enc.AppendSenderReport(dst, k.wall.Add(f.PTS), f.PTS)
			}
		}
	}
	for _, l := range k.tracks {
		if l.enc != nil && l.track.Codec.Kind() == f.Track.Codec.Kind() {
			return l.enc.Append(dst, f)
		}
	}
	return dst
}

// offer is one track of a description. Its number is its place in the program: channels and control names come of it.
type offer struct {
	number int
	track  *media.Track
	rate   int
}

// describe returns the session description of a program, and the tracks that it offers. length is its range of normal play time.
func describe(p stream.Program, name, length string) (sdp string, offers []offer) {
	var b strings.Builder
	fmt.Fprintf(&b, "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=%s\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=range:npt=%s\r\na=control:*\r\n", oneLine(name), length)
	for i, t := range p.Tracks {
		lines, err := rtp.Describe(t, rtp.PayloadType(t, firstPT+uint8(i)))
		if err != nil {
			continue
		}
		b.WriteString(lines)
		fmt.Fprintf(&b, "a=control:%s%d\r\n", trackName, i)
		offers = append(offers, offer{number: i, track: t, rate: rtp.ClockRate(t)})
	}
	return b.String(), offers
}

// trackName is what the control URLs of tracks end with, before their number.
const trackName = "trackID="
