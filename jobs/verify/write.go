package verify

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
)

// maxGaps limits the gaps of a symbol that the table lists. The JSON form lists all.
const maxGaps = 10

// WriteTable writes the certificate for people: one line per symbol, the gaps and other problems,
// and the verdict.
func WriteTable(w io.Writer, c tape.Certificate) error {
	out := &strings.Builder{}
	table := tabwriter.NewWriter(out, 0, 0, 1, ' ', tabwriter.AlignRight) // padding of 1 fits into 80 columns
	fmt.Fprintln(table, "symbol\tfrom (UTC)\tto (UTC)\trows\tmissing\tabsent\ttwice\tdays\t")
	for _, s := range c.Symbols {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n",
			s.Symbol, minute(s.FirstAt), minute(s.LastAt), wording.Comma(s.Trades), wording.Comma(s.Missing),
			wording.Comma(s.Absent), wording.Comma(s.Duplicates), states(s.Days))
	}
	if len(c.Symbols) > 0 {
		table.Flush()
	}
	for _, s := range c.Symbols {
		writeProblems(out, s)
	}
	for _, b := range c.Broken {
		fmt.Fprintf(out, "\n%s cannot be read: %v.\n"+
			"  Its rows count as missing. Move it out of the data directory, "+
			"then `tapedeck backfill` fetches them again.\n", b.Path, b.Err)
	}
	if c.Misplaced > 0 {
		fmt.Fprintf(out, "\n%s in the partition of another date.\n", wording.Count(c.Misplaced, "row is", "rows are"))
	}
	fmt.Fprintf(out, "\n%s\n", Verdict(c))
	_, err := io.WriteString(w, out.String())
	return err
}

func writeProblems(out io.Writer, s tape.SymbolCertificate) {
	if s.Missing > 0 {
		fmt.Fprintf(out, "\n%s is missing %s:\n", s.Symbol, wording.Count(s.Missing, "id"))
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
		fmt.Fprintf(out, "\n%s has %s more than once: another program put a file into the tape.\n",
			s.Symbol, wording.Count(s.Duplicates, "id"))
	}
}

// Verdict returns one line that says whether the tape is complete.
func Verdict(c tape.Certificate) string {
	var trades, missing, duplicates, absent int64
	gaps := 0
	for _, s := range c.Symbols {
		trades += s.Trades
		missing += s.Missing
		duplicates += s.Duplicates
		absent += s.Absent
		gaps += len(s.Gaps)
	}
	var also string
	if absent > 0 {
		also = fmt.Sprintf(" The exchange itself does not have %s.", wording.Count(absent, "id"))
	}
	switch {
	case len(c.Symbols) == 0 && len(c.Broken) == 0:
		return "The tape is empty."
	case c.Complete():
		return fmt.Sprintf(
			"Complete: %s of %s, 0 missing, 0 twice: every id from the first to the last is on the tape once.%s",
			wording.Count(trades, "row"), wording.Count(len(c.Symbols), "symbol"), also)
	}
	if missing > 0 {
		also += " `tapedeck backfill` fetches what is missing."
	}
	return fmt.Sprintf("Not complete: %s, %s missing in %s, %s twice, %s broken.%s",
		wording.Count(trades, "row"), wording.Comma(missing), wording.Count(gaps, "gap"), wording.Comma(duplicates),
		wording.Count(len(c.Broken), "file"), also)
}

// states counts the days by state: "3 proven, 1 open".
func states(days []tape.Day) string {
	count := map[string]int{}
	for _, day := range days {
		count[day.State]++
	}
	var out []string
	for _, state := range []string{tape.StateProven, tape.StateOpen, tape.StateGap, tape.StateAbsent} {
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
		"symbol", "date", "first_id", "last_id", "trades", "missing", "absent_at_source", "state", "checked_at",
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
				d.Symbol, d.Date, optional(d.FirstID), optional(d.LastID), fmt.Sprint(d.Trades), fmt.Sprint(d.Missing),
				fmt.Sprint(d.AbsentAtSource), d.State, c.CheckedAt.Format(time.RFC3339),
			})
		}
	}
	out.Flush()
	return out.Error()
}

// The JSON form of a certificate. Ids are numbers, times are RFC 3339 in UTC.
type (
	jsonCertificate struct {
		Complete  bool         `json:"complete"`
		CheckedAt time.Time    `json:"checked_at"`
		Files     int          `json:"files"`
		Misplaced int64        `json:"misplaced_rows"`
		Broken    []jsonBroken `json:"broken"`
		Symbols   []jsonSymbol `json:"symbols"`
	}
	jsonBroken struct {
		Path  string `json:"path"`
		Error string `json:"error"`
	}
	jsonSymbol struct {
		Symbol string `json:"symbol"`
		tape.Bounds
		Trades  int64     `json:"trades"`
		Missing int64     `json:"missing"`
		Absent  int64     `json:"absent_at_source"`
		Twice   int64     `json:"twice"`
		Gaps    []jsonGap `json:"gaps"`
		Days    []jsonDay `json:"days"`
	}
	jsonGap struct {
		FirstID int64     `json:"first_id"`
		LastID  int64     `json:"last_id"`
		Count   int64     `json:"count"`
		After   time.Time `json:"after"`
		Before  time.Time `json:"before"`
	}
	jsonDay struct {
		Date    string `json:"date"`
		FirstID *int64 `json:"first_id"`
		LastID  *int64 `json:"last_id"`
		Trades  int64  `json:"trades"`
		Missing int64  `json:"missing"`
		Absent  int64  `json:"absent_at_source"`
		State   string `json:"state"`
	}
)

// WriteJSON writes the whole certificate as one JSON object.
func WriteJSON(w io.Writer, c tape.Certificate) error {
	out := jsonCertificate{
		Complete: c.Complete(), CheckedAt: c.CheckedAt, Files: c.Files, Misplaced: c.Misplaced,
		Broken: []jsonBroken{}, Symbols: []jsonSymbol{},
	}
	for _, b := range c.Broken {
		out.Broken = append(out.Broken, jsonBroken{b.Path, b.Err.Error()})
	}
	for _, s := range c.Symbols {
		symbol := jsonSymbol{
			Symbol: s.Symbol, Bounds: s.Bounds, Trades: s.Trades, Missing: s.Missing, Absent: s.Absent,
			Twice: s.Duplicates, Gaps: []jsonGap{}, Days: []jsonDay{},
		}
		for _, g := range s.Gaps {
			symbol.Gaps = append(symbol.Gaps, jsonGap{g.First, g.Last, g.Count(), g.After, g.Before})
		}
		for _, d := range s.Days {
			symbol.Days = append(symbol.Days,
				jsonDay{d.Date, d.FirstID, d.LastID, d.Trades, d.Missing, d.AbsentAtSource, d.State})
		}
		out.Symbols = append(out.Symbols, symbol)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(out)
}
