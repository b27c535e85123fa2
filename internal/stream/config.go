package stream

import "time"

// Config holds the knobs of the hub. Start from DefaultConfig: the zero value of most fields means "off" or
// "at once", not "default".
type Config struct {
	// MaxStreamWait is how long a player waits for an absent stream (general.maxStreamWaitMS). Default 15 s.
	MaxStreamWait time.Duration
	// NoneReaderDelay is the idle time before on_stream_none_reader (general.streamNoneReaderDelayMS). Default 20 s.
	NoneReaderDelay time.Duration
	// FlowThreshold is the number of bytes below which a session is not reported (general.flowThreshold, there in
	// KB). Default 1 MiB; 0 reports always.
	FlowThreshold uint64
	// MergeWrite is the window in which wire bytes are merged into one block (general.mergeWriteMS). Default 0: one
	// block per frame.
	MergeWrite time.Duration
	// WaitTrackReady bounds the wait for tracks that are announced or seen, but not ready
	// (general.wait_track_ready_ms). Default 10 s.
	WaitTrackReady time.Duration
	// WaitAddTrack is the wait for a second track when no metadata says whether there is one
	// (general.wait_add_track_ms). Default 3 s.
	WaitAddTrack time.Duration
	// WaitAudioData is the wait for audio that is announced but silent (general.wait_audio_track_data_ms). Default 1 s.
	WaitAudioData time.Duration
	// UnreadyFrameCache is the number of frames kept while tracks get ready (general.unready_frame_cache). Default 100.
	UnreadyFrameCache int
	// GOPMaxBytes and GOPMaxDuration bound the frames kept since the newest key frame; a longer GOP is not cached and
	// new viewers wait for its end. Defaults 16 MiB and 30 s.
	GOPMaxBytes    int
	GOPMaxDuration time.Duration
	// GOPs is how many groups of pictures are kept for clips, within GOPMaxBytes and GOPMaxDuration together
	// (rtp_proxy.gop_cache). Default 1.
	GOPs int
	// MediaMaxBytes bounds the media that all streams hold together, in cached groups of pictures and for viewers that lag;
	// 256 KiB for each cache and each format that is watched may come on top. Default 1 GiB.
	MediaMaxBytes int
	// ViewerLagBytes and ViewerLagDuration bound how far a viewer may lag before it is moved to the newest key frame.
	// Defaults 8 MiB and 8 s. The duration is by the clock, since a block was written; it does not apply to what a
	// publisher sent faster than real time, which only the bytes bound.
	ViewerLagBytes    int
	ViewerLagDuration time.Duration
	// ViewerJumps is the number of moves within a minute after which a viewer is closed with ErrTooSlow. Default 4.
	ViewerJumps int
	// ViewerLinger is how long a viewer may be without progress while it drains what is left after its stream ended,
	// before it is kicked. One that makes progress has twelve times as long, but no longer when the hub stops. Default
	// 5 s.
	ViewerLinger time.Duration
	// PackagerIdle is how long a packager without viewers is kept. Default 10 s.
	PackagerIdle time.Duration
}

// DefaultConfig returns the defaults that are stated on the fields.
func DefaultConfig() Config {
	return Config{
		MaxStreamWait:     15 * time.Second,
		NoneReaderDelay:   20 * time.Second,
		FlowThreshold:     1 << 20,
		WaitTrackReady:    10 * time.Second,
		WaitAddTrack:      3 * time.Second,
		WaitAudioData:     time.Second,
		UnreadyFrameCache: 100,
		GOPMaxBytes:       16 << 20,
		GOPs:              1,
		GOPMaxDuration:    30 * time.Second,
		MediaMaxBytes:     1 << 30,
		ViewerLagBytes:    8 << 20,
		ViewerLagDuration: 8 * time.Second,
		ViewerJumps:       4,
		ViewerLinger:      5 * time.Second,
		PackagerIdle:      10 * time.Second,
	}
}

// bounded returns c with its memory limits set: a limit of zero would make every stream undeliverable.
func (c Config) bounded() Config {
	d := DefaultConfig()
	for _, f := range []struct{ v, d *int }{
		{&c.UnreadyFrameCache, &d.UnreadyFrameCache},
		{&c.GOPMaxBytes, &d.GOPMaxBytes},
		{&c.MediaMaxBytes, &d.MediaMaxBytes},
		{&c.ViewerLagBytes, &d.ViewerLagBytes},
		{&c.ViewerJumps, &d.ViewerJumps},
	} {
		if *f.v <= 0 {
			*f.v = *f.d
		}
	}
	for _, f := range []struct{ v, d *time.Duration }{
		{&c.GOPMaxDuration, &d.GOPMaxDuration},
		{&c.ViewerLagDuration, &d.ViewerLagDuration},
		{&c.PackagerIdle, &d.PackagerIdle},
	} {
		if *f.v <= 0 {
			*f.v = *f.d
		}
	}
	return c
}
