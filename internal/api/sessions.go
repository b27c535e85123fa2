package api

import (
	"cmp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Session is one connection, as getAllSession shows it.
type Session struct {
	// ID is unique in the process; see Sessions.NewID.
	ID string `json:"id"`
	// Identifier is the same as ID; Add sets it.
	Identifier string `json:"identifier"`
	PeerIP     string `json:"peer_ip"`
	PeerPort   int    `json:"peer_port"`
	LocalIP    string `json:"local_ip"`
	LocalPort  int    `json:"local_port"`
	// Type is "tcp" or "udp". Default "tcp".
	Type string `json:"type"`
	// TypeID is ZLMediaKit's class, such as "mediakit::RtmpSession".
	TypeID string `json:"typeid"`
	// Shared: it has no connection of its own, but counts like one.
	Shared bool `json:"-"`
	// Kick ends the session; it must not block. nil: the session can't be kicked.
	Kick func() `json:"-"`
}

// Sessions lists the sessions of all protocols. It is safe for concurrent use.
type Sessions struct {
	ids atomic.Uint64
	run string

	mu    sync.Mutex
	order uint64              // guarded by mu
	byID  map[string]*entry   // guarded by mu
	pairs map[addressPair]int // guarded by mu: sessions of protocols, by their addresses
	// conns counts, of each class, the connections by their addresses: a session of a protocol and the bare connection that it
	// took over are one. perIP counts them by the peer's address, and all under "". Guarded by mu.
	conns map[connection]int
	perIP map[peer]int
}

// entry is a session and its place in the list.
type entry struct {
	Session
	order uint64
	// bare marks a connection of the HTTP server. It is not shown while a protocol lists a session on it.
	bare bool
}

type addressPair struct {
	typ, peerIP, localIP string
	peerPort, localPort  int
}

type connection struct {
	class string
	addressPair
	shared uint64 // tells sessions that share a connection apart
}

type peer struct{ class, ip string }

func (e *entry) pair() addressPair {
	return addressPair{e.Type, e.PeerIP, e.LocalIP, e.PeerPort, e.LocalPort}
}

// connection is what e counts as.
func (e *entry) connection() connection {
	c := connection{class: e.TypeID, addressPair: e.pair()}
	if e.Shared {
		c.shared = e.order
	}
	return c
}

// NewSessions returns an empty list.
func NewSessions() *Sessions {
	const seconds = 100000 // about a day: ids of the last run don't come back at once
	return &Sessions{
		run:  "-" + strconv.FormatInt(time.Now().Unix()%seconds, 10),
		byID: map[string]*entry{}, pairs: map[addressPair]int{}, conns: map[connection]int{}, perIP: map[peer]int{},
	}
}

// NewID returns an id in ZLMediaKit's form "n-m": n counts the sessions, m is a number of this run.
func (s *Sessions) NewID() string { return strconv.FormatUint(s.ids.Add(1), 10) + s.run }

// Add lists a session until remove is called, which may be done more than once. An empty ID, or one that is taken, is
// replaced by a new one.
func (s *Sessions) Add(session Session) (remove func()) {
	_, remove = s.add(&entry{Session: session})
	return remove
}

// AddWithin is Add unless there are as many connections of the session's class, in all or from its address, as are allowed; perIP 0
// is no limit there. Who accepts connections counts them himself; this is for sessions that share one.
func (s *Sessions) AddWithin(session Session, all, perIP int) (remove func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.perIP[peer{session.TypeID, ""}] >= all || perIP > 0 && s.perIP[peer{session.TypeID, session.PeerIP}] >= perIP {
		return nil, false
	}
	_, remove = s.list(&entry{Session: session})
	return remove, true
}

func (s *Sessions) add(e *entry) (id string, remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list(e)
}

// list is add. The lock is held.
func (s *Sessions) list(e *entry) (id string, remove func()) {
	for e.ID == "" || s.byID[e.ID] != nil {
		e.ID = s.NewID()
	}
	e.Identifier, e.Type = e.ID, cmp.Or(e.Type, "tcp")
	s.order++
	e.order = s.order
	s.byID[e.ID] = e
	if !e.bare {
		s.pairs[e.pair()]++
	}
	c := e.connection()
	if s.conns[c]++; s.conns[c] == 1 {
		s.perIP[peer{e.TypeID, e.PeerIP}]++
		s.perIP[peer{e.TypeID, ""}]++
	}
	return e.ID, func() { s.remove(e) }
}

func (s *Sessions) remove(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID[e.ID] != e {
		return
	}
	delete(s.byID, e.ID)
	c := e.connection()
	if s.conns[c]--; s.conns[c] == 0 {
		delete(s.conns, c)
		s.count(peer{e.TypeID, e.PeerIP})
		s.count(peer{e.TypeID, ""})
	}
	if e.bare {
		return
	}
	if s.pairs[e.pair()]--; s.pairs[e.pair()] == 0 {
		delete(s.pairs, e.pair())
	}
}

// count takes one off. The lock is held.
func (s *Sessions) count(p peer) {
	if s.perIP[p]--; s.perIP[p] == 0 {
		delete(s.perIP, p)
	}
}

// connections returns how many connections of a class there are, and how many of them come from ip.
func (s *Sessions) connections(class, ip string) (all, same int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.perIP[peer{class, ""}], s.perIP[peer{class, ip}]
}

// List returns the sessions in the order in which they came.
func (s *Sessions) List() []Session { return s.matching("", 0) }

// matching returns the sessions from peerIP on localPort; "" and 0 match all.
func (s *Sessions) matching(peerIP string, localPort int) []Session {
	var found []*entry
	s.mu.Lock()
	for _, e := range s.byID {
		if (peerIP == "" || e.PeerIP == peerIP) && (localPort == 0 || e.LocalPort == localPort) && s.shown(e) {
			found = append(found, e)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(found, func(a, b *entry) int { return cmp.Compare(a.order, b.order) })
	list := make([]Session, len(found))
	for i, e := range found {
		list[i] = e.Session
	}
	return list
}

// shown says whether e is in the list. The lock is held.
func (s *Sessions) shown(e *entry) bool { return !e.bare || s.pairs[e.pair()] == 0 }

// Kick ends a session and says whether there is one with this id.
func (s *Sessions) Kick(id string) bool {
	s.mu.Lock()
	e := s.byID[id]
	s.mu.Unlock()
	if e == nil || e.Kick == nil {
		return false
	}
	e.Kick()
	return true
}

// counts returns the number of sessions by TypeID.
func (s *Sessions) counts() map[string]int {
	n := map[string]int{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.byID {
		if s.shown(e) {
			n[e.TypeID]++
		}
	}
	return n
}
