package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
	"tapedeck/internal/wording"
)

const completenessName = "completeness"

// symbolState is one row of the section completeness.
type symbolState struct {
	symbol, verdict             string
	rows, missing, absent, gaps int64
	firstMissing, lastMissing   int64
	missingFrom, missingUntil   time.Time
	since, until                time.Time
}

// describeCompleteness sets Empty, Complete and Missing, and adds the statements that explain them.
func (r *Report) describeCompleteness(section Section, broken []tape.BrokenSegment) {
	for i, segment := range broken {
		if i == 3 && len(broken) > 4 {
			r.addStatement(Bad, "%d more segments cannot be read.", len(broken)-i)
			break
		}
		r.addStatement(Bad, "A segment cannot be read and is left out: %s: %v.", segment.Path, segment.Err)
	}
	if section.Err != nil {
		r.addStatement(Bad, "Completeness is unknown: %v.", section.Err)
		return
	}
	states, ok := readStates(section.Result)
	if !ok {
		r.addStatement(Bad, "Completeness is unknown: %s does not return the columns of the built-in query.",
			section.Query.Path)
		return
	}
	r.describeStates(states, len(broken) == 0)
}

func (r *Report) describeStates(states []symbolState, allReadable bool) {
	byVerdict := map[string][]symbolState{}
	var rows int64
	for _, state := range states {
		byVerdict[state.verdict] = append(byVerdict[state.verdict], state)
		rows += state.rows
	}
	r.Empty = rows == 0
	r.describeMissing(byVerdict["missing"])
	var unknown []string
	for _, symbol := range r.Symbols {
		if !slices.ContainsFunc(states, func(s symbolState) bool { return s.symbol == symbol }) {
			unknown = append(unknown, symbol)
		}
	}
	if len(unknown) > 0 {
		r.addStatement(Bad, "Not on the tape at all: %s.", wording.List(unknown, listedNames))
	}
	if r.Empty {
		r.describeEmpty(states)
	}
	late := byVerdict["begins late"]
	for _, state := range byVerdict["missing"] {
		if state.since.Sub(r.Window.Start) > time.Minute && state.since.Before(r.Window.End) {
			late = append(late, state)
		}
	}
	slices.SortStableFunc(late, func(a, b symbolState) int { return strings.Compare(a.symbol, b.symbol) })
	r.addPerSymbol(late, Fair, "is recorded only from", "are recorded only from after the window's start",
		func(s symbolState) string {
			return fmt.Sprintf("%s, %s after the window's start", formatTime(s.since),
				formatDuration(s.since.Sub(r.Window.Start)))
		})
	r.addPerSymbol(byVerdict["ends early"], Fair, "is recorded only until",
		"are recorded only until before the window's end", func(s symbolState) string {
			return fmt.Sprintf("%s, %s before the window's end", formatTime(s.until),
				formatDuration(r.Window.End.Sub(s.until)))
		})
	if !r.Empty {
		r.addPerSymbol(byVerdict["not recorded"], Fair, "is not recorded in this window; the tape has it",
			"are not recorded in this window", func(s symbolState) string {
				return fmt.Sprintf("from %s to %s", formatTime(s.since), formatTime(s.until))
			})
	}
	r.addPerSymbol(byVerdict["absent"], Note, "lacks", "lack ids that the exchange does not have either",
		func(s symbolState) string {
			return fmt.Sprintf("%s that the exchange does not have either", wording.Count(s.absent, "id"))
		})
	whole := append(slices.Clone(byVerdict["complete"]), byVerdict["absent"]...)
	if quiet := byVerdict["no trades"]; len(quiet) > 0 && !r.Empty {
		r.addStatement(Note, "No trades, as the ids prove: %s.", wording.List(symbolNames(quiet), listedNames))
		whole = append(whole, quiet...)
	}
	r.Complete = allReadable && len(unknown) == 0 && len(whole) == len(states) && len(states) > 0
	switch {
	case len(byVerdict["missing"]) > 0 || r.Empty:
	case r.Complete:
		since := slices.MaxFunc(states, bySince).since
		r.addStatement(Good, "Complete: every id of %s in this window is on the tape, recorded since %s.",
			summarizeSymbols(states), formatTime(since))
	case len(byVerdict["begins late"])+len(byVerdict["ends early"])+len(byVerdict["complete"]) > 0:
		r.addStatement(Good, "No id is missing between the first and the last trade of %s.", summarizeSymbols(states))
	}
}

