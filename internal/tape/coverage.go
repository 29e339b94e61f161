package tape

import (
	"context"
	"io"
	"maps"
	"slices"
)

// PublishCoverage stores the days of a certificate in the coverage table, one row for each symbol
// and date. It replaces the partitions in which anything but checked_at changes, each in one atomic
// step. If there are many, as the first time on a year of days, it waits for the disk once for all
// of them. Days that had not begun when the certificate was made are left out: a row that a wrong clock
// dates decades ahead would give each day until then a partition. After an error some partitions may
// have been replaced.
func (d *Dir) PublishCoverage(ctx context.Context, c Certificate) (out Published, err error) {
	byDate := map[string][]CoverageRow{}
	for _, s := range c.Symbols {
		for _, day := range s.Days {
			if day.Date > DateOf(day.CheckedAt) {
				break
			}
			byDate[day.Date] = append(byDate[day.Date], day.CoverageRow)
		}
	}
	p := d.publisher
	unlock, err := p.lockUntil(ctx)
	if err != nil {
		return out, err
	}
	defer unlock()
	var reps []*replacement
	defer func() {
		for _, rep := range reps {
			if err != nil {
				p.replacer.discard(rep)
				p.staging.remove(rep.staged[0])
			}
		}
	}()
	unchanged := false
	var encoder encoder[CoverageRow]
	for _, date := range slices.Sorted(maps.Keys(byDate)) {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		rows := byDate[date]
		existing, err := readDate[CoverageRow](d.catalog, Coverage, date)
		if err != nil {
			return out, err
		}
		if slices.EqualFunc(rows, existing, sameCoverage) {
			unchanged = true
			continue
		}
		names, err := d.catalog.files(Coverage, date)
		if err != nil {
			return out, err
		}
		rep := &replacement{table: Coverage, date: date, replaced: map[string]bool{}}
		for _, name := range names {
			rep.replaced[name] = true
		}
		staged, bytes, err := p.staging.writeUnsynced(stagedName(string(Coverage)), func(w io.Writer) error {
			return encoder.encode(w, rows)
		})
		if err != nil {
			return out, err
		}
		rep.staged = []string{staged}
		reps = append(reps, rep)
		out.add(segmentPath(Coverage, date, finalName(staged)), int64(len(rows)), bytes)
	}
	if len(reps) > 0 {
		if err := p.replacer.replaceAll(ctx, Coverage, reps); err != nil {
			return Published{}, err
		}
	} else if unchanged { // the process that wrote it may have died before it was durable
		return out, p.syncDirs(p.catalog.table(Coverage))
	}
	return out, nil
}

// sameCoverage reports whether two rows agree in everything but CheckedAt.
func sameCoverage(a, b CoverageRow) bool {
	same := func(p, q *int64) bool { return p == q || p != nil && q != nil && *p == *q }
	return same(a.FirstID, b.FirstID) && same(a.LastID, b.LastID) && a.Symbol == b.Symbol && a.Trades == b.Trades &&
		a.Missing == b.Missing && a.AbsentAtSource == b.AbsentAtSource &&
		a.Conflicts == b.Conflicts && a.State == b.State
}
