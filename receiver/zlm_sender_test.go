package receiver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/receiver"
)

// weather is what goes wrong in a run.
type weather struct {
	jitter   time.Duration // of the network
	lost     float64       // requests that never arrive
	fails    float64       // handlers that fail
	deaf     float64       // answers that the sender does not get
	hangs    float64       // requests that arrive after the sender has given them up
	outage   bool          // the receiver is away for a while
	restarts bool          // the sender's process dies and begins again
	grace    time.Duration // continue_push_ms
	lives    bool          // publishers have a life id in their URL
	atOnce   bool          // the kit answers at once
	reports  bool          // flow reports are sent: flowThreshold is not reached otherwise
}

func weatherOf(seed uint64, rng *rand.Rand) weather {
	w := weather{jitter: time.Duration(1+rng.IntN(80)) * time.Millisecond, reports: rng.IntN(4) > 0}
	switch seed % 8 {
	case 0: // a healthy network and receiver
	case 1:
		w.fails = 0.2
	case 2:
		w.lost = 0.1
	case 3:
		w.outage = true
	case 4:
		w.restarts = true
	case 5:
		w.grace = time.Duration(2+rng.IntN(14)) * time.Second
	case 6:
		w.lost, w.fails, w.deaf, w.hangs, w.restarts = 0.05, 0.05, 0.02, 0.01, true
		w.grace = time.Duration(rng.IntN(2)) * 5 * time.Second
	case 7:
		w.lost, w.fails, w.lives = 0.1, 0.1, true
	}
	if rng.IntN(5) == 0 {
		w.atOnce, w.fails = true, 0
	}
	return w
}

// pub is the truth about a publication.
type pub struct {
	id         int
	stream     string
	params     string
	create     int64
	start, end time.Time // end zero: live
	schemas    map[string]bool
	session    string
	killed     bool
	prompt     bool            // an unregister was accepted at the first attempt
	got        map[string]bool // what was handled: "+rtsp", "-rtsp", "report", "record"
	files      int
}

// zserver is a racing ZLMediaKit.
type zserver struct {
	t    *testing.T
	w    weather
	h    http.Handler
	rng  *rand.Rand
	t0   time.Time
	mu   sync.Mutex
	wg   sync.WaitGroup
	pubs []*pub
	live map[string]*pub
	// strays: something of these streams came when its process was dead and another had begun
	strays map[string]bool
	// of the process
	process  context.Context
	kill     context.CancelFunc
	index    int64
	sessions int
	run      int
	away     bool
	marks    int // publications that were begun
}

const offset = 1795390000 // the sender's clock is another one

func (s *zserver) clock() int64 { return offset + int64(time.Since(s.t0)/time.Second) }

func (s *zserver) dice(p float64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.Float64() < p
}

func (s *zserver) some(d time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(s.rng.Int64N(int64(max(d, 1))))
}

// raise sends a hook from a thread of its own, as upstream does: two attempts, the second three seconds after the first failed.
func (s *zserver) raise(typ event.Type, p *pub, body map[string]any) {
	proc := s.alive()
	s.wg.Go(func() { s.send(proc, typ, p, body) })
}

func (s *zserver) send(proc context.Context, typ event.Type, p *pub, body map[string]any) (allowed bool) {
	body["mediaServerId"] = "zlm"
	for n := range 2 {
		s.pause(proc, s.some(300*time.Microsecond)) // threads
		if proc.Err() != nil {
			return false
		}
		s.mu.Lock()
		index := s.index
		s.index++
		s.mu.Unlock()
		body["hook_index"] = index
		b, _ := json.Marshal(body)
		status, code := s.attempt(proc, typ, p, b)
		if proc.Err() != nil {
			return false
		}
		if status == http.StatusOK {
			s.mu.Lock()
			if body["regist"] == false && n == 0 {
				p.prompt = true
			}
			s.mu.Unlock()
			return code == 0
		}
		if !s.pause(proc, 3*time.Second) {
			return false
		}
	}
	return false
}

func (*zserver) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// attempt is one request on a connection of its own.
func (s *zserver) attempt(proc context.Context, typ event.Type, p *pub, body []byte) (status, code int) {
	time.Sleep(s.some(s.w.jitter))
	s.mu.Lock()
	away := s.away
	s.mu.Unlock()
	switch {
	case away:
		return 0, 0
	case s.dice(s.w.lost):
		return 0, 0
	case s.dice(s.w.hangs): // the sender gives it up, and it arrives all the same
		s.wg.Go(func() {
			time.Sleep(10*time.Second + s.some(time.Second))
			if proc.Err() != nil && p != nil {
				s.mu.Lock()
				s.strays[p.stream] = true
				s.mu.Unlock()
			}
			s.post(typ, p, body)
		})
		time.Sleep(10 * time.Second)
		return 0, 0
	}
	status, code = s.post(typ, p, body)
	if s.dice(s.w.deaf) {
		return 0, 0
	}
	return status, code
}

