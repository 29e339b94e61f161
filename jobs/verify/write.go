package verify

import (
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"tapedeck/internal/idset"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
)

// maxGaps and maxConflicts limit what the table lists of a symbol. The JSON form lists all.
const maxGaps, maxConflicts = 10, 5

// WriteTable writes the certificate for people: one line per symbol, the gaps and other problems,
// and the verdict.
func WriteTable(w io.Writer, c tape.Certificate) error {
	out := &strings.Builder{}
	table := tabwriter.NewWriter(out, 0, 0, 1, ' ', tabwriter.AlignRight) // padding of 1 fits into 80 columns
	// Columns that are rarely other than zero are left out if they are.
	var absent, dropped, twice, conflicts int64
	for _, s := range c.Symbols {
		absent, dropped, twice, conflicts = absent+s.Absent, dropped+s.Dropped, twice+s.Duplicates, conflicts+s.Conflicts
	}
	rare := func(shown int64, cell string) string {
		if shown == 0 {
			return ""
		}
		return cell + "\t"
	}
	fmt.Fprintf(table, "symbol\tfrom (UTC)\tknown until\ttrades\tmissing\t%s%s%s%sdays\t\n",
		rare(absent, "absent"), rare(dropped, "dropped"), rare(twice, "twice"), rare(conflicts, "conflicts"))
	for _, s := range c.Symbols {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s%s%s%s%s\t\n",
			wording.Name(s.Symbol), minute(s.FirstAt), minute(knownUntil(s)), wording.Comma(s.Trades), wording.Comma(s.Missing),
			rare(absent, wording.Comma(s.Absent)), rare(dropped, wording.Comma(s.Dropped)),
			rare(twice, wording.Comma(s.Duplicates)), rare(conflicts, wording.Comma(s.Conflicts)), states(s.Days))
	}
	if len(c.Symbols) > 0 {
		table.Flush()
	}
	for _, s := range c.Symbols {
		writeProblems(out, s)
		writeBackwards(out, s)
	}
	writeConflicts(out, c.Conflicts)
	for _, b := range c.Broken {
		if b.IsForbidden() {
			fmt.Fprintf(out, "\n%s cannot be read: %v.\n  Its rows count as missing, but they may be there: let this user read it (chown, chmod).\n",
				wording.Visible(b.Path), wording.Visible(b.Err.Error()))
			continue
		}
		fmt.Fprintf(out, "\n%s cannot be read: %v.\n"+
			"  Its rows count as missing. Move it out of the data directory, "+
			"then `tapedeck backfill` fetches them again.\n", wording.Visible(b.Path), wording.Visible(b.Err.Error()))
	}
	writeNotSymbols(out, c.NotSymbols)
	writeStrays(out, c.Strays)
	for _, future := range c.Future() {
		fmt.Fprintf(out, "\n%v. If this clock is right, remove them:\n  %s\n", future, future.Drop(c.CheckedAt))
	}
	if out.Len() > 0 {
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "%s\n", Verdict(c))
	_, err := io.WriteString(w, out.String())
	return err
}

func writeProblems(out io.Writer, s tape.SymbolCertificate) {
	if s.Missing > 0 {
		fmt.Fprintf(out, "\n%s is missing %s:\n", wording.Name(s.Symbol), wording.Count(s.Missing, "id"))
		for i, gap := range s.Gaps {
			if i == maxGaps {
				fmt.Fprintf(out, "  and %s (--format json lists all)\n", wording.Count(len(s.Gaps)-i, "more gap"))
				break
			}
			fmt.Fprintf(out, "  %d to %d (%s), after %s and before %s\n",
				gap.First, gap.Last, wording.Comma(gap.Count()), millisecond(gap.After), millisecond(gap.Before))
		}
	}
	if s.Duplicates > 0 {
		fmt.Fprintf(out, "\n%s has %s more than once.\n", wording.Name(s.Symbol), wording.Count(s.Duplicates, "id"))
	}
}

