// Package restore makes an ordinary data directory of days in a lake.
//
// Its one guarantee: it only adds rows that the lake has, in the way in which every other command publishes
// trades. It can be interrupted at any instant; running it again adds what is missing. docs/LAKE.md describes the
// tables.
package restore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"tapedeck/internal/idset"
	"tapedeck/internal/lake"
	"tapedeck/internal/progress"
	"tapedeck/internal/state"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
)

// Options say what to restore.
type Options struct {
	// From and To, both included, bound the dates; an empty one leaves that end open.
	From, To string
	// Symbols selects symbols; nil is all.
	Symbols []symbol.Pattern
	Now     time.Time
	Run     string // the id of the run, for the metadata of segments
	Logger  *slog.Logger
	// Progress counts dates.
	Progress progress.Display
}

// Summary is the result of Run.
type Summary struct {
	// Dates are those that the lake has in the window, Present the number of those that were there already.
	Dates   []string
	Present int
	// Trades and Alerts were added.
	Trades, Alerts int64
	// Gaps are dates between the first and the last that the lake does not have.
	Gaps    []string
	Traffic lake.Traffic
}

// ErrNothing is returned if the lake has no day in the window.
var ErrNothing = errors.New("the lake has no day of the window")

// Run restores days into dir, oldest first.
func Run(ctx context.Context, dir *tape.Dir, l *lake.Lake, opt Options) (Summary, error) {
	r := &restoration{dir: dir, lake: l, opt: opt, coverage: map[string][]lake.CoverageRow{}}
	err := r.run(ctx)
	r.out.Traffic = l.Traffic()
	return r.out, err
}

type restoration struct {
	dir                         *tape.Dir
	lake                        *lake.Lake
	opt                         Options
	trades, coverageTable, more *lake.Table
	coverage                    map[string][]lake.CoverageRow // by date, of the selected symbols
	out                         Summary
}

func (r *restoration) run(ctx context.Context) (err error) {
	for name, table := range map[tape.Table]**lake.Table{tape.Trades: &r.trades, tape.Coverage: &r.coverageTable, tape.Alerts: &r.more} {
		if *table, err = r.lake.Read(ctx, name); err != nil {
			return err
		}
	}
	for _, date := range slices.Sorted(maps.Keys(r.coverageTable.Days())) {
		if (r.opt.From == "" || date >= r.opt.From) && (r.opt.To == "" || date <= r.opt.To) {
			r.out.Dates = append(r.out.Dates, date)
		}
	}
	if len(r.out.Dates) == 0 {
		return ErrNothing
	}
	r.out.Gaps = between(r.out.Dates)
	r.opt.Progress.Begin("restore", int64(len(r.out.Dates)))
	index := r.dir.Index()
	if err := index.Refresh(ctx); err != nil {
		return err
	}
	for i, date := range r.out.Dates {
		if err := r.date(ctx, index, date); err != nil {
			return fmt.Errorf("restore %s: %w", date, err)
		}
		r.opt.Progress.Set("", int64(i+1))
	}
	return r.evidence(ctx)
}

// between returns the dates that are missing in a sorted list.
func between(dates []string) (out []string) {
	first, err := time.Parse(time.DateOnly, dates[0])
	if err != nil {
		return nil
	}
	for day := first; day.Format(time.DateOnly) < dates[len(dates)-1]; day = day.AddDate(0, 0, 1) {
		if _, found := slices.BinarySearch(dates, day.Format(time.DateOnly)); !found {
			out = append(out, day.Format(time.DateOnly))
		}
	}
	return out
}

// selected reports whether a symbol is to be restored.
func (r *restoration) selected(name string) bool {
	if !symbol.IsValid(name) {
		return false
	}
	return r.opt.Symbols == nil || slices.ContainsFunc(r.opt.Symbols, func(p symbol.Pattern) bool { return p.Matches(name) })
}

// date restores one date.
func (r *restoration) date(ctx context.Context, index *tape.Index, date string) error {
	rows, err := r.coverageTable.Coverage(ctx, date, r.dir.StagingPath())
	if err != nil {
		return err
	}
	want := map[string]idset.Set{}
	for _, row := range rows {
		if !r.selected(row.Symbol) {
			continue
		}
		r.coverage[date] = append(r.coverage[date], row)
		ids, err := row.IDs()
		if err != nil {
			return fmt.Errorf("coverage of %s: %w", row.Symbol, err)
		}
		if lacking := ids.Subtract(index.IDs(row.Symbol)); len(lacking) > 0 {
			want[row.Symbol] = lacking
		}
	}
	if len(want) == 0 {
		r.out.Present++
	} else if err := r.restoreTrades(ctx, date, want); err != nil {
		return err
	}
	return r.restoreAlerts(ctx, date)
}

