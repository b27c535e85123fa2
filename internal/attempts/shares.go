package attempts

import (
	"cmp"
	"container/heap"
	"maps"
	"slices"
	"time"
)

// shares holds the newest attempts of many endpoints in one array. While there is room, each endpoint takes what it
// needs. When there is none, the one that holds the most gives up its oldest: so of n endpoints each keeps its last
// size/n at least, whatever happens at the others, and one that is alone has everything. Endpoints that are gone give
// up theirs first.
//
// Guarded by the Log's lock.
type shares struct {
	slots  []slot
	byName map[string]*share
	most   shareHeap // all of them, the one that gives up first at 0
	added  uint64
	// whole is when the newest attempt was sent that had to go: of what came later everything is there.
	whole time.Time
}

// slot is one attempt in the list of its endpoint; -1 ends a list.
type slot struct {
	Attempt
	n            uint64 // how many were added before it, and itself
	older, newer int32
}

// share is what one endpoint holds; it has one attempt at least.
type share struct {
	name           string
	oldest, newest int32
	held           int
	gone           bool
	at             int // in the heap
}

// shareHeap is a heap by who gives up first.
type shareHeap []*share

func (h shareHeap) Len() int { return len(h) }
func (h shareHeap) Less(i, j int) bool {
	if h[i].gone != h[j].gone {
		return h[i].gone
	}
	return h[i].held > h[j].held
}

func (h shareHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push implements heap.Interface.
func (h *shareHeap) Push(x any) {
	s := x.(*share) //nolint:forcetypeassert // only shares are pushed
	s.at = len(*h)
	*h = append(*h, s)
}

// Pop implements heap.Interface.
func (h *shareHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return s
}

// add takes an attempt; there are no more than size.
func (s *shares) add(a *Attempt, size int) {
	if size <= 0 {
		return
	}
	to := s.byName[a.Endpoint]
	var i int32
	if len(s.slots) < size {
		if len(s.slots) == cap(s.slots) {
			s.slots = slices.Grow(s.slots, min(max(grow, len(s.slots)), size-len(s.slots)))
		}
		i = int32(len(s.slots)) // sizes are far below 1<<31
		s.slots = append(s.slots, slot{})
	} else {
		i = s.takeFrom(to)
	}
	if to == nil || to.held == 0 {
		to = &share{name: a.Endpoint, oldest: -1, newest: -1}
		if s.byName == nil {
			s.byName = map[string]*share{}
		}
		s.byName[to.name] = to
		heap.Push(&s.most, to)
	}
	s.added++
	s.slots[i] = slot{Attempt: *a, n: s.added, older: to.newest, newer: -1}
	if to.newest >= 0 {
		s.slots[to.newest].newer = i
	} else {
		to.oldest = i
	}
	to.newest, to.gone = i, false
	to.held++
	heap.Fix(&s.most, to.at)
}

// takeFrom frees a slot for an attempt of to, which is nil for an endpoint that has none yet.
func (s *shares) takeFrom(to *share) int32 {
	from := s.most[0]
	if to != nil && !from.gone && to.held >= from.held {
		from = to // with one more it is the one that holds the most
	}
	i := from.oldest
	old := &s.slots[i]
	if s.whole.Before(old.At) {
		s.whole = old.At
	}
	if from.oldest = old.newer; from.oldest >= 0 {
		s.slots[from.oldest].older = -1
	}
	if from.held--; from.held == 0 {
		heap.Remove(&s.most, from.at)
		delete(s.byName, from.name)
	} else {
		heap.Fix(&s.most, from.at)
	}
	return i
}

// forget marks an endpoint as gone, until it comes again.
func (s *shares) forget(endpoint string) {
	if of := s.byName[endpoint]; of != nil {
		of.gone = true
		heap.Fix(&s.most, of.at)
	}
}

// resize gives up, by the same rule, what is too much.
func (s *shares) resize(size int) {
	all := slices.Clone(s.slots)
	slices.SortFunc(all, func(a, b slot) int { return cmp.Compare(a.n, b.n) })
	gone := map[string]bool{}
	for name, of := range s.byName {
		gone[name] = of.gone
	}
	*s = shares{added: s.added, whole: s.whole} // numbers go on: nobody takes a new slot for an old one
	for i := range all {
		s.add(&all[i].Attempt, size)
		if name := all[i].Endpoint; gone[name] {
			s.forget(name)
		}
	}
}

// names returns the endpoints that hold something.
func (s *shares) names() []string { return slices.Collect(maps.Keys(s.byName)) }

// since returns the time from which on all are there; zero: there is none.
func (s *shares) since() time.Time {
	switch {
	case len(s.slots) == 0:
		return time.Time{}
	case !s.whole.IsZero():
		return s.whole
	}
	var oldest time.Time
	for _, of := range s.byName {
		if at := s.slots[of.oldest].At; oldest.IsZero() || at.Before(oldest) {
			oldest = at
		}
	}
	return oldest
}
