package report

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
	"tapedeck/internal/wording"
)

// sectionOrder is the order of the embedded sections. The user's own sections follow by name.
var sectionOrder = [...]string{
	"overview", comparedName, "movers", "incidents", "hourly", "breadth", "largest_trades", "taker_flow", "volatility",
	"illiquidity", "wash_signs",
	"candles", "completeness", "conflicts", "judged", "runs",
}

// longSections are the embedded sections that a brief report leaves out.
var longSections = [...]string{"breadth", "largest_trades", "taker_flow", "volatility", "illiquidity",
	"wash_signs", "candles", "conflicts", "judged", "runs"}

// UnknownSectionError names a section for which there is no query.
type UnknownSectionError struct {
	Name  string
	Known []string
}

func (e *UnknownSectionError) Error() string {
	if near := wording.Nearest(e.Name, e.Known); near != "" {
		return fmt.Sprintf("no section %q; did you mean %q?", e.Name, near)
	}
	return fmt.Sprintf("no section %q; the sections are %s", e.Name, strings.Join(e.Known, ", "))
}

// loadSections returns the section queries in order, and an error for each one that is invalid.
func loadSections(dir string) ([]analytics.Query, []error) {
	queries, problems := analytics.Load(dir, analytics.Report)
	position := func(q analytics.Query) int {
		if i := slices.Index(sectionOrder[:], q.Name); i >= 0 {
			return i
		}
		return len(sectionOrder)
	}
	slices.SortStableFunc(queries, func(a, b analytics.Query) int {
		return cmp.Or(position(a)-position(b), strings.Compare(a.Name, b.Name))
	})
	return queries, problems
}

// detectorNames returns the names of the detectors that exist.
func detectorNames(dir string) (names []string) {
	queries, _ := analytics.Load(dir, analytics.Detect) // detect names the broken ones
	for _, query := range queries {
		names = append(names, query.Name)
	}
	return names
}

// CheckSections returns an error if one of the sections does not exist or its query is invalid. dir is
// the directory with the user's own queries, or "".
func CheckSections(dir string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	queries, problems := loadSections(dir)
	_, err := chooseSections(queries, problems, Options{Sections: names})
	return err
}

// storedSummaries returns the names of the summaries that some sections read.
func storedSummaries(sections []analytics.Query, summaries []analytics.Query) (names []string) {
	for _, summary := range summaries {
		if slices.ContainsFunc(sections, func(q analytics.Query) bool { return q.ReadsRelation(summary.Name) }) {
			names = append(names, summary.Name)
		}
	}
	return names
}

func chooseSections(queries []analytics.Query, problems []error, opt Options) ([]analytics.Query, error) {
	if len(opt.Sections) == 0 {
		return slices.DeleteFunc(slices.Clone(queries), func(q analytics.Query) bool {
			return opt.Brief && slices.Contains(longSections[:], q.Name)
		}), nil
	}
	var out []analytics.Query
	for _, name := range opt.Sections {
		hasName := func(q analytics.Query) bool { return q.Name == name }
		i := slices.IndexFunc(queries, hasName)
		if i < 0 {
			if problem := analytics.ProblemOf(problems, name); problem != nil {
				return nil, fmt.Errorf("section %q: %w", name, problem)
			}
			unknown := &UnknownSectionError{Name: name}
			for _, query := range queries {
				unknown.Known = append(unknown.Known, query.Name)
			}
			return nil, unknown
		}
		if !slices.ContainsFunc(out, hasName) {
			out = append(out, queries[i])
		}
	}
	return out, nil
}

// parallelRows is the number of rows in the window up to which two sections run at a time. While
// one section is being planned or sorts a few rows on one thread, the other keeps the processors
// busy. With more rows a single section keeps them busy, and two compete for memory: at 20 million
// rows, two at a time took a quarter longer than one after the other; at two million they took
// equally long (BenchmarkReport).
const parallelRows = 2_000_000

// parallelSections returns how many sections run at a time.
func parallelSections(index *tape.Index, w window.Window) int {
	rows := int64(0)
	index.SegmentsWhere(w.Start, w.End, func(_ string, run tape.IDRun) bool {
		if run.Overlaps(w.Start, w.End) {
			rows += run.Count()
		}
		return false
	})
	if rows > parallelRows {
		return 1
	}
	return 2
}

// runSections runs the queries, at most parallel at a time, and returns the sections by name.
func runSections(ctx context.Context, session *analytics.Session, queries []analytics.Query, opt Options,
	parallel int) map[string]Section {
	sections := make([]Section, len(queries))
	opt.Progress.Begin("report", int64(len(queries)))
	var done atomic.Int64
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, query := range queries {
		group.Go(func() error {
			if ctx.Err() == nil {
				sections[i] = runSection(ctx, session, query, opt)
				opt.Progress.Set("sections", done.Add(1))
			}
			return nil
		})
	}
	_ = group.Wait() // a failed section holds its own error
	out := make(map[string]Section, len(queries))
	for i, query := range queries {
		out[query.Name] = sections[i]
	}
	return out
}

// runSection runs one query.
func runSection(ctx context.Context, session *analytics.Session, query analytics.Query, opt Options) Section {
	args := map[string]any{}
	for _, param := range query.Params {
		switch param.Name {
		case "window_start":
			args[param.Name] = opt.Window.Start
		case "window_end":
			args[param.Name] = opt.Window.End
		case "symbols":
			if param.Type == "VARCHAR" {
				args[param.Name] = strings.Join(opt.Symbols, ",")
			}
		case "detectors":
			if param.Type == "VARCHAR" {
				args[param.Name] = strings.Join(opt.detectors, ",")
			}
		case "step_seconds":
			args[param.Name] = int64(chartStep(opt.Window.Duration()) / time.Second)
		case "unreadable":
			args[param.Name] = int64(opt.unreadable)
		case "step_hours":
			args[param.Name] = hourlyStep(opt)
		}
	}
	for name, value := range opt.Params[query.Name] {
		if name != "window_start" && name != "window_end" {
			args[name] = value
		}
	}
	result, err := session.Run(ctx, query, args)
	if err != nil {
		return Section{Query: query, Err: err}
	}
	return Section{Query: query, Result: result}
}

// hourlyStep returns how many hours a row of the section hourly has, so that a wide window has some hundred
// rows of a symbol. The configuration may set it.
func hourlyStep(opt Options) int64 {
	if set, ok := opt.Params[hourlyName]["step_hours"]; ok {
		if hours, err := strconv.ParseInt(fmt.Sprint(set), 10, 64); err == nil && hours > 0 {
			return hours
		}
	}
	switch days := opt.Window.Duration() / (24 * time.Hour); {
	case days > 400:
		return 7 * 24
	case days > 10:
		return 24
	}
	return 1
}

// chartSteps are the candle lengths that charts use.
var chartSteps = [...]time.Duration{
	time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 4 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour,
}

// chartStep returns the shortest step that divides the window into at most 100 candles.
func chartStep(window time.Duration) time.Duration {
	for _, step := range chartSteps {
		if window <= 100*step {
			return step
		}
	}
	return chartSteps[len(chartSteps)-1]
}

// candleStep returns the step of the section candles, which the configuration may set.
func candleStep(opt Options) time.Duration {
	if set, ok := opt.Params["candles"]["step_seconds"]; ok {
		if seconds, err := strconv.ParseInt(fmt.Sprint(set), 10, 64); err == nil && seconds > 0 {
			return time.Duration(seconds) * time.Second
		}
	}
	return chartStep(opt.Window.Duration())
}
