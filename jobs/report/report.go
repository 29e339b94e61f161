// Package report makes the report of a window from the SQL sections and renders it as a terminal's table, Markdown, JSON, CSV or
// an Excel workbook.
//
// It guarantees that a report says first how complete its data are, and that every format shows the values that the SQL gave:
// rounding happens where a number is shown to a person (table, Markdown), never in JSON or CSV; a workbook's cells keep the 15
// digits that Excel keeps. The JSON form is described at [JSON], the CSV form at [CSV].
package report

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
)

// Options say what a report is about. From and To are required.
type Options struct {
	From, To time.Time // the half-open window
	Symbols  []string  // empty means all on the tape

	// Sections are the names of the sections wanted, in that order; empty means all, and with Brief those that fit a terminal.
	Sections []string
	Brief    bool

	QueriesDir string                    // the user's own queries beside the embedded ones; "" means none
	Params     map[string]map[string]any // by section, values for its parameters other than the window

	// Judged is the time that detectors have looked at, ascending; with JudgedKnown a report says if it is not all of its window.
	Judged      []Window
	JudgedKnown bool

	Now         time.Time // written on the report
	Threads     int
	MemoryLimit string
	Logger      *slog.Logger
}

// Report is what was found.
type Report struct {
	Window  Window
	MadeAt  time.Time
	Feed    tape.Feed
	Symbols []string // that were asked for; empty means all

	// Empty says that nothing traded in the window, as far as the tape knows.
	Empty bool
	// Complete says that the tape holds all that traded in the window: no id is missing, each symbol was recorded from the window's
	// beginning to its end, and no segment is damaged.
	Complete bool
	// Missing is how many ids are not on the tape and may be had.
	Missing int64
	// Statements say in words how complete the data are, the worst first. There is at least one.
	Statements []Statement

	// Changes are what the report that was sent of the same window said otherwise; empty but for a correction.
	Changes []Change

	Sections []Section

	step time.Duration // of the candles
}

// Window is half-open, UTC.
type Window struct{ Start, End time.Time }

// Length is the time between the window's ends.
func (w Window) Length() time.Duration { return w.End.Sub(w.Start) }

// Statement is a sentence about the data.
type Statement struct {
	Mood Mood
	Text string
}

// Mood says how a statement is meant.
type Mood string

const (
	Bad  Mood = "bad"  // something is missing
	Fair Mood = "fair" // the window is not covered from end to end
	Good Mood = "good"
	Note Mood = "note"
)

// Section is one query and what it gave. With an Err there is no result.
type Section struct {
	Query  analytics.Query
	Result analytics.Result
	Err    error
}

// Partial says that not all of the report could be had: ids are missing, a segment is damaged, or a section failed.
func (r *Report) Partial() bool {
	return r.Missing > 0 || slices.ContainsFunc(r.Sections, func(s Section) bool { return s.Err != nil }) ||
		slices.ContainsFunc(r.Statements, func(s Statement) bool { return s.Mood == Bad })
}

// Section gives a section by name, or nil.
func (r *Report) Section(name string) *Section {
	i := slices.IndexFunc(r.Sections, func(s Section) bool { return s.Query.Name == name })
	if i < 0 {
		return nil
	}
	return &r.Sections[i]
}

// order is that of the embedded sections; a user's own follow by name.
var order = [...]string{"overview", "movers", "incidents", "hourly", "breadth", "largest_trades", "taker_flow", "volatility", "illiquidity", "wash_signs", "candles", "completeness", "runs"}

// long are the embedded sections that a brief report leaves out.
var long = [...]string{"breadth", "largest_trades", "taker_flow", "volatility", "illiquidity", "wash_signs", "candles", "runs"}

// UnknownSectionError names a section that there is no query for.
type UnknownSectionError struct {
	Name  string
	Known []string
}

func (e *UnknownSectionError) Error() string {
	return fmt.Sprintf("no section %q: there are %s", e.Name, strings.Join(e.Known, ", "))
}

// Build runs the sections over the tape. A section that fails has its error in the report and the others go on; an error of
// Build itself means that there is no report: the window or a section's name is wrong, the tape cannot be read, or ctx ended.
func Build(ctx context.Context, dir *tape.Dir, opt Options) (*Report, error) {
	opt.From, opt.To = opt.From.UTC(), opt.To.UTC()
	if !opt.From.Before(opt.To) {
		return nil, fmt.Errorf("the window's end %s is not after its start %s", opt.To.Format(time.RFC3339), opt.From.Format(time.RFC3339))
	}
	queries, problems := sections(opt.QueriesDir)
	wanted, err := choose(queries, problems, opt)
	if err != nil {
		return nil, err
	}
	index := dir.Index()
	if err := index.Refresh(ctx); err != nil {
		return nil, fmt.Errorf("look for what is on the tape: %w", err)
	}
	session, err := analytics.Open(ctx, dir, analytics.Options{
		Threads: opt.Threads, MemoryLimit: opt.MemoryLimit, From: opt.From, To: opt.To, Index: index, Now: opt.Now, Logger: opt.Logger,
	})
	if err != nil {
		return nil, err
	}
	defer session.Close()

	report := &Report{Window: Window{opt.From, opt.To}, MadeAt: opt.Now.UTC(), Feed: dir.Feed(), Symbols: opt.Symbols, step: candleStep(opt)}
	all := wanted
	if i := slices.IndexFunc(queries, func(q analytics.Query) bool { return q.Name == completenessName }); i >= 0 {
		all = append([]analytics.Query{queries[i]}, slices.DeleteFunc(slices.Clone(wanted), func(q analytics.Query) bool { return q.Name == completenessName })...)
	}
	found := runAll(ctx, session, all, opt, atOnce(index, opt.From, opt.To))
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("run the sections: %w", err)
	}
	completeness := Section{Err: fmt.Errorf("there is no query completeness")}
	for i, query := range all {
		if query.Name == completenessName {
			completeness = found[i]
		}
	}
	for _, query := range wanted {
		report.Sections = append(report.Sections, found[slices.IndexFunc(all, func(q analytics.Query) bool { return q.Name == query.Name })])
	}
	report.judge(completeness, session.Broken())
	if opt.JudgedKnown && !report.Empty {
		report.judged(opt.Judged, opt.Now)
	}
	for _, problem := range problems {
		report.Statements = append(report.Statements, Statement{Bad, fmt.Sprintf("A section is left out: %v.", problem)})
	}
	return report, nil
}

