package delivery

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hookline/hookline/internal/journal"
)

// CheckState says what of the state that endpoints keep in a journal can't be right. last is the newest position.
func CheckState(st map[string][]byte, last uint64) []error {
	var errs []error
	for _, k := range sortedKeys(st) {
		kind, _, _ := strings.Cut(k, "/")
		if err := checkEntry(kind, st[k], last); err != nil {
			errs = append(errs, fmt.Errorf("state %q: %w", k, err))
		}
	}
	return errs
}

func checkEntry(kind string, v []byte, last uint64) error {
	switch kind {
	case "cursor":
		c, err := decodeCursor(v)
		if err == nil && c.floor > last {
			err = fmt.Errorf("%w: it is at %d, the journal ends with %d", errCursor, c.floor, last)
		}
		return err
	case "park":
		if len(v) != 8 || binary.BigEndian.Uint64(v) == 0 {
			return fmt.Errorf("the place of a parked stream is %x", v)
		}
	case "sub":
		return json.Unmarshal(v, &subscription{})
	case "gap":
		return json.Unmarshal(v, &[]storedGap{})
	case "dead":
		var d DeadLetter
		if err := json.Unmarshal(v, &d); err != nil {
			return err
		}
		b, err := base64.StdEncoding.DecodeString(d.Record)
		if err == nil {
			_, err = journal.Decode(b)
		}
		return err
	}
	return nil
}

// Floors returns the place of each endpoint: everything up to the position is done.
func Floors(st map[string][]byte) (map[string]uint64, error) {
	out := map[string]uint64{}
	for k, v := range st {
		name, ok := strings.CutPrefix(k, "cursor/")
		if !ok {
			continue
		}
		c, err := decodeCursor(v)
		if err != nil {
			return nil, fmt.Errorf("delivery: %s: %w", k, err)
		}
		out[name] = c.floor
	}
	return out, nil
}