type about struct{}

func (s *zserver) post(typ event.Type, p *pub, body []byte) (status, code int) {
	ctx := context.WithValue(context.Background(), about{}, p)
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/hook/"+string(typ), bytes.NewReader(body))
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, req)
	var m struct {
		Code int `json:"code"`
	}
	if json.Unmarshal(w.Body.Bytes(), &m) != nil {
		return 0, 0
	}
	return w.Code, m.Code
}

func (p *pub) place() map[string]any {
	return map[string]any{"vhost": "v", "app": "live", "stream": p.stream, "params": p.params}
}

func with(m, more map[string]any) map[string]any {
	for k, v := range more {
		m[k] = v
	}
	return m
}

func (s *zserver) begin() {
	s.mu.Lock()
	s.process, s.kill = context.WithCancel(context.Background())
	proc := s.process
	s.index, s.sessions = 0, 0
	s.run++
	s.mu.Unlock()
	s.raise(event.OnServerStarted, nil, map[string]any{
		"hook.retry_delay": "3.0", "hook.timeoutSec": "10", "protocol.continue_push_ms": fmt.Sprint(s.w.grace.Milliseconds()),
	})
	s.wg.Go(func() {
		for n := 0; s.pause(proc, 10*time.Second); n++ {
			s.raise(event.OnServerKeepalive, nil, map[string]any{"data": map[string]any{"Buffer": n}})
		}
	})
}

// alive is the process that runs; its context ends with it.
func (s *zserver) alive() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

func (s *zserver) newSession() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions++
	return fmt.Sprintf("%d-%d", s.sessions, 10+s.rng.IntN(90))
}

// publish lives one publication of a stream; it returns when it is over.
func (s *zserver) publish(stream string, length time.Duration) {
	proc := s.alive()
	p := &pub{stream: stream, schemas: map[string]bool{}, got: map[string]bool{}, session: s.newSession()}
	s.mu.Lock()
	p.id = s.marks
	s.marks++
	if s.w.lives {
		p.params = fmt.Sprintf("life=l%d", p.id)
	}
	s.mu.Unlock()
	if !s.send(proc, event.OnPublish, p, s.hello(p)) || proc.Err() != nil {
		return
	}
	s.mu.Lock()
	p.start, p.create = time.Now(), s.clock()
	s.pubs = append(s.pubs, p)
	s.live[stream] = p
	s.mu.Unlock()
	s.pause(proc, s.some(100*time.Millisecond))
	for _, schema := range []string{"fmp4", "rtsp", "ts", "rtmp"} {
		s.changed(p, schema, true)
	}
	s.media(proc, p, length)
	if proc.Err() != nil {
		return // killed; what was live is no more
	}
	s.finish(proc, p)
}

func (s *zserver) hello(p *pub) map[string]any {
	return with(p.place(), map[string]any{
		"schema": "rtmp", "protocol": "rtmp", "id": p.session, "ip": "127.0.0.1", "port": 1, "originType": 1, "originTypeStr": "rtmp_push",
	})
}

func (s *zserver) changed(p *pub, schema string, regist bool) {
	body := with(p.place(), map[string]any{"schema": schema, "regist": regist})
	s.mu.Lock()
	if regist {
		p.schemas[schema] = true
		body = with(body, map[string]any{
			"createStamp": p.create, "aliveSecond": s.clock() - p.create, "originTypeStr": "rtmp_push",
			"originSock": map[string]any{"peer_ip": "127.0.0.1", "identifier": p.session},
		})
	} else {
		delete(p.schemas, schema)
	}
	s.mu.Unlock()
	s.raise(event.OnStreamChanged, p, body)
}

// media raises what comes while a publisher sends.
func (s *zserver) media(proc context.Context, p *pub, length time.Duration) {
	begin := time.Now()
	for time.Since(begin) < length {
		opened, at := s.clock(), time.Now()
		if !s.pause(proc, min(2*time.Second, length-time.Since(begin))) {
			return
		}
		s.record(p, opened, time.Since(at), p.files)
		if p.files++; p.files == 1 && time.Since(at) >= 2*time.Second {
			s.changed(p, "hls", true)
		}
	}
}

