package demo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// partial is the exit status of a command that is done but incomplete, or found something.
const partial = 3

// endGrace is how long a command may take to end after SIGTERM: stream publishes for up to 8 s.
const endGrace = 10 * time.Second

// startTimeout bounds the start of the stand-in exchange. It generates a day of history in a fraction
// of a second.
const startTimeout = 30 * time.Second

// command returns a tapedeck command in the demo's directory, with no settings from the environment.
func (d *demo) command(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, d.opt.Binary, args...)
	command.Dir = d.opt.Dir
	command.Env = slices.DeleteFunc(slices.Clone(d.opt.Env), func(variable string) bool {
		return strings.HasPrefix(variable, "TAPEDECK_")
	})
	if url := d.exchange.URL; url != "" {
		command.Env = append(command.Env,
			"TAPEDECK_STREAM_URL=ws"+strings.TrimPrefix(url, "http"), "TAPEDECK_REST_URL="+url, "TAPEDECK_ARCHIVE_URL="+url)
	}
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = endGrace
	command.SysProcAttr = endWithParent()
	return command
}

// run runs a command and shows its progress.
func (d *demo) run(ctx context.Context, stdout io.Writer, args ...string) error {
	return d.wait(ctx, stdout, d.progress, 0, args)
}

// runPartial is run for a command that may end with the exit status partial.
func (d *demo) runPartial(ctx context.Context, stdout io.Writer, args ...string) error {
	return d.wait(ctx, stdout, d.progress, partial, args)
}

// runQuietly is runPartial without progress: stderr is shown only if the command fails.
func (d *demo) runQuietly(ctx context.Context, stdout io.Writer, args ...string) error {
	var stderr bytes.Buffer
	err := d.wait(ctx, stdout, &stderr, partial, args)
	if err != nil {
		_, _ = d.opt.Stderr.Write(stderr.Bytes())
	}
	return err
}

func (d *demo) wait(ctx context.Context, stdout, stderr io.Writer, allowedStatus int, args []string) error {
	command := d.command(ctx, args...)
	command.Stdout, command.Stderr = stdout, stderr
	err := command.Run()
	exit, exited := err.(*exec.ExitError)
	switch {
	case ctx.Err() != nil && exited:
		return fmt.Errorf("%s: %s: %w", strings.Join(args, " "), exit.ProcessState, ctx.Err())
	case ctx.Err() != nil:
		return ctx.Err()
	case exited && exit.ExitCode() == allowedStatus:
		return nil
	case exited:
		return fmt.Errorf("%s: %s", strings.Join(args, " "), exit.ProcessState)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("start %q: %w", d.opt.Binary, err)
	}
	return err
}

// startExchange starts the stand-in exchange on a free port. stop ends it and waits.
func (d *demo) startExchange(ctx context.Context) (stop func(), err error) {
	d.exchangeArgs = []string{"exchange", "--simulate", "--staged", "--seed", fmt.Sprint(d.opt.Seed)}
	command := d.command(ctx, append(d.exchangeArgs, "--listen", "127.0.0.1:0", "--log-level", "error")...)
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var stderr bytes.Buffer
	command.Stderr = &stderr
	if err := command.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	stop = func() {
		_ = command.Cancel() // fails if it has ended
		<-ended
	}
	ready := make(chan error, 1)
	go func() {
		defer close(ended)
		ready <- d.readDescription(stdout)
		_, _ = io.Copy(io.Discard, stdout)
		_ = command.Wait() // its exit status does not matter
	}()
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(startTimeout):
		err = fmt.Errorf("no output within %s", startTimeout)
	}
	if err == nil {
		err = d.exchange.Injected(ctx, &d.incidents)
	}
	if err != nil {
		stop()
		if text := strings.TrimSpace(stderr.String()); text != "" {
			err = errors.New(text)
		}
		return nil, err
	}
	return stop, nil
}

// readDescription reads the first paragraph of the exchange's output, which contains its address.
func (d *demo) readDescription(r io.Reader) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			return nil
		}
		if _, url, ok := strings.Cut(line, " at "); ok && d.exchange.URL == "" {
			d.exchange.URL = url
		}
		d.description = append(d.description, line)
	}
	return errors.Join(lines.Err(), errors.New("it ended"))
}
