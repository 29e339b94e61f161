// Package detect runs the detectors over the tape and publishes their alerts.
//
// Its one guarantee: the alerts do not depend on how time is divided into runs. One run over a day, sixty
// runs of a minute each and a repeated run raise the same alerts. A minute is judged once it is completely
// on the tape; a symbol waits while ids are missing that may still arrive. docs/SQL.md specifies detectors
// and docs/DETECTORS.md describes those that come with tapedeck.
package detect

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/idset"
	"tapedeck/internal/progress"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// Options say what to judge. The zero value means all detectors over what is new since the last run.
type Options struct {
	// From and To are a half-open window, both or neither. Its whole minutes are judged, whether they were
	// judged before or not.
	From, To time.Time
	// Detectors names the detectors to run; empty is all.
	Detectors []string
	// DryRun writes neither alerts nor state.
	DryRun bool
	// QueriesDir is a directory with more queries; "" is none.
	QueriesDir string
	// Thresholds are values of parameters, by detector and parameter.
	Thresholds map[string]map[string]any
	// SymbolThresholds override Thresholds for some symbols, by detector, symbol and parameter. A symbol
	// may be a pattern with * and ?. A name beats a pattern, and a longer pattern a shorter one.
	SymbolThresholds map[string]map[string]map[string]any
	// Now is the time of the run. Trades at or after it are not used.
	Now time.Time
	// RunID is written to the alerts.
	RunID string
	// Timeout limits each query; 0 is DefaultTimeout.
	Timeout time.Duration
	// Threads and MemoryLimit are those of analytics.Options.
	Threads     int
	MemoryLimit string
	Logger      *slog.Logger // nil discards
	// Progress shows how many detectors have run over how many days; nil shows nothing.
	Progress progress.Display
}

// DefaultTimeout limits the query of a detector over at most a day.
const DefaultTimeout = 5 * time.Minute

// Summary is the result of a run.
type Summary struct {
	// Judged is the smallest window that covers what was judged. It is empty if nothing was new.
	Judged window.Window
	// Detectors are those that did not fail, in alphabetical order.
	Detectors []string
	// Symbols is how many symbols were judged, and SymbolsOnTape how many there are.
	Symbols, SymbolsOnTape int
	// Alerts are the alerts in the judged minutes, by time, symbol and detector. New are those that were
	// not on the tape before, whether they were published or not.
	Alerts, New []tape.Alert
	Published   tape.Published
	// Incidents are those of Alerts and of alerts on the tape up to a day earlier, ordered by the time of
	// their last alert.
	Incidents []analytics.Incident
	// Recent is what notifications need; it is empty after a dry run.
	Recent Recent
	// Minutes are the minutes of all symbols that the run looked at, and whose record is known to reach
	// them. JudgedMinutes of those were judged by at least one detector, WholeMinutes by all.
	Minutes, JudgedMinutes, WholeMinutes int64
	// Unjudged is what at least one detector could not judge, by symbol. The relation judged has what
	// each of them judged.
	Unjudged []Unjudged
	// Waiting are the symbols that were not judged up to the end, in alphabetical order.
	Waiting []Waiting
	// Broken are the segments that cannot be read.
	Broken []tape.BrokenSegment
	// Problems are errors of single detectors; the other detectors ran.
	Problems []error
	// Unmatched describes thresholds for symbols that are not on the tape.
	Unmatched []string
}

// Waiting is a symbol that is not judged from Since on because ids are missing.
type Waiting struct {
	Symbol string
	Since  time.Time
	Gap    tape.Gap // the first one
	Reason string
}

// UsageError is returned for an option that is wrong.
type UsageError struct{ text string }

func (e *UsageError) Error() string { return e.text }

