package journaltool

import (
	"bytes"
	"testing"

	"github.com/hookline/hookline/internal/journal"
)

// FuzzLine: no line makes a panic, and a record that can be read leads to a line that leads back to it.
func FuzzLine(f *testing.F) {
	for _, seed := range []string{
		`{"header":{"hooklineJournal":1,"created":1,"first":1,"last":2,"seqFloor":0}}`, `{"state":{"key":"a","value":"AA=="}}`,
		`{"record":{"position":1,"stream":"v/a/s","seq":1,"hook_index":2,"id":"i","type":"on_play","class":"history","time":"2026-01-02T03:04:05.5Z","source":"s","incarnation":"r","epoch":3,"marks":[{"type":"on_play","seq":1,"hook_index":2,"epoch":3}],"body":{"a":1}}}`,
		`{"record":{"position":1,"raw":"AA=="}}`, `{"end":{"records":1,"states":2}}`, `{}`, `[`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parseLine(b)
		if err != nil || l.Record == nil {
			return
		}
		r, err := l.Record.record()
		if err != nil || (&journal.Batch{Records: []*journal.Record{r}}).Validate() != nil {
			return
		}
		again, err := lineOf(r).record()
		if err != nil || !bytes.Equal(journal.Encode(nil, again), journal.Encode(nil, r)) {
			t.Errorf("%+v became %+v, %v", r, again, err)
		}
	})
}