// sections gives the report's queries in order, and what was wrong with others.
func sections(dir string) ([]analytics.Query, []error) {
	out, problems := analytics.Load(dir, analytics.Report)
	place := func(q analytics.Query) int {
		if i := slices.Index(order[:], q.Name); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(out, func(a, b analytics.Query) int {
		if d := place(a) - place(b); d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out, problems
}

func choose(queries []analytics.Query, problems []error, opt Options) ([]analytics.Query, error) {
	if len(opt.Sections) == 0 {
		return slices.DeleteFunc(slices.Clone(queries), func(q analytics.Query) bool { return opt.Brief && slices.Contains(long[:], q.Name) }), nil
	}
	var out []analytics.Query
	for _, name := range opt.Sections {
		i := slices.IndexFunc(queries, func(q analytics.Query) bool { return q.Name == name })
		if i < 0 {
			unknown := &UnknownSectionError{Name: name}
			for _, problem := range problems {
				if strings.Contains(problem.Error(), name+".sql") {
					return nil, fmt.Errorf("section %q: %w", name, problem)
				}
			}
			for _, query := range queries {
				unknown.Known = append(unknown.Known, query.Name)
			}
			return nil, unknown
		}
		if !slices.ContainsFunc(out, func(q analytics.Query) bool { return q.Name == name }) {
			out = append(out, queries[i])
		}
	}
	return out, nil
}

// busyTrades is the number of rows in the window up to which two sections run at a time: while one is planned, or sorts a few rows on one thread, the
// other keeps the processors busy. Of more rows each section by itself keeps them busy, and two only compete for memory: of 20 million both together took a quarter
// longer than one after the other, of two million as long (BenchmarkReport).
const busyTrades = 2_000_000

// atOnce is how many sections run at a time.
func atOnce(index *tape.Index, from, to time.Time) int {
	rows := int64(0)
	index.Touching(from, to, func(_ string, run tape.IDRun) bool {
		if run.FirstAt.Before(to) && !run.LastAt.Before(from) {
			rows += run.Last - run.First + 1
		}
		return false
	})
	if rows > busyTrades {
		return 1
	}
	return 2
}

// runAll runs sections, so many at a time, and gives them in the same order.
func runAll(ctx context.Context, session *analytics.Session, queries []analytics.Query, opt Options, workers int) []Section {
	out := make([]Section, len(queries))
	next := make(chan int, len(queries))
	for i := range queries {
		next <- i
	}
	close(next)
	var running sync.WaitGroup
	for range min(workers, len(queries)) {
		running.Go(func() {
			for i := range next {
				if ctx.Err() == nil {
					out[i] = run(ctx, session, queries[i], opt)
				}
			}
		})
	}
	running.Wait()
	return out
}

// run runs one section and keeps the rows of the symbols that were asked for.
func run(ctx context.Context, session *analytics.Session, query analytics.Query, opt Options) Section {
	args := map[string]any{}
	for _, param := range query.Params {
		switch param.Name {
		case "window_start":
			args[param.Name] = opt.From
		case "window_end":
			args[param.Name] = opt.To
		case "symbols":
			if param.Type == "VARCHAR" {
				args[param.Name] = strings.Join(opt.Symbols, ",")
			}
		case "step_seconds":
			args[param.Name] = int64(step(opt.To.Sub(opt.From)) / time.Second)
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
	result.Rows = ofSymbols(result, opt.Symbols)
	return Section{Query: query, Result: result}
}

func ofSymbols(result analytics.Result, symbols []string) [][]any {
	column := slices.IndexFunc(result.Columns, func(c analytics.Column) bool { return c.Name == "symbol" })
	if len(symbols) == 0 || column < 0 {
		return result.Rows
	}
	var out [][]any
	for _, row := range result.Rows {
		if symbol, ok := row[column].(string); ok && slices.Contains(symbols, symbol) {
			out = append(out, row)
		}
	}
	return out
}

// steps are the lengths of a slice that a chart is drawn in.
var steps = [...]time.Duration{
	time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 4 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour,
}

// candleStep is the step of the section candles, which may have been set.
func candleStep(opt Options) time.Duration {
	if set, ok := opt.Params["candles"]["step_seconds"]; ok {
		if seconds, err := strconv.ParseInt(fmt.Sprint(set), 10, 64); err == nil && seconds > 0 {
			return time.Duration(seconds) * time.Second
		}
	}
	return step(opt.To.Sub(opt.From))
}

// step gives the shortest slice of which at most 100 make up the window.
func step(window time.Duration) time.Duration {
	for _, step := range steps {
		if window <= 100*step {
			return step
		}
	}
	return steps[len(steps)-1]
}
