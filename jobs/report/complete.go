package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
)

const completenessName = "completeness"

// symbolState is a row of the section completeness.
type symbolState struct {
	symbol, verdict             string
	rows, missing, absent, gaps int64
	firstMissing, lastMissing   int64
	missingFrom, missingUntil   time.Time
	since, until                time.Time
}

// judge makes the statements that stand at the top.
func (r *Report) judge(section Section, broken []tape.BrokenSegment) {
	for i, segment := range broken {
		if i == 3 && len(broken) > 4 {
			r.say(Bad, "%d more segments cannot be read.", len(broken)-i)
			break
		}
		r.say(Bad, "A segment of the tape cannot be read and is left out: %s: %v.", segment.Path, segment.Err)
	}
	if section.Err != nil {
		r.say(Bad, "How complete the data are could not be found out: %v.", section.Err)
		return
	}
	states, ok := readStates(section.Result)
	if !ok {
		r.say(Bad, "How complete the data are could not be found out: %s does not have the columns of the built-in query.", section.Query.Path)
		return
	}
	r.judgeStates(states, len(broken) == 0)
}

func (r *Report) judgeStates(states []symbolState, readable bool) {
	by := map[string][]symbolState{}
	var rows int64
	for _, state := range states {
		by[state.verdict] = append(by[state.verdict], state)
		rows += state.rows
	}
	r.Empty = rows == 0
	r.missing(by["missing"])
	var unknown []string
	for _, symbol := range r.Symbols {
		if !slices.ContainsFunc(states, func(s symbolState) bool { return s.symbol == symbol }) {
			unknown = append(unknown, symbol)
		}
	}
	if len(unknown) > 0 {
		r.say(Bad, "Not on the tape at all: %s.", listed(unknown))
	}
	if r.Empty {
		r.empty(states)
	}
	late := by["begins late"]
	for _, state := range by["missing"] {
		if state.since.Sub(r.Window.Start) > time.Minute && state.since.Before(r.Window.End) {
			late = append(late, state)
		}
	}
	slices.SortStableFunc(late, func(a, b symbolState) int { return strings.Compare(a.symbol, b.symbol) })
	r.each(late, Fair, "is recorded only since", "are recorded only since after the window began", func(s symbolState) string {
		return fmt.Sprintf("%s, %s after the window began", moment(s.since), length(s.since.Sub(r.Window.Start)))
	})
	r.each(by["ends early"], Fair, "is recorded only until", "have nothing on the tape until the window's end", func(s symbolState) string {
		return fmt.Sprintf("%s, %s before the window ended", moment(s.until), length(r.Window.End.Sub(s.until)))
	})
	if !r.Empty {
		r.each(by["not recorded"], Fair, "is not recorded in this window; the tape has it", "are not recorded in this window", func(s symbolState) string {
			return fmt.Sprintf("from %s to %s", moment(s.since), moment(s.until))
		})
	}
	r.each(by["absent"], Note, "lacks", "lack ids that the exchange itself does not have", func(s symbolState) string {
		return fmt.Sprintf("%s that the exchange itself does not have", count(s.absent, "id"))
	})
	whole := append(slices.Clone(by["complete"]), by["absent"]...)
	if quiet := by["no trades"]; len(quiet) > 0 && !r.Empty {
		r.say(Note, "Did not trade, as the ids prove: %s.", listed(names(quiet)))
		whole = append(whole, quiet...)
	}
	r.Complete = readable && len(unknown) == 0 && len(whole) == len(states) && len(states) > 0
	switch {
	case len(by["missing"]) > 0 || r.Empty:
	case r.Complete:
		r.say(Good, "Complete: every id of %s in this window is on the tape, recorded since %s.", of(states), moment(latestSince(states)))
	case len(by["begins late"])+len(by["ends early"])+len(by["complete"]) > 0:
		r.say(Good, "No id is missing between the first and the last trade of %s.", of(states))
	}
	r.sortStatements()
}

// unjudgedMost is how far detectors may be behind before a report says so: they run each minute, and wait for the trades of a minute to be flushed.
const unjudgedMost = 15 * time.Minute

// judged says if detectors have not looked at the window, or not up to its end: that there are no alerts would mean nothing then.
func (r *Report) judged(looked []Window, now time.Time) {
	end := r.Window.End
	if now.Before(end) {
		end = now
	}
	var until time.Time
	for _, l := range looked {
		if l.Start.Before(end) && l.End.After(r.Window.Start) {
			until = l.End
		}
	}
	switch {
	case until.IsZero():
		r.say(Fair, "No detector has looked at this window, so that it has no alerts says nothing: tapedeck detect looks.")
	case end.Sub(until) > unjudgedMost:
		r.say(Fair, "Detectors have looked at this window only until %s, %s before its end.", moment(until), length(end.Sub(until)))
	}
	r.sortStatements()
}

// sortStatements puts the worst first.
func (r *Report) sortStatements() {
	slices.SortStableFunc(r.Statements, func(a, b Statement) int { return cmp.Compare(rank(a.Mood), rank(b.Mood)) })
}

func rank(mood Mood) int { return slices.Index([]Mood{Bad, Fair, Good, Note}, mood) }