// writeStrays writes the segments that do not belong where they are.
func writeStrays(out io.Writer, strays []tape.BrokenSegment) {
	if len(strays) == 0 {
		return
	}
	reason, _ := tape.BrokenReason(strays)
	fmt.Fprintf(out, "\n%s:\n", reason)
	for i, s := range strays {
		if i == maxGaps {
			fmt.Fprintf(out, "  and %s (--format json lists all)\n", wording.Count(len(strays)-i, "more file"))
			break
		}
		fmt.Fprintf(out, "  %s: %s\n", wording.Visible(s.Path), wording.Visible(s.Err.Error()))
	}
}

// maxNotSymbols limits the names that are not symbols that the table lists.
const maxNotSymbols = 10

// writeNotSymbols names what is in the column symbol and no symbol.
func writeNotSymbols(out io.Writer, names []tape.NotSymbol) {
	if len(names) == 0 {
		return
	}
	fmt.Fprintf(out, "\n%s on the tape that no symbol can have. Nothing reads their rows, and nothing is fetched for them.\n",
		wording.Count(len(names), "name is", "names are"))
	for i, name := range names {
		if i == maxNotSymbols {
			fmt.Fprintf(out, "  and %s (--format json lists all)\n", wording.Count(len(names)-i, "more name"))
			break
		}
		fmt.Fprintf(out, "  %s, %s\n", symbol.Quote(name.Text), wording.Count(name.Rows, "row"))
	}
	if name := names[0].Text; len(names) == 1 && symbol.IsPrintable(name) {
		fmt.Fprintf(out, "  Remove it: `tapedeck drop --symbol %s`\n", symbol.ShellQuote(name))
	} else {
		fmt.Fprintf(out, "  Remove one of them with `tapedeck drop --symbol NAME`, all of them with `tapedeck drop --not-symbols`.\n")
	}
}

// knownUntil returns up to when a symbol's record is known.
func knownUntil(s tape.SymbolCertificate) time.Time {
	if s.Known.Until.After(s.LastAt) {
		return s.Known.Until
	}
	return s.LastAt
}

func writeBackwards(out io.Writer, s tape.SymbolCertificate) {
	if s.Backwards == 0 {
		return
	}
	fmt.Fprintf(out, "\n%s: time runs back by more than a second at %s:\n", wording.Name(s.Symbol), wording.Count(s.Backwards, "trade"))
	for _, step := range s.BackwardSteps {
		fmt.Fprintf(out, "  id %d at %s, %s before the trade with the id before it\n",
			step.ID, millisecond(step.At), step.Before.Sub(step.At).Round(time.Millisecond))
	}
	if more := s.Backwards - int64(len(s.BackwardSteps)); more > 0 {
		fmt.Fprintf(out, "  and %s (`tapedeck check backwards` lists all)\n", wording.Count(more, "more trade"))
	}
}

// writeConflicts writes the first conflicts of each symbol. conflicts are sorted by symbol.
func writeConflicts(out io.Writer, conflicts []tape.Conflict) {
	for len(conflicts) > 0 {
		symbol := conflicts[0].Symbol
		n := slices.IndexFunc(conflicts, func(c tape.Conflict) bool { return c.Symbol != symbol })
		if n < 0 {
			n = len(conflicts)
		}
		fmt.Fprintf(out, "\n%s has %s: another content was refused for an id that is on the tape:\n",
			wording.Name(symbol), wording.Count(n, "conflict"))
		for _, c := range conflicts[:min(n, maxConflicts)] {
			kept, other := c.Contents()
			fmt.Fprintf(out, "  id %d\n    %s\n    %s\n", c.ID, wording.Visible(kept), wording.Visible(other))
		}
		if n > maxConflicts {
			fmt.Fprintf(out, "  and %s (--format json lists all)\n", wording.Count(n-maxConflicts, "more conflict"))
		}
		conflicts = conflicts[n:]
	}
}

