package drop

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
)

// Write prints what a plan removes: the rows, symbols, ids and times, and what becomes of the files.
func Write(w io.Writer, plan *tape.DropPlan) error {
	if plan.Rows() == 0 {
		_, err := fmt.Fprintln(w, "Nothing to remove.")
		return err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s of %s:\n\n", Noun(plan), wording.Count(len(plan.Symbols), "symbol"))
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "SYMBOL\tROWS\t")
	hasIDs := plan.Query.What != tape.DropsAlerts
	if hasIDs {
		fmt.Fprint(table, "FIRST ID\tLAST ID\t")
	}
	fmt.Fprint(table, "FIRST (UTC)\tLAST (UTC)\n")
	for _, s := range plan.Symbols {
		fmt.Fprintf(table, "%s\t%s\t", symbol.Show(s.Symbol), wording.Comma(s.Rows))
		if hasIDs {
			fmt.Fprintf(table, "%d\t%d\t", s.FirstID, s.LastID)
		}
		fmt.Fprintf(table, "%s\t%s\n", second(s.FirstAt), second(s.LastAt))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(&text, "\n%s\n", filesText(plan))
	for _, note := range notes(plan) {
		fmt.Fprintln(&text, note)
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func second(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05") }

// filesText says what becomes of the files.
func filesText(plan *tape.DropPlan) string {
	rewritten := plan.Files - plan.Whole
	switch {
	case rewritten == 0:
		return fmt.Sprintf("They are in %s, which %s deleted.", wording.Count(plan.Files, "file"), verb(plan.Files))
	case plan.Whole == 0:
		return fmt.Sprintf("They are in %s, which %s written again without them.", wording.Count(plan.Files, "file"), verb(plan.Files))
	}
	return fmt.Sprintf("They are in %s: %s %s deleted, %s written again without them.",
		wording.Count(plan.Files, "file"), wording.Comma(plan.Whole), verb(plan.Whole), wording.Comma(rewritten))
}

func verb(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// notes say what else happens, and what is not known.
func notes(plan *tape.DropPlan) (out []string) {
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if plan.Conflicts > 0 {
		add("%s about them %s removed too.", wording.Count(plan.Conflicts, "conflict"), verb(int(plan.Conflicts)))
	}
	givenUp := int64(0)
	for _, s := range plan.Symbols {
		givenUp += s.GivenUp
	}
	if givenUp > 0 {
		add("%s among them that %s missing %s given up.", wording.Count(givenUp, "id"), verb(int(givenUp)), verb(int(givenUp)))
	}
	switch plan.Query.What {
	case tape.DropsTrades:
		if !slices.ContainsFunc(plan.Symbols, func(s tape.DropSymbol) bool { return symbol.IsValid(s.Symbol) }) {
			break // neither backfill nor import would add them
		}
		add("backfill does not fetch them again, except with --restore-dropped; import puts them back.")
	case tape.DropsAlerts:
		add("detect finds them again if it is run over the same time.")
	case tape.DropsConflicts:
		add("The rows on the tape stay; the refused ones are given up.")
	}
	if n := len(plan.Compacted); n > 0 {
		add("%s", CompactedText(plan))
	}
	if n := len(plan.Broken); n > 0 {
		add("%s cannot be read and %s: %s.", wording.Count(n, "file"), map[bool]string{true: "stays", false: "stay"}[n == 1],
			wording.List(brokenPaths(plan), 3))
	}
	return out
}

func brokenPaths(plan *tape.DropPlan) (out []string) {
	for _, b := range plan.Broken {
		out = append(out, b.Path)
	}
	return out
}

// CompactedText says that some files do not say where their rows came from.
func CompactedText(plan *tape.DropPlan) string {
	first, last := plan.Compacted[0].Date, plan.Compacted[len(plan.Compacted)-1].Date
	dates := "of " + first
	if first != last {
		dates = "of " + first + " to " + last
	}
	n := len(plan.Compacted)
	return fmt.Sprintf("%s %s %s not say where %s rows came from: name such rows by --symbols, --from and --to instead.",
		wording.Count(n, "compacted file"), dates, map[bool]string{true: "does", false: "do"}[n == 1],
		map[bool]string{true: "its", false: "their"}[n == 1])
}
