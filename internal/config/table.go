package config

import (
	"cmp"
	"slices"
	"strings"
)

// table is an index of Keys. It is immutable.
type table struct {
	keys  []Key
	names map[string]*Key // by name
	folds map[string]*Key // by name in lower case
	envs  map[string]*Key // by name of the variable
}

func newTable() *table {
	keys := Keys()
	t := &table{
		keys: keys, names: make(map[string]*Key, len(keys)), folds: make(map[string]*Key, len(keys)),
		envs: make(map[string]*Key, len(keys)),
	}
	for i := range keys {
		k := &keys[i]
		t.names[k.Name] = k
		t.folds[strings.ToLower(k.Name)] = k
		t.envs[EnvName(k.Name)] = k
	}
	return t
}

// nearest returns the names of known keys that are most like name, best first, at most three.
func (t *table) nearest(name string) []string {
	const most = 3
	type near struct {
		name string
		d    int
	}
	var found []near
	for i := range t.keys {
		if d, ok := closeness(name, t.keys[i].Name); ok {
			found = append(found, near{t.keys[i].Name, d})
		}
	}
	slices.SortStableFunc(found, func(a, b near) int { return cmp.Compare(a.d, b.d) })
	var out []string
	for _, n := range found {
		if len(out) == most || n.d > found[0].d+1 {
			break
		}
		out = append(out, n.name)
	}
	return out
}

// closeness returns how far name is from the known key, and whether that is near enough to be a slip: a few letters,
// or the right key in the wrong section.
func closeness(name, known string) (int, bool) {
	a, b := strings.ToLower(name), strings.ToLower(known)
	if a == b {
		return 0, true
	}
	_, keyA, okA := strings.Cut(a, ".")
	_, keyB, _ := strings.Cut(b, ".")
	if okA && keyA == keyB && len(keyA) > len("port") {
		return 1, true
	}
	const longest = 64
	if len(a) > longest {
		return 0, false
	}
	d := editDistance(squash(a), squash(b))
	return d + 1, d <= max(1, min(3, len(b)/5))
}

// squash drops what people spell differently in names.
func squash(s string) string { return strings.NewReplacer("_", "", "-", "").Replace(s) }

// editDistance counts the letters to insert, delete, change or swap with their neighbour.
func editDistance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(last[j]+1, row[j-1]+1, change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
