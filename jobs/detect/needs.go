package detect

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/state"
	"tapedeck/internal/window"
)

// judgeable works out which minutes of a window the detectors can judge. It repeats in Go what their SQL
// does, as the needs: lines of their headers state it; TestJudgedIsWhatTheSQLJudges compares both.
type judgeable struct {
	run     *run
	window  window.Window
	records map[string]*record // by symbol
}

// record is what is recorded of a symbol.
type record struct {
	from time.Time       // first whole minute
	gaps []window.Window // minutes with missing ids, as from window.Merge
	// lost are the same by the reason why they are not judged.
	lost map[string][]window.Window
	// pricedAt is the first minute with a trade at or after a time at which a gap, or the first minute
	// of the record, ends.
	pricedAt map[time.Time]time.Time
	silences []silence
}

// silence is a minute with a trade, and the last one before it with a trade or missing ids; zero if that
// is too long ago for the detector to see.
type silence struct{ ended, before time.Time }

// judgeable reads what the needs of the detectors depend on from the open session, which covers w.
func (r *run) judgeable(ctx context.Context, queries []analytics.Query, w window.Window) (*judgeable, error) {
	j := &judgeable{run: r, window: w, records: map[string]*record{}}
	for symbol, bounds := range r.index.AllBounds() {
		record := &record{from: bounds.FirstAt.UTC().Truncate(time.Minute).Add(time.Minute), pricedAt: map[time.Time]time.Time{}, lost: map[string][]window.Window{}}
		for _, gap := range r.index.Gaps(symbol) {
			minutes, reason := window.Minutes(gap.After, gap.Before), r.gapReason(gap)
			record.gaps, record.lost[reason] = append(record.gaps, minutes), append(record.lost[reason], minutes)
		}
		record.gaps = window.Merge(record.gaps)
		for reason, minutes := range record.lost {
			record.lost[reason] = window.Merge(minutes)
		}
		j.records[symbol] = record
	}
	if err := j.readPrices(ctx, queries); err != nil {
		return nil, err
	}
	for _, query := range queries {
		if query.Needs.End == analytics.BeforeSilence {
			if err := j.readSilences(ctx, query); err != nil {
				return nil, err
			}
		}
	}
	return j, nil
}

// recordBreak is minutes that are not recorded, and why what needs them is not judged.
type recordBreak struct {
	window.Window
	reason string
}

// breaks returns the minutes that are not recorded: the gaps, and the minute in which the record begins.
func (r *record) breaks() []recordBreak {
	out := []recordBreak{{window.Window{Start: r.from.Add(-time.Minute), End: r.from}, state.ReasonHistory}}
	for reason, gaps := range r.lost {
		for _, gap := range gaps {
			out = append(out, recordBreak{gap, reason})
		}
	}
	return out
}

// gapReasons are the reasons of gaps. Where several apply, the first counts.
var gapReasons = [...]string{state.ReasonWaiting, state.ReasonDropped, state.ReasonGap}

// priceLookBack is how far before a window a gap can matter to the price that a minute is compared with.
const priceLookBack = 25 * time.Hour

// readPrices finds the first trade after each break that can matter.
func (j *judgeable) readPrices(ctx context.Context, queries []analytics.Query) error {
	steps := map[time.Duration]bool{}
	for _, query := range queries {
		if query.Needs.Price > 0 {
			steps[query.Needs.Step] = true
		}
	}
	around := window.Window{Start: j.window.Start.Add(-priceLookBack), End: j.window.End}
	var values []string
	for symbol, record := range j.records {
		for _, gap := range record.breaks() {
			for step := range steps {
				if end := ceil(gap.End, step); end.After(around.Start) && end.Before(around.End) {
					values = append(values, fmt.Sprintf("(%s, %s)", analytics.Quote(symbol), analytics.Timestamp(end)))
				}
			}
		}
	}
	if len(values) == 0 {
		return nil
	}
	slices.Sort(values)
	result, err := j.run.session.SQL(ctx, fmt.Sprintf(`
SELECT symbol, ended_at, min(minute) AS priced_at
FROM (VALUES %s) AS breaks(symbol, ended_at)
JOIN minutes USING (symbol)
WHERE minute >= ended_at AND close IS NOT NULL AND minute >= %s AND minute < %s
GROUP BY symbol, ended_at`, strings.Join(slices.Compact(values), ", "), analytics.Timestamp(around.Start), analytics.Timestamp(around.End)))
	if err != nil {
		return fmt.Errorf("find the trades after gaps: %w", err)
	}
	for _, row := range result.Rows {
		j.records[row[0].(string)].pricedAt[row[1].(time.Time)] = row[2].(time.Time)
	}
	return nil
}

