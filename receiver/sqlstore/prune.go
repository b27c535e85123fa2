package sqlstore

import (
	"context"
	"fmt"

	"github.com/hookline/hookline/receiver"
)

// row is one of the table of marks.
type row struct{ id, mark string }

// Prune implements [receiver.Pruner]. A row is removed by a statement of its own, if its mark is still the same; that waits for a
// handler that has it.
func (s *Store) Prune(ctx context.Context, old func(digest string, m receiver.Mark) bool) (removed int, err error) {
	for after := ""; ; {
		rows, err := s.page(ctx, after)
		if err != nil || len(rows) == 0 {
			return removed, err
		}
		for _, r := range rows {
			m, err := receiver.ParseMark(r.mark)
			if err != nil {
				return removed, fmt.Errorf("sqlstore: row %s: %w", r.id, err)
			}
			if m.IsZero() || !old(r.id, m) {
				continue
			}
			res, err := s.db.ExecContext(ctx, s.st.prune, r.id, r.mark)
			if err != nil {
				return removed, fmt.Errorf("sqlstore: %w", err)
			}
			if n, err := res.RowsAffected(); err == nil {
				removed += int(n)
			}
		}
		after = rows[len(rows)-1].id
	}
}

// page returns some rows behind an id, in its order.
func (s *Store) page(ctx context.Context, after string) (list []row, err error) {
	rows, err := s.db.QueryContext(ctx, s.st.list, after)
	if err != nil {
		return nil, fmt.Errorf("sqlstore: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.id, &r.mark); err != nil {
			return nil, fmt.Errorf("sqlstore: %w", err)
		}
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("sqlstore: %w", err)
	}
	return list, nil
}

var _ receiver.Pruner = (*Store)(nil)
