package server

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hookline/hookline/internal/api"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/journal"
)

const (
	// maxReplays run at a time; keptReplays that have ended are remembered.
	maxReplays  = 8
	keptReplays = 100
	statePaused = "paused/" // + endpoint, while somebody wants it to wait
)

// platform implements api.Platform over the endpoints.
type platform struct {
	*endpoints
	// tagKey keeps the versions of definitions, which hold secrets, from telling anything about them.
	tagKey [32]byte

	mu      sync.Mutex // guards what follows
	replays map[string]*replay
	last    uint64
}

// replay is one that runs or ran.
type replay struct {
	info api.ReplayInfo
	ep   *delivery.Endpoint
	stop chan struct{} // closed to cancel it
	patience
	once sync.Once
}

func newPlatform(e *endpoints) *platform {
	p := &platform{endpoints: e, replays: map[string]*replay{}}
	_, _ = rand.Read(p.tagKey[:]) // never fails since Go 1.24
	return p
}

func (p *platform) endpoint(name string) (*delivery.Endpoint, error) {
	p.endpoints.mu.Lock()
	defer p.endpoints.mu.Unlock()
	if ep := p.byName[name]; ep != nil {
		return ep, nil
	}
	return nil, fmt.Errorf("%w: %q", api.ErrNoEndpoint, name)
}

// Endpoints implements api.Platform.
func (p *platform) Endpoints() []api.EndpointInfo {
	c := p.s.store.Config()
	wanted, paused := configs(c), p.pauses()
	var out []api.EndpointInfo
	for _, st := range p.stats() {
		cfg := wanted[st.Name]
		info := api.EndpointInfo{
			Origin: api.OriginHook,
			Name:   st.Name, Format: cmp.Or(string(cfg.Format), string(delivery.FormatZLM)), Streams: cfg.Streams,
			Paused: cfg.Paused || paused[st.Name], Stats: st.Stats, State: api.StateUp,
		}
		if x := c.Endpoint(st.Name); x != nil {
			info.Keys, info.Version, info.Origin = x.Shown(), p.version(x), api.OriginFile
			if x.Made {
				info.Origin = api.OriginAPI
			}
		}
		for t, u := range cfg.URLs {
			info.Events = append(info.Events, string(t))
			if r := redacted(u); !slices.Contains(info.URLs, r) {
				info.URLs = append(info.URLs, r)
			}
		}
		slices.Sort(info.Events)
		slices.Sort(info.URLs)
		switch {
		case info.Paused:
			info.State = api.StatePaused
		case len(st.Stats.Gone) > 0:
			info.State = api.StateGone
		case st.Stats.Down:
			info.State = api.StateDown
		}
		out = append(out, info)
	}
	return out
}

