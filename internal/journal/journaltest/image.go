package journaltest

import (
	"maps"
	"slices"
	"strings"

	"github.com/hookline/hookline/internal/journal"
)

// unit is what is written atomically: a batch, a state change or a trim.
type unit struct {
	records []stored
	state   []journal.Op
	before  uint64 // trim: removes positions below; 0: none
}

// stored is an encoded record. Readers get a fresh decoding, so that no test can depend on shared memory.
type stored struct {
	pos uint64
	key string
	seq uint64
	b   []byte
}

// image is the content of a journal after some prefix of its units.
type image struct {
	first   uint64 // position of recs[0], or of the next record
	recs    []stored
	keys    map[string][]stored // in the order of seq
	state   map[string][]byte
	floor   uint64
	bytes   uint64
	created int64
}

func newImage(created int64) *image {
	return &image{first: 1, keys: map[string][]stored{}, state: map[string][]byte{}, created: created}
}

func (m *image) clone() *image {
	c := *m
	c.recs = slices.Clone(m.recs)
	c.keys = make(map[string][]stored, len(m.keys))
	for k, v := range m.keys {
		c.keys[k] = slices.Clone(v)
	}
	c.state = maps.Clone(m.state)
	return &c
}

func (m *image) last() uint64 { return m.first + uint64(len(m.recs)) - 1 }

func (m *image) apply(u *unit) {
	for _, s := range u.records {
		m.recs = append(m.recs, s)
		m.keys[s.key] = append(m.keys[s.key], s)
		m.bytes += uint64(len(s.b))
	}
	for _, op := range u.state {
		if op.Value == nil {
			delete(m.state, op.Key)
		} else {
			m.state[op.Key] = op.Value
		}
	}
	m.trim(u.before)
}

// trim removes records below before.
func (m *image) trim(before uint64) {
	n := 0
	for ; n < len(m.recs) && m.recs[n].pos < before; n++ {
		s := m.recs[n]
		m.floor = max(m.floor, s.seq)
		m.bytes -= uint64(len(s.b))
		if left := m.keys[s.key][1:]; len(left) > 0 {
			m.keys[s.key] = left
		} else {
			delete(m.keys, s.key)
		}
	}
	if n > 0 {
		m.recs = slices.Clone(m.recs[n:])
		m.first += uint64(n)
	}
}

func (m *image) prefixed(prefix string) map[string][]byte {
	out := map[string][]byte{}
	for k, v := range m.state {
		if strings.HasPrefix(k, prefix) {
			out[k] = slices.Clone(v)
		}
	}
	return out
}

// read decodes from the start of recs up to the limit.
func read(recs []stored, lim journal.Limit) ([]*journal.Record, error) {
	lim = lim.OrDefault()
	var out []*journal.Record
	for size := 0; len(recs) > 0 && len(out) < lim.Records; recs = recs[1:] {
		size += len(recs[0].b)
		if size > lim.Bytes && len(out) > 0 {
			break
		}
		r, err := journal.Decode(recs[0].b)
		if err != nil {
			return nil, err
		}
		r.Position = recs[0].pos
		out = append(out, r)
	}
	return out, nil
}
