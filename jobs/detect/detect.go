// Package detect runs the detectors over the tape and publishes what they find as alerts.
//
// Its one guarantee: what is judged does not depend on how the time is cut into runs. A run over a day, sixty runs of a
// minute and a run repeated raise the same alerts; a minute is judged once all of it is on the tape, and a symbol waits where
// ids are missing that may still come.
package detect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
)

// Options say what to judge; the zero value is all detectors over what is new since the last run.
type Options struct {
	// From and To are a half-open window, of which the whole minutes are judged, whatever was judged before; both or neither.
	From, To time.Time
	// Detectors names those to run; empty is all.
	Detectors []string
	// DryRun writes nothing: no alerts, and nothing about what was judged.
	DryRun bool
	// QueriesDir has more queries, "" for none.
	QueriesDir string
	// Thresholds are values for the parameters of detectors, by detector and parameter.
	Thresholds map[string]map[string]any
	// SymbolThresholds are the same for some symbols only, by detector, symbol and parameter. They go over Thresholds. A symbol may be a
	// pattern like *BTC, with * and ?; one that is named beats a pattern, and of patterns the longest counts.
	SymbolThresholds map[string]map[string]map[string]any
	// Now is the time of the run. Nothing traded at or after it is used.
	Now time.Time
	// RunID is written into the alerts.
	RunID string
	// Timeout bounds each query; 0 is DefaultTimeout.
	Timeout time.Duration
	// Threads and MemoryLimit are the session's.
	Threads     int
	MemoryLimit string
	Logger      *slog.Logger
}

// DefaultTimeout bounds a detector's query over at most a day.
const DefaultTimeout = 5 * time.Minute

// Summary is what a run did.
type Summary struct {
	// From and To hull what was judged; both zero where nothing was new.
	From, To time.Time
	// Detectors that ran to the end, sorted.
	Detectors []string
	// Symbols that were judged over some time, and symbols OnTape.
	Symbols, OnTape int
	// Alerts are what the detectors found in what was judged, by time, symbol and detector. New are those among them that were
	// not on the tape before; with DryRun, that would be new.
	Alerts, New []tape.Alert
	Published   tape.Published
	// Incidents are what Alerts belong to, together with what is on the tape from the day before, by the time of their last alert.
	Incidents []analytics.Incident
	// Unjudged is what no detector with a baseline could say anything about, by symbol; it is neither alarm nor all-clear.
	Unjudged []Unjudged
	// Waiting are the symbols that were not judged to the end, by symbol.
	Waiting []Waiting
	// Broken are the segments that could not be read.
	Broken []tape.BrokenSegment
	// Problems are what is wrong with single detectors; the others ran.
	Problems []error
}

// Waiting is a symbol that is not judged from Since on, for ids are missing.
type Waiting struct {
	Symbol string
	Since  time.Time
	// Gap is the first hole.
	Gap    tape.Gap
	Reason string
}

// UsageError is an option that names what is not there.
type UsageError struct{ text string }

func (e *UsageError) Error() string { return e.text }

