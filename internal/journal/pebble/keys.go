package pebble

import (
	"encoding/binary"
	"fmt"

	"github.com/hookline/hookline/internal/journal"
)

const (
	recordPrefix = "P/"
	indexPrefix  = "K/"
	statePrefix  = "S/"

	keyHeader   = "M/journal"
	keyTrim     = "M/trim"
	keyRun      = "M/run"
	keyIdentity = "M/identity"
)

// recordKey appends the key of the record at pos.
func recordKey(dst []byte, pos uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, recordPrefix...), pos)
}

// recordPosition reads a key that recordKey has written.
func recordPosition(k []byte) (uint64, error) {
	if len(k) != len(recordPrefix)+8 || string(k[:len(recordPrefix)]) != recordPrefix {
		return 0, fmt.Errorf("%w: record key %q", journal.ErrCorrupt, k)
	}
	return binary.BigEndian.Uint64(k[len(recordPrefix):]), nil
}

// indexKeyPrefix appends what all index keys of key begin with, and no index key of another.
func indexKeyPrefix[T string | []byte](dst []byte, key T) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, indexPrefix...), uint32(len(key)))
	return append(dst, key...)
}

// indexKey appends the index key of (key, seq).
func indexKey[T string | []byte](dst []byte, key T, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(indexKeyPrefix(dst, key), seq)
}

// indexEnd appends the key after all index keys of key.
func indexEnd(dst []byte, key string) []byte {
	return append(indexKey(dst, key, 1<<64-1), 0)
}

// indexPosition reads the value of an index key.
func indexPosition(v []byte) (uint64, error) {
	if len(v) != 8 {
		return 0, fmt.Errorf("%w: index entry of %d bytes", journal.ErrCorrupt, len(v))
	}
	return binary.BigEndian.Uint64(v), nil
}

// prefixEnd returns the smallest key that is greater than every key with the prefix, which does not consist of 0xFF
// alone.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] != 0xFF {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}
