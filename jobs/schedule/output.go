package schedule

import (
	"bytes"
	"cmp"
	"encoding/json"
	"log/slog"
	"strings"
	"unicode/utf8"

	"tapedeck/internal/redact"
)

// Bounds of what is kept of a run's output.
const (
	maxLine      = 4096    // bytes of a line: a run that prints without ever ending a line must not fill memory
	maxLogLines  = 1000    // lines of one run that are logged
	maxLogBytes  = 1 << 18 // of those lines
	maxTailBytes = 4096    // of the end of the output, which goes to the run's row
	maxTailLine  = 1024    // bytes of a line there
	maxReason    = 500     // bytes
)

// runOutput takes the output of a run: its beginning goes to the log, its end to the ledger.
type runOutput struct {
	log                 *slog.Logger
	lines, bytes        int
	lastLine, lastError string // lastError is the last line that looks like an error of tapedeck, without its prefix
	tail                []string
	tailBytes           int
}

func (o *runOutput) add(line string) {
	line = redact.Text(line)
	o.lines++
	o.bytes += len(line)
	switch {
	case o.lines <= maxLogLines && o.bytes <= maxLogBytes:
		o.log.Info("run output", lineAttr(line))
	case o.lines-1 <= maxLogLines && o.bytes-len(line) <= maxLogBytes:
		o.log.Info("run output is too long; the rest is not logged")
		o.lines += maxLogLines // do not log this again
	}
	if rest, ok := strings.CutPrefix(line, "tapedeck: "); ok {
		o.lastError = rest
	}
	if strings.TrimSpace(line) == "" {
		return
	}
	o.lastLine = line
	kept := truncate(line, maxTailLine)
	o.tail = append(o.tail, kept)
	o.tailBytes += len(kept) + 1
	for o.tailBytes > maxTailBytes {
		o.tailBytes -= len(o.tail[0]) + 1
		o.tail = o.tail[1:]
	}
}

// reason returns the line that most likely says why the run failed.
func (o *runOutput) reason() string {
	return truncate(cmp.Or(o.lastError, o.lastLine), maxReason)
}

// tailText returns the end of the output.
func (o *runOutput) tailText() string { return strings.Join(o.tail, "\n") }

// truncate shortens text to at most so many bytes without splitting a character.
func truncate(text string, most int) string {
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

// lineAttr returns a line of output as an attribute. A line that is a JSON log record is not quoted
// again.
func lineAttr(line string) slog.Attr {
	if strings.HasPrefix(line, "{") && json.Valid([]byte(line)) {
		return slog.Any("record", json.RawMessage(line))
	}
	return slog.String("line", line)
}

// lineWriter calls emit with each line that is written to it. It is not safe for concurrent use.
type lineWriter struct {
	emit    func(line string)
	partial []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		part, rest, ended := bytes.Cut(p, []byte("\n"))
		w.partial = append(w.partial, part[:min(maxLine-len(w.partial), len(part))]...)
		if ended {
			w.flush()
		}
		p = rest
	}
	return n, nil
}

// flush emits the current line, whether it has ended or not.
func (w *lineWriter) flush() {
	if len(w.partial) == 0 {
		return
	}
	line := strings.TrimRight(string(w.partial), "\r")
	if len(line) >= maxLine {
		line += "… (cut)"
	}
	w.partial = w.partial[:0]
	w.emit(strings.ToValidUTF8(line, "\uFFFD"))
}