// readSilences finds the silences that leave too little history before them although enough is recorded
// before the minute in which they end.
func (j *judgeable) readSilences(ctx context.Context, query analytics.Query) error {
	var values []string
	for symbol, w := range j.run.windows[query.Name] {
		w = w.Intersect(j.window)
		record := j.records[symbol]
		if w.IsEmpty() || record == nil {
			continue
		}
		// What is certainly recorded before each minute of the window, less what is required.
		least := window.Window{Start: latest(w.End.Add(-query.Needs.Length), record.from), End: w.Start}
		spare := recordedMinutes(record.gaps, least) - int64(j.required(query, symbol))
		values = append(values, fmt.Sprintf("(%s, %s, %d)", analytics.Quote(symbol), analytics.Timestamp(w.Start), max(spare, 1)))
	}
	if len(values) == 0 {
		return nil
	}
	slices.Sort(values)
	start := j.window.Start.Add(-query.LookBack("minutes"))
	result, err := j.run.session.SQL(ctx, fmt.Sprintf(`
WITH judged(symbol, start_at, spare) AS (VALUES %s),
last_minutes AS (
    SELECT symbol, max(minute) AS minute FROM minutes WHERE minute >= %s AND minute < %s GROUP BY symbol
    UNION ALL
    SELECT symbol, minute FROM minutes WHERE minute >= %[3]s AND minute < %s
),
neighbours AS (
    SELECT symbol, minute, lag(minute) OVER (PARTITION BY symbol ORDER BY minute) AS minute_before FROM last_minutes
)
SELECT symbol, minute, minute_before
FROM neighbours
JOIN judged USING (symbol)
WHERE minute >= start_at AND coalesce(date_diff('minute', minute_before, minute) > spare, true)`,
		strings.Join(values, ", "), analytics.Timestamp(start), analytics.Timestamp(j.window.Start), analytics.Timestamp(j.window.End)))
	if err != nil {
		return fmt.Errorf("find silences: %w", err)
	}
	for _, row := range result.Rows {
		record := j.records[row[0].(string)]
		before, _ := row[2].(time.Time)
		record.silences = append(record.silences, silence{row[1].(time.Time), before})
	}
	return nil
}

// required returns how many minutes, or steps, of the time before a detector requires of a symbol.
func (j *judgeable) required(query analytics.Query, symbol string) float64 {
	history := query.Needs.History
	value, err := strconv.ParseFloat(history.Required, 64)
	if err != nil {
		param, _ := query.Param(history.Required)
		opt := j.run.opt
		value = toFloat(opt.Thresholds[query.Name][param.Name], toFloat(param.Default, 0))
		value = toFloat(opt.SymbolThresholds[query.Name][opt.symbolPattern(query.Name, symbol)][param.Name], value)
	}
	return max(1, value*float64(history.Times)/history.Step.Minutes())
}

// spans returns what a detector can judge of a symbol in w, and what not and why. They cover w.
func (j *judgeable) spans(query analytics.Query, symbol string, w window.Window) []state.JudgedSpan {
	lost := map[string][]window.Window{}
	known := j.run.knownUntil(query, symbol).Truncate(time.Minute)
	for _, leg := range j.run.legsOf(query, symbol) {
		if record := j.records[leg]; record != nil {
			record.addBreaks(query.Needs, lost)
			j.addShortHistory(query, leg, record, w, lost)
		}
	}
	history := window.Merge(lost[state.ReasonHistory])
	var out []state.JudgedSpan
	var gaps []window.Window
	for _, reason := range gapReasons {
		for _, gap := range window.Merge(lost[reason]) {
			for _, part := range gap.Intersect(w).Subtract(gaps) {
				out = append(out, state.JudgedSpan{Start: part.Start, End: part.End, Reason: reason})
			}
		}
		gaps = window.Merge(append(gaps, lost[reason]...))
	}
	for _, part := range w.Subtract(gaps) {
		for _, judged := range part.Subtract(history) {
			if proven := judged.Intersect(window.Window{Start: w.Start, End: known}); !proven.IsEmpty() {
				out = append(out, state.JudgedSpan{Start: proven.Start, End: proven.End})
			}
			if open := judged.Intersect(window.Window{Start: known, End: w.End}); !open.IsEmpty() {
				out = append(out, state.JudgedSpan{Start: open.Start, End: open.End, Reason: state.ReasonUnknown})
			}
		}
		for _, short := range history {
			if short = short.Intersect(part); !short.IsEmpty() {
				out = append(out, state.JudgedSpan{Start: short.Start, End: short.End, Reason: state.ReasonHistory})
			}
		}
	}
	slices.SortFunc(out, func(a, b state.JudgedSpan) int { return a.Start.Compare(b.Start) })
	return out
}

