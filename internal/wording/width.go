package wording

import (
	"strings"

	"github.com/rivo/uniseg"
)

// Width returns how many cells of a terminal a text occupies.
func Width(text string) int { return uniseg.StringWidth(text) }

// Wrap breaks a text at its spaces into lines of at most width cells, and returns at least one. A word
// that is wider has a line of its own. A width of 0 or less does not break it.
func Wrap(text string, width int) []string {
	var lines []string
	line, used := "", 0
	for _, word := range strings.Fields(text) {
		n := Width(word)
		switch {
		case line == "":
			line, used = word, n
		case width > 0 && used+1+n > width:
			lines = append(lines, line)
			line, used = word, n
		default:
			line, used = line+" "+word, used+1+n
		}
	}
	return append(lines, line)
}

// WrapAll breaks a text as Wrap does, and words that are wider than a line, too.
func WrapAll(text string, width int) []string {
	var words []string
	for _, word := range strings.Fields(text) {
		for Width(word) > width {
			end := prefix(word, width)
			if end == 0 {
				break
			}
			words = append(words, word[:end])
			word = word[end:]
		}
		words = append(words, word)
	}
	return Wrap(strings.Join(words, " "), width)
}

// Truncate shortens a text that is wider than width. Its last character is then an ellipsis; below a
// width of 1 nothing is left.
func Truncate(text string, width int) string {
	if Width(text) <= width {
		return text
	}
	if width < 1 {
		return ""
	}
	return strings.TrimRight(text[:prefix(text, width-1)], " ") + "…"
}

// prefix returns the length in bytes of the longest prefix that is no wider than width.
func prefix(text string, width int) int {
	used, length := 0, 0
	for graphemes := uniseg.NewGraphemes(text); graphemes.Next(); {
		if used += graphemes.Width(); used > width {
			break
		}
		_, length = graphemes.Positions()
	}
	return length
}
