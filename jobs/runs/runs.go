// Package runs shows the ledger of the scheduler's runs to people: the last runs of each job, and
// which failed. It writes nothing to the tape. docs/TAPE.md specifies the table runs.
package runs

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
)

// Ledger reads the rows of runs.
type Ledger interface {
	// Dates returns the dates that have a partition, in any order.
	Dates(table tape.Table) ([]string, error)
	// ReadRuns returns the rows of the partitions from one date to another, both inclusive. An
	// empty date leaves that end open.
	ReadRuns(fromDate, toDate string) ([]tape.Run, error)
}

// Options select runs; the zero value selects all.
type Options struct {
	Job        string    // only its runs
	FailedOnly bool      // only runs that started and did not get done
	Since      time.Time // only runs that finished at or after it
	Most       int       // only the last ones; 0 is all
}

func (o Options) selects(row tape.Run) bool {
	return (o.Job == "" || row.Job == o.Job) && (!o.FailedOnly || row.Outcome.Unfinished()) &&
		!recordedAt(row).Before(o.Since)
}

// Last returns the selected rows, newest first.
func Last(ledger Ledger, opt Options) ([]tape.Run, error) {
	dates, err := ledger.Dates(tape.Runs)
	if err != nil {
		return nil, err
	}
	slices.Sort(dates)
	var out []tape.Run
	for _, date := range slices.Backward(dates) {
		if opt.Most > 0 && len(out) >= opt.Most || !opt.Since.IsZero() && date < opt.Since.UTC().Format(time.DateOnly) {
			break
		}
		rows, err := ledger.ReadRuns(date, date)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			if opt.selects(row) {
				out = append(out, row)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b tape.Run) int {
		return cmp.Or(recordedAt(b).Compare(recordedAt(a)),
			cmp.Compare(b.StartedAt, a.StartedAt), cmp.Compare(a.ID, b.ID))
	})
	if opt.Most > 0 {
		out = out[:min(len(out), opt.Most)]
	}
	return out, nil
}

// recordedAt returns the instant whose date is the row's partition.
func recordedAt(row tape.Run) time.Time {
	return instant(cmp.Or(row.FinishedAt, row.ScheduledAt))
}

// instant converts the ledger's microseconds, in which 0 is none.
func instant(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// Summary counts rows by outcome, in one line.
func Summary(rows []tape.Run) string {
	if len(rows) == 0 {
		return "no runs"
	}
	counts := map[state.Outcome]int{}
	for _, row := range rows {
		counts[row.Outcome]++
	}
	var parts []string
	for _, outcome := range state.Outcomes() {
		if n := counts[outcome]; n > 0 {
			parts = append(parts, wording.Comma(n)+" "+string(outcome))
		}
	}
	return wording.Count(len(rows), "run") + ": " + strings.Join(parts, ", ")
}

const (
	// maxMessage is the width of the column of messages, in characters.
	maxMessage = 100
	// minMessage is the least width of that column. If there is less room, messages go on lines of
	// their own.
	minMessage = 40
)

// WriteTable writes the rows as a table, oldest first, so that the newest is right above the
// prompt. Times are UTC, without the year if all are in one. width is that of the terminal in
// characters, 0 if there is none; lines that are too long even without their message are not
// broken.
func WriteTable(w io.Writer, rows []tape.Run, width int) error {
	dateFormat := time.DateOnly
	if inOneYear(rows) {
		dateFormat = "01-02"
	}
	retried := slices.ContainsFunc(rows, func(row tape.Run) bool { return row.Attempt > 1 })
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	writeCells := func(finished, job, outcome, attempt, took, window, rows any) {
		if retried {
			outcome = fmt.Sprintf("%s\t%v", outcome, attempt)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%v\t\n", finished, job, outcome, took, window, rows)
	}
	writeCells("FINISHED (UTC)", "JOB", "OUTCOME", "TRY", "TOOK", "WINDOW (UTC)", "ROWS")
	for _, row := range slices.Backward(rows) {
		writeCells(recordedAt(row).Format(dateFormat+" 15:04:05"), wording.Name(row.Job), wording.Name(string(row.Outcome)), row.Attempt,
			durationText(row), windowText(row, dateFormat), row.Rows)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n") // the header and one per row
	room := maxMessage
	if width > 0 {
		room = min(room, width-utf8.RuneCountInString(lines[0]))
	}
	for i, line := range lines {
		message := "MESSAGE"
		if i > 0 {
			message = rows[len(rows)-i].Message
		}
		switch {
		case room >= minMessage:
			line += oneLine(message, room)
		case i > 0 && message != "":
			line = strings.TrimRight(line, " ") + "\n  " + oneLine(message, min(maxMessage, width-2))
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " ")); err != nil {
			return err
		}
	}
	return nil
}

// inOneYear reports whether all dates in the table are in one year.
func inOneYear(rows []tape.Run) bool {
	years := map[int]bool{}
	for _, row := range rows {
		years[recordedAt(row).Year()] = true
		if row.WindowStart != 0 {
			years[instant(row.WindowStart).Year()] = true
		}
	}
	return len(years) == 1
}

func durationText(row tape.Run) string {
	if row.StartedAt == 0 || row.FinishedAt == 0 {
		return "-"
	}
	took := instant(row.FinishedAt).Sub(instant(row.StartedAt))
	precision := time.Second
	if took < 10*time.Second {
		precision = 10 * time.Millisecond
	}
	return took.Round(precision).String()
}

// windowText omits the dates that are equal to the one to their left: the row's and that of the
// window's start.
func windowText(row tape.Run, dateFormat string) string {
	if row.WindowStart == 0 || row.WindowEnd == 0 {
		return "-"
	}
	from, to := instant(row.WindowStart), instant(row.WindowEnd)
	clockFormat := "15:04"
	if !from.Equal(from.Truncate(time.Minute)) || !to.Equal(to.Truncate(time.Minute)) {
		clockFormat = "15:04:05"
	}
	date := func(at time.Time) string { return at.Format(dateFormat) }
	start, end := from.Format(clockFormat), to.Format(clockFormat)
	if date(from) != date(recordedAt(row)) || date(to) != date(from) {
		start = date(from) + " " + start
	}
	if date(to) != date(from) {
		end = date(to) + " " + end
	}
	return start + " to " + end
}

// oneLine joins the lines of text and truncates it to at most so many characters.
func oneLine(text string, most int) string {
	text = wording.Visible(strings.Join(strings.Fields(text), " "))
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:max(most-1, 0)]) + "…"
	}
	return text
}