// Verdict returns one line that says whether the tape is complete.
func Verdict(c tape.Certificate) string {
	var trades, missing, duplicates, absent, dropped, backwards int64
	gaps := 0
	for _, s := range c.Symbols {
		trades += s.Trades
		missing = idset.Sum(missing, s.Missing)
		duplicates += s.Duplicates
		absent += s.Absent
		dropped += s.Dropped
		backwards += s.Backwards
		gaps += len(s.Gaps)
	}
	var also string
	if absent > 0 {
		also = fmt.Sprintf(" The exchange itself does not have %s.", wording.Count(absent, "id"))
	}
	if len(c.Gone) > 0 {
		also += fmt.Sprintf(" Besides, %s.", gone(c))
	}
	switch {
	case len(c.Symbols) == 0 && len(c.NotSymbols) == 0 && len(c.Broken) == 0 && len(c.Conflicts) == 0 && len(c.Gone) > 0:
		return fmt.Sprintf("Nothing is on the tape: %s, and nothing else was recorded.", gone(c))
	case len(c.Symbols) == 0 && len(c.NotSymbols) == 0 && len(c.Broken) == 0 && len(c.Conflicts) == 0:
		return "The tape is empty."
	case c.Complete():
		return fmt.Sprintf(
			"Complete: %s of %s, 0 missing, 0 twice: every id from the first to the last is on the tape once.%s",
			wording.Count(trades, "trade"), wording.Count(len(c.Symbols), "symbol"), also)
	}
	if missing > 0 {
		also += " `tapedeck backfill` fetches what is missing."
	}
	rest := ""
	if len(c.Conflicts) > 0 {
		rest += ", " + wording.Count(len(c.Conflicts), "conflict")
	}
	if backwards > 0 {
		rest += fmt.Sprintf(", time runs back at %s", wording.Count(backwards, "trade"))
	}
	if len(c.NotSymbols) > 0 {
		rest += ", " + wording.Count(len(c.NotSymbols), "name that is no symbol", "names that are no symbols")
	}
	if dropped > 0 {
		rest += fmt.Sprintf(", %s dropped on purpose", wording.Comma(dropped))
	}
	if n := len(c.Future()); n > 0 {
		rest += ", " + wording.Count(n, "symbol") + " with trades of the future"
	}
	if len(c.Strays) > 0 {
		rest += ", " + wording.Count(len(c.Strays), "file") + " misplaced or doubled"
	}
	return fmt.Sprintf("Not complete: %s, %s missing in %s, %s twice%s, %s broken.%s",
		wording.Count(trades, "trade"), wording.Comma(missing), wording.Count(gaps, "gap"), wording.Comma(duplicates),
		rest, wording.Count(len(c.Broken), "file"), also)
}

// maxGone limits the symbols that are named together.
const maxGone = 5

// gone says what was dropped of symbols of which nothing is left.
func gone(c tape.Certificate) string {
	ids := int64(0)
	for _, n := range c.Gone {
		ids += n
	}
	return fmt.Sprintf("all %s of %s %s dropped on purpose", wording.Count(ids, "id"),
		wording.List(slices.Sorted(maps.Keys(c.Gone)), maxGone), wording.Noun(ids, "was", "were"))
}

// states counts the days by state: "3 proven, 1 open".
func states(days []tape.Day) string {
	count := map[string]int{}
	for _, day := range days {
		count[day.State]++
	}
	var out []string
	for _, state := range []string{tape.StateProven, tape.StateOpen, tape.StateGap, tape.StateAbsent, tape.StateDropped} {
		if n := count[state]; n > 0 {
			out = append(out, fmt.Sprintf("%d %s", n, state))
		}
	}
	return strings.Join(out, ", ")
}

func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

func millisecond(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000") }

// WriteCSV writes the coverage with a header, one row per symbol and day.
func WriteCSV(w io.Writer, c tape.Certificate) error {
	out := csv.NewWriter(w)
	out.Write([]string{
		"symbol", "date", "first_id", "last_id", "trades", "missing", "absent_at_source", "conflicts", "state",
		"checked_at",
	})
	optional := func(n *int64) string {
		if n == nil {
			return ""
		}
		return fmt.Sprint(*n)
	}
	for _, s := range c.Symbols {
		for _, d := range s.Days {
			out.Write([]string{
				wording.Formula(d.Symbol), d.Date, optional(d.FirstID), optional(d.LastID), fmt.Sprint(d.Trades), fmt.Sprint(d.Missing),
				fmt.Sprint(d.AbsentAtSource), fmt.Sprint(d.Conflicts), d.State, c.CheckedAt.Format(time.RFC3339),
			})
		}
	}
	out.Flush()
	return out.Error()
}
