package detect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// concurrentQueries is how many detectors run at the same time. A large part of a short query is its
// planning, which uses one thread.
const concurrentQueries = 2

// concurrentShort is how many detectors run at the same time over a short window, if there are so many processors.
const concurrentShort = 4

// shortWindow is up to which length of the judged window each query has one thread, unless the options say
// otherwise. It is about planning then, and further threads only wait for each other: with two of them, twelve
// detectors took 1.6 times the processor time for one minute of 16 symbols.
const shortWindow = 10 * time.Minute

// isSummary reports whether a relation is a summary.
func (r *run) isSummary(name string) bool {
	return slices.ContainsFunc(r.summaries, func(q analytics.Query) bool { return q.Name == name })
}

// task is one detector and the window that it judges.
type task struct {
	query  analytics.Query
	window window.Window
}

// tasks returns what there is to judge on one day.
func (r *run) tasks(day window.Window) (tasks []task) {
	for _, query := range r.queries {
		var all window.Window
		for _, w := range r.windows[query.Name] {
			all = all.Hull(w.Intersect(day))
		}
		if !all.IsEmpty() && !r.failed[query.Name] {
			tasks = append(tasks, task{query, all})
		}
	}
	return tasks
}

// judge runs the detectors over one day, publishes their alerts and then records what was judged and the
// progress. The
// session stays open until the next one.
func (r *run) judge(ctx context.Context, day window.Window) error {
	tasks := r.tasks(day)
	if len(tasks) == 0 { // all detectors failed
		outcomes, err := r.outcomesOf(ctx, nil, day)
		if err != nil {
			return err
		}
		return r.recordJudged(outcomes)
	}
	if err := r.openSession(ctx, tasks, day); err != nil {
		return err
	}
	alerts, done, err := r.runDetectors(ctx, tasks, day)
	if err != nil {
		return err
	}
	slices.SortFunc(alerts, func(a, b tape.Alert) int {
		return cmp.Or(cmp.Compare(a.At, b.At), strings.Compare(a.Symbol, b.Symbol), strings.Compare(a.Detector, b.Detector))
	})
	outcomes, err := r.outcomesOf(ctx, done, day)
	if err != nil {
		return err
	}
	// In this order: a kill must not leave a claim without its alerts.
	if err := r.publish(ctx, alerts, day); err != nil {
		return err
	}
	if err := r.recordJudged(outcomes); err != nil {
		return err
	}
	return r.recordProgress(done, day)
}

func (r *run) openSession(ctx context.Context, tasks []task, day window.Window) error {
	r.closeSession()
	queries := make([]analytics.Query, len(tasks))
	for i, task := range tasks {
		queries[i] = task.query
	}
	options := r.sessionOptions(queries, day)
	options.CacheMinutes = !options.MinutesFrom.IsZero() && !r.opt.DryRun
	var err error
	r.session, err = analytics.Open(ctx, r.dir, options)
	var damaged tape.BrokenSegment
	if errors.As(err, &damaged) {
		r.summary.Broken = append(r.summary.Broken, damaged)
		return fmt.Errorf("a segment is damaged: %w", damaged)
	}
	return err
}

// runDetectors runs the tasks in the open session. It returns the alerts in the windows to judge and the
// detectors that did not fail.
func (r *run) runDetectors(ctx context.Context, tasks []task, day window.Window) (
	alerts []tape.Alert, done []analytics.Query, err error) {
	known := len(r.session.Broken())
	rows, errs := make([][]tape.Alert, len(tasks)), make([]error, len(tasks))
	var group errgroup.Group
	limit := concurrentQueries
	if day.Duration() <= shortWindow {
		limit = max(limit, min(runtime.GOMAXPROCS(0), concurrentShort))
	}
	group.SetLimit(limit)
	for i, task := range tasks {
		group.Go(func() error {
			rows[i], errs[i] = r.query(ctx, r.session, task.query, task.window)
			r.opt.Progress.Set("detectors", r.ran.Add(1))
			return nil // the other detectors continue
		})
	}
	_ = group.Wait()
	for i, task := range tasks {
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if analytics.IsOutOfMemory(errs[i]) { // another detector may have used the memory
			rows[i], errs[i] = r.query(ctx, r.session, task.query, task.window)
		}
		if broken := r.session.Broken(); len(broken) > known {
			// Its rows are missing without a gap in the ids, so nothing may be judged without them.
			r.summary.Broken = broken
			return nil, nil, fmt.Errorf("a segment is damaged: %w", broken[len(broken)-1])
		}
		if errs[i] != nil {
			r.fail(task.query, errs[i])
			continue
		}
		done = append(done, task.query)
		for _, row := range rows[i] {
			if raisedIn(r.windows[task.query.Name][row.Symbol].Intersect(day), row.At) {
				alerts = append(alerts, row)
			}
		}
	}
	return alerts, done, nil
}

// raisedIn reports whether an alert at an instant, in microseconds, belongs to w. A bucket ends after the
// start of its window and at the latest at its end.
func raisedIn(w window.Window, at int64) bool {
	return !w.IsEmpty() && at > w.Start.UnixMicro() && at <= w.End.UnixMicro()
}

