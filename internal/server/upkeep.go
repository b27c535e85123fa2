package server

import (
	"encoding/json"
	"syscall"
	"time"

	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/journal"
)

// keepalives sends on_server_keepalive; the interval follows the configuration.
func (s *Server) keepalives() {
	for {
		every := s.store.Config().Hook.AliveInterval
		if every <= 0 {
			every = 30 * time.Second
		}
		if !s.sleep(every, func() bool { return s.store.Config().Hook.AliveInterval != every }) {
			return
		}
		if s.store.Config().Hook.AliveInterval != every {
			continue
		}
		body, err := json.Marshal(fact.Keepalive{Data: s.statistic()})
		if err != nil {
			s.log.Error("keepalive", "err", err)
			continue
		}
		s.eps.each(func(ep *delivery.Endpoint) { ep.Beat(body) })
	}
}

// sleep waits, looking every second whether it should end early. It returns false when the server stops.
func (s *Server) sleep(d time.Duration, early func() bool) bool {
	end := time.Now().Add(d)
	for {
		left := time.Until(end)
		if left <= 0 || early() {
			return true
		}
		select {
		case <-time.After(min(left, time.Second)):
		case <-s.ctx.Done():
			return false
		}
	}
}

// statistic returns ZLMediaKit's object counters. What has no counterpart here is 0.
func (s *Server) statistic() map[string]int64 {
	h := s.hub.Stats()
	n, open := int64(len(s.web.sessions.List())), int64(s.listeners())
	return map[string]int64{
		"MediaSource": int64(h.Sources), "MultiMediaSourceMuxer": int64(h.Publications),
		"TcpServer": open, "TcpSession": n, "Socket": n + open, "UdpServer": 0, "UdpSession": 0, "TcpClient": 0,
		"FrameImp": 0, "Frame": 0, "Buffer": 0, "BufferRaw": 0, "BufferLikeString": 0, "BufferList": 0,
		"RtpPacket": 0, "RtmpPacket": 0,
	}
}

const (
	retentionEvery = time.Minute
	deadEvery      = time.Hour
	deadRetention  = 30 * 24 * time.Hour
	diskEvery      = time.Second
)

// retention removes what is older than journal.retention_hours or beyond journal.retention_gb. What an endpoint is
// still owed is named in gap notices first.
func (s *Server) retention() {
	never := func() bool { return false }
	for s.sleep(retentionEvery, never) {
		before, err := s.expired(s.clock.Now())
		if err != nil || before == 0 {
			if err != nil {
				s.log.Error("retention can't read the journal", "err", err)
			}
			continue
		}
		if err := s.eps.expire(before); err != nil {
			s.log.Error("retention can't name what it would take; nothing is removed", "err", err)
			continue
		}
		n, err := s.journal.Trim(before)
		if err != nil {
			s.log.Error("retention failed", "err", err)
			continue
		}
		s.log.Info("retention removed events", "events", n, "before", before)
	}
}

// pruneDead removes dead letters that nobody has cared for.
func (s *Server) pruneDead() {
	never := func() bool { return false }
	for s.sleep(deadEvery, never) {
		n, err := delivery.PruneDead(s.journal, s.clock.Now().Add(-deadRetention))
		switch {
		case err != nil:
			s.log.Error("can't remove old dead letters", "err", err)
		case n > 0:
			s.log.Warn("old dead letters were removed", "dead_letters", n, "older_than", deadRetention)
		}
	}
}

// expired returns the first position that stays, 0 when all stay.
func (s *Server) expired(now time.Time) (uint64, error) {
	c := s.store.Config().Journal
	info := s.journal.Info()
	if info.Last < info.First {
		return 0, nil
	}
	before := uint64(0)
	if info.Bytes > uint64(max(c.RetentionBytes, 1<<20)) { // take a tenth more than is needed, not a little each minute
		excess := float64(info.Bytes)/float64(c.RetentionBytes) - 1 + 0.1
		before = info.First + uint64(min(excess, 0.9)*float64(info.Last-info.First))
	}
	young, err := firstYoung(s.journal, now.Add(-c.Retention))
	if err != nil {
		return 0, err
	}
	before = max(before, young)
	if before <= info.First {
		return 0, nil
	}
	return before, nil
}

// positionAt returns the position of the first record that is not older than t, by binary search: times increase with
// positions but for milliseconds, and clock steps.
func positionAt(j journal.Journal, t time.Time) (uint64, error) {
	info := j.Info()
	lo, hi := info.First, info.Last+1
	for lo < hi {
		mid := lo + (hi-lo)/2
		recs, err := j.Read(mid, journal.Limit{Records: 1})
		if err != nil {
			return 0, err
		}
		if len(recs) > 0 && recs[0].Time.Before(t) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, nil
}

// samples is how many records are looked at for a young one before those that the search takes for old.
const samples = 64

// firstYoung is positionAt for what is to be removed. The search may meet records that were stamped while the clock was
// slow and conclude that all before them are old; so what it found is looked through in steps that get smaller, and up to
// samples records one by one.
func firstYoung(j journal.Journal, t time.Time) (uint64, error) {
	before, err := positionAt(j, t)
	first := j.Info().First
	for err == nil {
		end := before
		for pos := first; pos < end && before == end; pos += max(1, (end-first)/samples) {
			recs, err := j.Read(pos, journal.Limit{Records: 1})
			if err != nil {
				return 0, err
			}
			if len(recs) > 0 && !recs[0].Time.Before(t) {
				before = pos
			}
		}
		if before == end {
			break
		}
	}
	return before, err
}

// followDisk watches the free space under the journal.
func (s *Server) followDisk() {
	never := func() bool { return false }
	for s.sleep(diskEvery, never) {
		s.watchDisk()
	}
}

func (s *Server) watchDisk() {
	c := s.store.Config()
	var st syscall.Statfs_t
	if err := syscall.Statfs(c.JournalDir(), &st); err != nil {
		return
	}
	free := st.Bavail * uint64(st.Bsize)
	full := free < uint64(max(0, c.Journal.MinFreeBytes))
	if s.diskFull.Swap(full) == full {
		return
	}
	if full {
		s.log.Error("the journal's disk is nearly full: new publications are refused", "free_mb", free>>20,
			"min_free_mb", c.Journal.MinFreeBytes>>20)
	} else {
		s.log.Info("the journal's disk has room again", "free_mb", free>>20)
	}
}
