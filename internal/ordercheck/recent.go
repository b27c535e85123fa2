package ordercheck

// recent is a map that forgets its oldest entries.
type recent[K comparable, V any] struct {
	entries map[K]V
	ring    []K // in the order of arrival, from next on
	next    int
	size    int
}

func newRecent[K comparable, V any](size int) recent[K, V] {
	return recent[K, V]{entries: map[K]V{}, size: size}
}

func (r *recent[K, V]) get(k K) (V, bool) {
	v, ok := r.entries[k]
	return v, ok
}

// put adds an entry that is not there yet.
func (r *recent[K, V]) put(k K, v V) {
	r.entries[k] = v
	if len(r.ring) < r.size {
		r.ring = append(r.ring, k)
		return
	}
	delete(r.entries, r.ring[r.next])
	r.ring[r.next] = k
	r.next = (r.next + 1) % r.size
}

// run is a closed interval of seqs.
type run struct{ from, to uint64 }

// maxRuns bounds the memory of a key; beyond it the two oldest runs become one.
const maxRuns = 256

// runs is a set of seqs, as disjoint runs in ascending order.
type runs []run

func (rs runs) covers(seq uint64) bool { return rs.contains(run{seq, seq}) }

func (rs runs) contains(r run) bool {
	for _, have := range rs {
		if have.from <= r.from && r.to <= have.to {
			return true
		}
	}
	return false
}

// add unites the set with r.
func (rs *runs) add(r run) {
	out := make(runs, 0, len(*rs)+1)
	placed := false
	for _, have := range *rs {
		switch {
		// The comparisons are written so that the largest seq does not overflow.
		case have.to < r.from && r.from-have.to > 1:
			out = append(out, have)
		case r.to < have.from && have.from-r.to > 1:
			if !placed {
				out, placed = append(out, r), true
			}
			out = append(out, have)
		default:
			r = run{min(r.from, have.from), max(r.to, have.to)}
		}
	}
	if !placed {
		out = append(out, r)
	}
	if len(out) > maxRuns {
		out[1].from = out[0].from
		out = out[1:]
	}
	*rs = out
}