func usage(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// Run judges what Options say. An error means that nothing more could be done; what was published until then stays, and is not
// judged again. What only one detector cannot do is a problem in the summary.
func Run(ctx context.Context, dir *tape.Dir, opt Options) (Summary, error) {
	var summary Summary
	opt = opt.withDefaults()
	if opt.From.IsZero() != opt.To.IsZero() {
		return summary, usage("a window has a start and an end")
	}
	queries, problems, err := choose(opt)
	summary.Problems = problems
	if err != nil {
		return summary, err
	}
	index := dir.Index()
	if err := index.Refresh(ctx); err != nil {
		return summary, fmt.Errorf("see what is on the tape: %w", err)
	}
	summary.Broken = index.Broken()
	r := &run{opt: opt, dir: dir, index: index, queries: queries, summary: &summary}
	if err := r.plan(ctx); err != nil {
		return summary, err
	}
	for _, chunk := range r.chunks() {
		if err := r.judge(ctx, chunk); err != nil {
			return summary, fmt.Errorf("judge the time from %s to %s: %w", clock(chunk.start), clock(chunk.end), err)
		}
	}
	r.finish()
	if err := r.look(); err != nil {
		return summary, err
	}
	if err := r.incidents(ctx); err != nil {
		return summary, err
	}
	return summary, nil
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	return o
}

// choose loads the detectors and holds names and thresholds to them.
func choose(opt Options) (chosen []analytics.Query, problems []error, err error) {
	loaded, problems := analytics.Load(opt.QueriesDir, analytics.Detect)
	var all []string
	for _, query := range loaded {
		all = append(all, query.Name)
		if len(opt.Detectors) == 0 || slices.Contains(opt.Detectors, query.Name) {
			chosen = append(chosen, query)
		}
	}
	for _, name := range opt.Detectors {
		if !slices.Contains(all, name) {
			for _, problem := range problems {
				if strings.Contains(problem.Error(), name+".sql") {
					return nil, problems, problem
				}
			}
			return nil, problems, usage("there is no detector %q; there are %s", name, strings.Join(all, ", "))
		}
	}
	for name, values := range opt.Thresholds {
		if err := checkThresholds(loaded, all, name, values); err != nil {
			return nil, problems, err
		}
	}
	for name, symbols := range opt.SymbolThresholds {
		for pattern, values := range symbols {
			if _, err := path.Match(pattern, ""); err != nil {
				return nil, problems, usage("thresholds of %s: %q is not a symbol or a pattern", name, pattern)
			}
			if err := checkThresholds(loaded, all, name, values); err != nil {
				return nil, problems, err
			}
		}
	}
	return chosen, problems, nil
}

// checkThresholds holds values to a detector's parameters.
func checkThresholds(loaded []analytics.Query, all []string, name string, values map[string]any) error {
	i := slices.IndexFunc(loaded, func(q analytics.Query) bool { return q.Name == name })
	if i < 0 {
		return usage("thresholds for a detector %q, which is not there; there are %s", name, strings.Join(all, ", "))
	}
	for _, param := range slices.Sorted(maps.Keys(values)) {
		if param == "window_start" || param == "window_end" {
			return usage("%s of %s is not a threshold", param, name)
		}
		if err := loaded[i].CheckArgument(param, values[param]); err != nil {
			return usage("%v", err)
		}
	}
	return nil
}

// symbolValues gives the thresholds of one symbol, with a key that is the same for symbols with the same pattern; "" is those of all.
func (o Options) symbolValues(detector, symbol string) (key string, values map[string]any) {
	for pattern, of := range o.SymbolThresholds[detector] {
		if pattern == symbol {
			return pattern, of
		}
		if matches, err := path.Match(pattern, symbol); err == nil && matches && (len(pattern) > len(key) || len(pattern) == len(key) && pattern < key) {
			key, values = pattern, of
		}
	}
	return key, values
}

// run is one run under way.
type run struct {
	opt     Options
	dir     *tape.Dir
	index   *tape.Index
	queries []analytics.Query
	summary *Summary

	state   state
	windows map[string]map[string]window // by detector and symbol
	failed  map[string]bool              // detectors that had a problem with their query
	judged  map[string]bool              // symbols
}

// chunks cuts the time to judge at midnights: a chunk is what a query sees at once, which bounds its memory.
func (r *run) chunks() []window {
	var hull window
	for _, symbols := range r.windows {
		for _, w := range symbols {
			hull = hull.hull(w)
		}
	}
	var out []window
	for start := hull.start; start.Before(hull.end); {
		end := start.Truncate(24 * time.Hour).Add(24 * time.Hour)
		if end.After(hull.end) {
			end = hull.end
		}
		out = append(out, window{start, end})
		start = end
	}
	return out
}

// judge runs the detectors over one chunk, publishes what they find, and then writes down that it was judged.
func (r *run) judge(ctx context.Context, chunk window) error {
	type task struct {
		query analytics.Query
		over  window
	}
	var tasks []task
	var queries []analytics.Query
	for _, query := range r.queries {
		var over window
		for _, w := range r.windows[query.Name] {
			over = over.hull(w.cut(chunk))
		}
		if over.empty() || r.failed[query.Name] {
			continue
		}
		tasks = append(tasks, task{query, over})
		queries = append(queries, query)
	}
	if len(tasks) == 0 {
		return nil
	}
	options, ok := r.sessionOptions(queries, chunk)
	options.KeepMinutes = ok && !r.opt.DryRun
	session, err := analytics.Open(ctx, r.dir, options)
	var damaged tape.BrokenSegment
	if errors.As(err, &damaged) {
		r.summary.Broken = append(r.summary.Broken, damaged)
		return fmt.Errorf("a segment turned out to be damaged: %w", damaged)
	}
	if err != nil {
		return err
	}
	defer session.Close()
	known := len(session.Broken())
	var alerts []tape.Alert
	var done []analytics.Query
	results := make([]answer, len(tasks))
	var group errgroup.Group
	group.SetLimit(queriesAtOnce)
	for i, task := range tasks {
		group.Go(func() error {
			results[i].rows, results[i].err = r.query(ctx, session, task.query, task.over)
			return nil // what one cannot do is no reason for the others to stop
		})
	}
	_ = group.Wait()
	for i, task := range tasks {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		rows, err := results[i].rows, results[i].err
		if analytics.OutOfMemory(err) { // perhaps not by its own fault: alone it has all there is
			rows, err = r.query(ctx, session, task.query, task.over)
		}
		if broken := session.Broken(); len(broken) > known {
			// The rows in it are missing and no gap says so: nothing may be judged on what is left.
			r.summary.Broken = broken
			return fmt.Errorf("a segment turned out to be damaged: %w", broken[len(broken)-1])
		}
		if err != nil {
			r.failed[task.query.Name] = true
			r.summary.Problems = append(r.summary.Problems, err)
			continue
		}
		done = append(done, task.query)
		for _, row := range rows {
			if r.windows[task.query.Name][row.Symbol].cut(chunk).covers(row.At) {
				alerts = append(alerts, row)
			}
		}
	}
	slices.SortFunc(alerts, func(a, b tape.Alert) int {
		return cmp.Or(cmp.Compare(a.At, b.At), strings.Compare(a.Symbol, b.Symbol), strings.Compare(a.Detector, b.Detector))
	})
	if err := r.publish(ctx, alerts, chunk); err != nil {
		return err
	}
	return r.remember(done, chunk)
}

// answer is what one detector gave.
type answer struct {
	rows []tape.Alert
	err  error
}

// queriesAtOnce is how many detectors run at once: much of a short query is its planning, which is one thread's.
const queriesAtOnce = 2

// sessionOptions are of a session for some detectors over a window: it reads as far back as they do. It has minutes if one of them reads those.
func (r *run) sessionOptions(queries []analytics.Query, over window) (options analytics.Options, hasMinutes bool) {
	var trades, minutes time.Duration
	tables := []tape.Table{tape.Trades}
	for _, query := range queries {
		trades = max(trades, warmUp(query)+query.LookBack("window_start", "trades", "alerts"))
		if slices.ContainsFunc(query.Reads, func(read analytics.Read) bool { return read.Relation == "minutes" }) {
			minutes, hasMinutes = max(minutes, warmUp(query)+query.LookBack("window_start", "minutes")), true
		}
	}
	for _, query := range queries {
		for _, read := range query.Reads {
			switch read.Relation {
			case "alerts", "incidents":
				tables = append(tables, tape.Alerts)
			case "runs", "coverage":
				tables = append(tables, tape.Table(read.Relation))
			}
		}
	}
	options = analytics.Options{
		Tables: tables, Threads: r.opt.Threads, MemoryLimit: r.opt.MemoryLimit, Index: r.index, Now: r.opt.Now, Logger: r.opt.Logger,
		From: over.start.Add(-trades), To: over.end,
	}
	if hasMinutes {
		options.MinutesFrom = over.start.Add(-minutes)
	}
	return options, hasMinutes
}

// query runs one detector and gives the rows that begin an event, from the chunk and its warm-up. Where symbols have thresholds of their own it
// runs once more for each set of them, and of each run only the rows of its symbols count.
func (r *run) query(ctx context.Context, session *analytics.Session, query analytics.Query, over window) ([]tape.Alert, error) {
	out, err := r.queryWith(ctx, session, query, over, "", nil)
	for _, pattern := range slices.Sorted(maps.Keys(r.opt.SymbolThresholds[query.Name])) {
		if err != nil {
			return nil, err
		}
		var more []tape.Alert
		more, err = r.queryWith(ctx, session, query, over, pattern, r.opt.SymbolThresholds[query.Name][pattern])
		out = append(out, more...)
	}
	return out, err
}

func (r *run) queryWith(ctx context.Context, session *analytics.Session, query analytics.Query, over window, pattern string, values map[string]any) ([]tape.Alert, error) {
	ctx, cancel := context.WithTimeout(ctx, r.opt.Timeout)
	defer cancel()
	args := map[string]any{}
	maps.Copy(args, r.opt.Thresholds[query.Name])
	maps.Copy(args, values)
	read := window{over.start.Add(-warmUp(query)), over.end}
	args["window_start"], args["window_end"] = read.start, read.end
	began := time.Now()
	result, err := session.Run(ctx, query, args)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("%s took longer than %v and was ended", query.Path, r.opt.Timeout)
	}
	if err != nil {
		return nil, err
	}
	r.opt.Logger.Debug("detector ran", "detector", query.Name, "window_start", over.start, "window_end", over.end,
		"rows", len(result.Rows), "elapsed_ms", time.Since(began).Milliseconds())
	rows, err := alertsOf(query, result, read, r.opt)
	if err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(row tape.Alert) bool {
		of, _ := r.opt.symbolValues(query.Name, row.Symbol)
		return of != pattern
	})
	return firstOfEach(rows, query.Cooldown), nil
}

