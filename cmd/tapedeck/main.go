// Command tapedeck records the trade tape of Binance's spot market, proves that the record is complete, and works on it.
//
// The package owns the command line and nothing else: flags and where their values come from, what goes to standard
// output and what to standard error, exit statuses and hints. Each command is one file, a thin adapter over the package
// of the same name below jobs. The guarantee: only main ends the process, every command works without a config.yaml,
// and a flag beats the environment, which beats config.yaml, which beats the default.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	_ "time/tzdata" // crontab.yaml names time zones, and a slim image has no zone files
)

// version and commit are stamped by the linker: -ldflags "-X main.version=… -X main.commit=…".
var (
	version = ""
	commit  = ""
)

func main() {
	os.Exit(run(os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// run is one tapedeck process: it parses args, runs the command they name and returns the exit status.
func run(args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{
		environ: environ,
		env:     environment(environ),
		stdin:   stdin,
		stdout:  stdout,
		stderr:  stderr,
	}
	parsed, err := parse(a, args)
	switch {
	case errors.Is(err, errHelpShown):
		return exitDone
	case err != nil:
		return a.fail(err)
	}
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if _, reads := parsed.Selected().Target.Addr().Interface().(reloader); !reads && !signal.Ignored(syscall.SIGHUP) { // nohup has it ignored
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	defer stop()
	// The first signal asks for a clean end; after it the default is back, so that a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err := parsed.Run(a); err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			cause := context.Cause(ctx) // which signal it was
			var hinted *hintError
			if errors.As(err, &hinted) {
				cause = withHint(cause, "%s", hinted.hint)
			}
			err = cause
		}
		return a.fail(err)
	}
	return exitDone
}

// reloader is implemented by the commands for which SIGHUP means to read their crontab again; for others it means that the terminal is gone.
type reloader interface{ reloadsOnHangup() }

// environment turns KEY=VALUE lines into a map; of two lines with one key the later one counts.
func environment(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, line := range environ {
		if key, value, ok := strings.Cut(line, "="); ok {
			env[key] = value
		}
	}
	return env
}
