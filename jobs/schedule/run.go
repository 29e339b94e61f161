package schedule

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

// Start begins one run of a command and returns when it is over. It ends the run when ctx does, and returns only when
// nothing of it is alive any more. output is not called concurrently.
type Start func(ctx context.Context, args []string, runID string, output func(line string)) Exit

// Exit is how a run ended.
type Exit struct {
	Code   int    // the exit status; 128 and the signal's number where a signal ended it; -1 where there is none
	Signal string // the signal that ended it, if one did
	Err    error  // the run could not be started
	Report Report
}

// Report is what a run says about itself.
type Report struct {
	Rows        int64     `json:"rows,omitempty"`
	Bytes       int64     `json:"bytes,omitempty"`
	WindowStart time.Time `json:"window_start,omitzero"`
	WindowEnd   time.Time `json:"window_end,omitzero"`
	Message     string    `json:"message,omitempty"`
}

// newRunID is the name of a run: the job, when it began, and a few random letters, for two runs may begin at once.
func newRunID(job string, at time.Time) string {
	return fmt.Sprintf("%s-%s-%s", job, at.UTC().Format("20060102T150405"), strings.ToLower(rand.Text()[:6]))
}

var (
	errTimeout  = errors.New("timeout")
	errReplaced = errors.New("replaced")
)

// longestBackoff is where the wait before a retry stops to double.
const longestBackoff = time.Hour

// task is one run that is owed: of job, for the instant due, with the window [from, due) where the job takes one.
type task struct {
	job       Job
	due, from time.Time
	byHand    bool // by --once: nothing is due
}

// window is the window that the task's command line is given.
func (t task) window() (from, to time.Time) {
	if t.job.Takes == TakesWindow {
		return t.from, t.due
	}
	return time.Time{}, time.Time{}
}

// args is the command line with the window in it.
func (t task) args() []string {
	args := append([]string{}, t.job.Args...)
	switch t.job.Takes {
	case TakesWindow:
		args = append(args, "--from", t.from.UTC().Format(time.RFC3339Nano), "--to", t.due.UTC().Format(time.RFC3339Nano))
	case TakesEnd:
		args = append(args, "--to", t.due.UTC().Format(time.RFC3339Nano))
	}
	return args
}

// execute runs a task with its retries. over says that the job need not look at the task's due instant again.
func (s *scheduler) execute(ctx context.Context, t task) (over bool) {
	signals := s.pings.begin(t.job.PingURL)
	defer signals.end()
	for attempt := 1; ; attempt++ {
		row := s.attempt(ctx, t, attempt)
		last := !row.Outcome.Failed() || attempt > t.job.Retries || ctx.Err() != nil
		over = s.conclude(t, row, last)
		if last {
			if row.Outcome != state.Killed {
				signals.tell(row)
				s.tell(t.job, row)
			}
			return over
		}
		wait := min(t.job.Backoff<<min(attempt-1, 20), longestBackoff)
		s.Logger.Info("run is tried again", "job", t.job.Name, "attempt", attempt+1, "wait_ms", wait.Milliseconds())
		select {
		case <-ctx.Done():
			return over
		case <-s.After(wait):
		}
	}
}

// attempt runs a task once and gives its row. What is written before its process starts tells a later scheduler that there was
// a run, should this one not live to write the row.
func (s *scheduler) attempt(ctx context.Context, t task, number int) tape.Run {
	job, started := t.job, s.Now().UTC()
	run := state.ActiveRun{ID: newRunID(job.Name, started), Command: job.Command, ScheduledAt: t.due, StartedAt: started, Attempt: number}
	run.WindowStart, run.WindowEnd = t.window()
	row := rowOf(&run, job.Name)
	if t.byHand {
		row.ScheduledAt = 0
	} else {
		s.update(func(state *state.Scheduler) { state.Job(job.Name).Run = &run })
	}
	logger := s.Logger.With("job", job.Name, "run_id", run.ID)
	attributes := []any{"command", job.Command, "attempt", number}
	if job.Takes == TakesWindow {
		attributes = append(attributes, "window_start", run.WindowStart, "window_end", run.WindowEnd)
	}
	logger.Info("run started", attributes...)
	limited, cancel := context.WithTimeoutCause(ctx, job.Timeout, errTimeout)
	defer cancel()
	script := &transcript{log: logger}
	exit := s.start(limited, t.args(), run.ID, script.see)
	ended := context.Cause(limited)
	finished := s.Now().UTC()
	row.FinishedAt = max(finished.UnixMicro(), row.StartedAt)
	row.Exit = int32(exit.Code)
	row.Rows, row.Bytes = exit.Report.Rows, exit.Report.Bytes
	if job.Takes != TakesWindow {
		row.WindowStart, row.WindowEnd = micros(exit.Report.WindowStart), micros(exit.Report.WindowEnd)
	}
	row.Outcome, row.Message = judge(ended, job, exit)
	if row.Message == "" {
		row.Message = exit.Report.Message
	}
	reason, output := script.end()
	row.Output = output
	if row.Outcome != state.OK && reason != "" {
		row.Message = strings.TrimPrefix(row.Message+": "+reason, ": ")
	}
	attributes = []any{"outcome", row.Outcome, "exit", exit.Code, "attempt", number, "elapsed_ms", finished.Sub(started).Milliseconds(), "rows", row.Rows, "message", row.Message}
	if row.Outcome.Failed() {
		logger.Error("run finished", attributes...)
	} else {
		logger.Info("run finished", attributes...)
	}
	return row
}

