package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"tapedeck/internal/redact"
	"tapedeck/internal/wording"
)

// app is what every command gets: the process's streams and environment, its clock and logger, and
// the global settings.
type app struct {
	environ []string
	env     map[string]string
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer

	args    []string // the command line
	place   place
	log     *slog.Logger
	console *console // standard error, if it is a terminal
	status  bool     // the console may show a status line
	// logQueue is what standard error passes through in a recording command; nil in others.
	logQueue *logQueue

	config *config
	// set holds KEY=VALUE for every setting given as a flag, so that child processes get the same
	// settings.
	set []string

	started time.Time
	fixed   time.Time // --now; zero if it was not given
	dataDir string
	// logLevel is --log-level as given, or empty.
	logLevel string
}

// now returns the instant that a command works with: --now, or when the process started. It does
// not advance, so all windows of a command agree.
func (a *app) now() time.Time {
	if !a.fixed.IsZero() {
		return a.fixed
	}
	return a.started
}

// latest returns the later one of now and the system's time: what traded after it is of the future.
func (a *app) latest() time.Time {
	return slices.MaxFunc([]time.Time{a.now(), time.Now()}, time.Time.Compare)
}

// clock returns the current time for services, in UTC: the system's, which may be set at any time, so
// that two readings may be any time apart. With --now it starts there and advances with real time.
func (a *app) clock() time.Time {
	if a.fixed.IsZero() {
		return time.Now().Round(0).UTC() // without a monotonic reading, which would win in comparisons
	}
	return a.steadyClock()
}

// stopwatch is clock with a monotonic reading: differences between its results, and between them and
// other instants of this process, do not depend on the system's clock.
func (a *app) stopwatch() time.Time {
	if a.fixed.IsZero() {
		return time.Now().UTC()
	}
	return a.steadyClock()
}

// steadyClock returns the time for a simulation, in UTC: it starts at now and advances with real time,
// even if the system's clock is set.
func (a *app) steadyClock() time.Time { return a.now().Add(time.Since(a.started)).UTC() }

// isTerminal reports whether w is a terminal.
func isTerminal(w any) bool {
	if _, ok := w.(*console); ok {
		return true
	}
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

// setUpLog makes the logger: JSON, or on a terminal lines for people. There all that the command
// writes to standard error passes through a console from then on. If the command must continue when
// nobody reads its log, it also passes through a queue.
func (a *app) setUpLog(level slog.Level, command *kong.Node) {
	file, ok := a.stderr.(*os.File)
	if !ok {
		a.log = slog.New(redact.Handler(slog.NewJSONHandler(wording.JSON(a.stderr), &slog.HandlerOptions{Level: level})))
		return
	}
	target := command.Target.Addr().Interface()
	service := runsUntilStopped(target)
	if _, ok := target.(recording); ok && service {
		note := noteAsRecord
		if isTerminal(file) {
			note = noteForPeople
		}
		a.logQueue = newLogQueue(file, note)
		a.stderr = a.logQueue
	}
	if !isTerminal(file) {
		a.log = slog.New(redact.Handler(slog.NewJSONHandler(wording.JSON(a.stderr), &slog.HandlerOptions{Level: level})))
		return
	}
	a.console = newConsole(file, a.stderr)
	a.stderr = a.console
	form := lineForm{width: a.console.width, summary: command.Name == "stream"}
	if service {
		form.zone = time.Local
	}
	if term := a.env["TERM"]; term != "" && term != "dumb" {
		a.status = level > slog.LevelDebug // at that level every line counts, and the status would be in between
		form.status, form.color = a.status, a.env["NO_COLOR"] == ""
		a.console.bold = form.color
	}
	a.log = slog.New(redact.Handler(newLineHandler(a.console, level, form)))
}

// results returns standard output for results that keep the bytes of what others wrote, such as CSV.
// On a terminal it shows those that a terminal would act on.
func (a *app) results() io.Writer {
	if isTerminal(a.stdout) {
		return wording.Lines(a.stdout)
	}
	return a.stdout
}

// say writes a line about the progress of a command to standard error, with the texts among its
// arguments escaped and without secrets, and on a terminal broken between words. Results go to standard output.
func (a *app) say(format string, args ...any) {
	text := redact.Text(fmt.Sprintf(format, visibleArgs(args)...))
	if a.console == nil {
		fmt.Fprintln(a.stderr, text)
		return
	}
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		lines = append(lines, strings.Join(wording.Wrap(line, a.console.width()-len(hanging)), "\n"+hanging))
	}
	fmt.Fprintln(a.stderr, strings.Join(lines, "\n"))
}

// visibleArgs escapes the texts among the arguments of a line for people.
func visibleArgs(args []any) []any {
	out := slices.Clone(args)
	for i, arg := range args {
		switch arg := arg.(type) {
		case string:
			out[i] = wording.Visible(arg)
		case error:
			out[i] = strings.Join(wording.Errors(arg), "\n")
		case fmt.Stringer:
			out[i] = wording.Visible(arg.String())
		}
	}
	return out
}

// hanging is before the further lines of a text that is broken.
const hanging = "  "
