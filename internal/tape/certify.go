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
	"tapedeck/internal/symbol"
)

// Certificate states how complete the record is, computed from the rows of the files themselves.
type Certificate struct {
	CheckedAt time.Time
	Symbols   []SymbolCertificate // sorted by symbol
	// Broken are the segments that cannot be read. Their rows count as missing.
	Broken []BrokenSegment
	// Strays are the segments that can be read, but do not belong where they are; see StrayError. Except for
	// those of another feed or tape, their rows count.
	Strays []BrokenSegment
	// Misplaced is the number of rows in the partition of another date.
	Misplaced int64
	// Gone are the symbols of which nothing is left because all of it was dropped on purpose, with their
	// number of ids. Symbols does not have them.
	Gone map[string]int64
	// NotSymbols are texts in the column symbol that no symbol can have, sorted. Their rows are not
	// judged, and no other command reads them.
	NotSymbols []NotSymbol
	// Conflicts are not resolved; see Dir.OpenConflicts.
	Conflicts []Conflict
	// Files is the number of files, Scanned of those read now. The others were read before and have
	// not changed.
	Scanned, Files int
	// SaveErr is the error, if any, of saving the result for the next time, which then reads the files
	// again. The volume may be read-only or full.
	SaveErr error
}

// NotSymbol is a text in the column symbol of trades that no symbol can have. It can have any
// characters; symbol.Quote shows it.
type NotSymbol struct {
	Text string `json:"text"`
	Rows int64  `json:"rows"`
}

// SymbolCertificate states how complete the record of one symbol is.
type SymbolCertificate struct {
	Symbol string
	Bounds
	// Trades is the number of ids on the tape. Missing is the number of ids inside the bounds that are
	// not on the tape and can still be fetched, Absent of those that the exchange does not have.
	// Duplicates is the number of rows whose id occurs before, on the same date or another.
	// Dropped is the number of ids inside the bounds that were removed on purpose. Conflicts is the
	// number of the symbol's conflicts that are not resolved.
	Trades, Missing, Absent, Dropped, Duplicates, Conflicts int64
	// Known is the window in which the record is known.
	Known Known
	// Backwards counts trades that matched more than a second before the trade with the id before
	// theirs. BackwardSteps are the first of them.
	Backwards     int64
	BackwardSteps []BackwardStep
	// LatestAt is when the latest row on the tape traded; zero if there is none.
	LatestAt time.Time
	// Days are ascending, from the first to the last, and include days without trades.
	Days []Day
	// Gaps are ascending and include neither absent nor dropped ids.
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
	// StateDropped: no id is missing, except some that were removed on purpose.
	StateDropped = "dropped"
)

// Complete reports whether no id is missing that can be fetched, none was removed on purpose, none is
// duplicated or in conflict, time runs back nowhere by more than a second, every row has a symbol and is not
// of the future, and every file could be read and belongs where it is.
func (c Certificate) Complete() bool {
	return len(c.Future()) == 0 && len(c.Broken)+len(c.Strays)+len(c.NotSymbols) == 0 && c.Misplaced == 0 && len(c.Conflicts) == 0 &&
		!slices.ContainsFunc(c.Symbols, func(s SymbolCertificate) bool { return s.Missing+s.Dropped+s.Duplicates+s.Backwards > 0 })
}

// Future returns the symbols with trades that are later than the time of the check by more than ClockSkew.
func (c Certificate) Future() (out []Future) {
	for _, s := range c.Symbols {
		if s.LatestAt.After(c.CheckedAt.Add(ClockSkew)) {
			out = append(out, Future{Symbol: s.Symbol, LatestAt: s.LatestAt})
		}
	}
	return out
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
	known, err := d.readKnowledge()
	if err != nil {
		return out, err
	}
	scan, err := d.scanTape(ctx, dates, full)
	if err != nil {
		return out, err
	}
	out.Files, out.Scanned, out.SaveErr = scan.files, len(scan.pending), scan.saveErr
	// What was dropped meanwhile must not count as missing.
	if known.dropped, err = d.DroppedRuns(); err != nil {
		return out, err
	}
	if out.Conflicts, err = d.OpenConflicts(ctx); err != nil {
		return out, err
	}
	out.findStrays(d.identity(), scan)
	symbols := out.collect(scan, d.identity())
	for text := range known.bounds {
		if symbols[text] == nil && symbol.IsValid(text) {
			symbols[text] = &symbolIDs{} // all of its record is lost
		}
	}
	for text, runs := range known.dropped {
		if symbols[text] == nil && symbol.IsValid(text) {
			if out.Gone == nil {
				out.Gone = map[string]int64{}
			}
			out.Gone[text] = idsOf(runs).Count()
		}
	}
	for _, text := range slices.Sorted(maps.Keys(symbols)) {
		if !symbol.IsValid(text) {
			out.NotSymbols = append(out.NotSymbols, NotSymbol{text, symbols[text].rows()})
			continue
		}
		c := symbolCertifier{out: SymbolCertificate{Symbol: text}, days: map[string]*Day{}, now: now}
		out.Symbols = append(out.Symbols, c.certify(symbols[text], known, out.Conflicts))
	}
	return out, nil
}