// start starts a run; a panic on the way is that run's failure and nobody else's.
func (s *scheduler) start(ctx context.Context, args []string, runID string, output func(string)) (exit Exit) {
	defer func() {
		if fault := recover(); fault != nil {
			exit = Exit{Code: -1, Err: fmt.Errorf("panic: %v", fault)}
		}
	}()
	return s.Start(ctx, args, runID, output)
}

// conclude writes down how an attempt ended, and reports whether its due instant is settled by it.
func (s *scheduler) conclude(t task, row tape.Run, last bool) (over bool) {
	taken := s.write(row)
	settled := taken && !settles(row, t.job).IsZero()
	s.update(func(state *state.Scheduler) {
		entry := state.Job(t.job.Name)
		entry.Run = nil
		entry.FinishedAt, entry.Outcome, entry.Message = time.UnixMicro(row.FinishedAt).UTC(), row.Outcome, row.Message
		count(&entry.Totals, row)
		switch {
		case row.Outcome.Done():
			entry.LastDoneAt, entry.Failures = entry.FinishedAt, 0
		case row.Outcome.Failed() && last:
			entry.Failures++
		}
	})
	return settled
}

// count adds a run to the totals of its job.
func count(totals *state.RunTotals, row tape.Run) {
	totals.Add(row.Outcome, time.Duration(row.FinishedAt-row.StartedAt)*time.Microsecond, row.Rows, row.Bytes)
}

// judge names the outcome of a run, and says why where the exit status does not. ended is why the run was told to end, if it
// was. A run that was told to end and then ends well may have left out something, so it counts as not done.
func judge(ended error, job Job, exit Exit) (outcome state.Outcome, message string) {
	switch {
	case exit.Err != nil:
		return state.Failed, exit.Err.Error()
	case errors.Is(ended, errTimeout):
		return state.Timeout, fmt.Sprintf("it ran for more than %s", job.Timeout)
	case errors.Is(ended, errReplaced):
		return state.Killed, "its next run was due and replaced it"
	case ended != nil:
		return state.Killed, "the scheduler was told to stop"
	case exit.Code == 0:
		return state.OK, ""
	case exit.Code == 3:
		return state.Incomplete, ""
	case exit.Signal != "":
		return state.Failed, "ended by signal: " + exit.Signal
	}
	return state.Failed, ""
}

// Bounds of what is kept of a run's output.
const (
	longestLine   = 4096    // where a line is cut: a run that prints without ever ending a line must not fill memory
	mostLinesLog  = 1000    // lines of one run that are logged
	mostBytesLog  = 1 << 18 // and their length
	mostBytesRow  = 4096    // of the end of the output, in the run's row
	longestInRow  = 1024    // where a line is cut there
	longestReason = 500     // in characters
)

// transcript takes a run's output: the beginning goes to the log, the end into the ledger.
type transcript struct {
	log          *slog.Logger
	lines, bytes int
	said, fail   string // the last line, and the last one that tapedeck's errors begin with
	tail         []string
	tailBytes    int
}

func (t *transcript) see(line string) {
	t.lines++
	t.bytes += len(line)
	switch {
	case t.lines <= mostLinesLog && t.bytes <= mostBytesLog:
		t.log.Info("run said", said(line))
	case t.lines-1 <= mostLinesLog && t.bytes-len(line) <= mostBytesLog:
		t.log.Info("run says more than is logged; the rest is left out")
		t.lines += mostLinesLog // the warning is not repeated
	}
	if rest, ok := strings.CutPrefix(line, "tapedeck: "); ok {
		t.fail = rest
	}
	if strings.TrimSpace(line) == "" {
		return
	}
	t.said = line
	kept := cut(line, longestInRow)
	t.tail = append(t.tail, kept)
	t.tailBytes += len(kept) + 1
	for t.tailBytes > mostBytesRow {
		t.tailBytes -= len(t.tail[0]) + 1
		t.tail = t.tail[1:]
	}
}

// end gives what the run said last about why it failed, and the end of its output.
func (t *transcript) end() (reason, output string) {
	reason = t.fail
	if reason == "" {
		reason = t.said
	}
	return cut(reason, longestReason), strings.Join(t.tail, "\n")
}

// cut shortens text to at most so many bytes, at a character's end.
func cut(text string, most int) string {
	const mark = "…"
	if len(text) <= most {
		return text
	}
	text = text[:most-len(mark)]
	for !utf8.ValidString(text) {
		text = text[:len(text)-1]
	}
	return text + mark
}

// said is a line of a run's output as an attribute; one that is a log record already is not quoted once more.
func said(line string) slog.Attr {
	if strings.HasPrefix(line, "{") && json.Valid([]byte(line)) {
		return slog.Any("record", json.RawMessage(line))
	}
	return slog.String("line", line)
}

// lineWriter hands on whole lines of what is written to it. Only one goroutine may write.
type lineWriter struct {
	emit func(line string)
	held []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		part := p
		if end >= 0 {
			part = p[:end]
		}
		room := longestLine - len(w.held)
		w.held = append(w.held, part[:min(room, len(part))]...)
		if end < 0 {
			break
		}
		w.flush()
		p = p[end+1:]
	}
	return n, nil
}

// flush emits what is held, also where its line has not ended.
func (w *lineWriter) flush() {
	if len(w.held) == 0 {
		return
	}
	line := strings.TrimRight(string(w.held), "\r")
	if len(line) >= longestLine {
		line += "… (cut)"
	}
	if !utf8.ValidString(line) {
		line = strings.ToValidUTF8(line, "\uFFFD")
	}
	w.held = w.held[:0]
	w.emit(line)
}
