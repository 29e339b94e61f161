package schedule

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"unicode/utf8"
)

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