func (s *zserver) record(p *pub, opened int64, length time.Duration, n int) {
	name := fmt.Sprintf("%d_%d.ts", opened, n)
	s.raise(event.OnRecordTS, p, with(p.place(), map[string]any{
		"start_time": opened, "time_len": length.Seconds(), "file_size": 1, "file_name": name, "file_path": fmt.Sprintf("/%s/%s", p.stream, name),
	}))
}

func (s *zserver) report(p *pub, began time.Time) {
	if !s.w.reports {
		return
	}
	s.raise(event.OnFlowReport, p, with(p.place(), map[string]any{
		"schema": "rtmp", "protocol": "rtmp", "id": p.session, "ip": "127.0.0.1", "port": 1, "player": false, "totalBytes": 5,
		"duration": int64(time.Since(began) / time.Second),
	}))
}

// finish ends a publication: cleanly, or with a grace in which the publisher may come back.
func (s *zserver) finish(proc context.Context, p *pub) {
	began := p.start
	for s.w.grace > 0 && s.dice(0.6) { // the publisher is lost
		s.report(p, began)
		if !s.dice(0.5) {
			if !s.pause(proc, s.w.grace) {
				return
			}
			s.unregister(p)
			return
		}
		if !s.pause(proc, s.some(s.w.grace/2)) {
			return
		}
		old, session := p.session, s.newSession()
		s.rename(p, session)
		back := time.Now()
		if !s.send(proc, event.OnPublish, p, s.hello(p)) || time.Since(back) > s.w.grace/3 {
			s.rename(p, old)
			s.unregister(p) // it was refused, or allowed too late; upstream the timer goes on
			return
		}
		began = time.Now()
		s.media(proc, p, 2*time.Second+s.some(3*time.Second))
		if proc.Err() != nil {
			return
		}
	}
	if s.dice(0.5) {
		s.unregister(p)
		s.report(p, began)
	} else {
		s.report(p, began)
		s.unregister(p)
	}
}

// rename gives a publication another publisher.
func (s *zserver) rename(p *pub, session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.session = session
}

func (s *zserver) unregister(p *pub) {
	s.mu.Lock()
	var list []string
	for schema := range p.schemas {
		list = append(list, schema)
	}
	sort.Strings(list)
	s.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	p.end = time.Now()
	delete(s.live, p.stream)
	s.mu.Unlock()
	for _, schema := range list {
		s.changed(p, schema, false)
	}
}

// die kills the process and begins another.
func (s *zserver) die() {
	s.kill()
	s.mu.Lock()
	now := time.Now()
	for _, p := range s.live {
		p.end, p.killed = now, true
	}
	s.live = map[string]*pub{}
	s.mu.Unlock()
	time.Sleep(time.Second + s.some(time.Second))
	s.begin()
}

// Snapshot implements receiver.Snapshotter: getMediaList.
func (s *zserver) Snapshot(context.Context) (*receiver.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &receiver.Snapshot{Source: "zlm", Asked: time.Now(), Media: []receiver.StreamChanged{}}
	for _, p := range s.live {
		for schema := range p.schemas {
			m := receiver.StreamChanged{
				Schema: schema, Place: receiver.Place{Vhost: "v", App: "live", Stream: p.stream, Params: p.params},
				CreateStamp: uint64(p.create), AliveSecond: uint64(s.clock() - p.create), OriginSock: &receiver.OriginSock{Identifier: p.session},
			}
			out.Media = append(out.Media, m)
		}
	}
	return out, nil
}

// drive runs the publishers and the disasters.
func (s *zserver) drive(streams, rounds int) {
	s.begin()
	time.Sleep(100 * time.Millisecond)
	for i := range streams {
		s.wg.Go(func() {
			stream := string(rune('a' + i))
			time.Sleep(s.some(2 * time.Second))
			for n := range rounds {
				length := time.Second + s.some(7*time.Second)
				if n == rounds-1 && i%2 == 0 {
					length = time.Hour // it lives on
				}
				s.publish(stream, length)
				time.Sleep([]time.Duration{0, s.some(300 * time.Millisecond), s.some(3 * time.Second)}[s.some(3)])
			}
		})
	}
	s.wg.Go(func() {
		time.Sleep(5*time.Second + s.some(10*time.Second))
		if s.w.outage {
			s.mu.Lock()
			s.away = true
			s.mu.Unlock()
			time.Sleep(time.Second + s.some(9*time.Second))
			s.mu.Lock()
			s.away = false
			s.mu.Unlock()
		}
		if s.w.restarts {
			s.die()
		}
	})
}
