package report

import (
	"strings"

	"tapedeck/internal/wording"
)

// pad aligns a text in a column of that width and truncates it if it is wider.
func pad(text string, width int, right bool) string {
	text = wording.Truncate(text, width)
	space := strings.Repeat(" ", max(0, width-wording.Width(text)))
	if right {
		return space + text
	}
	return text + space
}
