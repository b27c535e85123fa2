package sequencer

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hookline/hookline/internal/journal"
)

// CheckState says what of the state that a Sequencer keeps in a journal can't be right. maxIndex is the highest
// hook_index of a record.
func CheckState(st map[string][]byte, maxIndex uint64) []error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{journal.ErrCorrupt}, args...)...))
	}
	if v, ok := st[stateIndex]; ok || maxIndex > 0 {
		if len(v) != 8 {
			bad("the reservation of hook_index is %x", v)
		} else if n := binary.BigEndian.Uint64(v); n <= maxIndex && maxIndex > 0 {
			bad("hook_index is reserved up to %d, but %d was given out", n, maxIndex)
		}
	}
	if v, ok := st[stateIdentity]; ok {
		var id identity
		if err := json.Unmarshal(v, &id); err != nil {
			bad("identity: %v", err)
		}
	}
	for k, v := range st {
		if !strings.HasPrefix(k, stateLive) {
			continue
		}
		var lp livePublication
		if err := json.Unmarshal(v, &lp); err != nil {
			bad("%s: %v", k, err)
		} else if lp.Publication != strings.TrimPrefix(k, stateLive) {
			bad("%s is publication %q", k, lp.Publication)
		}
	}
	return errs
}