// sessionOptions returns the options of a session in which the detectors can judge w, with the look-back
// that they need.
func (r *run) sessionOptions(queries []analytics.Query, w window.Window) analytics.Options {
	var trades, minutes time.Duration
	tables, summaries, readMinutes := []tape.Table{tape.Trades}, []string{}, false
	for _, query := range queries {
		trades = max(trades, warmUp(query)+query.LookBack("trades", "alerts"))
		for _, read := range query.Reads {
			switch read.Relation {
			case "minutes":
				minutes, readMinutes = max(minutes, warmUp(query)+query.LookBack("minutes")), true
			case "alerts", "incidents":
				tables = append(tables, tape.Alerts)
			case "runs", "coverage":
				tables = append(tables, tape.Table(read.Relation))
			default:
				if r.isSummary(read.Relation) {
					summaries = append(summaries, read.Relation)
					trades = max(trades, warmUp(query)+query.LookBack(read.Relation))
				}
			}
		}
	}
	options := analytics.Options{
		Tables: tables, Threads: r.opt.Threads, MemoryLimit: r.opt.MemoryLimit, Index: r.index, Logger: r.opt.Logger,
		From: w.Start.Add(-trades), To: w.End, Summaries: r.summaries, Stored: summaries,
	}
	if options.Threads == 0 && w.Duration() <= shortWindow {
		options.Threads = 1
	}
	if len(summaries) == 0 {
		options.Summaries = []analytics.Query{}
	}
	if readMinutes {
		options.MinutesFrom = w.Start.Add(-minutes)
	}
	return options
}

// warmUp is how long before a window the rows of a detector must be known, to tell which rows in the
// window begin an event.
func warmUp(query analytics.Query) time.Duration {
	return (query.Cooldown + time.Minute - 1).Truncate(time.Minute)
}

// query runs a detector and returns the alerts that begin or end an event, in w and its warm-up. The
// detector runs once more for each set of SymbolThresholds; of each run, only the rows of the symbols
// with those thresholds count.
func (r *run) query(ctx context.Context, session *analytics.Session, query analytics.Query, w window.Window) ([]tape.Alert, error) {
	var out []tape.Alert
	for _, pattern := range append([]string{""}, slices.Sorted(maps.Keys(r.opt.SymbolThresholds[query.Name]))...) {
		rows, err := r.queryPattern(ctx, session, query, w, pattern)
		if err != nil {
			return nil, err
		}
		out = append(out, rows...)
	}
	return out, nil
}

func (r *run) queryPattern(ctx context.Context, session *analytics.Session, query analytics.Query, w window.Window,
	pattern string) ([]tape.Alert, error) {
	ctx, cancel := context.WithTimeout(ctx, r.opt.Timeout)
	defer cancel()
	args := map[string]any{}
	maps.Copy(args, r.opt.Thresholds[query.Name])
	maps.Copy(args, r.opt.SymbolThresholds[query.Name][pattern])
	read := window.Window{Start: w.Start.Add(-warmUp(query)), End: w.End}
	args["window_start"], args["window_end"] = read.Start, read.End
	began := time.Now()
	result, err := session.Run(ctx, query, args)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("%s took longer than %v and was stopped", query.Path, r.opt.Timeout)
	}
	if err != nil {
		return nil, err
	}
	r.opt.Logger.Debug("detector ran", "detector", query.Name, "window_start", w.Start, "window_end", w.End,
		"rows", len(result.Rows), "elapsed_ms", time.Since(began).Milliseconds())
	rows, err := toAlerts(query, result, read, r.opt)
	if err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(row tape.Alert) bool { return r.opt.symbolPattern(query.Name, row.Symbol) != pattern })
	return dropRepeats(rows, query.Cooldown), nil
}

// publish adds the alerts of one day to the summary, and publishes those that are not on the tape.
func (r *run) publish(ctx context.Context, alerts []tape.Alert, day window.Window) error {
	r.summary.Alerts = append(r.summary.Alerts, alerts...)
	if len(alerts) == 0 {
		return nil
	}
	known, err := r.alerts.read(day.Start, day.End)
	if err != nil {
		return err
	}
	onTape := map[alertKey]bool{}
	for _, alert := range known {
		onTape[keyOf(alert)] = true
	}
	var added []tape.Alert
	for _, alert := range alerts {
		if !onTape[keyOf(alert)] {
			added = append(added, alert)
		}
	}
	r.summary.New = append(r.summary.New, added...)
	r.alerts.add(added)
	if r.opt.DryRun || len(added) == 0 {
		return nil
	}
	published, err := r.dir.PublishAlerts(ctx, slices.Clone(added))
	if err != nil {
		return fmt.Errorf("publish the alerts: %w", err)
	}
	total := &r.summary.Published
	total.Rows += published.Rows
	total.Dropped += published.Dropped
	total.Bytes += published.Bytes
	total.Segments = append(total.Segments, published.Segments...)
	return nil
}