// runJSON is a row as JSON.
type runJSON struct {
	ID          string        `json:"id"`
	Job         string        `json:"job"`
	Command     string        `json:"command"`
	Outcome     state.Outcome `json:"outcome"`
	Exit        int32         `json:"exit"`
	Attempt     int32         `json:"attempt"`
	ScheduledAt time.Time     `json:"scheduled_at,omitzero"`
	StartedAt   time.Time     `json:"started_at,omitzero"`
	FinishedAt  time.Time     `json:"finished_at,omitzero"`
	WindowStart time.Time     `json:"window_start,omitzero"`
	WindowEnd   time.Time     `json:"window_end,omitzero"`
	Rows        int64         `json:"rows"`
	Bytes       int64         `json:"bytes"`
	Message     string        `json:"message,omitempty"`
	Output      string        `json:"output,omitempty"`
}

// WriteLines writes one line of JSON per row, in the given order.
func WriteLines(w io.Writer, rows []tape.Run) error {
	encoder := json.NewEncoder(wording.JSON(w))
	encoder.SetEscapeHTML(false)
	for _, row := range rows {
		if err := encoder.Encode(runJSON{
			ID: row.ID, Job: row.Job, Command: row.Command, Outcome: row.Outcome, Exit: row.Exit, Attempt: row.Attempt,
			ScheduledAt: instant(row.ScheduledAt), StartedAt: instant(row.StartedAt), FinishedAt: instant(row.FinishedAt),
			WindowStart: instant(row.WindowStart), WindowEnd: instant(row.WindowEnd),
			Rows: row.Rows, Bytes: row.Bytes, Message: row.Message, Output: row.Output,
		}); err != nil {
			return err
		}
	}
	return nil
}

// WriteOutput writes the end of a run's output below a line that names the run.
func WriteOutput(w io.Writer, row tape.Run) error {
	output := wording.VisibleLines(cmp.Or(strings.TrimRight(row.Output, "\n"), "(no output)"))
	_, err := fmt.Fprintf(w, "\n%s, %s, exit %d; last output:\n  %s\n",
		wording.Name(row.ID), wording.Name(string(row.Outcome)), row.Exit, strings.ReplaceAll(output, "\n", "\n  "))
	return err
}
