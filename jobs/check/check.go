// Package check runs the checks: queries whose rows are what is wrong with the tape.
//
// Its one guarantee: a check that is named as clean ran over the whole of what it reads, except for
// segments that cannot be read, which the summary names. docs/SQL.md specifies checks.
package check

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/progress"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
	"tapedeck/internal/wording"
)

// Options say what to check. The zero value means all checks over the whole tape.
type Options struct {
	// Names are the checks to run; empty is all.
	Names []string
	// Window is given to the checks that have the parameters window_start and window_end. If it is
	// empty, they get the time from the first trade on the tape to the last one.
	Window window.Window
	// Arguments are values of other parameters, by name. Each is given to the checks that have it.
	Arguments map[string]any
	// Rows is how many rows of each check are kept; 0 is DefaultRows.
	Rows int
	// QueriesDir is a directory with more queries; "" is none.
	QueriesDir string
	// Threads and MemoryLimit are those of analytics.Options.
	Threads     int
	MemoryLimit string
	Logger      *slog.Logger
	Progress    progress.Display // nil shows nothing
}

// DefaultRows is how many rows of a check are kept.
const DefaultRows = 20

// Summary is the outcome of the checks.
type Summary struct {
	// Checks are those that were to run, ordered by name.
	Checks []Outcome
	// Broken are the segments that were left out because they cannot be read.
	Broken []tape.BrokenSegment
	// Problems are files that are no valid checks.
	Problems []error
}

// Outcome is what one check found. If Err is set, it did not run to its end.
type Outcome struct {
	Query analytics.Query
	// Result has the first rows, and Found is how many there are in all.
	Result analytics.Result
	Found  int64
	Err    error
}

// Found returns how many checks found something, and how many rows they found together.
func (s Summary) Found() (checks int, rows int64) {
	for _, outcome := range s.Checks {
		if outcome.Found > 0 {
			checks++
			rows += outcome.Found
		}
	}
	return checks, rows
}

// Failed returns how many checks did not run to their end, and how many files are no valid checks.
func (s Summary) Failed() int {
	failed := len(s.Problems)
	for _, outcome := range s.Checks {
		if outcome.Err != nil {
			failed++
		}
	}
	return failed
}

// UsageError is returned for an option that is wrong.
type UsageError struct{ text string }

func (e *UsageError) Error() string { return e.text }

func usageError(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// Run runs the checks, one after the other. The failure of one is part of its outcome and no error.
func Run(ctx context.Context, dir *tape.Dir, opt Options) (Summary, error) {
	var summary Summary
	queries, problems := analytics.Load(opt.QueriesDir, analytics.Check)
	chosen, err := choose(queries, problems, opt.Names)
	if err != nil {
		return summary, err
	}
	if len(opt.Names) == 0 {
		summary.Problems = problems
	}
	if err := checkArguments(chosen, opt); err != nil {
		return summary, err
	}
	index := dir.Index()
	if err := index.Refresh(ctx); err != nil {
		return summary, fmt.Errorf("read the index of the tape: %w", err)
	}
	session, err := analytics.Open(ctx, dir, analytics.Options{
		Threads: opt.Threads, MemoryLimit: opt.MemoryLimit, Index: index, Logger: opt.Logger,
	})
	if err != nil {
		return summary, err
	}
	defer session.Close()
	if opt.Window.IsEmpty() {
		opt.Window = wholeTape(index)
	}
	display := opt.Progress
	if display == nil {
		display = progress.None{}
	}
	display.Begin("checks", int64(len(chosen)))
	for i, query := range chosen {
		outcome := run(ctx, session, query, opt)
		if ctx.Err() != nil {
			return summary, ctx.Err()
		}
		summary.Checks = append(summary.Checks, outcome)
		display.Set("checks", int64(i+1))
	}
	summary.Broken = session.Broken()
	return summary, nil
}

func run(ctx context.Context, session *analytics.Session, query analytics.Query, opt Options) Outcome {
	args := map[string]any{}
	for name, value := range opt.Arguments {
		if _, ok := query.Param(name); ok {
			args[name] = value
		}
	}
	if hasWindow(query) {
		args["window_start"], args["window_end"] = opt.Window.Start, opt.Window.End
	}
	limit := opt.Rows
	if limit == 0 {
		limit = DefaultRows
	}
	result, found, err := session.RunFirst(ctx, query, args, limit)
	return Outcome{Query: query, Result: result, Found: found, Err: err}
}

// choose returns the checks of those names, or all.
func choose(queries []analytics.Query, problems []error, names []string) (chosen []analytics.Query, err error) {
	if len(names) == 0 {
		return queries, nil
	}
	var known []string
	for _, query := range queries {
		known = append(known, query.Name)
		if slices.Contains(names, query.Name) {
			chosen = append(chosen, query)
		}
	}
	for _, name := range names {
		if slices.Contains(known, name) {
			continue
		}
		if problem := analytics.ProblemOf(problems, name); problem != nil {
			return nil, problem
		}
		if near := wording.Nearest(name, known); near != "" {
			return nil, usageError("no check is named %q; did you mean %q?", name, near)
		}
		return nil, usageError("no check is named %q; the checks are %s", name, wording.List(known, len(known)))
	}
	return chosen, nil
}

// checkArguments returns an error for an argument that no check has, or whose value does not fit.
func checkArguments(chosen []analytics.Query, opt Options) error {
	if !opt.Window.IsEmpty() && !slices.ContainsFunc(chosen, hasWindow) {
		return usageError("none of these checks has a window: each reads the whole tape")
	}
	for _, name := range slices.Sorted(maps.Keys(opt.Arguments)) {
		isUsed := false
		var known []string
		for _, query := range chosen {
			for _, param := range query.Params {
				if param.Name != "window_start" && param.Name != "window_end" && !slices.Contains(known, param.Name) {
					known = append(known, param.Name)
				}
			}
			if _, ok := query.Param(name); ok && slices.Contains(known, name) {
				isUsed = true
				if err := query.CheckArgument(name, opt.Arguments[name]); err != nil {
					return usageError("%v", err)
				}
			}
		}
		switch {
		case isUsed:
		case len(known) == 0:
			return usageError("%s: these checks have no parameters", name)
		default:
			return usageError("%s: these checks have the parameters %s", name, wording.List(known, len(known)))
		}
	}
	return nil
}

func hasWindow(query analytics.Query) bool {
	_, hasStart := query.Param("window_start")
	_, hasEnd := query.Param("window_end")
	return hasStart && hasEnd
}

// wholeTape returns the window from the first trade on the tape to the last one.
func wholeTape(index *tape.Index) (w window.Window) {
	for _, bounds := range index.AllBounds() {
		w = w.Hull(window.Window{Start: bounds.FirstAt.UTC(), End: bounds.LastAt.UTC().Add(time.Microsecond)})
	}
	return w
}
