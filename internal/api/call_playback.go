package api

import (
	"context"
	"errors"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/stream"
)

// Playback plays files as streams and steers them.
type Playback interface {
	// Load plays files and returns how long they are. Errors: ErrBadFile, stream.ErrBusy, others.
	Load(ctx context.Context, q LoadRequest) (time.Duration, error)
	// Control steers the source of a stream. Errors: stream.ErrNotFound, also when it can't be steered.
	Control(name fact.Stream) (stream.Control, error)
}

// ErrBadFile is wrapped by errors of Playback.Load that are about the file or the place in it.
var ErrBadFile = errors.New("api: bad file")

// LoadRequest says what loadMP4File plays.
type LoadRequest struct {
	Name fact.Stream
	// Files is a file, several with semicolons between them, or a directory.
	Files  string
	Repeat bool
	Seek   time.Duration
	// Speed is the pace; 0 is 1.
	Speed float64
	// Options lays what the call says of the stream over o.
	Options func(o *stream.Options)
}

// playbackEndpoints are the calls that need Deps.Playback.
func playbackEndpoints() []endpoint {
	tuple := []string{"vhost", "app", "stream"}
	source := append([]string{"schema"}, tuple...)
	return []endpoint{
		{name: "loadMP4File", required: append(tuple[:3:3], "file_path"), handle: loadMP4File},
		{name: "seekRecordStamp", required: append(source[:4:4], "stamp"), handle: seekRecordStamp},
		{name: "setRecordSpeed", required: append(source[:4:4], "speed"), handle: setRecordSpeed},
	}
}

// loadMP4File plays files under a name.
func loadMP4File(c *call) (any, error) {
	name := c.name()
	if !pathLike(name) {
		return nil, &callError{CodeInvalidArgs, "vhost, app and stream must name a stream"}
	}
	seek := c.integer("seek_ms")
	if seek < 0 {
		return nil, &callError{CodeInvalidArgs, "seek_ms must not be negative"}
	}
	length, err := c.api.deps.Playback.Load(c.r.Context(), LoadRequest{
		Name: name, Files: c.text("file_path"), Repeat: c.flag("file_repeat"),
		Seek: time.Duration(seek) * time.Millisecond, Speed: c.number("speed"), Options: c.overlay,
	})
	switch {
	case errors.Is(err, ErrBadFile):
		return nil, &callError{CodeException, err.Error()}
	case errors.Is(err, stream.ErrBusy):
		return nil, &callError{CodeOtherFailed, "This stream already exists"}
	case err != nil:
		return nil, &callError{CodeOtherFailed, err.Error()}
	}
	return answer{"code": CodeSuccess, "data": answer{"duration_ms": length.Milliseconds()}}, nil
}

// overlay lays the protocol options that the call names over o.
func (c *call) overlay(o *stream.Options) {
	for name, v := range map[string]*bool{
		"enable_audio": &o.EnableAudio, "add_mute_audio": &o.AddMuteAudio, "enable_hls": &o.EnableHLS,
		"enable_hls_fmp4": &o.EnableHLSFMP4, "enable_mp4": &o.EnableMP4, "enable_rtsp": &o.EnableRTSP,
		"enable_rtmp": &o.EnableRTMP, "enable_ts": &o.EnableTS, "enable_fmp4": &o.EnableFMP4, "hls_demand": &o.HLSDemand,
		"rtsp_demand": &o.RTSPDemand, "rtmp_demand": &o.RTMPDemand, "ts_demand": &o.TSDemand, "fmp4_demand": &o.FMP4Demand,
		"mp4_as_player": &o.MP4AsPlayer,
	} {
		if c.text(name) != "" {
			*v = c.flag(name)
		}
	}
	for name, v := range map[string]*string{"mp4_save_path": &o.MP4SavePath, "hls_save_path": &o.HLSSavePath} {
		if s := c.text(name); s != "" {
			*v = s
		}
	}
	if c.text("mp4_max_second") != "" {
		o.MP4MaxSecond = max(c.integer("mp4_max_second"), 0)
	}
	if c.text("max_track") != "" {
		o.MaxTrack = c.integer("max_track")
	}
}

// steer calls f with what steers the stream that the call names.
func (c *call) steer(failed string, f func(stream.Control) error) (any, error) {
	if _, ok := c.api.deps.Hub.Get(c.target()); !ok {
		return nil, errNoStream()
	}
	s, err := c.api.deps.Playback.Control(c.name())
	if err == nil {
		err = f(s)
	}
	if err != nil {
		return answer{"code": CodeOtherFailed, "result": -1, "msg": failed}, nil //nolint:nilerr // upstream says no more
	}
	return answer{"code": CodeSuccess, "result": 0, "msg": "success"}, nil
}

// seekRecordStamp goes to a time, in ms, and plays from there.
func seekRecordStamp(c *call) (any, error) {
	return c.steer("seek failed", func(s stream.Control) error {
		if _, err := s.Seek(time.Duration(c.integer("stamp")) * time.Millisecond); err != nil {
			return err
		}
		return s.Pause(false)
	})
}

// setRecordSpeed plays faster or slower.
func setRecordSpeed(c *call) (any, error) {
	return c.steer("set failed", func(s stream.Control) error { return s.Speed(c.number("speed")) })
}
