package report

import (
	"fmt"
	"strings"

	"tapedeck/analytics"
	"tapedeck/internal/wording"
)

// judgedName is the section that says what the detectors have judged.
const judgedName = "judged"

// Judged says how much of the window the detectors have judged. In what they have not judged, the
// absence of alerts means nothing.
type Judged struct {
	// Minutes are the minutes of the window, added up over the symbols; JudgedMinutes those that all
	// detectors in use have judged.
	Minutes, JudgedMinutes int64
	// Detectors counts the detectors in use: those that looked at any minute of the window. All counts
	// those that exist.
	Detectors, All int
	// Text says it in words, and why the rest was not judged. It follows "no alerts; ".
	Text string
}

// Whole reports whether every minute was judged.
func (j Judged) Whole() bool { return j.Minutes > 0 && j.JudgedMinutes == j.Minutes }

// unjudgedReasons are the columns of the section judged that count the other minutes, with what is
// said if there is one reason, and if there are several.
var unjudgedReasons = [...]struct{ column, one, several string }{
	{"history_minutes", "the rest lacks history to compare with", "%s without history to compare with"},
	{"unseen_minutes", "no detector has looked at the rest", "%s not looked at"},
	{"unrecorded_minutes", "the rest is not recorded", "%s not recorded"},
	{"waiting_minutes", "the rest waits for missing ids", "%s waiting for missing ids"},
	{"gap_minutes", "the rest lacks ids that the exchange does not have", "%s without ids that the exchange does not have"},
	{"dropped_minutes", "the rest lacks ids or alerts that were dropped on purpose", "%s without ids or alerts that were dropped on purpose"},
	{"failed_minutes", "a detector failed in the rest", "%s in which a detector failed"},
	{"changed_minutes", "the rest was judged by an earlier version of a detector", "%s judged by an earlier version of a detector"},
}

// maxDetectionLag is how far detectors may be behind without a warning, in minutes. They run every
// minute and wait until the trades of a minute are flushed.
const maxDetectionLag = 15

// describeJudged sets Judged, and adds a statement if the detectors have not judged the whole window,
// because then alerts may be missing. all is how many detectors exist.
func (r *Report) describeJudged(section Section, all int) {
	columns := []string{"symbol", "minutes", "judged_minutes", "detectors"}
	for _, reason := range unjudgedReasons {
		columns = append(columns, reason.column)
	}
	if section.Err != nil || columnIndices(section.Result, columns...) == nil {
		r.Judged.Text = "what the detectors have judged is unknown"
		r.addStatement(Fair, "Alerts may be missing: %s.", r.Judged.Text)
		return
	}
	r.Judged = judgedFrom(section.Result, all)
	if r.Judged.Whole() || r.Empty && !r.Complete {
		return
	}
	level := Fair
	unseen := sumOf(section.Result, "unseen_minutes")
	if symbols := int64(len(section.Result.Rows)); unseen <= maxDetectionLag*symbols && unseen == r.Judged.Minutes-r.Judged.JudgedMinutes &&
		r.Judged.JudgedMinutes > 0 {
		level = Note // the latest minutes
	}
	hint := ""
	if r.Judged.JudgedMinutes == 0 && unseen > 0 {
		hint = " `tapedeck detect` runs the detectors."
	}
	r.addStatement(level, "Alerts may be missing: %s.%s", r.Judged.Text, hint)
}

// judgedFrom reads the section judged. If the counts of all symbols are the same, the text is about
// each of them; otherwise it is about all of them together.
func judgedFrom(result analytics.Result, all int) Judged {
	j := Judged{Minutes: sumOf(result, "minutes"), JudgedMinutes: sumOf(result, "judged_minutes"), All: all}
	if len(result.Rows) > 0 {
		j.Detectors = int(field[int64](result, result.Rows[0], "detectors"))
	}
	symbols := int64(len(result.Rows))
	scale, of := int64(1), ""
	switch {
	case symbols > 1 && isUniform(result):
		scale, of = symbols, " of each symbol"
	case symbols > 1:
		of = fmt.Sprintf(" of %d symbols together", symbols)
	}
	minutes, judged := j.Minutes/scale, j.JudgedMinutes/scale
	by := ""
	if j.Detectors < j.All {
		by = fmt.Sprintf(" by %d of %s", j.Detectors, wording.Count(j.All, "detector"))
	}
	count := wording.Count(minutes, "minute") + of
	switch {
	case minutes == 0 && symbols > 0:
		j.Text = "the window has no whole minute to judge"
		return j
	case j.Detectors == 0:
		j.Text = "not judged at all"
		return j
	case judged == minutes:
		j.Text = "all " + count + " judged" + by
		return j
	case judged == 0:
		j.Text = "none of " + count + " judged" + by
	default:
		j.Text = wording.Comma(judged) + " of " + count + " judged" + by
	}
	var only, several []string
	for _, reason := range unjudgedReasons {
		if n := sumOf(result, reason.column) / scale; n > 0 {
			only = append(only, reason.one)
			several = append(several, fmt.Sprintf(reason.several, wording.Comma(n)))
		}
	}
	switch {
	case len(only) > 1:
		j.Text += "; " + strings.Join(several, ", ")
	case judged == 0:
		j.Text += ": " + several[0]
	default:
		j.Text += ", " + only[0]
	}
	return j
}

// isUniform reports whether the counts of all symbols are the same.
func isUniform(result analytics.Result) bool {
	for i, column := range result.Columns {
		if column.Name == "symbol" || column.Name == "unjudged_by" {
			continue
		}
		for _, row := range result.Rows {
			if row[i] != result.Rows[0][i] {
				return false
			}
		}
	}
	return true
}

// sumOf returns the sum of a column of counts.
func sumOf(result analytics.Result, column string) (sum int64) {
	for _, row := range result.Rows {
		sum += field[int64](result, row, column)
	}
	return sum
}

// emptyText describes a section without rows.
func (r *Report) emptyText(query analytics.Query) string {
	switch query.Name {
	case "incidents":
		return "no alerts; " + r.Judged.Text
	case conflictsName:
		return "no conflicts in this window"
	}
	return "no rows in this window"
}
