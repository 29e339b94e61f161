package report

import (
	"context"
	"fmt"
	"slices"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// comparedName is the section that compares the window with the one before.
const comparedName = "compared"

// windowBefore returns the window of the same length just before w.
func windowBefore(w window.Window) window.Window {
	return window.Window{Start: w.Start.Add(-w.Duration()), End: w.Start}
}

// takeCompared removes the section compared from the queries and returns it if the tape has trades of the
// window before, which the session of the other sections does not see.
func takeCompared(queries *[]analytics.Query, index *tape.Index, opt Options) *analytics.Query {
	i := slices.IndexFunc(*queries, func(q analytics.Query) bool { return q.Name == comparedName })
	if i < 0 {
		return nil
	}
	before, found := windowBefore(opt.Window), false
	index.SegmentsWhere(before.Start, before.End, func(_ string, run tape.IDRun) bool {
		found = found || run.Overlaps(before.Start, before.End)
		return false
	})
	if !found {
		return nil
	}
	query := (*queries)[i]
	*queries = slices.Delete(*queries, i, i+1)
	return &query
}

// runCompared runs the section compared in a session of its own, which sees both windows.
func runCompared(ctx context.Context, dir *tape.Dir, session *analytics.Session, query analytics.Query, opt Options,
	index *tape.Index, summaries []analytics.Query) (Section, error) {
	both, err := analytics.Open(ctx, dir, analytics.Options{
		Threads: opt.Threads, MemoryLimit: opt.MemoryLimit, From: windowBefore(opt.Window).Start, To: opt.Window.End,
		Symbols: opt.Symbols, Index: index, Logger: opt.Logger,
		Summaries: summaries, Stored: storedSummaries([]analytics.Query{query}, summaries), Progress: opt.Progress,
	})
	if err != nil {
		return Section{}, fmt.Errorf("compare with the window before: %w", err)
	}
	defer both.Close()
	opt.unreadable = max(0, len(both.Broken())-len(session.Broken()))
	section := runSection(ctx, both, query, opt)
	if more := max(0, len(both.Broken())-len(session.Broken())); more > opt.unreadable { // noticed while it was read
		opt.unreadable = more
		section = runSection(ctx, both, query, opt)
	}
	return section, ctx.Err()
}

// isCompared reports whether the window before is compared for any symbol.
func isCompared(result analytics.Result) bool {
	i := columnIndex(result, "before")
	return i < 0 || slices.ContainsFunc(result.Rows, func(row []any) bool { return row[i] == "complete" })
}
