package journaltool

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/journal/pebble"
)

// importBatch is how many records are written at a time.
const importBatch = 1000

// Import makes a journal in dir, which must not exist, of the lines that Export has written. It is made beside dir and
// moved there when it is whole.
func Import(ctx context.Context, r io.Reader, dir string, progress Progress) (n Counts, err error) {
	dir = filepath.Clean(dir)
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return n, errors.Join(fmt.Errorf("import: %s exists", dir), err)
	}
	temp := dir + ".importing"
	if err := os.Mkdir(temp, 0o750); err != nil {
		return n, fmt.Errorf("import: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temp))
		}
	}()
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 64<<10), maxLine)
	i := &importer{ctx: ctx, progress: progress}
	err = i.run(in, temp)
	if i.loader != nil {
		err = errors.Join(err, i.loader.Close())
	}
	if err != nil {
		return i.n, fmt.Errorf("import: line %d: %w", i.lines, err)
	}
	if err := os.Rename(temp, dir); err != nil {
		return i.n, fmt.Errorf("import: %w", err)
	}
	return i.n, nil
}

// importer reads the lines.
type importer struct {
	ctx      context.Context //nolint:containedctx // of one call
	progress Progress
	loader   *pebble.Loader
	header   header
	batch    journal.Batch
	bytes    int
	n        Counts
	lines    uint64
	ended    bool
}

func (i *importer) run(in *bufio.Scanner, temp string) error {
	for in.Scan() {
		i.lines++
		l, err := parseLine(in.Bytes())
		if err == nil {
			err = i.take(l, temp)
		}
		if err != nil {
			return err
		}
	}
	if err := in.Err(); err != nil {
		return err
	}
	if !i.ended {
		return fmt.Errorf("%w: it has no end", ErrFormat)
	}
	return nil
}

func (i *importer) take(l line, temp string) error {
	switch {
	case i.ended:
		return fmt.Errorf("%w: something follows the end", ErrFormat)
	case (l.Header != nil) != (i.loader == nil):
		return fmt.Errorf("%w: the header must be the first line", ErrFormat)
	case l.Header != nil:
		return i.begin(*l.Header, temp)
	case l.State != nil:
		i.batch.State = append(i.batch.State, journal.Op{Key: l.State.Key, Value: append([]byte{}, l.State.Value...)})
		i.bytes += len(l.State.Value)
		i.n.States++
	case l.Record != nil:
		r, err := l.Record.record()
		if err != nil {
			return err
		}
		i.batch.Records = append(i.batch.Records, r)
		i.bytes += len(r.Body)
		i.n.Records++
	default:
		i.ended = true
		if *l.End != endLine(i.n) || i.header.First+i.n.Records != i.header.Last+1 {
			return fmt.Errorf("%w: %d records and %d states were read, %d and %d were written", ErrFormat, i.n.Records,
				i.n.States, l.End.Records, l.End.States)
		}
		return i.flush()
	}
	if len(i.batch.Records)+len(i.batch.State) >= importBatch || i.bytes > 4<<20 {
		return i.flush()
	}
	return nil
}

func (i *importer) begin(h header, temp string) (err error) {
	if h.Version != formatVersion {
		return fmt.Errorf("%w: version %d, this program reads %d", ErrFormat, h.Version, formatVersion)
	}
	if h.First == 0 || h.Last+1 < h.First || h.Last > 1<<62 {
		return fmt.Errorf("%w: positions %d to %d", ErrFormat, h.First, h.Last)
	}
	i.header = h
	i.loader, err = pebble.NewLoader(pebble.Config{Dir: temp, Fsync: true, Logger: quiet()}, h.Created, h.First, h.SeqFloor)
	return err
}

func (i *importer) flush() error {
	err := i.ctx.Err()
	if err == nil {
		err = i.loader.Add(i.batch)
	}
	i.batch, i.bytes = journal.Batch{}, 0
	i.progress(i.n.Records, i.header.Last+1-i.header.First)
	return err
}
