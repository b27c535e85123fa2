package pebble

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/hookline/hookline/internal/journal"
)

// metaVersion is the version of the whole directory: keys, meta values and records.
const metaVersion = 1

// magic begins the header; it says whose database this is.
const magic = "hookline"

// header is the value of M/journal: magic (8), version (1), creation time in Unix milliseconds (8).
type header struct {
	created int64
}

func (h header) encode() []byte {
	b := append([]byte(magic), metaVersion)
	return binary.BigEndian.AppendUint64(b, uint64(h.created))
}

func decodeHeader(b []byte) (header, error) {
	if !bytes.HasPrefix(b, []byte(magic)) || len(b) < len(magic)+1 {
		return header{}, fmt.Errorf("%w: it is not a journal of Hookline", journal.ErrCorrupt)
	}
	b = b[len(magic):]
	if b[0] > metaVersion {
		return header{}, fmt.Errorf("%w: version %d, this program reads up to %d", journal.ErrTooNew, b[0], metaVersion)
	}
	if b[0] != metaVersion || len(b) != 9 {
		return header{}, fmt.Errorf("%w: header of version %d with %d bytes", journal.ErrCorrupt, b[0], len(b))
	}
	return header{created: int64(binary.BigEndian.Uint64(b[1:]))}, nil
}

// trimMark is the value of M/trim: position of the oldest record (8), seq floor (8).
type trimMark struct {
	first, floor uint64
}

func (t trimMark) encode() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, t.first), t.floor)
}

func decodeTrim(b []byte) (trimMark, error) {
	if len(b) != 16 {
		return trimMark{}, fmt.Errorf("%w: trim mark of %d bytes", journal.ErrCorrupt, len(b))
	}
	return trimMark{first: binary.BigEndian.Uint64(b), floor: binary.BigEndian.Uint64(b[8:])}, nil
}

// run is the value of M/run: flags (1), pending epoch reason (1), boot id (the rest).
type run struct {
	clean  bool // it was closed
	fsync  bool
	reason string // a reason for a new epoch that nobody settled yet
	boot   string // boot id of the machine, "" when unknown
}

const (
	runClean = 1 << 0
	runFsync = 1 << 1
)

// reasons in the order of their stored numbers.
func reasons() [3]string { return [...]string{"", journal.EpochRestored, journal.EpochTailLost} }

func (r run) encode() []byte {
	var b [2]byte
	if r.clean {
		b[0] |= runClean
	}
	if r.fsync {
		b[0] |= runFsync
	}
	for i, s := range reasons() {
		if s == r.reason {
			b[1] = byte(i)
		}
	}
	return append(b[:], r.boot...)
}

func decodeRun(b []byte) (run, error) {
	names := reasons()
	if len(b) < 2 || int(b[1]) >= len(names) {
		return run{}, fmt.Errorf("%w: run mark %x", journal.ErrCorrupt, b)
	}
	return run{
		clean: b[0]&runClean != 0, fsync: b[0]&runFsync != 0, reason: names[b[1]], boot: string(b[2:]),
	}, nil
}

// tailLost says whether acknowledged records may have been lost between that run and a start with the boot id.
func (r run) tailLost(boot string) bool {
	return !r.clean && !r.fsync && (r.boot == "" || boot == "" || r.boot != boot)
}

// identity is the value of M/identity: device (8), inode (8), content of the file IDENTITY (the rest). Both numbers
// are 0 while the file is being made and where the file system has none.
type identity struct {
	device, inode uint64
	content       string
}

func (i identity) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, i.device)
	b = binary.BigEndian.AppendUint64(b, i.inode)
	return append(b, i.content...)
}

func decodeIdentity(b []byte) (identity, error) {
	if len(b) < 16 {
		return identity{}, fmt.Errorf("%w: identity of %d bytes", journal.ErrCorrupt, len(b))
	}
	return identity{
		device: binary.BigEndian.Uint64(b), inode: binary.BigEndian.Uint64(b[8:]), content: string(b[16:]),
	}, nil
}
