package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/rivo/uniseg"

	"tapedeck/internal/wording"
)

// lineHandler is a slog.Handler that writes short lines for people. A record that people need not
// see, because the status line or a later line says the same, is left out unless the level is
// debug. Its guarantee: each line is written with one call of Write, and nothing in it controls the
// terminal.
type lineHandler struct {
	out   io.Writer
	level slog.Level
	form  lineForm
	attrs []slog.Attr // of With, with the names of groups before them
	group string

	memory *lineMemory
}

// lineForm is how lines look.
type lineForm struct {
	// zone, if set, puts the local time before each line.
	zone *time.Location
	// color puts the words error and warning in color.
	color bool
	// status means that a status line shows what is flushed and which jobs run.
	status bool
	// summary means that the command itself says at its end what it did.
	summary bool
	// width returns the columns of the terminal; lines are broken between words.
	width func() int
}

func newLineHandler(out io.Writer, level slog.Level, form lineForm) *lineHandler {
	return &lineHandler{out: out, level: level, form: form, memory: newLineMemory()}
}

// Enabled implements slog.Handler.
func (h *lineHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

// WithAttrs implements slog.Handler.
func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := *h
	out.attrs = h.attrs[:len(h.attrs):len(h.attrs)]
	for _, attr := range attrs {
		out.attrs = appendFlat(out.attrs, h.group, attr)
	}
	return &out
}

// WithGroup implements slog.Handler.
func (h *lineHandler) WithGroup(name string) slog.Handler {
	out := *h
	out.group += name + "."
	return &out
}

// appendFlat appends an attribute, or those of a group with its name before theirs.
func appendFlat(attrs []slog.Attr, group string, attr slog.Attr) []slog.Attr {
	value := attr.Value.Resolve()
	if value.Kind() != slog.KindGroup {
		return append(attrs, slog.Attr{Key: group + attr.Key, Value: value})
	}
	if attr.Key != "" {
		group += attr.Key + "."
	}
	for _, member := range value.Group() {
		attrs = appendFlat(attrs, group, member)
	}
	return attrs
}

// Handle implements slog.Handler.
func (h *lineHandler) Handle(_ context.Context, record slog.Record) error {
	attrs := h.attrs[:len(h.attrs):len(h.attrs)]
	record.Attrs(func(attr slog.Attr) bool {
		attrs = appendFlat(attrs, h.group, attr)
		return true
	})
	entry := entry{at: record.Time, level: record.Level, message: record.Message, values: attrs}
	h.memory.Lock()
	defer h.memory.Unlock()
	lines := h.memory.lines(entry, h.level <= slog.LevelDebug, h.form)
	var text bytes.Buffer
	for _, line := range lines {
		h.form.write(&text, entry.at, line)
	}
	if text.Len() == 0 {
		return nil
	}
	_, err := h.out.Write(text.Bytes())
	return err
}

// line is what one line says.
type line struct {
	level slog.Level
	job   string // whose output this is, or ""
	text  string
}

// ANSI sequences: the colors of warnings and errors, and what ends them.
const (
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	plain  = "\x1b[0m"
)

// write appends a line to out: time, level if it matters, job, text.
func (f lineForm) write(out *bytes.Buffer, at time.Time, l line) {
	indent := 0
	if f.zone != nil {
		stamp := at.In(f.zone).Format(time.TimeOnly) + "  "
		out.WriteString(stamp)
		indent = len(stamp)
	}
	word, color := "", ""
	switch {
	case l.level >= slog.LevelError:
		word, color = "error", red
	case l.level >= slog.LevelWarn:
		word, color = "warning", yellow
	}
	text := wording.Visible(l.text)
	if l.job != "" {
		text = wording.Name(l.job) + ": " + text
	}
	if word != "" {
		text = word + ": " + text
	}
	width := defaultWidth
	if f.width != nil {
		width = f.width()
	}
	for i, part := range breakLine(text, width-indent) {
		if i > 0 {
			out.WriteString(strings.Repeat(" ", indent))
		} else if f.color && color != "" {
			part = color + word + plain + strings.TrimPrefix(part, word)
		}
		out.WriteString(part + "\n")
	}
}

// breakLine breaks text between words into lines of fewer than the given columns. A word that is
// longer keeps a line of its own, which the terminal breaks.
func breakLine(text string, columns int) []string {
	const least = 20 // below that breaking makes things worse
	if columns < least || uniseg.StringWidth(text) < columns {
		return []string{text}
	}
	var lines []string
	current, width := "", 0
	for _, word := range strings.Split(text, " ") {
		n := uniseg.StringWidth(word)
		if current != "" && width+1+n >= columns {
			lines = append(lines, current)
			current, width = "", 0
		}
		if current != "" {
			word, n = " "+word, n+1
		}
		current, width = current+word, width+n
	}
	return append(lines, current)
}

// lineMemory is what the handler keeps between records, so that it can leave out what it has said,
// and name what has changed since. It is locked by its user.
type lineMemory struct {
	sync.Mutex
	texts       map[string]lineText
	connections int                  // that the recorder has, as far as it said
	downSince   map[string]time.Time // by connection
	repeated    map[string]*repetition
	output      map[string][]string // the first lines of a run's output, by run id
}

// repetition counts how often a warning was left out because it had just been shown.
type repetition struct {
	shownAt time.Time
	hidden  int
}
