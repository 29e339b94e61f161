package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"golang.org/x/term"
)

// app is what every command is handed: the process's ends, its clock and its logger, and the global settings.
type app struct {
	environ []string
	env     map[string]string
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer

	log    *slog.Logger
	config *config
	// set holds KEY=VALUE for each setting given as a flag, so that child processes see the same settings.
	set []string

	started time.Time
	fixed   time.Time // --now; zero where the clock runs
	dataDir string
}

// now is the instant that a command works from: --now where it was given, else the instant the process started. It
// stands still, so that two windows of one run cannot disagree.
func (a *app) now() time.Time {
	if !a.fixed.IsZero() {
		return a.fixed
	}
	return a.started
}

// clock is for what runs on: it starts at now and goes on with real time.
func (a *app) clock() time.Time {
	return a.now().Add(time.Since(a.started)).UTC()
}

// isTerminal reports whether a person is looking at w.
func isTerminal(w any) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// terminalWidth is how many characters a line has on the terminal that shows w; 0 where none does.
func terminalWidth(w io.Writer) int {
	file, ok := w.(*os.File)
	if !ok || !isTerminal(file) {
		return 0
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// newLogger logs as text where a person is looking and as JSON otherwise.
func newLogger(w io.Writer, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// say writes a line of what is going on to standard error, where results are not disturbed.
func (a *app) say(format string, args ...any) {
	fmt.Fprintf(a.stderr, format+"\n", args...)
}