// describeMissing sets Missing and names the missing ids, the symbols with the most first.
func (r *Report) describeMissing(states []symbolState) {
	slices.SortStableFunc(states, func(a, b symbolState) int { return cmp.Compare(b.missing, a.missing) })
	for _, state := range states {
		r.Missing += state.missing - state.absent
	}
	for i, state := range states {
		if i == 5 && len(states) > 6 {
			rest := states[i:]
			var ids int64
			for _, other := range rest {
				ids += other.missing
			}
			r.addStatement(Bad, "Missing: %s more of %s.", wording.Count(ids, "id"),
				wording.List(symbolNames(rest), listedNames))
			break
		}
		text := fmt.Sprintf("Missing: %s of %s (%d to %d)", wording.Count(state.missing, "id"), state.symbol,
			state.firstMissing, state.lastMissing)
		switch {
		case state.missing == 1:
			text = fmt.Sprintf("Missing: id %d of %s", state.firstMissing, state.symbol)
		case state.gaps > 1:
			text = fmt.Sprintf("Missing: %s of %s in %d gaps (from %d to %d)",
				wording.Count(state.missing, "id"), state.symbol, state.gaps, state.firstMissing, state.lastMissing)
		}
		switch {
		case state.missingFrom.IsZero() || state.missingUntil.IsZero():
		case state.missingFrom.Equal(state.missingUntil):
			text += ", traded at " + formatMillis(state.missingFrom)
		default:
			text += fmt.Sprintf(", traded between %s and %s", formatMillis(state.missingFrom),
				formatMillis(state.missingUntil))
		}
		r.addStatement(Bad, "%s.", text)
	}
	if len(states) > 0 {
		r.addStatement(Bad, "The numbers below leave them out. `tapedeck backfill --from %s --to %s` fetches those that the exchange still has.",
			r.Window.Start.Format(time.RFC3339), r.Window.End.Format(time.RFC3339))
	}
}

func (r *Report) describeEmpty(states []symbolState) {
	switch {
	case len(states) == 0 && len(r.Symbols) == 0:
		r.addStatement(Fair, "No trades in this window: the tape is empty.")
	case len(states) == 0:
		r.addStatement(Fair, "No trades in this window.")
	default:
		since := slices.MinFunc(states, bySince).since
		until := slices.MaxFunc(states, func(a, b symbolState) int { return a.until.Compare(b.until) }).until
		r.addStatement(Fair, "No trades in this window: the tape has %s from %s to %s.",
			summarizeSymbols(states), formatTime(since), formatTime(until))
	}
}

// maxDetectionLag is how far detectors may be behind before a report mentions it. They run every
// minute and wait until the trades of a minute are flushed.
const maxDetectionLag = 15 * time.Minute

// describeDetection adds a statement if detectors have not judged the window up to its end, because
// then the absence of alerts proves nothing.
func (r *Report) describeDetection(judged []window.Window, now time.Time) {
	end := r.Window.End
	if now.Before(end) {
		end = now
	}
	var until time.Time
	for _, w := range judged {
		if w.Start.Before(end) && w.End.After(r.Window.Start) {
			until = w.End
		}
	}
	switch {
	case until.IsZero():
		r.addStatement(Fair, "No detector has judged this window, so an empty list of alerts proves nothing. `tapedeck detect` runs the detectors.")
	case end.Sub(until) > maxDetectionLag:
		r.addStatement(Fair, "Detectors have judged this window only until %s, %s before its end.",
			formatTime(until), formatDuration(end.Sub(until)))
	}
}

// addPerSymbol adds one sentence for each of up to three symbols, or a single sentence about more.
func (r *Report) addPerSymbol(states []symbolState, level Level, one, many string, details func(symbolState) string) {
	if len(states) > 3 {
		r.addStatement(level, "%d symbols %s: %s.", len(states), many, wording.List(symbolNames(states), listedNames))
		return
	}
	for _, state := range states {
		r.addStatement(level, "%s %s %s.", state.symbol, one, details(state))
	}
}

// addStatement inserts a statement after those of its level, so that the worst come first.
func (r *Report) addStatement(level Level, format string, args ...any) {
	i := slices.IndexFunc(r.Statements, func(s Statement) bool { return s.Level.rank() > level.rank() })
	if i < 0 {
		i = len(r.Statements)
	}
	r.Statements = slices.Insert(r.Statements, i, Statement{level, fmt.Sprintf(format, args...)})
}

func (l Level) rank() int { return slices.Index(levels[:], l) }

func bySince(a, b symbolState) int { return a.since.Compare(b.since) }

func symbolNames(states []symbolState) []string {
	out := make([]string, len(states))
	for i, state := range states {
		out[i] = state.symbol
	}
	return out
}

// summarizeSymbols names up to two symbols, or counts them.
func summarizeSymbols(states []symbolState) string {
	if len(states) <= 2 {
		return strings.Join(symbolNames(states), " and ")
	}
	return fmt.Sprintf("all %d symbols", len(states))
}

// readStates reads the rows of the section completeness. It returns false if a column is missing.
func readStates(result analytics.Result) (out []symbolState, ok bool) {
	if columnIndices(result, "symbol", "verdict", "rows", "missing", "absent", "gaps", "first_missing_id",
		"last_missing_id", "missing_from", "missing_until", "recorded_since", "recorded_until") == nil {
		return nil, false
	}
	for _, row := range result.Rows {
		number := func(name string) int64 { return field[int64](result, row, name) }
		instant := func(name string) time.Time { return field[time.Time](result, row, name) }
		out = append(out, symbolState{
			symbol: field[string](result, row, "symbol"), verdict: field[string](result, row, "verdict"),
			rows: number("rows"), missing: number("missing"), absent: number("absent"), gaps: number("gaps"),
			firstMissing: number("first_missing_id"), lastMissing: number("last_missing_id"),
			missingFrom: instant("missing_from"), missingUntil: instant("missing_until"),
			since: instant("recorded_since"), until: instant("recorded_until"),
		})
	}
	return out, true
}
