package api

import "github.com/hookline/hookline/internal/journal"

// resume returns where a client goes on that has read up to a position, and what it misses. epoch is that of the last
// record that it read, 0 when it does not know.
//
// A journal that was wiped, or restored from a backup, gives positions to other events. Epochs only rise along the log,
// and each begins where such a thing has happened: if the record before the cursor has the client's epoch, then all up to
// it is what the client has read. If not, the client goes on with what is of a later epoch than it has seen.
func (a *API) resume(cursor uint64, epoch int64) (from uint64, gap *positionGap, err error) {
	info := a.deps.Journal.Info()
	switch {
	case cursor <= 1:
		return cursor, nil, nil
	case cursor > info.Last+1:
		gap = &positionGap{info.Last + 1, cursor - 1, gapReset}
		if epoch == 0 {
			return info.First, gap, nil
		}
	case cursor < info.First:
		return cursor, &positionGap{cursor, info.First - 1, gapRetention}, nil
	case cursor == info.First || epoch == 0:
		return cursor, nil, nil
	default:
		recs, err := a.deps.Journal.Read(cursor-1, journal.Limit{Records: 1})
		if err != nil || len(recs) == 0 || recs[0].Epoch == epoch {
			return cursor, nil, err
		}
	}
	if from, err = a.search(func(r *journal.Record) bool { return r.Epoch > epoch }); err != nil {
		return 0, nil, err
	}
	if gap == nil {
		gap = &positionGap{min(from, cursor-1), cursor - 1, gapReset}
	}
	return from, gap, nil
}

// tellEpoch completes the epoch of a page that looked at no record.
func (a *API) tellEpoch(p *page) error {
	if p.epoch != 0 {
		return nil
	}
	if p.cursor > 1 && p.cursor-1 >= a.deps.Journal.Info().First {
		recs, err := a.deps.Journal.Read(p.cursor-1, journal.Limit{Records: 1})
		if err != nil {
			return err
		}
		if len(recs) > 0 {
			p.epoch = recs[0].Epoch
			return nil
		}
	}
	if a.deps.Operations != nil {
		_, _, p.epoch = a.deps.Operations.Identity()
	}
	return nil
}
