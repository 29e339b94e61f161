package report

import (
	"strings"

	"github.com/rivo/uniseg"
)

// displayWidth returns how many terminal cells a text occupies.
func displayWidth(text string) int { return uniseg.StringWidth(text) }

// pad aligns a text in a column of that width and truncates it if it is wider.
func pad(text string, width int, right bool) string {
	text = truncate(text, width)
	space := strings.Repeat(" ", max(0, width-displayWidth(text)))
	if right {
		return space + text
	}
	return text + space
}

// truncate shortens a text that is wider than width. Its last character is then an ellipsis.
func truncate(text string, width int) string {
	if displayWidth(text) <= width {
		return text
	}
	return strings.TrimRight(text[:prefixOfWidth(text, width-1)], " ") + "…"
}

// prefixOfWidth returns the length in bytes of the longest prefix that is no wider than width.
func prefixOfWidth(text string, width int) int {
	used, length := 0, 0
	for graphemes := uniseg.NewGraphemes(text); graphemes.Next(); {
		if used += graphemes.Width(); used > width {
			break
		}
		_, length = graphemes.Positions()
	}
	return length
}

// wrap breaks a text into lines at spaces, and inside words that are longer than a line.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case displayWidth(line)+1+displayWidth(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
		for displayWidth(line) > width {
			end := prefixOfWidth(line, width)
			if end == 0 {
				break
			}
			lines = append(lines, line[:end])
			line = line[end:]
		}
	}
	return append(lines, line)
}
