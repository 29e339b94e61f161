// Package runs reads the ledger for people: the last runs of the scheduler's jobs, and what failed of them. It writes nothing. A row's
// meaning is that of the table runs in the project's README.
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
)

// Ledger reads rows; the dates are those of the partitions, both included, an empty one leaves that end open.
type Ledger interface {
	Dates(table tape.Table) ([]string, error)
	ReadRuns(fromDate, toDate string) ([]tape.Run, error)
}

// Options choose rows; the zero value takes all.
type Options struct {
	Job        string // only its runs
	FailedOnly bool   // only those that failed, timed out, were killed or lost
	Since      time.Time
	Most       int // the last ones only; 0 is all
}

// Last gives the chosen rows, the newest first.
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
			if (opt.Job == "" || row.Job == opt.Job) && (!opt.FailedOnly || row.Outcome.Unfinished()) && !when(row).Before(opt.Since) {
				out = append(out, row)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b tape.Run) int {
		return cmp.Or(when(b).Compare(when(a)), cmp.Compare(b.StartedAt, a.StartedAt), cmp.Compare(a.ID, b.ID))
	})
	if opt.Most > 0 && len(out) > opt.Most {
		out = out[:opt.Most]
	}
	return out, nil
}

// when is the instant that a row's partition is named after.
func when(row tape.Run) time.Time {
	if row.FinishedAt != 0 {
		return instant(row.FinishedAt)
	}
	return instant(row.ScheduledAt)
}

func instant(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// Summary is one line about rows: how many there are of each outcome.
func Summary(rows []tape.Run) string {
	counts := map[state.Outcome]int{}
	for _, row := range rows {
		counts[row.Outcome]++
	}
	var parts []string
	for _, outcome := range state.Outcomes() {
		if n := counts[outcome]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, outcome))
		}
	}
	if len(parts) == 0 {
		return "no runs"
	}
	return fmt.Sprintf("%d runs: %s", len(rows), strings.Join(parts, ", "))
}

const (
	longestMessage = 100
	// leastMessage is the room that a message wants beside its row; where there is less it stands below.
	leastMessage = 40
)

// WriteTable writes the rows in columns, the oldest first, so that the newest stands last above the prompt. Times are UTC, without the
// year where all are of one. Lines are at most width characters long as far as can be; 0 is as long as they like.
func WriteTable(w io.Writer, rows []tape.Run, width int) error {
	day, tries := time.DateOnly, false
	if ofOneYear(rows) {
		day = "01-02"
	}
	for _, row := range rows {
		tries = tries || row.Attempt > 1
	}
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	cells := func(finished, job, outcome, try, took, window, rows string) {
		if tries {
			outcome += "\t" + try
		}
		fmt.Fprintln(table, strings.Join([]string{finished, job, outcome, took, window, rows}, "\t")+"\t")
	}
	cells("FINISHED (UTC)", "JOB", "OUTCOME", "TRY", "TOOK", "WINDOW (UTC)", "ROWS")
	for _, row := range slices.Backward(rows) {
		cells(when(row).Format(day+" 15:04:05"), row.Job, string(row.Outcome), fmt.Sprint(row.Attempt), took(row), window(row, day), fmt.Sprint(row.Rows))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n") // the heading, and one a row
	room := longestMessage
	if width > 0 {
		room = min(room, width-utf8.RuneCountInString(lines[0]))
	}
	for i, line := range lines {
		message := "MESSAGE"
		if i > 0 {
			message = rows[len(rows)-i].Message
		}
		switch {
		case room >= leastMessage:
			line += oneLine(message, room)
		case i > 0 && message != "":
			line = strings.TrimRight(line, " ") + "\n  " + oneLine(message, min(longestMessage, width-2))
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " ")); err != nil {
			return err
		}
	}
	return nil
}

// ofOneYear reports whether all that the table tells of lies in one year.
func ofOneYear(rows []tape.Run) bool {
	years := map[int]bool{}
	for _, row := range rows {
		years[when(row).Year()] = true
		if row.WindowStart != 0 {
			years[instant(row.WindowStart).Year()] = true
		}
	}
	return len(years) == 1
}

func took(row tape.Run) string {
	if row.StartedAt == 0 || row.FinishedAt == 0 {
		return "-"
	}
	length := instant(row.FinishedAt).Sub(instant(row.StartedAt))
	if length < 10*time.Second {
		return length.Round(10 * time.Millisecond).String()
	}
	return length.Round(time.Second).String()
}

// window leaves out the dates that the row's end and the window's start say already.
func window(row tape.Run, day string) string {
	if row.WindowStart == 0 || row.WindowEnd == 0 {
		return "-"
	}
	from, to := instant(row.WindowStart), instant(row.WindowEnd)
	clock := "15:04"
	if !from.Equal(from.Truncate(time.Minute)) || !to.Equal(to.Truncate(time.Minute)) {
		clock = "15:04:05"
	}
	date := func(at time.Time) string { return at.Format(day) }
	start, end := from.Format(clock), to.Format(clock)
	if date(from) != date(when(row)) || date(to) != date(from) {
		start = date(from) + " " + start
	}
	if date(to) != date(from) {
		end = date(to) + " " + end
	}
	return start + " to " + end
}

func oneLine(text string, most int) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:max(most-1, 0)]) + "…"
	}
	return text
}

// line is a row as JSON.
type line struct {
	ID          string    `json:"id"`
	Job         string    `json:"job"`
	Command     string    `json:"command"`
	Outcome     string    `json:"outcome"`
	Exit        int32     `json:"exit"`
	Attempt     int32     `json:"attempt"`
	ScheduledAt time.Time `json:"scheduled_at,omitzero"`
	StartedAt   time.Time `json:"started_at,omitzero"`
	FinishedAt  time.Time `json:"finished_at,omitzero"`
	WindowStart time.Time `json:"window_start,omitzero"`
	WindowEnd   time.Time `json:"window_end,omitzero"`
	Rows        int64     `json:"rows"`
	Bytes       int64     `json:"bytes"`
	Message     string    `json:"message,omitempty"`
	Output      string    `json:"output,omitempty"`
}

// WriteLines writes the rows as one line of JSON each, in the order given.
func WriteLines(w io.Writer, rows []tape.Run) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for _, row := range rows {
		if err := encoder.Encode(line{row.ID, row.Job, row.Command, string(row.Outcome), row.Exit, row.Attempt, instant(row.ScheduledAt), instant(row.StartedAt), instant(row.FinishedAt),
			instant(row.WindowStart), instant(row.WindowEnd), row.Rows, row.Bytes, row.Message, row.Output}); err != nil {
			return err
		}
	}
	return nil
}

// WriteOutput writes what a run printed last, with a line above it that says whose it is.
func WriteOutput(w io.Writer, row tape.Run) error {
	output := strings.TrimRight(row.Output, "\n")
	if output == "" {
		output = "(it printed nothing)"
	}
	_, err := fmt.Fprintf(w, "\n%s, %s, exit %d; the end of its output:\n  %s\n", row.ID, row.Outcome, row.Exit, strings.ReplaceAll(output, "\n", "\n  "))
	return err
}