// missing says which ids are missing, the most first.
func (r *Report) missing(states []symbolState) {
	slices.SortStableFunc(states, func(a, b symbolState) int { return cmp.Compare(b.missing, a.missing) })
	for i, state := range states {
		r.Missing += state.missing - state.absent
		if i == 5 && len(states) > 6 {
			rest := states[i:]
			var ids int64
			for _, other := range rest {
				ids += other.missing
			}
			for _, other := range rest[1:] {
				r.Missing += other.missing - other.absent
			}
			r.say(Bad, "Missing: %s more of %s.", count(ids, "id"), listed(names(rest)))
			break
		}
		text := fmt.Sprintf("Missing: %s of %s (%d to %d)", count(state.missing, "id"), state.symbol, state.firstMissing, state.lastMissing)
		switch {
		case state.missing == 1:
			text = fmt.Sprintf("Missing: id %d of %s", state.firstMissing, state.symbol)
		case state.gaps > 1:
			text = fmt.Sprintf("Missing: %s of %s in %d gaps (from %d to %d)", count(state.missing, "id"), state.symbol, state.gaps, state.firstMissing, state.lastMissing)
		}
		switch {
		case state.missingFrom.IsZero() || state.missingUntil.IsZero():
		case state.missingFrom.Equal(state.missingUntil):
			text += ", traded at " + precise(state.missingFrom)
		default:
			text += fmt.Sprintf(", traded between %s and %s", precise(state.missingFrom), precise(state.missingUntil))
		}
		r.say(Bad, "%s.", text)
	}
	if len(states) > 0 {
		r.say(Bad, "The numbers below leave them out; `tapedeck backfill --from %s --to %s` fetches what can be had.", r.Window.Start.Format(time.RFC3339), r.Window.End.Format(time.RFC3339))
	}
}

func (r *Report) empty(states []symbolState) {
	switch {
	case len(states) == 0 && len(r.Symbols) == 0:
		r.say(Fair, "No trades in this window: the tape is empty.")
	case len(states) == 0:
		r.say(Fair, "No trades in this window.")
	case len(states) == 1:
		r.say(Fair, "No trades in this window: the tape has %s from %s to %s.", states[0].symbol, moment(states[0].since), moment(states[0].until))
	default:
		since, until := states[0].since, states[0].until
		for _, state := range states {
			if state.since.Before(since) {
				since = state.since
			}
			if state.until.After(until) {
				until = state.until
			}
		}
		r.say(Fair, "No trades in this window: the tape has %s from %s to %s.", of(states), moment(since), moment(until))
	}
}

// each says something of one symbol, or of several in one sentence.
func (r *Report) each(states []symbolState, mood Mood, one, many string, what func(symbolState) string) {
	switch len(states) {
	case 0:
	case 1:
		r.say(mood, "%s %s %s.", states[0].symbol, one, what(states[0]))
	case 2, 3:
		for _, state := range states {
			r.say(mood, "%s %s %s.", state.symbol, one, what(state))
		}
	default:
		r.say(mood, "%d symbols %s: %s.", len(states), many, listed(names(states)))
	}
}

func (r *Report) say(mood Mood, format string, args ...any) {
	r.Statements = append(r.Statements, Statement{mood, fmt.Sprintf(format, args...)})
}

func names(states []symbolState) []string {
	out := make([]string, len(states))
	for i, state := range states {
		out[i] = state.symbol
	}
	return out
}

// listed joins names, and counts those after the tenth.
func listed(names []string) string {
	if len(names) > 11 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:10], ", "), len(names)-10)
	}
	return strings.Join(names, ", ")
}

func of(states []symbolState) string {
	switch len(states) {
	case 1:
		return states[0].symbol
	case 2:
		return states[0].symbol + " and " + states[1].symbol
	}
	return fmt.Sprintf("all %d symbols", len(states))
}

func latestSince(states []symbolState) time.Time {
	return slices.MaxFunc(states, func(a, b symbolState) int { return a.since.Compare(b.since) }).since
}

func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return grouped(fmt.Sprint(n)) + " " + noun + "s"
}

func moment(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05") }

// precise is moment with milliseconds.
func precise(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05.000") }

// length writes a duration with its two largest units.
func length(d time.Duration) string {
	d = d.Round(time.Second)
	units := []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}}
	var parts []string
	for _, unit := range units {
		if n := d / unit.of; n > 0 || len(parts) > 0 {
			if n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, unit.name))
			}
			d -= n * unit.of
			if len(parts) == 2 || n == 0 {
				break
			}
		}
	}
	if len(parts) == 0 {
		return "0 s"
	}
	return strings.Join(parts, " ")
}

func readStates(result analytics.Result) (out []symbolState, ok bool) {
	at := map[string]int{}
	for i, column := range result.Columns {
		at[column.Name] = i
	}
	for _, name := range [...]string{"symbol", "verdict", "rows", "missing", "absent", "gaps", "first_missing_id", "last_missing_id", "missing_from", "missing_until", "recorded_since", "recorded_until"} {
		if _, there := at[name]; !there {
			return nil, false
		}
	}
	for _, row := range result.Rows {
		text := func(name string) string { v, _ := row[at[name]].(string); return v }
		number := func(name string) int64 { v, _ := row[at[name]].(int64); return v }
		instant := func(name string) time.Time { v, _ := row[at[name]].(time.Time); return v }
		out = append(out, symbolState{
			symbol: text("symbol"), verdict: text("verdict"),
			rows: number("rows"), missing: number("missing"), absent: number("absent"), gaps: number("gaps"),
			firstMissing: number("first_missing_id"), lastMissing: number("last_missing_id"),
			missingFrom: instant("missing_from"), missingUntil: instant("missing_until"),
			since: instant("recorded_since"), until: instant("recorded_until"),
		})
	}
	return out, true
}
