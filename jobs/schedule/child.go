package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Environment variables of a child.
const (
	// RunIDVariable holds the run's id, which the child writes into the segments it publishes.
	RunIDVariable = "TAPEDECK_RUN_ID"
	// ReportVariable holds the number of an open file descriptor to which the child writes its Report as JSON.
	ReportVariable = "TAPEDECK_REPORT_FD"
)

// Children starts runs as child processes of one binary. It must not be copied once it was used.
type Children struct {
	Path  string        // the binary
	Env   []string      // the environment that every child gets
	Grace time.Duration // between SIGTERM and SIGKILL
	// Stdout and Stderr, where they are set, get the output as it comes instead of the lines.
	Stdout, Stderr io.Writer

	// starting is held while a child is not in alive yet, so that Reap does not take one for an orphan.
	starting sync.RWMutex
	mu       sync.Mutex // guards alive
	alive    map[int]bool
}

// Start runs one child; it is a Start. The child is the leader of its own process group, gets SIGTERM when ctx is done,
// and SIGKILL a grace later, with all of its group. If this process dies the kernel kills the child. Where memory runs out the kernel
// takes a child before it takes this process.
func (c *Children) Start(ctx context.Context, args []string, runID string, output func(line string)) Exit {
	// The kernel sends a child its death signal when the thread that started it ends, so this goroutine keeps its thread
	// until the child is gone.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	reports, childEnd, err := os.Pipe()
	if err != nil {
		return Exit{Code: -1, Err: err}
	}
	defer reports.Close()

	// The command is not tied to ctx: ending it is below, for all of its group.
	command := exec.Command(c.Path, args...)
	command.Env = append(append([]string{}, c.Env...), RunIDVariable+"="+runID, ReportVariable+"=3")
	command.ExtraFiles = []*os.File{childEnd} // descriptor 3
	command.SysProcAttr = ownGroup()
	command.WaitDelay = c.Grace // for pipes that something else still holds open
	var emitting sync.Mutex
	emit := func(line string) {
		emitting.Lock()
		defer emitting.Unlock()
		output(line)
	}
	stdout, stderr := &lineWriter{emit: emit}, &lineWriter{emit: emit}
	command.Stdout, command.Stderr = stdout, stderr
	if c.Stdout != nil {
		command.Stdout = io.MultiWriter(c.Stdout, stdout)
	}
	if c.Stderr != nil {
		command.Stderr = io.MultiWriter(c.Stderr, stderr)
	}
	err = c.begin(command)
	childEnd.Close()
	if err != nil {
		return Exit{Code: -1, Err: err}
	}
	defer c.forget(command.Process.Pid)

	report := make(chan Report, 1)
	go func() { report <- readReport(reports) }()
	ended := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		c.stopWhenDone(ctx, command.Process.Pid, ended)
	}()
	err = command.Wait()
	close(ended)
	<-stopped
	// What the child may have left behind in its group goes with it.
	killGroup(command.Process.Pid, syscall.SIGKILL)
	stdout.flush()
	stderr.flush()
	reports.SetReadDeadline(time.Now().Add(time.Second))

	exit := Exit{Code: command.ProcessState.ExitCode(), Report: <-report}
	if state, ok := command.ProcessState.Sys().(syscall.WaitStatus); ok && state.Signaled() {
		exit.Signal = state.Signal().String()
		exit.Code = 128 + int(state.Signal()) // as a shell tells it
	}
	var exitError *exec.ExitError
	if err != nil && !errors.As(err, &exitError) && !errors.Is(err, exec.ErrWaitDelay) {
		exit.Err = err
	}
	return exit
}

// begin starts a child and notes that it is one.
func (c *Children) begin(command *exec.Cmd) error {
	c.starting.RLock()
	defer c.starting.RUnlock()
	if err := command.Start(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.alive == nil {
		c.alive = map[int]bool{}
	}
	c.alive[command.Process.Pid] = true
	takeFirst(command.Process.Pid)
	return nil
}

func (c *Children) forget(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.alive, pid)
}

// ours reports whether a process is a child of ours that Start waits for.
func (c *Children) ours(pid int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.alive[pid]
}

// stopWhenDone ends the group when ctx is done, gently at first; it returns when the child has ended.
func (c *Children) stopWhenDone(ctx context.Context, group int, ended <-chan struct{}) {
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	killGroup(group, syscall.SIGTERM)
	patience := time.NewTimer(c.Grace)
	defer patience.Stop()
	select {
	case <-ended:
		return
	case <-patience.C:
	}
	killGroup(group, syscall.SIGKILL)
	<-ended
}

// killGroup signals a process group; that it is gone already is no error.
func killGroup(group int, signal syscall.Signal) { _ = syscall.Kill(-group, signal) }

// readReport reads what the child says about itself until it ends; a report that cannot be read is an empty one, for the
// exit status is what counts.
func readReport(r io.Reader) Report {
	const most = 64 << 10
	var report Report
	text, _ := io.ReadAll(io.LimitReader(r, most))
	if err := json.Unmarshal([]byte(strings.TrimSpace(string(text))), &report); err != nil {
		return Report{}
	}
	return report
}
