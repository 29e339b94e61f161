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
	"sync"
	"time"
	"unicode/utf8"

	"tapedeck/analytics/tape"
)

// newRunID is the name of a run: the job, when it began, and a few random letters, for two schedulers may share a tape.
func newRunID(job string, at time.Time) string {
	return fmt.Sprintf("%s-%s-%s", job, at.UTC().Format("20060102T150405"), strings.ToLower(rand.Text()[:6]))
}

// runJob runs job within its timeout and returns the row that says how it went.
func runJob(ctx context.Context, job Job, due time.Time, options Options) tape.Run {
	started := options.Now()
	row := tape.Run{ID: newRunID(job.Name, started), Job: job.Name, Command: job.Command, Attempt: 1,
		ScheduledAt: due.UnixMicro(), StartedAt: started.UnixMicro()}
	logger := options.Logger.With("job", job.Name, "run_id", row.ID)
	logger.Info("run started", "command", job.Command)
	limited, cancel := context.WithTimeoutCause(ctx, job.Timeout, errTimeout)
	defer cancel()
	var last lastError
	exit := options.Start(limited, job, row.ID, func(line string) {
		logger.Info("run said", said(line))
		last.see(line)
	})
	finished := options.Now()
	row.FinishedAt = finished.UnixMicro()
	row.Exit = int32(exit.Code)
	row.Rows, row.Bytes = exit.Report.Rows, exit.Report.Bytes
	row.WindowStart, row.WindowEnd = micros(exit.Report.WindowStart), micros(exit.Report.WindowEnd)
	row.Outcome, row.Message = judge(limited, ctx, job, exit)
	if row.Message == "" {
		row.Message = exit.Report.Message
	}
	if reason := last.line(); row.Outcome != "ok" && reason != "" {
		row.Message = strings.TrimPrefix(row.Message+": "+reason, ": ")
	}
	attributes := []any{"outcome", row.Outcome, "exit", exit.Code, "elapsed_ms", finished.Sub(started).Milliseconds(), "rows", row.Rows, "message", row.Message}
	if failed(row.Outcome) {
		logger.Error("run finished", attributes...)
	} else {
		logger.Info("run finished", attributes...)
	}
	return row
}

// said is a line of a run's output as an attribute; one that is a log record already is not quoted once more.
func said(line string) slog.Attr {
	if strings.HasPrefix(line, "{") && json.Valid([]byte(line)) {
		return slog.Any("record", json.RawMessage(line))
	}
	return slog.String("line", line)
}

var errTimeout = errors.New("timeout")

// judge names the outcome of a run, and says why where the exit status does not.
func judge(limited, outer context.Context, job Job, exit Exit) (outcome, message string) {
	switch {
	case exit.Err != nil:
		return "failed", exit.Err.Error()
	case exit.Code == 0:
		return "ok", ""
	case exit.Code == 3:
		return "incomplete", ""
	case outer.Err() != nil:
		return "killed", "the scheduler was told to stop"
	case errors.Is(context.Cause(limited), errTimeout):
		return "timeout", fmt.Sprintf("it ran for more than %s", job.Timeout)
	case exit.Signal != "":
		return "failed", "ended by signal: " + exit.Signal
	}
	return "failed", ""
}

func micros(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.UnixMicro()
}

// lastError remembers what a run said last about why it failed: the line that tapedeck's errors begin with, else its
// last line.
type lastError struct {
	mu         sync.Mutex
	said, fail string
}

func (l *lastError) see(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if rest, ok := strings.CutPrefix(line, "tapedeck: "); ok {
		l.fail = rest
	}
	if strings.TrimSpace(line) != "" {
		l.said = line
	}
}

func (l *lastError) line() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != "" {
		return l.fail
	}
	return l.said
}

// longestLine is where a line of output is cut: a run that prints without ever ending a line must not fill memory.
const longestLine = 4096

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
