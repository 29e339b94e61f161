package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"golang.org/x/term"
)

// app is what every command gets: the process's streams and environment, its clock and logger, and
// the global settings.
type app struct {
	environ []string
	env     map[string]string
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer

	log    *slog.Logger
	config *config
	// set holds KEY=VALUE for every setting given as a flag, so that child processes get the same
	// settings.
	set []string

	started time.Time
	fixed   time.Time // --now; zero if it was not given
	dataDir string
}

// now returns the instant that a command works with: --now, or when the process started. It does
// not advance, so all windows of a command agree.
func (a *app) now() time.Time {
	if !a.fixed.IsZero() {
		return a.fixed
	}
	return a.started
}

// clock returns the current time for services, in UTC. It starts at now and advances with real
// time.
func (a *app) clock() time.Time {
	return a.now().Add(time.Since(a.started)).UTC()
}

// isTerminal reports whether w is a terminal.
func isTerminal(w any) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// terminalWidth returns the width of the terminal w in characters, or 0 if w is none.
func terminalWidth(w io.Writer) int {
	if file, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil {
			return width
		}
	}
	return 0
}

// newLogger returns a logger that writes text to a terminal, and JSON to anything else.
func newLogger(w io.Writer, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// say writes a line about the progress of a command to standard error. Results go to standard
// output.
func (a *app) say(format string, args ...any) {
	fmt.Fprintf(a.stderr, format+"\n", args...)
}
