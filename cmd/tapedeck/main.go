// Command tapedeck records the trades of Binance's spot market, proves that the record is complete,
// and runs jobs over it.
//
// The package owns the command line: flags and the sources of their values, standard output and
// standard error, exit statuses and hints. Each command is one file, a thin adapter over a package
// of jobs. Its guarantee: only main exits the process, every command works without a config.yaml,
// and a flag beats the environment, which beats config.yaml, which beats the default.
// docs/CONFIGURATION.md specifies config.yaml.
package main

import (
	"context"
	"errors"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	_ "time/tzdata" // for the time zones of crontab.yaml; the image has no zone files

	"tapedeck/analytics"
	"tapedeck/jobs/stream"
)

// version and commit are set by the linker: -ldflags "-X main.version=… -X main.commit=…".
var (
	version = ""
	commit  = ""
)

func main() {
	log.SetOutput(io.Discard) // net/http writes to it, and quotes what servers send
	os.Exit(run(os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// run parses args, runs the command that they name and returns the exit status.
func run(args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{
		environ: environ,
		env:     environment(environ),
		stdin:   stdin,
		stdout:  stdout,
		stderr:  stderr,
	}
	a.place = thisPlace(a.env)
	parsed, err := parse(a, args)
	switch {
	case errors.Is(err, errHelpShown):
		return exitDone
	case err != nil:
		return a.fail(err)
	}
	if err := checkOpenFiles(); err != nil {
		return a.fail(err)
	}
	if a.logQueue != nil {
		defer a.logQueue.close()
		// A reader that exits must not end the recording. Ignored, the signal would be ignored in
		// child processes, too.
		signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	}
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	_, reloads := parsed.Selected().Target.Addr().Interface().(reloader)
	if !reloads && !signal.Ignored(syscall.SIGHUP) { // nohup ignores it
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	defer stop()
	// The first signal stops the command cleanly. After it signals have their default effect, so a
	// second one kills the process.
	context.AfterFunc(ctx, stop)
	parsed.BindTo(ctx, (*context.Context)(nil))
	command := func() error { return parsed.Run(a) }
	if _, only := parsed.Selected().Target.Addr().Interface().(reader); only {
		command = func() error { return abandonAfter(ctx, signalGrace, func() error { return parsed.Run(a) }) }
	}
	if bounded, ok := parsed.Selected().Target.Addr().Interface().(bounded); ok {
		run := command
		command = func() error { return within(ctx, bounded.memoryLimit(), run) }
	}
	if err := command(); err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) && !errors.Is(err, stream.ErrNotPublished) {
			cause := context.Cause(ctx) // names the signal
			var hinted *hintError
			if errors.As(err, &hinted) {
				cause = withHint(cause, hinted.hint)
			}
			err = cause
		}
		return a.fail(err)
	}
	return exitDone
}

// reloader is implemented by the commands that reload their crontab on SIGHUP. It stops the others,
// because it means that their terminal is gone.
type reloader interface{ reloadsOnHangup() }

// reader is implemented by the commands that only read the tape and run SQL of others.
type reader interface{ onlyReads() }

// bounded is implemented by the commands that run SQL within an amount of memory; empty is the default.
type bounded interface{ memoryLimit() string }

// within runs a command, and returns without it once the process uses much more memory than it may: DuckDB
// counts what a query holds, but not what a single call of a function makes of one value. What the
// command was doing ends with the process, as by a kill.
func within(ctx context.Context, memory string, command func() error) error {
	analytics.LimitGo(memory)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	done, exceeded := make(chan error, 1), make(chan error, 1)
	go func() {
		if err := analytics.WatchMemory(watching, memory); err != nil {
			exceeded <- err
		}
	}()
	go func() { done <- command() }()
	select {
	case err := <-done:
		return err
	case err := <-exceeded:
		return withHint(err, "a single call of a function may need that much for one value: use shorter values, or give tapedeck more memory; the tape is intact")
	}
}

// signalGrace is how long a reader may take to end after a signal. It is less than the 8 s after which a
// scheduler kills a job.
const signalGrace = 5 * time.Second

// abandonAfter runs a command that only reads. If it has not returned a while after ctx was cancelled,
// abandonAfter returns context.Canceled without it: DuckDB does not interrupt a single call of a function,
// which can take minutes. The process ends with the goroutine in it.
func abandonAfter(ctx context.Context, grace time.Duration, command func() error) error {
	done := make(chan error, 1)
	go func() { done <- command() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return context.Canceled
	}
}

// environment turns KEY=VALUE lines into a map. The last line of a key wins.
func environment(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, line := range environ {
		if key, value, ok := strings.Cut(line, "="); ok {
			env[key] = value
		}
	}
	return env
}