// warmUp is the time before a window whose rows must be known to tell which rows in it begin an event.
func warmUp(query analytics.Query) time.Duration {
	return (query.Cooldown + time.Minute - 1).Truncate(time.Minute)
}

func (r *run) publish(ctx context.Context, alerts []tape.Alert, chunk window) error {
	r.summary.Alerts = append(r.summary.Alerts, alerts...)
	if len(alerts) == 0 {
		return nil
	}
	there, err := r.dir.ReadAlerts(chunk.start.Format(time.DateOnly), chunk.end.Format(time.DateOnly))
	if err != nil {
		return fmt.Errorf("read the alerts: %w", err)
	}
	type identity struct {
		detector, symbol string
		at               int64
	}
	seen := map[identity]bool{}
	for _, alert := range there {
		seen[identity{alert.Detector, alert.Symbol, alert.At}] = true
	}
	var fresh []tape.Alert
	for _, alert := range alerts {
		if !seen[identity{alert.Detector, alert.Symbol, alert.At}] {
			fresh = append(fresh, alert)
		}
	}
	r.summary.New = append(r.summary.New, fresh...)
	if r.opt.DryRun || len(fresh) == 0 {
		return nil
	}
	published, err := r.dir.PublishAlerts(ctx, slices.Clone(fresh))
	if err != nil {
		return fmt.Errorf("publish the alerts: %w", err)
	}
	r.summary.Published.Rows += published.Rows
	r.summary.Published.Dropped += published.Dropped
	r.summary.Published.Bytes += published.Bytes
	r.summary.Published.Segments = append(r.summary.Published.Segments, published.Segments...)
	return nil
}

