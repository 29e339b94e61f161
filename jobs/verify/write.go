package verify

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"tapedeck/internal/tape"
)

// mostGaps bounds the holes that the table names for a symbol; json names them all.
const mostGaps = 10

// WriteTable writes the certificate for a person: a line a symbol, then what is missing and why, then the verdict.
func WriteTable(w io.Writer, c tape.Certificate) error {
	out := &strings.Builder{}
	table := tabwriter.NewWriter(out, 0, 0, 1, ' ', tabwriter.AlignRight) // narrow, so that it fits into 80 columns
	fmt.Fprintln(table, "symbol\tfrom (UTC)\tto (UTC)\trows\tmissing\tabsent\ttwice\tdays\t")
	for _, s := range c.Symbols {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", s.Symbol, minute(s.FirstAt), minute(s.LastAt),
			grouped(s.Trades), grouped(s.Missing), grouped(s.Absent), grouped(s.Duplicates), states(s.Days))
	}
	if len(c.Symbols) > 0 {
		table.Flush()
	}
	for _, s := range c.Symbols {
		writeTroubles(out, s)
	}
	for _, b := range c.Broken {
		fmt.Fprintf(out, "\n%s cannot be read: %v.\n  Its rows count as missing. Move it out of the data directory, then `tapedeck backfill` fetches them again.\n", b.Path, b.Err)
	}
	if c.Misplaced > 0 {
		fmt.Fprintf(out, "\n%s rows lie in the partition of another date than their own.\n", grouped(c.Misplaced))
	}
	fmt.Fprintf(out, "\n%s\n", Verdict(c))
	_, err := io.WriteString(w, out.String())
	return err
}

func writeTroubles(out io.Writer, s tape.SymbolCertificate) {
	if s.Missing > 0 {
		fmt.Fprintf(out, "\n%s is missing %s ids:\n", s.Symbol, grouped(s.Missing))
		for i, gap := range s.Gaps {
			if i == mostGaps {
				fmt.Fprintf(out, "  and %s more holes (--format json names them all)\n", grouped(int64(len(s.Gaps)-i)))
				break
			}
			fmt.Fprintf(out, "  %d to %d (%s), after %s and before %s\n", gap.First, gap.Last, grouped(gap.Count()), second(gap.After), second(gap.Before))
		}
	}
	if s.Duplicates > 0 {
		fmt.Fprintf(out, "\n%s has %s ids more than once: a file was put into the tape by hand.\n", s.Symbol, grouped(s.Duplicates))
	}
}

// Verdict says in one line whether the tape is complete.
func Verdict(c tape.Certificate) string {
	var trades, missing, twice, absent int64
	holes := 0
	for _, s := range c.Symbols {
		trades += s.Trades
		missing += s.Missing
		twice += s.Duplicates
		absent += s.Absent
		holes += len(s.Gaps)
	}
	var also string
	if absent > 0 {
		also = fmt.Sprintf(" The exchange itself does not have %s ids.", grouped(absent))
	}
	switch {
	case len(c.Symbols) == 0 && len(c.Broken) == 0:
		return "The tape is empty."
	case c.Complete():
		return fmt.Sprintf("Complete: %s rows of %s, 0 missing, 0 twice: every id between the first and the last is here, once.%s", grouped(trades), plural(len(c.Symbols), "symbol"), also)
	}
	text := fmt.Sprintf("Not complete: %s rows, %s missing in %s, %s twice, %s broken.%s", grouped(trades), grouped(missing), plural(holes, "hole"), grouped(twice), plural(len(c.Broken), "file"), also)
	if missing > 0 {
		text += " `tapedeck backfill` fetches what is missing."
	}
	return text
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return grouped(int64(n)) + " " + noun + "s"
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

func second(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000") }

// grouped writes a number with commas between its thousands.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// WriteCSV writes the coverage rows, one a symbol and day, with a header.
func WriteCSV(w io.Writer, c tape.Certificate) error {
	out := csv.NewWriter(w)
	out.Write([]string{"symbol", "date", "first_id", "last_id", "trades", "missing", "absent_at_source", "state", "checked_at"})
	id := func(p *int64) string {
		if p == nil {
			return ""
		}
		return strconv.FormatInt(*p, 10)
	}
	for _, s := range c.Symbols {
		for _, d := range s.Days {
			out.Write([]string{d.Symbol, d.Date, id(d.FirstID), id(d.LastID), strconv.FormatInt(d.Trades, 10), strconv.FormatInt(d.Missing, 10),
				strconv.FormatInt(d.AbsentAtSource, 10), d.State, c.CheckedAt.Format(time.RFC3339)})
		}
	}
	out.Flush()
	return out.Error()
}

// The JSON form of a certificate: ids are numbers, times RFC 3339 in UTC.
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
	out := jsonCertificate{Complete: c.Complete(), CheckedAt: c.CheckedAt, Files: c.Files, Misplaced: c.Misplaced, Broken: []jsonBroken{}, Symbols: []jsonSymbol{}}
	for _, b := range c.Broken {
		out.Broken = append(out.Broken, jsonBroken{b.Path, b.Err.Error()})
	}
	for _, s := range c.Symbols {
		symbol := jsonSymbol{Symbol: s.Symbol, Bounds: s.Bounds, Trades: s.Trades, Missing: s.Missing, Absent: s.Absent, Twice: s.Duplicates, Gaps: []jsonGap{}, Days: []jsonDay{}}
		for _, g := range s.Gaps {
			symbol.Gaps = append(symbol.Gaps, jsonGap{g.First, g.Last, g.Count(), g.After, g.Before})
		}
		for _, d := range s.Days {
			symbol.Days = append(symbol.Days, jsonDay{d.Date, d.FirstID, d.LastID, d.Trades, d.Missing, d.AbsentAtSource, d.State})
		}
		out.Symbols = append(out.Symbols, symbol)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(out)
}
