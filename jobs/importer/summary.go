package importer

import (
	"fmt"
	"strings"

	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
)

// FileSummary is the result for one file.
type FileSummary struct {
	Path string
	// Symbols are those whose trades the file has, sorted.
	Symbols []string
	// Rows counts the file's trades, each id once. Repeated counts rows that are equal to an
	// earlier one, Voided those that the exchange itself has voided (price and quantity 0, or trade
	// ids -1).
	Rows, Repeated, Voided int64
	// Published is how many of Rows were written. The ids of the others were on the tape already:
	// Conflicts of them with another content, which the tape keeps. ConflictRows are the first few.
	// Unreadable of them could not be compared, because the tape's file cannot be read.
	Published, Conflicts, Unreadable int64
	ConflictRows                     []tape.Conflict
	// Missing counts, for each symbol, the ids between the file's first and last that it does not
	// have.
	Missing int64
	// Segments and Bytes were written. Inexact counts values in the file whose double does not
	// print back as the exchange's decimal string.
	Segments int
	Bytes    int64
	Inexact  int64
	// Verified is true if the file matches the .CHECKSUM file next to it.
	Verified bool
	// Problem is why the file was not imported; nil if it was.
	Problem error
}

// String says what was imported, or why nothing was.
func (f FileSummary) String() string {
	if f.Problem != nil {
		return f.Problem.Error()
	}
	symbols := strings.Join(f.Symbols, ", ")
	if len(f.Symbols) > 3 {
		symbols = wording.Count(len(f.Symbols), "symbol")
	}
	text := fmt.Sprintf("%s: %s of %s, %s of them new",
		f.Path, wording.Count(f.Rows, "trade"), symbols, wording.Comma(f.Published))
	if f.Rows == 0 {
		text = f.Path + ": no trades"
	}
	if f.Conflicts > 0 {
		text += fmt.Sprintf(", %s in conflict with the tape", wording.Comma(f.Conflicts))
	}
	if f.Unreadable > 0 {
		text += fmt.Sprintf(", %s not compared with a file of the tape that cannot be read", wording.Comma(f.Unreadable))
	}
	if f.Verified {
		text += "; its checksum matches"
	}
	if f.Missing > 0 {
		text += fmt.Sprintf("; %s missing between its first and last", wording.Count(f.Missing, "id"))
	}
	if f.Repeated > 0 {
		text += fmt.Sprintf("; %s repeated", wording.Count(f.Repeated, "row"))
	}
	if f.Voided > 0 {
		text += fmt.Sprintf("; %s voided by the exchange", wording.Count(f.Voided, "row"))
	}
	return text
}