func usageError(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// Run judges what the options say. After an error, what was published until then stays and is not judged
// again. The failure of one detector is a problem in the summary and not an error.
func Run(ctx context.Context, dir *tape.Dir, opt Options) (Summary, error) {
	r, err := newRun(ctx, dir, opt)
	if err != nil {
		return *r.summary, err
	}
	defer r.closeSession()
	r.summary.Broken = r.index.Broken()
	if err := r.plan(ctx); err != nil {
		return *r.summary, err
	}
	if err := r.recordDefinitions(); err != nil {
		return *r.summary, err
	}
	total := 0
	for _, day := range r.summary.Judged.Days() {
		total += len(r.tasks(day))
	}
	r.opt.Progress.Begin("detect", int64(total))
	// A query reads at most one day, which bounds its memory.
	for _, day := range r.summary.Judged.Days() {
		if err := r.judge(ctx, day); err != nil {
			return *r.summary, fmt.Errorf("judge the time from %s to %s: %w", rfc3339(day.Start), rfc3339(day.End), err)
		}
	}
	if err := r.recordWaiting(); err != nil {
		return *r.summary, err
	}
	r.summarize()
	return *r.summary, r.groupIncidents(ctx)
}

// run is a run in progress.
type run struct {
	opt     Options
	dir     *tape.Dir
	index   *tape.Index
	queries []analytics.Query
	// summaries are those that queries can read; none if no query reads any.
	summaries []analytics.Query
	summary   *Summary
	alerts    alertCache
	session   *analytics.Session // the last one; nil before the first

	progress judgments
	// absent and dropped are the ids that the exchange lacks, and those that were dropped on purpose, by
	// symbol.
	absent, dropped map[string]idset.Set
	windows         map[string]map[string]window.Window   // to judge, by detector and symbol
	failed          map[string]bool                       // detectors whose query failed
	waiting         map[string]map[string]window.Window   // not judged because ids may still arrive, likewise
	judged          map[string]bool                       // symbols
	unjudged        map[string]map[string][]window.Window // by symbol and reason
	partners        map[string]map[string][]string        // of each symbol, by detector; see legsOf
	ran             atomic.Int64                          // detectors times days
}

// newRun checks the options, loads the detectors and reads the index. The run is never nil.
func newRun(ctx context.Context, dir *tape.Dir, opt Options) (*run, error) {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Progress == nil {
		opt.Progress = progress.None{}
	}
	opt.Timeout = cmp.Or(opt.Timeout, DefaultTimeout)
	r := &run{
		opt: opt, dir: dir, index: dir.Index(), summary: &Summary{}, alerts: alertCache{dir: dir, byDate: map[string][]tape.Alert{}},
		windows: map[string]map[string]window.Window{}, failed: map[string]bool{}, judged: map[string]bool{},
		waiting: map[string]map[string]window.Window{}, unjudged: map[string]map[string][]window.Window{}, partners: map[string]map[string][]string{},
	}
	if opt.From.IsZero() != opt.To.IsZero() {
		return r, usageError("a window needs both a start and an end")
	}
	var err error
	if r.queries, r.summary.Problems, err = selectDetectors(opt); err != nil {
		return r, err
	}
	r.loadSummaries()
	if err := r.index.Refresh(ctx); err != nil {
		return r, fmt.Errorf("read the index of the tape: %w", err)
	}
	r.summary.Unmatched = opt.unmatched(r.index.Symbols())
	if r.absent, err = dir.Absent(); err != nil {
		return r, fmt.Errorf("read which ids the exchange lacks: %w", err)
	}
	r.dropped = map[string]idset.Set{}
	for symbol, run := range r.index.AllDropped() {
		r.dropped[symbol] = append(r.dropped[symbol], run.Range)
	}
	return r, nil
}

// loadSummaries loads the summaries if a detector reads any.
func (r *run) loadSummaries() {
	if !slices.ContainsFunc(r.queries, analytics.Query.ReadsSummary) {
		return
	}
	var problems []error
	r.summaries, problems = analytics.Load(r.opt.QueriesDir, analytics.Summary)
	r.summary.Problems = append(r.summary.Problems, problems...)
}

func (r *run) closeSession() {
	if r.session != nil {
		r.session.Close()
		r.session = nil
	}
}

// summarize fills the counts of the summary and logs them.
func (r *run) summarize() {
	r.summarizeUnjudged()
	s := r.summary
	s.Detectors, s.Symbols, s.SymbolsOnTape = r.working(), len(r.judged), len(r.index.Symbols())
	r.opt.Logger.Info("detectors ran", "window_start", s.Judged.Start, "window_end", s.Judged.End, "detectors", len(s.Detectors),
		"symbols", s.Symbols, "alerts", len(s.Alerts), "new", len(s.New), "unjudged_symbols", len(s.Unjudged), "waiting", len(s.Waiting),
		"problems", len(s.Problems))
}

// fail records that a detector failed. It does not run again.
func (r *run) fail(query analytics.Query, err error) {
	r.failed[query.Name] = true
	r.summary.Problems = append(r.summary.Problems, err)
}

// working returns the names of the detectors that have not failed, in alphabetical order.
func (r *run) working() (names []string) {
	for _, query := range r.queries {
		if !r.failed[query.Name] {
			names = append(names, query.Name)
		}
	}
	slices.Sort(names)
	return names
}

func rfc3339(at time.Time) string { return at.UTC().Format(time.RFC3339) }
