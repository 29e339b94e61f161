package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/idset"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
)

// The sections from which every report learns how complete its data are.
const (
	completenessName = "completeness"
	conflictsName    = "conflicts"
)

// hourlyName is the section whose rows are longer than an hour in a wide window.
const hourlyName = "hourly"

// symbolState is one row of the section completeness.
type symbolState struct {
	symbol, verdict             string
	rows, missing, absent, gaps int64
	dropped, conflicts          int64
	recorded                    bool // false if everything of it was dropped
	firstMissing, lastMissing   int64
	missingFrom, missingUntil   time.Time
	known                       tape.Known
}

// Known is up to where a symbol's record is known, and how.
type Known struct {
	Symbol string
	tape.Known
	// Complete reports whether the tape holds all trades of this symbol in the window.
	Complete bool
}

// whole reports whether the tape holds all trades of the symbol in the window that the exchange has.
func (s symbolState) whole() bool {
	return slices.Contains([]string{"complete", "absent", "no trades"}, s.verdict)
}

// describeCompleteness sets Empty, Complete, Missing and Known, and adds the statements that explain
// them.
func (r *Report) describeCompleteness(section, conflicts Section, broken []tape.BrokenSegment) {
	for i, segment := range broken {
		if i == 3 && len(broken) > 4 {
			r.addStatement(Bad, "%d more files are left out.", len(broken)-i)
			break
		}
		if segment.IsStray() {
			r.addStatement(Bad, "A file of the tape does not belong where it is and is left out: %s: %v. %s.",
				segment.Path, segment.Err, segment.Cure())
			continue
		}
		r.addStatement(Bad, "A file of the tape cannot be read and is left out: %s: %v.", segment.Path, segment.Err)
	}
	r.Broken = broken
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
	r.describeConflicts(states, conflicts)
	r.describeStates(states, len(broken) == 0)
}

// futureSlack is how far after the present a window may end and count as past, because clocks differ.
const futureSlack = time.Minute

// describeNotSymbols adds a statement about rows that were left out because their symbol is none.
func (r *Report) describeNotSymbols(texts []string) {
	if len(texts) == 0 {
		return
	}
	r.leavesOutNames = true
	r.addStatement(Bad, "Rows of %s on the tape that no symbol can have are left out: %s. `tapedeck verify` says how to remove them.",
		wording.Count(len(texts), "name"), wording.List(symbol.QuoteAll(texts), listedNames))
}

// describeFuture adds a statement for each symbol whose trades of the future may be in the window, or prove
// something about it. now is the latest time that a clock shows.
func (r *Report) describeFuture(index *tape.Index, now time.Time) {
	r.future = map[string]bool{}
	for _, future := range index.Future(now) {
		if len(r.Symbols) > 0 && !slices.Contains(r.Symbols, future.Symbol) || !future.PastUntil.Before(r.Window.End) {
			continue
		}
		if r.future[future.Symbol] = true; len(r.future) <= listedNames {
			r.addStatement(Bad, "%v: it is %s. If this clock is right, `%s` removes them.", future, formatTime(now), future.Drop(now))
		}
	}
}

