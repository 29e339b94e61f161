package demo

import (
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

// partly is the exit status of a command that could not have all, or found something.
const partly = 3

// endGrace is how long a command may take to end after it was asked to.
const endGrace = 5 * time.Second

// command is a tapedeck command line in the demo's directory. Its settings come from there and from nowhere else.
func (d *demo) command(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, d.opt.Binary, args...)
	command.Dir = d.opt.Dir
	command.Env = slices.DeleteFunc(slices.Clone(d.opt.Env), func(line string) bool { return strings.HasPrefix(line, "TAPEDECK_") })
	if d.exchange != nil {
		command.Env = append(command.Env,
			"TAPEDECK_STREAM_URL=ws"+strings.TrimPrefix(d.exchange.url, "http"), "TAPEDECK_REST_URL="+d.exchange.url, "TAPEDECK_ARCHIVE_URL="+d.exchange.url)
	}
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = endGrace
	command.SysProcAttr = diesWithParent()
	return command
}

// run runs a command and shows what it says. Exit statuses other than 0 and those in fine are errors.
func (d *demo) run(ctx context.Context, stdout io.Writer, fine []int, args ...string) error {
	return d.wait(ctx, stdout, d.notes, fine, args)
}

// runQuietly runs a command and shows what it says only if it fails.
func (d *demo) runQuietly(ctx context.Context, stdout io.Writer, fine []int, args ...string) error {
	var said bytes.Buffer
	err := d.wait(ctx, stdout, &said, fine, args)
	if err != nil && said.Len() > 0 {
		_, _ = d.opt.Stderr.Write(said.Bytes())
	}
	return err
}

func (d *demo) wait(ctx context.Context, stdout, stderr io.Writer, fine []int, args []string) error {
	command := d.command(ctx, args...)
	command.Stdout, command.Stderr = stdout, stderr
	err := command.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil && errors.As(err, &exit):
		return fmt.Errorf("%s: %s: %w", strings.Join(args, " "), exit.ProcessState, ctx.Err())
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &exit) && slices.Contains(fine, exit.ExitCode()):
		return nil
	case errors.As(err, &exit):
		return fmt.Errorf("%s: %s", strings.Join(args, " "), exit.ProcessState)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("start %q: %w", d.opt.Binary, err)
	}
	return err
}

// commandLine is what a person would type.
func commandLine(args []string) string { return "tapedeck " + strings.Join(args, " ") }

// indented writes each line three characters further in.
type indented struct {
	w      io.Writer
	inLine bool
}

func (i *indented) Write(p []byte) (int, error) {
	var out []byte
	for _, c := range p {
		if !i.inLine && c != '\n' {
			out = append(out, "   "...)
		}
		out = append(out, c)
		i.inLine = c != '\n'
	}
	if _, err := i.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}
