package tape

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"syscall"
	"time"

	"tapedeck/internal/idset"
)

// Certificate states how complete the record is, computed from the rows of the files themselves.
type Certificate struct {
	CheckedAt time.Time
	Symbols   []SymbolCertificate // sorted by symbol
	// Broken are the segments that cannot be read. Their rows count as missing.
	Broken []BrokenSegment
	// Misplaced is the number of rows in the partition of another date.
	Misplaced int64
	// Files is the number of files, Scanned of those read now. The others were read before and have
	// not changed.
	Scanned, Files int
	// SaveErr is the error, if any, of saving the result for the next time, which then reads the files
	// again. The volume may be read-only or full.
	SaveErr error
}

// SymbolCertificate states how complete the record of one symbol is.
type SymbolCertificate struct {
	Symbol string
	Bounds
	// Trades is the number of ids on the tape. Missing is the number of ids inside the bounds that are
	// not on the tape and can still be fetched, Absent of those that the exchange does not have.
	// Duplicates is the number of rows whose id occurs before, on the same date or another.
	Trades, Missing, Absent, Duplicates int64
	// Days are ascending, from the first to the last, and include days without trades.
	Days []Day
	// Gaps are ascending and do not include absent ids.
	Gaps []Gap
}

// Day is the record of one symbol on one UTC date.
type Day struct {
	Date string
	CoverageRow
}

// The states of a day.
const (
	// StateProven: every id from the last of the day before to the first of the day after is on the
	// tape.
	StateProven = "proven"
	// StateOpen: no id is missing, but the day is not over, or the record begins or ends in it.
	StateOpen = "open"
	// StateGap: ids are missing and can still be fetched.
	StateGap = "gap"
	// StateAbsent: ids are missing that the exchange itself does not have.
	StateAbsent = "absent"
)

// Complete reports whether no id is missing that can be fetched, no id is duplicated, and every
// file could be read.
func (c Certificate) Complete() bool {
	return len(c.Broken) == 0 && c.Misplaced == 0 &&
		!slices.ContainsFunc(c.Symbols, func(s SymbolCertificate) bool { return s.Missing > 0 || s.Duplicates > 0 })
}

// Certify reads the ids of all rows on the tape and computes what is missing at the time now. It
// skips files that it read before, by name, size and modification time. If full is set it reads
// them again, and every column, which verifies the checksum of every page. It saves what it read
// for the next time; see Certificate.SaveErr.
func (d *Dir) Certify(ctx context.Context, now time.Time, full bool) (Certificate, error) {
	out := Certificate{CheckedAt: now.UTC()}
	dates, err := d.Dates(Trades)
	if err != nil {
		return out, err
	}
	absent, err := d.Absent()
	if err != nil {
		return out, err
	}
	bounds, err := d.extent.read()
	if err != nil {
		return out, err
	}
	scan, err := d.scanTape(ctx, dates, full)
	if err != nil {
		return out, err
	}
	out.Files, out.Scanned, out.SaveErr = scan.files, len(scan.pending), scan.saveErr
	symbols := map[string]map[string]*dayIDs{} // by symbol and date
	for date, part := range scan.parts {
		for _, name := range slices.Sorted(maps.Keys(part.Files)) {
			file := part.Files[name]
			if file.Broken != "" {
				out.Broken = append(out.Broken, BrokenSegment{segmentPath(Trades, date, name), errors.New(file.Broken)})
				continue
			}
			out.Misplaced += file.Misplaced
			for symbol, runs := range file.Runs {
				if symbols[symbol] == nil {
					symbols[symbol] = map[string]*dayIDs{}
				}
				day := symbols[symbol][date]
				if day == nil {
					day = &dayIDs{}
					symbols[symbol][date] = day
				}
				day.duplicates += countCommon(day.set.runs, runs)
				day.set.add(runs)
			}
			if file.Duplicates > 0 && len(file.Runs) > 0 {
				first := slices.Min(slices.Collect(maps.Keys(file.Runs)))
				symbols[first][date].duplicates += file.Duplicates
			}
		}
	}
	slices.SortFunc(out.Broken, func(a, b BrokenSegment) int { return cmp.Compare(a.Path, b.Path) })
	for symbol := range bounds {
		if symbols[symbol] == nil {
			symbols[symbol] = nil // all of its record is lost
		}
	}
	for _, symbol := range slices.Sorted(maps.Keys(symbols)) {
		b, known := bounds[symbol]
		c := symbolCertifier{out: SymbolCertificate{Symbol: symbol, Bounds: b}, days: map[string]*Day{}, now: now}
		out.Symbols = append(out.Symbols, c.certify(symbols[symbol], known, absent[symbol]))
	}
	return out, nil
}