func (r *Report) describeStates(states []symbolState, allReadable bool) {
	recorded := statesWhere(states, func(s symbolState) bool { return s.recorded })
	var unknown []string
	for _, symbol := range r.Symbols {
		if !slices.ContainsFunc(states, func(s symbolState) bool { return s.symbol == symbol }) {
			unknown = append(unknown, symbol)
		}
	}
	r.Empty, r.Complete = true, allReadable && !r.leavesOutNames && len(unknown) == 0 && len(states) > 0
	for _, state := range states {
		r.Empty = r.Empty && state.rows == 0
		whole := state.whole() && !r.future[state.symbol]
		r.Complete = r.Complete && whole
		r.Missing = idset.Sum(r.Missing, max(0, state.missing-state.absent))
		if state.recorded {
			r.Known = append(r.Known, Known{state.symbol, state.known, allReadable && whole})
		}
	}
	verdict := func(names ...string) []symbolState {
		return statesWhere(states, func(s symbolState) bool { return slices.Contains(names, s.verdict) })
	}
	if r.Complete && r.Window.End.Sub(r.MadeAt) > futureSlack {
		// Whatever the tape has of the future, a wrong clock has put it there.
		r.Complete = false
		r.addStatement(Bad, "The window ends in the future, at %s: it is %s now (UTC).", formatTime(r.Window.End), formatTime(r.MadeAt))
	}
	r.describeMissing(verdict("missing"))
	if len(unknown) > 0 {
		r.addStatement(Bad, "Not on the tape at all: %s.", wording.List(unknown, listedNames))
	}
	if r.Empty && len(recorded) == len(states) {
		r.describeEmpty(states)
	}
	r.describeEnds(recorded)
	r.addPerSymbol(statesWhere(states, func(s symbolState) bool { return s.dropped > 0 }), Fair,
		"lacks", "lack ids that were dropped on purpose", func(s symbolState) string {
			return fmt.Sprintf("%s that were dropped on purpose", wording.Count(s.dropped, "id"))
		})
	absent := statesWhere(states, func(s symbolState) bool { return s.absent > 0 })
	r.addPerSymbol(absent, Note, "lacks", "lack ids that the exchange does not have either",
		func(s symbolState) string {
			return fmt.Sprintf("%s that the exchange does not have either", wording.Count(s.absent, "id"))
		})
	if quiet := verdict("no trades"); len(quiet) > 0 && !r.Empty {
		r.addStatement(Note, "No trades: %s.", wording.List(symbolNames(quiet), listedNames))
	}
	switch {
	case r.Complete && r.Empty:
	case r.Complete && len(absent) > 0:
		r.addStatement(Good, "Complete: every id of %s in this window that the exchange has is on the tape; %s.",
			summarizeSymbols(states), knownUntil(states))
	case r.Complete:
		r.addStatement(Good, "Complete: every id of %s in this window is on the tape; %s.", summarizeSymbols(states),
			knownUntil(states))
	case r.Missing == 0 && !r.Empty:
		r.addStatement(Note, "No id is missing in the part of the window that is known.")
	}
}

// describeEnds names the symbols whose record is not known at the window's start or end.
func (r *Report) describeEnds(states []symbolState) {
	outside := func(s symbolState) bool {
		return s.rows == 0 && (!s.known.Since.Before(r.Window.End) && !s.beginsWithDrop() || !s.known.Until.After(r.Window.Start))
	}
	cut := statesWhere(states, func(s symbolState) bool {
		return !outside(s) && s.beginsWithDrop() && s.known.Since.After(r.Window.Start)
	})
	r.addPerSymbol(cut, Fair, "begins", "begin after the window's start, because what was before was dropped on purpose",
		func(s symbolState) string {
			return formatTime(s.known.Since) + ", because what was before was dropped on purpose"
		})
	late := statesWhere(states, func(s symbolState) bool {
		return !outside(s) && !s.beginsWithDrop() && s.known.Since.After(r.Window.Start)
	})
	r.addPerSymbol(late, Fair, "is known only from",
		"are known only from after the window's start", func(s symbolState) string {
			return fmt.Sprintf("%s, by %s: %s after the window's start", formatTime(s.known.Since),
				evidence(s.known.SinceBy, "its first trade"), formatGap(s.known.Since.Sub(r.Window.Start)))
		})
	early := statesWhere(states, func(s symbolState) bool { return !outside(s) && s.known.Until.Before(r.Window.End) })
	r.addPerSymbol(early, Fair, "is known only until",
		"are known only until before the window's end", func(s symbolState) string {
			return fmt.Sprintf("%s, by %s: %s before the window's end", formatTime(s.known.Until),
				evidence(s.known.UntilBy, "its last trade"), formatGap(r.Window.End.Sub(s.known.Until)))
		})
	if r.Empty {
		return // describeEmpty names what the record covers
	}
	r.addPerSymbol(statesWhere(states, outside), Fair, "is not recorded in this window; its record is known",
		"are not recorded in this window", func(s symbolState) string {
			return fmt.Sprintf("from %s to %s, by %s", formatSince(s.known.Since), formatTime(s.known.Until),
				evidence(s.known.UntilBy, "its last trade"))
		})
}

// EndsUnknown reports whether the record of a symbol is not known at an end of the window, which the
// exchange's answer might change.
func (r *Report) EndsUnknown() bool {
	return slices.ContainsFunc(r.Known, func(k Known) bool {
		return k.Since.After(r.Window.Start) && k.SinceBy != tape.ByDrop || k.Until.Before(r.Window.End)
	})
}

// evidence names what proves an end of a symbol's record.
func evidence(by tape.Evidence, trade string) string {
	switch by {
	case tape.ByStream:
		return "the live stream"
	case tape.ByExchange:
		return "the exchange's answer"
	case tape.ByDrop:
		return "what a drop left"
	}
	return trade
}