// addBreaks adds the minutes that cannot be judged because a gap, or the beginning of the record, is in
// the time that must be whole, or between the minute and the price that it is compared with.
func (r *record) addBreaks(needs *analytics.Needs, lost map[string][]window.Window) {
	for _, gap := range r.breaks() {
		start, end := gap.Start.Truncate(needs.Step), ceil(gap.End, needs.Step)
		unjudged := window.Window{Start: start, End: end.Add(needs.Whole - needs.Step)}
		if needs.Price > 0 {
			priced, ok := r.pricedAt[end]
			if !ok {
				priced = end.Add(priceLookBack) // by then, no minute is compared with a price from before the gap
			}
			unjudged.End = latest(unjudged.End, priced.Truncate(needs.Step).Add(needs.Price))
		}
		lost[gap.reason] = append(lost[gap.reason], unjudged)
	}
}

// addShortHistory adds the minutes of w before which too little is recorded.
func (j *judgeable) addShortHistory(query analytics.Query, symbol string, record *record, w window.Window, lost map[string][]window.Window) {
	isLost := func(start, end time.Time) {
		lost[state.ReasonHistory] = append(lost[state.ReasonHistory], window.Window{Start: start, End: end})
	}
	needs := query.Needs
	if needs.Length == 0 || w.IsEmpty() {
		return
	}
	required := j.required(query, symbol)
	isShort := func(before window.Window) bool {
		return float64(record.count(before, needs.History.Step)) < required
	}
	lead := needs.Whole - needs.Step // from the start of the time that must be whole to the minute
	first := w.Start.Truncate(needs.Step).Add(-lead)
	if needs.End == analytics.BeforeHour {
		for hour := first.Truncate(time.Hour); hour.Add(lead).Before(w.End); hour = hour.Add(time.Hour) {
			if isShort(window.Window{Start: hour.Add(-needs.Length), End: hour}) {
				isLost(hour.Add(lead), hour.Add(lead+time.Hour))
			}
		}
		return
	}
	if all := (window.Window{Start: first.Add(-needs.Length), End: w.End}); !record.isWhole(all) {
		for minute := w.Start; minute.Before(w.End); minute = minute.Add(time.Minute) {
			end := minute.Truncate(needs.Step).Add(-lead)
			if isShort(window.Window{Start: end.Add(-needs.Length), End: end}) {
				isLost(minute, minute.Add(time.Minute))
			}
		}
	}
	if needs.End != analytics.BeforeSilence {
		return
	}
	for _, silence := range record.silences {
		if isShort(window.Window{Start: silence.ended.Add(-needs.Length), End: silence.before.Add(time.Minute)}) {
			isLost(silence.ended, silence.ended.Add(time.Minute))
		}
	}
}

// isWhole reports whether all of w is recorded.
func (r *record) isWhole(w window.Window) bool {
	return !w.Start.Before(r.from) && !slices.ContainsFunc(r.gaps, w.Overlaps)
}

// count returns how many minutes, or steps of the clock, in w are recorded.
func (r *record) count(w window.Window, step time.Duration) int64 {
	w.Start = latest(w.Start, r.from)
	if w.IsEmpty() {
		return 0
	}
	var lost []window.Window
	for _, gap := range r.gaps {
		lost = append(lost, window.Window{Start: gap.Start.Truncate(step), End: ceil(gap.End, step)})
	}
	// A step that begins before the record is not counted in either term.
	first := window.Window{Start: ceil(w.Start, step), End: w.End}
	count := int64(w.Duration() / step)
	for _, part := range window.Merge(lost) {
		count -= int64(part.Intersect(first).Duration() / step)
	}
	return count
}

// knownUntil returns up to when nothing can be missing after the last trades of what a detector reads to
// judge a symbol.
func (r *run) knownUntil(query analytics.Query, symbol string) (until time.Time) {
	for i, leg := range r.legsOf(query, symbol) {
		if known, _ := r.index.Known(leg); i == 0 || known.Until.Before(until) {
			until = known.Until.UTC()
		}
	}
	return until
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// ceil rounds up to a step of the clock.
func ceil(at time.Time, step time.Duration) time.Time {
	return at.Add(step - 1).Truncate(step)
}

// minutesIn counts the minutes of windows that are in w.
func minutesIn(windows []window.Window, w window.Window) (minutes int64) {
	for _, part := range windows {
		minutes += int64(part.Intersect(w).Duration() / time.Minute)
	}
	return minutes
}

// recordedMinutes counts the minutes of w without a gap.
func recordedMinutes(gaps []window.Window, w window.Window) int64 {
	return int64(w.Duration()/time.Minute) - minutesIn(gaps, w)
}
