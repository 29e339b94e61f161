package ship

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"tapedeck/internal/lake"
	"tapedeck/internal/progress"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
)

// Finding is something that is wrong with a symbol on a date in the lake.
type Finding struct {
	Date, Symbol, Text string
}

// Verified is the result of Verify.
type Verified struct {
	Dates, SymbolDays int
	Trades            int64
	Findings          []Finding // by date and symbol
	Traffic           lake.Traffic
}

// Verify reads all trades in the lake and compares them with the coverage there, by symbol and date: the ids, each of
// which must be there once, and a hash of all columns. It does not matter which program wrote the files. from and
// to, both included, bound the dates; an empty one leaves that end open. Files are downloaded into scratch, one at a
// time.
func Verify(ctx context.Context, l *lake.Lake, from, to, scratch string, display progress.Display) (out Verified, err error) {
	trades, err := l.Read(ctx, tape.Trades)
	if err != nil {
		return out, err
	}
	coverage, err := l.Read(ctx, tape.Coverage)
	if err != nil {
		return out, err
	}
	dates := map[string]bool{}
	for _, table := range []*lake.Table{trades, coverage} {
		for date := range table.Days() {
			if (from == "" || date >= from) && (to == "" || date <= to) {
				dates[date] = true
			}
		}
	}
	display.Begin("verify the lake", int64(len(dates)))
	for _, date := range slices.Sorted(maps.Keys(dates)) {
		if err := verifyDate(ctx, trades, coverage, date, scratch, &out); err != nil {
			return out, fmt.Errorf("verify %s: %w", date, err)
		}
		out.Dates++
		display.Set("", int64(out.Dates))
	}
	out.Traffic = l.Traffic()
	return out, nil
}

func verifyDate(ctx context.Context, trades, coverage *lake.Table, date, scratch string, out *Verified) error {
	content, err := trades.Content(ctx, date, scratch)
	if err != nil {
		return err
	}
	rows, err := coverage.Coverage(ctx, date, scratch)
	if err != nil {
		return err
	}
	find := func(symbol, format string, args ...any) {
		out.Findings = append(out.Findings, Finding{date, symbol, fmt.Sprintf(format, args...)})
	}
	found := content.Symbols()
	seen := map[string]bool{}
	for _, row := range rows {
		out.SymbolDays++
		if seen[row.Symbol] {
			find(row.Symbol, "coverage has it twice")
			continue
		}
		seen[row.Symbol] = true
		ids, err := row.IDs()
		if err != nil {
			find(row.Symbol, "coverage: %v", err)
			continue
		}
		have := found[row.Symbol]
		if have == nil {
			have = &tape.SymbolContent{}
		}
		out.Trades += have.Rows
		lacking, more := ids.Subtract(have.IDs), have.IDs.Subtract(ids)
		switch {
		case len(lacking) > 0:
			find(row.Symbol, "%s missing: %s", wording.Count(lacking.Count(), "id"), shortIDs(lake.FormatIDs(lacking)))
		case len(more) > 0:
			find(row.Symbol, "%s more than coverage says: %s", wording.Count(more.Count(), "id"), shortIDs(lake.FormatIDs(more)))
		case len(have.Doubled) > 0:
			find(row.Symbol, "%s more than once: %s", wording.Count(have.Doubled.Count(), "id"), shortIDs(lake.FormatIDs(have.Doubled)))
		case have.Rows > 0 && have.Sum.String() != row.Content:
			find(row.Symbol, "a row has another content than the one that was shipped")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if !seen[name] {
			find(name, "coverage does not have it")
		}
	}
	return nil
}

// shortIDs cuts a list of ids that is too long for a line.
func shortIDs(text string) string {
	const most = 60
	if len(text) <= most {
		return text
	}
	return text[:most] + "…"
}
