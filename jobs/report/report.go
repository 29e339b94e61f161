// Package report builds the report of a time window from the SQL sections in sql/report and writes
// it as a terminal table, Markdown, JSON, CSV, HTML or an Excel workbook.
//
// It guarantees that a report starts with how complete its data are, and that every format shows
// the values that the SQL returned. Numbers are rounded only where people read them (table,
// Markdown, HTML, chat messages), never in JSON or CSV; workbook cells keep the 15 digits that
// Excel keeps. [JSON] and [CSV] describe their formats; docs/SQL.md describes the sections.
package report

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/progress"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
	"tapedeck/internal/wording"
)

// Options select what a report covers. Window is required.
type Options struct {
	Window  window.Window
	Symbols []string // empty: all symbols on the tape

	// Sections are the names of the sections to build, in this order. If it is empty, all sections
	// are built; with Brief, only those that fit a terminal.
	Sections []string
	Brief    bool

	QueriesDir string                    // directory with the user's own queries; "" for none
	Params     map[string]map[string]any // parameter values by section, except for the window

	detectors  []string // the detectors that exist; set by Build
	unreadable int      // segments of the window before that cannot be read; set by Build

	Now         time.Time // when the report is made
	Latest      time.Time // the latest time that a clock shows; zero if no trade is to count as one of the future
	Threads     int
	MemoryLimit string
	Logger      *slog.Logger
	// Progress shows the sections that are done; nil means nothing is shown.
	Progress progress.Display
}

// Report is a report that has been built.
type Report struct {
	Window  window.Window
	MadeAt  time.Time
	Feed    tape.Feed
	Symbols []string // the symbols asked for; empty: all

	// Empty reports whether the tape holds no trades in the window.
	Empty bool
	// Complete reports whether the tape is proven to hold all trades of the window: no id is missing,
	// has two contents or was dropped, the record of every symbol is known from the window's start to
	// its end, and every segment can be read.
	Complete bool
	// Known is up to where the record of each symbol is known, by symbol.
	Known []Known
	// Missing counts the ids that are not on the tape and that the exchange may still have.
	Missing int64
	// Broken are the segments that are left out because they cannot be read or are stray.
	Broken []tape.BrokenSegment
	// Judged is how much of the window the detectors have judged.
	Judged Judged
	// Statements describe how complete the data are, worst first. There is at least one.
	Statements []Statement

	// Changes are the differences from the report sent earlier for the same window. Only a
	// correction has any.
	Changes []Change

	// Unread counts files among the user's queries that are not read.
	Unread int

	Sections []Section

	candleStep time.Duration
	hourlyStep int64          // hours of a row of hourly
	decimals   map[string]int // of prices, by symbol; nil until they are needed
	// leavesOutNames is set if rows are left out because no symbol can have their name.
	leavesOutNames bool
	// future are the symbols with trades of the future; see describeFuture.
	future map[string]bool
}

// Statement is a sentence about the data. A command in it stands between backquotes.
type Statement struct {
	Level Level
	Text  string
}

// Level classifies a statement or a value.
type Level string

const (
	Bad  Level = "bad"  // data are missing
	Fair Level = "fair" // the window is only partly covered
	Good Level = "good"
	Note Level = "note"
)

var levels = [...]Level{Bad, Fair, Good, Note} // worst first

// Section is one query and its result. If Err is set, there is no result.
type Section struct {
	Query  analytics.Query
	Result analytics.Result
	Err    error
}

// Partial reports whether the report lacks something: its data are not complete, or a section
// failed.
func (r *Report) Partial() bool {
	return !r.Complete || slices.ContainsFunc(r.Sections, func(s Section) bool { return s.Err != nil }) ||
		slices.ContainsFunc(r.Statements, func(s Statement) bool { return s.Level == Bad })
}

// Section returns the section with that name, or nil.
func (r *Report) Section(name string) *Section {
	for i := range r.Sections {
		if r.Sections[i].Query.Name == name {
			return &r.Sections[i]
		}
	}
	return nil
}

// result returns the result of a section. It is empty, and ok is false, if there is no such section
// or if it failed.
func (r *Report) result(name string) (result analytics.Result, ok bool) {
	if section := r.Section(name); section != nil && section.Err == nil {
		return section.Result, true
	}
	return result, false
}