// formatGap is formatDuration, except that a difference below a second does not look like none.
func formatGap(d time.Duration) string {
	if d > 0 && d < time.Second {
		return "less than 1 s"
	}
	return formatDuration(d)
}

// knownUntil says until when the records of all symbols are known, and how.
func knownUntil(states []symbolState) string {
	known := slices.MinFunc(states, byUntil).known
	return fmt.Sprintf("known until %s, by %s", formatTime(known.Until), evidence(known.UntilBy, "the last trade"))
}

// namedConflicts is how many conflicts are named one by one.
const namedConflicts = 3

// describeConflicts names ids that have two contents.
func (r *Report) describeConflicts(states []symbolState, conflicts Section) {
	var ids int64
	for _, state := range states {
		ids += state.conflicts
	}
	if ids == 0 {
		return
	}
	result := conflicts.Result
	needed := []string{"symbol", "id", "price", "qty", "traded_at", "source", "taker_side", "other_price", "other_qty",
		"other_traded_at", "other_source", "other_taker_side"}
	if conflicts.Err != nil || columnIndices(result, needed...) == nil {
		r.addStatement(Bad, "Conflicts: %s with two contents.", wording.Count(ids, "id"))
		return
	}
	content := func(row []any, prefix string) string {
		return fmt.Sprintf("%s × %s (taker side %s) at %s from %s",
			fixed(field[float64](result, row, prefix+"price"), -1), fixed(field[float64](result, row, prefix+"qty"), -1),
			field[string](result, row, prefix+"taker_side"), formatMillis(field[time.Time](result, row, prefix+"traded_at")),
			field[string](result, row, prefix+"source"))
	}
	for i, row := range result.Rows {
		if i == namedConflicts {
			break
		}
		r.addStatement(Bad, "Conflict: id %d of %s has two contents: %s on the tape, %s refused.",
			field[int64](result, row, "id"), wording.Name(field[string](result, row, "symbol")), content(row, ""), content(row, "other_"))
	}
	if more := len(result.Rows) - namedConflicts; more > 0 {
		r.addStatement(Bad, "%s more; the section conflicts lists them.", wording.Count(more, "conflict"))
	}
}

// beginsWithDrop reports whether what was recorded of the window before the record's beginning was
// dropped on purpose.
func (s symbolState) beginsWithDrop() bool { return s.known.SinceBy == tape.ByDrop && s.dropped > 0 }