// knowledge is what is known besides the rows, by symbol.
type knowledge struct {
	bounds  map[string]Bounds
	absent  map[string]idset.Set
	dropped map[string][]IDRun
	evidence
}

// readKnowledge reads everything except what was dropped, before the rows are read.
func (d *Dir) readKnowledge() (k knowledge, err error) {
	if k.evidence, err = d.readEvidence(); err != nil {
		return k, err
	}
	if k.absent, err = d.Absent(); err != nil {
		return k, err
	}
	k.bounds, err = d.extent.read(k.evidence.published)
	return k, err
}

// symbolIDs are the ids of one symbol in the rows.
type symbolIDs struct {
	days  map[string]*dayIDs // by date
	parts [][]IDRun          // the runs of each file
	steps backwardSteps      // within files
}

// rows returns the number of ids.
func (s *symbolIDs) rows() (n int64) {
	for _, day := range s.days {
		n += idsOf(day.set.runs).Count()
	}
	return n
}

// dayIDs are the ids of one symbol in one partition.
type dayIDs struct {
	set        runSet
	duplicates int64
}

// collect returns the content of the files by symbol, and adds what concerns files to the certificate.
func (c *Certificate) collect(scan *tapeScan, tape identity) map[string]*symbolIDs {
	symbols := map[string]*symbolIDs{}
	for date, part := range scan.parts {
		for _, name := range slices.Sorted(maps.Keys(part.Files)) {
			file := part.Files[name]
			if file.Broken != "" {
				c.Broken = append(c.Broken, BrokenSegment{segmentPath(Trades, date, name), errors.New(file.Broken)})
				continue
			}
			if !tape.owns(file.tape()) {
				continue
			}
			c.Misplaced += file.Misplaced
			for symbol, runs := range file.Runs {
				ids := symbols[symbol]
				if ids == nil {
					ids = &symbolIDs{days: map[string]*dayIDs{}}
					symbols[symbol] = ids
				}
				day := ids.days[date]
				if day == nil {
					day = &dayIDs{}
					ids.days[date] = day
				}
				day.duplicates += countCommon(day.set.runs, runs)
				day.set.add(runs)
				ids.parts = append(ids.parts, runs)
			}
			for symbol, steps := range file.Backwards {
				if ids := symbols[symbol]; ids != nil && steps != nil {
					ids.steps.add(symbol, *steps)
				}
			}
			if file.Duplicates > 0 && len(file.Runs) > 0 {
				first := slices.Min(slices.Collect(maps.Keys(file.Runs)))
				symbols[first].days[date].duplicates += file.Duplicates
			}
		}
	}
	slices.SortFunc(c.Broken, func(a, b BrokenSegment) int { return cmp.Compare(a.Path, b.Path) })
	return symbols
}

// findStrays sets Strays.
func (c *Certificate) findStrays(tape identity, scan *tapeScan) {
	var all []strayCandidate
	for date, part := range scan.parts {
		for name, file := range part.Files {
			if file.Broken == "" {
				all = append(all, strayCandidate{segmentPath(Trades, date, name), date, footer{
					name: name, runs: file.Runs, tape: file.tape(), foreign: file.Foreign, repeated: file.Duplicates,
					misplaced: file.Misplaced,
				}})
			}
		}
	}
	strays := findStrays(tape, all)
	for _, path := range slices.Sorted(maps.Keys(strays)) {
		c.Strays = append(c.Strays, BrokenSegment{path, strays[path]})
	}
}

