package rtp

import "time"

// Timeline puts the tracks of one source on one clock. Every track has an RTP clock of its own with a random start. Until
// sender reports tie them together a track begins where its first packet arrived; later each track moves, once, to where
// the reports say. A source without reports stays as it arrived.
type Timeline struct {
	start time.Time // of arrival of the first packet of any track
	wall  time.Time // NTP time of start, when known
}

// TrackTime is the clock of one track on a Timeline.
type TrackTime struct {
	line   *Timeline
	rate   int
	began  bool
	first  int64 // RTP time of the first packet
	offset time.Duration
	synced bool
	report *SenderReport // came before the first packet
}

// Track adds a track whose RTP clock has rate ticks per second.
func (l *Timeline) Track(rate int) *TrackTime { return &TrackTime{line: l, rate: rate} }

// PTS returns the time of a unit since the start of the source. ts is the unwrapped RTP time, now the time of arrival.
func (t *TrackTime) PTS(ts int64, now time.Time) time.Duration {
	l := t.line
	if l.start.IsZero() {
		l.start = now
	}
	if !t.began {
		t.began, t.first, t.offset = true, ts, now.Sub(l.start)
		if t.report != nil {
			t.Report(t.report)
			t.report = nil
		}
	}
	return t.offset + fromClock(ts-t.first, t.rate)
}

// maxShift bounds how far a sender report may move a track: what is beyond is a sender whose wall clock is not that of
// its other tracks.
const maxShift = 10 * time.Second

// Report takes a sender report of the track. Some senders send the first one before any packet.
func (t *TrackTime) Report(s *SenderReport) {
	switch {
	case t.synced || s.NTP.Year() < 1971: // many cameras send zeros
		return
	case !t.began:
		t.report = s
		return
	}
	l := t.line
	t.synced = true
	since := fromClock(int64(int32(s.RTP-uint32(t.first))), t.rate) // from the first packet to the report
	if l.wall.IsZero() {
		l.wall = s.NTP.Add(-t.offset - since)
		return
	}
	shift := s.NTP.Sub(l.wall) - t.offset - since
	if shift > -maxShift && shift < maxShift {
		t.offset += shift
	}
}