// restoreTrades adds ids of a date to the tape, and checks that the lake had all of them.
func (r *restoration) restoreTrades(ctx context.Context, date string, want map[string]idset.Set) error {
	files, err := r.trades.Files(ctx, date)
	if err != nil {
		return err
	}
	got := map[string]idset.Set{}
	for _, file := range files {
		if err := r.restoreFile(ctx, file, date, want, got); err != nil {
			return fmt.Errorf("%s: %w", file.Path, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if lacking := want[name].Subtract(got[name]); len(lacking) > 0 {
			return fmt.Errorf("the lake lacks %d ids of %s from %d on, which its coverage names; tapedeck ship --verify lists them",
				lacking.Count(), name, lacking[0].First)
		}
	}
	return nil
}

// restoreFile adds the rows of a file that are wanted to the tape, and their ids to got.
func (r *restoration) restoreFile(ctx context.Context, file lake.File, date string, want, got map[string]idset.Set) error {
	open, err := r.trades.Fetch(ctx, file, r.dir.StagingPath())
	if err != nil {
		return err
	}
	defer open.Close()
	origin := tape.Origin{Source: tape.FromFile, Run: r.opt.Run, Detail: "lake: " + file.Path, At: r.opt.Now}
	loader := r.dir.NewLoader(origin)
	defer loader.Discard()
	var rows []tape.Trade
	err = tape.EachTrades(ctx, open, func(group []tape.Trade) error {
		rows = rows[:0]
		for _, row := range group {
			ids, wanted := want[row.Symbol]
			if !wanted || !ids.Contains(row.ID) {
				continue
			}
			if tape.DateOf(row.TradedAt) != date {
				return fmt.Errorf("%s has the id %d of another date", row.Symbol, row.ID)
			}
			rows = append(rows, row)
		}
		if err := loader.Add(ctx, rows, 0); err != nil {
			return err
		}
		for _, row := range rows {
			set := got[row.Symbol]
			if n := len(set); n == 0 || row.ID > set[n-1].Last {
				set.Append(row.ID)
			} else {
				set = set.Add(idset.Range{First: row.ID, Last: row.ID})
			}
			got[row.Symbol] = set
		}
		return nil
	})
	if errors.Is(err, tape.ErrUnsorted) {
		return fmt.Errorf("%w: another program rewrote it in another order; rewrite the table sorted by symbol and id", err)
	}
	if err != nil {
		return err
	}
	published, err := loader.Publish(ctx)
	r.out.Trades += published.Rows
	return err
}

func (r *restoration) restoreAlerts(ctx context.Context, date string) error {
	alerts, err := r.more.Alerts(ctx, date, r.dir.StagingPath())
	if err != nil {
		return err
	}
	alerts = slices.DeleteFunc(alerts, func(a tape.Alert) bool { return !r.selected(a.Symbol) })
	if len(alerts) == 0 {
		return nil
	}
	published, err := r.dir.PublishAlerts(ctx, alerts)
	r.out.Alerts += published.Rows
	return err
}

// evidence records what the lake's coverage proves besides the rows: which ids the exchange does not have, and that
// the record of a proven day is known from its beginning to its end.
func (r *restoration) evidence(ctx context.Context) error {
	bySymbol := map[string][]dayOf{}
	for _, date := range slices.Sorted(maps.Keys(r.coverage)) {
		for _, row := range r.coverage[date] {
			bySymbol[row.Symbol] = append(bySymbol[row.Symbol], dayOf{date, row})
		}
	}
	answers := state.Answers{}
	for _, name := range slices.Sorted(maps.Keys(bySymbol)) {
		absent, answer, err := evidenceOf(bySymbol[name])
		if err != nil {
			return fmt.Errorf("coverage of %s: %w", name, err)
		}
		if len(absent) > 0 {
			if err := r.dir.RecordAbsent(name, absent, r.opt.Now); err != nil {
				return err
			}
		}
		if len(answer.FirstFrom)+len(answer.LastBefore) > 0 {
			answers[name] = answer
		}
	}
	return r.dir.RecordAnswers(answers)
}

// dayOf is the coverage of a symbol on a date.
type dayOf struct {
	date string
	row  lake.CoverageRow
}

// isKnown reports whether every id of a day is on the tape or does not exist, from the beginning of the day to its
// end.
func (d dayOf) isKnown() bool {
	return d.row.State == tape.StateProven || d.row.State == tape.StateAbsent
}

// evidenceOf returns the ids of a symbol that are absent, and what the first and the last known day prove. days are
// ascending.
func evidenceOf(days []dayOf) (absent idset.Set, answer state.SymbolAnswers, err error) {
	var before *dayOf // the day before, with trades or without, whose end is known
	var last int64    // the last id up to it
	for i := range days {
		day := &days[i]
		start, err := time.Parse(time.DateOnly, day.date)
		if err != nil {
			return nil, answer, err
		}
		if day.row.FirstID == nil || day.row.LastID == nil {
			if !day.isKnown() {
				before = nil
			} else if before != nil {
				before = day
			}
			continue
		}
		if holes, err := lake.ParseIDs(day.row.AbsentIDs); err != nil {
			return nil, answer, err
		} else if day.isKnown() || day.row.State == tape.StateOpen {
			absent = absent.Union(holes)
		}
		consecutive := before != nil && before.date == start.AddDate(0, 0, -1).Format(time.DateOnly)
		if consecutive && *day.row.FirstID > last+1 {
			absent = absent.Add(idset.Range{First: last + 1, Last: *day.row.FirstID - 1})
		}
		if day.isKnown() {
			if len(answer.FirstFrom) == 0 {
				answer.FirstFrom = []state.Answer{{ID: *day.row.FirstID, At: start}}
			}
			answer.LastBefore = []state.Answer{{ID: *day.row.LastID, At: start.AddDate(0, 0, 1)}}
			before, last = day, *day.row.LastID
		} else {
			before = nil
		}
	}
	return absent, answer, nil
}
