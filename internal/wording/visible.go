package wording

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The most characters that Visible and Name keep of a text.
const (
	longestText = 4000
	longestName = 120
)

// Visible returns text for people, as one line in which every character can be seen: \n, \t and \r,
// \x1b for another control character or a byte that is not UTF-8, \u202e for a character that
// changes the direction of text or has no width. So a name can neither begin a line of its own nor
// act on a terminal. Of more than 4,000 characters it keeps the first and says how many follow.
//
// Every text that tapedeck did not write itself passes through Visible or Name before a person sees
// it: symbols, file names, errors of other programs, values of files that people write, and the
// texts of alerts and of SQL results. What only programs read is encoded instead, without loss.
func Visible(text string) string { return visible(text, longestText, "") }

// VisibleLines is Visible for a text of several lines: it keeps line breaks, tabs and the whole length.
func VisibleLines(text string) string {
	return visible(strings.ReplaceAll(text, "\r\n", "\n"), math.MaxInt, "\n\t")
}

// Name is Visible for a name in a table or a sentence. It keeps 120 characters.
func Name(text string) string { return visible(text, longestName, "") }

// Names returns each name as Name does.
func Names(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = Name(name)
	}
	return out
}

// visible escapes the hidden characters that are not in kept.
func visible(text string, most int, kept string) string {
	if isVisible(text) && (len(text) <= most || utf8.RuneCountInString(text) <= most) {
		return text
	}
	var out strings.Builder
	count := 0
	for i := 0; i < len(text); count++ {
		if count == most {
			out.WriteString("… (" + Count(utf8.RuneCountInString(text[i:]), "more character") + ")")
			break
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&out, `\x%02x`, text[i])
		case isHidden(r) && !strings.ContainsRune(kept, r):
			out.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		default:
			out.WriteRune(r)
		}
		i += size
	}
	return out.String()
}

func isVisible(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, isHidden)
}

// isHidden reports whether a character cannot be seen and may change how others are shown. The
// joiners are not among them, because scripts and emoji need them.
func isHidden(r rune) bool {
	switch {
	case r < ' ' || r >= 0x7f && r < 0xa0:
		return true
	case r < 0xad || r == '\u200c' || r == '\u200d':
		return false
	}
	return unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}

// Errors returns the text of an error as Visible does: one line, or one for each error that was joined
// with errors.Join.
func Errors(err error) []string {
	text := err.Error()
	for inner := err; inner != nil && inner.Error() == text; inner = errors.Unwrap(inner) {
		joined, ok := inner.(interface{ Unwrap() []error })
		if !ok {
			continue
		}
		var raw, lines []string
		for _, one := range joined.Unwrap() {
			raw, lines = append(raw, one.Error()), append(lines, Errors(one)...)
		}
		if strings.Join(raw, "\n") == text {
			return lines
		}
	}
	return []string{Visible(strings.TrimRight(text, "\n"))}
}

// Formula protects a text in a CSV file from being run: spreadsheets take a cell that begins with
// =, +, -, @, a tab or a line break for a formula. Such a text gets an apostrophe before it. Numbers
// do not pass through Formula.
func Formula(text string) string {
	if text != "" && strings.ContainsRune(FormulaStarts, []rune(text)[0]) {
		return "'" + text
	}
	return text
}

// FormulaStarts are the characters with which a formula can begin. The wide ones are those of East
// Asian keyboards.
const FormulaStarts = "=+-@\t\r\n＝＋－＠"