// symbolCertifier computes the certificate of one symbol.
type symbolCertifier struct {
	out  SymbolCertificate
	days map[string]*Day // by date
	now  time.Time
}

// certify returns the certificate.
func (c *symbolCertifier) certify(ids *symbolIDs, known knowledge, conflicts []Conflict) SymbolCertificate {
	out := &c.out
	symbol := out.Symbol
	var ok bool
	out.Bounds, ok = known.bounds[symbol]
	rows := int64(0)
	for _, date := range slices.Sorted(maps.Keys(ids.days)) {
		row, set := c.day(date), ids.days[date].set.runs
		first, last := set[0], set[len(set)-1]
		row.FirstID, row.LastID = &first.First, &last.Last
		row.Trades = idsOf(set).Count()
		rows += row.Trades
		out.Duplicates += ids.days[date].duplicates
		out.Bounds = out.extend(first, ok).extend(last, true)
		ok = true
	}
	// Ids ascend with the dates unless another program wrote some of them.
	runs := slices.Concat(ids.parts...)
	slices.SortStableFunc(runs, func(a, b IDRun) int { return cmp.Compare(a.First, b.First) })
	out.Bounds = out.Bounds.onDayOf(runs, known.dropped[symbol])
	for _, run := range runs {
		if at := timeOf(run.LastAt); at.After(out.LatestAt) {
			out.LatestAt = at
		}
	}
	firstDay, lastDay := dayOf(out.FirstAt.UnixMicro()), dayOf(out.LastAt.UnixMicro())
	for day := firstDay; day <= lastDay; day++ {
		c.day(dateOfDay(day))
	}
	ids.steps.seams(symbol, runs)
	out.Backwards, out.BackwardSteps = ids.steps.of(symbol)
	out.Trades = out.LastID - out.FirstID + 1
	dropped := idsOf(known.dropped[symbol])
	for _, gap := range gapsBetween(symbol, runs, out.Bounds) {
		out.Trades -= gap.Count()
		c.addGap(gap, known.absent[symbol], dropped)
	}
	out.Duplicates += rows - out.Trades // ids that are on several dates
	for i := range conflicts {
		if conflicts[i].Symbol == symbol {
			c.day(DateOf(conflicts[i].TradedAt)).Conflicts++
			out.Conflicts++
		}
	}
	out.Known = knownWithoutDropped(out.Bounds, known.watched[symbol], known.answers[symbol], known.dropped[symbol])

	today := DateOf(c.now.UnixMicro())
	for _, date := range slices.Sorted(maps.Keys(c.days)) {
		row := c.days[date]
		day, _ := dateBounds(date)
		knownBefore := (out.Known.Since.Before(out.FirstAt) || out.Known.SinceBy == ByExchange) && out.Known.Since.UnixMicro() <= day
		recordBegins := date == dateOfDay(firstDay) && out.FirstID > 1 && !knownBefore
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
func (c *symbolCertifier) addGap(gap Gap, absent, dropped idset.Set) {
	ids := idset.Set{{First: gap.First, Last: gap.Last}}
	kept := ids.Subtract(dropped)
	missing := kept.Subtract(absent)
	nMissing, nAbsent, nDropped := missing.Count(), kept.Count()-missing.Count(), gap.Count()-kept.Count()
	firstDay, lastDay := dayOf(gap.After.UnixMicro()), dayOf(gap.Before.UnixMicro())
	row := c.day(dateOfDay(firstDay))
	row.Missing += nMissing
	row.AbsentAtSource += nAbsent
	c.out.Missing += nMissing
	c.out.Absent += nAbsent
	c.out.Dropped += nDropped
	for _, r := range missing {
		c.out.Gaps = append(c.out.Gaps, Gap{gap.Symbol, r.First, r.Last, gap.After, gap.Before})
	}
	for day := firstDay; day <= lastDay; day++ {
		row := c.days[dateOfDay(day)]
		if row == nil {
			continue
		}
		switch {
		case nMissing > 0:
			row.State = StateGap
		case nDropped > 0 && row.State != StateGap:
			row.State = StateDropped
		case row.State == StateProven:
			row.State = StateAbsent
		}
	}
}

// IsReadOnly reports whether err means that this process can read the tape but not write to it: the
// file system is mounted read-only, or permissions are missing.
func IsReadOnly(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)
}
