package journaltool

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/journal/pebble"
)

// Progress is told now and then how far something is; total is 0 when nobody knows.
type Progress func(done, total uint64)

// Counts is what was written or read.
type Counts struct{ Records, States uint64 }

// Export writes the journal in dir as JSON lines.
func Export(ctx context.Context, dir string, w io.Writer, progress Progress) (n Counts, err error) {
	j, err := open(dir)
	if err != nil {
		return n, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	buf := bufio.NewWriterSize(w, 1<<20)
	put := func(l line) error {
		b, err := marshal(l)
		if err != nil {
			return err
		}
		if len(b) >= maxLine {
			return fmt.Errorf("export: a line of %d bytes", len(b))
		}
		_, err = buf.Write(append(b, '\n'))
		return err
	}
	info := j.Info()
	err = put(line{Header: &header{formatVersion, info.Created, info.First, info.Last, info.SeqFloor}})
	if err != nil {
		return n, err
	}
	st, err := j.State("")
	if err != nil {
		return n, err
	}
	for _, k := range slices.Sorted(maps.Keys(st)) {
		if err := put(line{State: &stateLine{k, st[k]}}); err != nil {
			return n, err
		}
		n.States++
	}
	for pos := info.First; pos <= info.Last; {
		recs, err := j.Read(pos, journal.Limit{})
		if err = errors.Join(err, ctx.Err()); err != nil {
			return n, err
		}
		if len(recs) == 0 {
			return n, fmt.Errorf("%w: record %d is missing", journal.ErrCorrupt, pos)
		}
		for _, r := range recs {
			if err := put(line{Record: lineOf(r)}); err != nil {
				return n, err
			}
			pos = r.Position + 1
			n.Records++
		}
		progress(n.Records, info.Last+1-info.First)
	}
	if err := put(line{End: &endLine{n.Records, n.States}}); err != nil {
		return n, err
	}
	return n, buf.Flush()
}

// open opens what is there; it makes no new journal.
func open(dir string) (*pebble.Journal, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("no journal: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("no journal in %s", dir)
	}
	return pebble.Open(pebble.Config{Dir: dir, Fsync: true, Logger: quiet()})
}