// dayIDs are the ids of one symbol in one partition.
type dayIDs struct {
	set        runSet
	duplicates int64
}

// symbolCertifier computes the certificate of one symbol.
type symbolCertifier struct {
	out  SymbolCertificate
	days map[string]*Day // by date
	now  time.Time
}

// certify returns the certificate, given the ids by date. known is false if the bounds are not set
// yet.
func (c *symbolCertifier) certify(ids map[string]*dayIDs, known bool, absent idset.Set) SymbolCertificate {
	out := &c.out
	var runs []IDRun // of all dates
	rows := int64(0)
	for _, date := range slices.Sorted(maps.Keys(ids)) {
		row, set := c.day(date), ids[date].set.runs
		first, last := set[0], set[len(set)-1]
		row.FirstID, row.LastID = &first.First, &last.Last
		row.Trades = idsOf(set).Count()
		rows += row.Trades
		out.Duplicates += ids[date].duplicates
		out.Bounds = out.extend(first, known).extend(last, true)
		known = true
		runs = append(runs, set...)
	}
	firstDay, lastDay := dayOf(out.FirstAt.UnixMicro()), dayOf(out.LastAt.UnixMicro())
	for day := firstDay; day <= lastDay; day++ {
		c.day(dateOfDay(day))
	}
	// Ids ascend with the dates unless another program wrote some of them.
	slices.SortStableFunc(runs, func(a, b IDRun) int { return cmp.Compare(a.First, b.First) })
	out.Trades = out.LastID - out.FirstID + 1
	for _, gap := range gapsBetween(out.Symbol, runs, out.Bounds) {
		out.Trades -= gap.Count()
		c.addGap(gap, absent)
	}
	out.Duplicates += rows - out.Trades // ids that are on several dates

	today := DateOf(c.now.UnixMicro())
	for _, date := range slices.Sorted(maps.Keys(c.days)) {
		row := c.days[date]
		recordBegins := date == dateOfDay(firstDay) && out.FirstID > 1
		if row.State == StateProven && (recordBegins || date == dateOfDay(lastDay) || date >= today) {
			row.State = StateOpen
		}
		out.Days = append(out.Days, *row)
	}
	return *out
}

// day returns the row of a date, which it creates if necessary.
func (c *symbolCertifier) day(date string) *Day {
	if c.days[date] == nil {
		row := CoverageRow{Symbol: c.out.Symbol, State: StateProven, CheckedAt: c.now.UnixMicro()}
		c.days[date] = &Day{Date: date, CoverageRow: row}
	}
	return c.days[date]
}

// addGap counts the ids of a gap on the day of the row before it. No day that the gap touches is
// proven.
func (c *symbolCertifier) addGap(gap Gap, absent idset.Set) {
	ids := idset.Set{{First: gap.First, Last: gap.Last}}
	missing := ids.Subtract(absent)
	nMissing, nAbsent := missing.Count(), gap.Count()-missing.Count()
	firstDay, lastDay := dayOf(gap.After.UnixMicro()), dayOf(gap.Before.UnixMicro())
	row := c.day(dateOfDay(firstDay))
	row.Missing += nMissing
	row.AbsentAtSource += nAbsent
	c.out.Missing += nMissing
	c.out.Absent += nAbsent
	for _, r := range missing {
		c.out.Gaps = append(c.out.Gaps, Gap{gap.Symbol, r.First, r.Last, gap.After, gap.Before})
	}
	for day := firstDay; day <= lastDay; day++ {
		row := c.days[dateOfDay(day)]
		if row == nil {
			continue
		}
		if nMissing > 0 {
			row.State = StateGap
		} else if row.State == StateProven {
			row.State = StateAbsent
		}
	}
}

// IsReadOnly reports whether err means that this process can read the tape but not write to it: the
// file system is mounted read-only, or permissions are missing.
func IsReadOnly(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)
}