// redacted returns a URL without user, password and query, which may hold secrets.
func redacted(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// Pause implements api.Platform. It outlives a restart.
func (p *platform) Pause(name string, paused bool) error {
	if _, err := p.endpoint(name); err != nil {
		return err
	}
	op := journal.Op{Key: statePaused + name}
	if paused {
		op.Value = []byte{1}
	}
	if err := p.s.journal.SetState([]journal.Op{op}, true); err != nil {
		return err
	}
	p.apply(p.s.store.Config())
	return nil
}

// pauses returns the endpoints for which Pause was asked.
func (e *endpoints) pauses() map[string]bool {
	st, err := e.s.journal.State(statePaused)
	if err != nil {
		e.s.log.Error("can't read which endpoints are paused", "err", err)
	}
	out := map[string]bool{}
	for key := range st {
		out[strings.TrimPrefix(key, statePaused)] = true
	}
	return out
}

// DeadLetters implements api.Platform.
func (p *platform) DeadLetters(name string) ([]delivery.DeadLetter, error) {
	return delivery.ReadDeadLetters(p.s.journal, name)
}

// DeadLetter implements api.Platform.
func (p *platform) DeadLetter(name string, position uint64) (delivery.DeadLetter, *journal.Record, error) {
	return delivery.ReadDeadLetter(p.s.journal, name, position)
}

// Redrive implements api.Platform.
func (p *platform) Redrive(name string, position uint64) error {
	ep, err := p.endpoint(name)
	if err != nil {
		return err
	}
	return ep.Redrive(position)
}

// Discard implements api.Platform.
func (p *platform) Discard(name string, position uint64, reason string) error {
	d, r, err := delivery.ReadDeadLetter(p.s.journal, name, position)
	if err != nil {
		return err
	}
	if err := delivery.Discard(p.s.journal, name, position); err != nil {
		return err
	}
	p.s.log.Warn("dead letter discarded", "endpoint", name, "stream", r.Key, "event", r.ID, "given_up_for", d.Reason,
		"reason", reason)
	return nil
}

// StartReplay implements api.Platform.
func (p *platform) StartReplay(r api.ReplayRequest) (api.ReplayInfo, error) {
	ep, err := p.endpoint(r.Endpoint)
	if err != nil {
		return api.ReplayInfo{}, err
	}
	req := delivery.Replay{From: r.From, To: r.To, Types: r.Types, Streams: r.Streams}
	if err := p.span(&req, r); err != nil {
		return api.ReplayInfo{}, err
	}
	gapFrom, gapTo, err := p.removed(r)
	if err != nil {
		return api.ReplayInfo{}, err
	}
	req, count, err := ep.CountReplay(req)
	if errors.Is(err, delivery.ErrNothing) {
		return api.ReplayInfo{}, fmt.Errorf("%w: %w", api.ErrConflict, err)
	}
	if err != nil {
		return api.ReplayInfo{}, err
	}
	info := api.ReplayInfo{
		Endpoint: r.Endpoint, From: req.From, To: req.To, At: req.From - 1, Count: count, Started: time.Now().UTC(),
		State: api.ReplayRunning, GapFrom: gapFrom, GapTo: gapTo,
	}
	if r.DryRun {
		info.State, info.Ended = api.ReplayDone, info.Started
		return info, nil
	}
	return p.run(ep, req, info, r.Stall)
}

// span narrows the positions to the times that were asked for.
func (p *platform) span(req *delivery.Replay, r api.ReplayRequest) error {
	if !r.Since.IsZero() {
		pos, err := positionAt(p.s.journal, r.Since)
		if err != nil {
			return err
		}
		req.From = max(req.From, pos)
	}
	if !r.Until.IsZero() {
		pos, err := positionAt(p.s.journal, r.Until)
		if err != nil {
			return err
		}
		if pos == 0 || pos-1 < req.From {
			return fmt.Errorf("%w: nothing before %s", api.ErrConflict, r.Until.Format(time.RFC3339))
		}
		if req.To == 0 || pos-1 < req.To {
			req.To = pos - 1
		}
	}
	return nil
}

// removed returns the positions that are asked for and that retention has removed, 0 and 0 for none.
func (p *platform) removed(r api.ReplayRequest) (from, to uint64, err error) {
	first := p.s.journal.Info().First
	if from = max(r.From, 1); from >= first {
		return 0, 0, nil
	}
	if r.To > 0 && r.To < first {
		return 0, 0, fmt.Errorf("%w: retention has removed everything before position %d", api.ErrConflict, first)
	}
	if r.From == 0 && !r.Since.IsZero() {
		oldest, err := p.s.journal.Read(first, journal.Limit{Records: 1})
		if err != nil || len(oldest) == 0 || !oldest[0].Time.After(r.Since) {
			return 0, 0, err
		}
	}
	return from, first - 1, nil
}

// run starts the replay and follows it.
func (p *platform) run(ep *delivery.Endpoint, req delivery.Replay, info api.ReplayInfo, stall time.Duration) (api.ReplayInfo, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	running := 0
	for _, r := range p.replays {
		if r.info.State == api.ReplayRunning {
			running++
		}
	}
	if running >= maxReplays {
		return info, fmt.Errorf("%w: %d replays are running", api.ErrConflict, running)
	}
	p.last++
	info.ID = "r" + strconv.FormatInt(info.Started.Unix(), 36) + "-" + strconv.FormatUint(p.last, 10)
	req.ID = info.ID
	sub, err := ep.Replay(req)
	if err != nil {
		return info, err
	}
	r := &replay{info: info, ep: sub, stop: make(chan struct{}), patience: newPatience(stall, sub.Rate())}
	p.replays[info.ID] = r
	p.trim()
	p.s.run(func() { p.follow(r) })
	p.s.log.Info("replay started", "replay", info.ID, "endpoint", info.Endpoint, "from", info.From, "to", info.To,
		"events", info.Count)
	return info, nil
}

// follow waits for the end of a replay.
func (p *platform) follow(r *replay) {
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	state, why := api.ReplayCancelled, ""
	for going := true; going; {
		select {
		case <-r.stop:
			going = false
		case <-p.s.ctx.Done():
			going = false
		case <-t.C:
			st := r.ep.Stats()
			if st.Floor >= r.info.To && st.Lanes == 0 {
				state, going = api.ReplayDone, false
			} else if why = p.lost(r, &st); why != "" {
				state, going = api.ReplayFailed, false
			}
		}
	}
	r.ep.Close()
	p.s.router.release(r.info.Endpoint + "/replay/" + r.info.ID)
	p.mu.Lock()
	r.info = r.progress()
	r.info.State, r.info.Error, r.info.Ended = state, why, time.Now().UTC()
	if done := r.info.Delivered + r.info.Failed; state == api.ReplayDone && done < r.info.Count {
		r.info.Missed = r.info.Count - done
	}
	info := r.info
	p.mu.Unlock()
	p.s.log.Info("replay ended", "replay", info.ID, "state", info.State, "delivered", info.Delivered, "failed", info.Failed,
		"error", info.Error)
}

// progress returns what is known now.
func (r *replay) progress() api.ReplayInfo {
	info := r.info
	if info.State != api.ReplayRunning {
		return info
	}
	st := r.ep.Stats()
	info.At, info.Delivered, info.Failed = min(st.Floor, info.To), st.Delivered, st.DeadLetters
	return info
}

// trim forgets the oldest replays that have ended. mu is held.
func (p *platform) trim() {
	for _, id := range slices.SortedFunc(maps.Keys(p.replays), func(a, b string) int {
		return p.replays[a].info.Started.Compare(p.replays[b].info.Started)
	}) {
		if len(p.replays) <= keptReplays {
			return
		}
		if p.replays[id].info.State != api.ReplayRunning {
			delete(p.replays, id)
		}
	}
}

// Replays implements api.Platform.
func (p *platform) Replays() []api.ReplayInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []api.ReplayInfo
	for _, r := range p.replays {
		out = append(out, r.progress())
	}
	slices.SortFunc(out, func(a, b api.ReplayInfo) int {
		return cmp.Or(a.Started.Compare(b.Started), strings.Compare(a.ID, b.ID))
	})
	return out
}

// CancelReplay implements api.Platform.
func (p *platform) CancelReplay(id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.replays[id]
	if r == nil {
		return fmt.Errorf("%w: %q", api.ErrNoReplay, id)
	}
	r.once.Do(func() { close(r.stop) })
	return nil
}