// incidents says which incidents the alerts belong to.
func (r *run) incidents(ctx context.Context) error {
	if len(r.summary.Alerts) == 0 {
		return nil
	}
	alerts, err := r.dir.ReadAlerts(r.summary.From.Add(-24*time.Hour).Format(time.DateOnly), r.summary.To.Format(time.DateOnly))
	if err != nil {
		return fmt.Errorf("read the alerts: %w", err)
	}
	// What came after the window says nothing about it.
	alerts = slices.DeleteFunc(alerts, func(a tape.Alert) bool { return a.At > r.summary.To.UnixMicro() })
	if r.opt.DryRun {
		alerts = append(alerts, r.summary.New...)
	}
	all, err := analytics.Incidents(ctx, alerts, len(r.index.Symbols()))
	if err != nil {
		return err
	}
	for _, incident := range all {
		if incident.LastAt.After(r.summary.From) {
			r.summary.Incidents = append(r.summary.Incidents, incident)
		}
	}
	return nil
}

func (r *run) finish() {
	r.unjudged()
	for _, query := range r.queries {
		if !r.failed[query.Name] {
			r.summary.Detectors = append(r.summary.Detectors, query.Name)
		}
	}
	slices.Sort(r.summary.Detectors)
	r.summary.Symbols, r.summary.OnTape = len(r.judged), len(r.index.Symbols())
	r.opt.Logger.Info("detectors ran", "window_start", r.summary.From, "window_end", r.summary.To, "detectors", len(r.summary.Detectors),
		"symbols", r.summary.Symbols, "alerts", len(r.summary.Alerts), "new", len(r.summary.New), "unjudged_symbols", len(r.summary.Unjudged), "waiting", len(r.summary.Waiting),
		"problems", len(r.summary.Problems))
}

func clock(at time.Time) string { return at.UTC().Format(time.RFC3339) }