// describeMissing names the missing ids, the symbols with the most first.
func (r *Report) describeMissing(states []symbolState) {
	slices.SortStableFunc(states, func(a, b symbolState) int { return cmp.Compare(b.missing, a.missing) })
	for i, state := range states {
		if i == 5 && len(states) > 6 {
			rest := states[i:]
			var ids int64
			for _, other := range rest {
				ids = idset.Sum(ids, other.missing)
			}
			r.addStatement(Bad, "Missing: %s more of %s.", wording.Count(ids, "id"),
				wording.List(symbolNames(rest), listedNames))
			break
		}
		text := fmt.Sprintf("Missing: %s of %s (%d to %d)", wording.Count(state.missing, "id"), wording.Name(state.symbol),
			state.firstMissing, state.lastMissing)
		switch {
		case state.missing == 1:
			text = fmt.Sprintf("Missing: id %d of %s", state.firstMissing, wording.Name(state.symbol))
		case state.gaps > 1:
			text = fmt.Sprintf("Missing: %s of %s in %d gaps (from %d to %d)",
				wording.Count(state.missing, "id"), wording.Name(state.symbol), state.gaps, state.firstMissing, state.lastMissing)
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
	switch {
	case len(states) > 0 && slices.ContainsFunc(r.Broken, tape.BrokenSegment.IsStray):
		r.addStatement(Bad, "The numbers below leave them out.")
	case len(states) > 0:
		r.addStatement(Bad, "The numbers below leave them out. `tapedeck backfill --from %s --to %s` fetches those that the exchange still has.",
			r.Window.Start.Format(time.RFC3339), r.Window.End.Format(time.RFC3339))
	}
}

// describeEmpty explains why there are no trades.
func (r *Report) describeEmpty(states []symbolState) {
	switch {
	case len(states) == 0 && len(r.Symbols) == 0:
		r.addStatement(Fair, "No trades in this window: the tape is empty.")
		return
	case len(states) == 0:
		r.addStatement(Fair, "No trades in this window.")
		return
	case r.Complete:
		r.addStatement(Good, "No trades of %s in this window, and none is missing; %s.", summarizeSymbols(states),
			knownUntil(states))
		return
	}
	since, until := slices.MinFunc(states, bySince).known, slices.MaxFunc(states, byUntil).known
	from := fmt.Sprintf("from %s, by %s", formatTime(since.Since), evidence(since.SinceBy, "the first trade"))
	if since.Since.Unix() == 0 {
		from = "from " + sinceFirstTrade
	}
	to := fmt.Sprintf("until %s, by %s", formatTime(until.Until), evidence(until.UntilBy, "the last trade"))
	switch names := summarizeSymbols(states); {
	case !until.Until.After(r.Window.Start):
		r.addStatement(Fair, "Not recorded: this window is after the record of %s, which is known %s.", names, to)
	case !since.Since.Before(r.Window.End):
		r.addStatement(Fair, "Not recorded: this window is before the record of %s, which is known %s.", names, from)
	default:
		r.addStatement(Fair, "No trades in this window; the record of %s is known %s, %s.", names, from, to)
	}
}

// addPerSymbol adds one sentence for each of up to three symbols, or a single sentence about more.
func (r *Report) addPerSymbol(states []symbolState, level Level, one, many string, details func(symbolState) string) {
	if len(states) > 3 {
		r.addStatement(level, "%d symbols %s: %s.", len(states), many, wording.List(symbolNames(states), listedNames))
		return
	}
	for _, state := range states {
		r.addStatement(level, "%s %s %s.", wording.Name(state.symbol), one, details(state))
	}
}

// addStatement inserts a statement after those of its level, so that the worst come first. Its text is
// escaped.
func (r *Report) addStatement(level Level, format string, args ...any) {
	i := slices.IndexFunc(r.Statements, func(s Statement) bool { return s.Level.rank() > level.rank() })
	if i < 0 {
		i = len(r.Statements)
	}
	r.Statements = slices.Insert(r.Statements, i, Statement{level, wording.Visible(fmt.Sprintf(format, args...))})
}

func (l Level) rank() int { return slices.Index(levels[:], l) }

func bySince(a, b symbolState) int { return a.known.Since.Compare(b.known.Since) }

func byUntil(a, b symbolState) int { return a.known.Until.Compare(b.known.Until) }

// statesWhere returns the states that match, in their order.
func statesWhere(states []symbolState, match func(symbolState) bool) (out []symbolState) {
	for _, state := range states {
		if match(state) {
			out = append(out, state)
		}
	}
	return out
}

func symbolNames(states []symbolState) []string {
	out := make([]string, len(states))
	for i, state := range states {
		out[i] = wording.Name(state.symbol)
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
	if columnIndices(result, "symbol", "verdict", "rows", "missing", "absent", "dropped", "conflicts", "gaps",
		"first_missing_id", "last_missing_id", "missing_from", "missing_until",
		"known_since", "known_since_by", "known_until", "known_until_by") == nil {
		return nil, false
	}
	for _, row := range result.Rows {
		text := func(name string) string { return field[string](result, row, name) }
		number := func(name string) int64 { return field[int64](result, row, name) }
		instant := func(name string) time.Time { return field[time.Time](result, row, name) }
		out = append(out, symbolState{
			symbol: text("symbol"), verdict: text("verdict"),
			rows: number("rows"), missing: number("missing"), absent: number("absent"), gaps: number("gaps"),
			dropped: number("dropped"), conflicts: number("conflicts"), recorded: text("known_since_by") != "",
			firstMissing: number("first_missing_id"), lastMissing: number("last_missing_id"),
			missingFrom: instant("missing_from"), missingUntil: instant("missing_until"),
			known: tape.Known{
				Since: instant("known_since"), SinceBy: tape.Evidence(text("known_since_by")),
				Until: instant("known_until"), UntilBy: tape.Evidence(text("known_until_by")),
			},
		})
	}
	return out, true
}

// describeSteps says what a row of hourly is if it is not an hour, and how long a candle is then.
func (r *Report) describeSteps(sections []analytics.Query) {
	has := func(name string) bool {
		return slices.ContainsFunc(sections, func(q analytics.Query) bool { return q.Name == name })
	}
	if r.hourlyStep <= 1 || !has(hourlyName) {
		return
	}
	span := r.hourlyUnit()
	if r.hourlyStep == 24 || r.hourlyStep == 7*24 {
		span = "a " + span
	}
	if has("candles") {
		span += ", a candle " + formatDuration(r.candleStep)
	}
	r.addStatement(Note, "The window is wide: a row of the section hourly covers %s.", span)
}