// hides reports whether a section is left out unless it is asked for, because it says nothing: there
// are no conflicts, no window before that could be compared, or the detectors have judged everything or
// nothing.
func (r *Report) hides(section Section) bool {
	switch {
	case section.Err != nil:
		return false
	case section.Query.Name == conflictsName:
		return len(section.Result.Rows) == 0
	case section.Query.Name == comparedName:
		return !isCompared(section.Result)
	case section.Query.Name == judgedName:
		return r.Judged.Whole() || r.Judged.Detectors == 0
	}
	return false
}

// Build runs the sections over the tape. A section that fails keeps its error in the report, and
// the other sections still run. Build returns an error if there is no report at all: the window or
// a section's name is invalid, the tape cannot be read, or ctx is done.
func Build(ctx context.Context, dir *tape.Dir, opt Options) (*Report, error) {
	opt.Window.Start, opt.Window.End = opt.Window.Start.UTC(), opt.Window.End.UTC()
	if !opt.Window.Start.Before(opt.Window.End) {
		return nil, fmt.Errorf("the window's end %s is not after its start %s", opt.Window.End.Format(time.RFC3339),
			opt.Window.Start.Format(time.RFC3339))
	}
	if opt.Progress == nil {
		opt.Progress = progress.None{}
	}
	queries, problems := loadSections(opt.QueriesDir)
	chosen, err := chooseSections(queries, problems, opt)
	if err != nil {
		return nil, err
	}
	index := dir.Index()
	if err := index.Refresh(ctx); err != nil {
		return nil, fmt.Errorf("read the tape's index: %w", err)
	}
	summaries, summaryProblems := analytics.Load(opt.QueriesDir, analytics.Summary)
	problems = append(problems, summaryProblems...)
	session, err := analytics.Open(ctx, dir, analytics.Options{
		Threads: opt.Threads, MemoryLimit: opt.MemoryLimit, From: opt.Window.Start, To: opt.Window.End,
		Symbols: opt.Symbols, Index: index, Logger: opt.Logger,
		Summaries: summaries, Stored: storedSummaries(chosen, summaries), Progress: opt.Progress,
	})
	if err != nil {
		return nil, err
	}
	defer session.Close()

	// These are needed whether or not they are shown.
	needed := [...]string{completenessName, conflictsName, judgedName}
	isNeeded := func(q analytics.Query) bool { return slices.Contains(needed[:], q.Name) }
	toRun := slices.DeleteFunc(slices.Clone(queries), func(q analytics.Query) bool { return !isNeeded(q) })
	toRun = append(toRun, slices.DeleteFunc(slices.Clone(chosen), isNeeded)...)
	compared := takeCompared(&toRun, index, opt)
	opt.detectors = detectorNames(opt.QueriesDir)
	results := runSections(ctx, session, toRun, opt, parallelSections(index, opt.Window))
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("run the sections: %w", err)
	}
	if compared != nil {
		if results[comparedName], err = runCompared(ctx, dir, session, *compared, opt, index, summaries); err != nil {
			return nil, err
		}
	}
	report := &Report{Window: opt.Window, MadeAt: opt.Now.UTC(),
		Feed: dir.Feed(), Symbols: opt.Symbols, candleStep: candleStep(opt), hourlyStep: hourlyStep(opt)}
	result := func(name string) Section {
		if section, ok := results[name]; ok {
			return section
		}
		return Section{Err: fmt.Errorf("there is no query %s", name)}
	}
	report.describeNotSymbols(session.NotSymbols())
	if !opt.Latest.IsZero() {
		report.describeFuture(index, opt.Latest)
	}
	report.describeCompleteness(result(completenessName), result(conflictsName), session.Broken())
	report.describeSteps(chosen)
	report.describeJudged(result(judgedName), len(opt.detectors))
	for _, query := range chosen {
		section := results[query.Name]
		if len(opt.Sections) == 0 && report.hides(section) {
			continue
		}
		report.Sections = append(report.Sections, section)
	}
	for _, problem := range problems {
		what := "Section left out"
		var file *analytics.FileError
		if errors.As(problem, &file) && file.Kind != analytics.Report {
			what = "A file among your queries is not read"
		}
		report.Unread++
		report.addStatement(Bad, "%s: %s.", what, strings.Join(wording.Errors(problem), "; "))
	}
	return report, nil
}
