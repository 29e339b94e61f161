package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Environment variables of a child process.
const (
	// RunIDVariable holds the run's id, which the child writes into the segments it publishes.
	RunIDVariable = "TAPEDECK_RUN_ID"
	// ReportVariable holds the number of the file descriptor to which the child writes its Report
	// as JSON.
	ReportVariable = "TAPEDECK_REPORT_FD"
)

// Children starts runs as child processes of one binary. It must not be copied after its first use.
type Children struct {
	Path string   // of the binary
	Env  []string // the environment of every child
	// Secrets, if set, returns more of the environment for a child with some arguments: what only some need.
	Secrets func(args []string) []string
	Grace   time.Duration // between SIGTERM and SIGKILL; 0 is forever
	// Stdout and Stderr, if set, also get the output as it comes.
	Stdout, Stderr io.Writer

	// starting is held for reading from the start of a child until alive has it, so that Reap does
	// not take it for an orphan.
	starting sync.RWMutex
	alive    sync.Map // the ids of the processes that Start waits for
}

// Start runs one child; it is a Start. The child leads its own process group. When ctx is done the
// group gets SIGTERM, and SIGKILL after Grace. If this process dies, the kernel kills the child. If
// memory runs out, the kernel kills a child before this process.
func (c *Children) Start(ctx context.Context, args []string, runID string, output func(line string)) Exit {
	// The kernel kills a child when the thread that started it ends, so this goroutine keeps its
	// thread until the child is gone.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	reports, childEnd, err := os.Pipe()
	if err != nil {
		return Exit{Code: -1, Err: err}
	}
	defer reports.Close()

	command := exec.CommandContext(ctx, c.Path, args...)
	command.Env = append(slices.Clone(c.Env), RunIDVariable+"="+runID, ReportVariable+"=3")
	if c.Secrets != nil {
		command.Env = append(command.Env, c.Secrets(args)...)
	}
	command.ExtraFiles = []*os.File{childEnd} // descriptor 3
	command.SysProcAttr = ownGroup()
	command.Cancel = func() error {
		signalGroup(command.Process.Pid, syscall.SIGTERM)
		return os.ErrProcessDone // so that Wait's error depends only on the child
	}
	command.WaitDelay = c.Grace // until the child is killed and its pipes are closed
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
	err = c.startProcess(command)
	childEnd.Close()
	if err != nil {
		return Exit{Code: -1, Err: err}
	}
	defer c.alive.Delete(command.Process.Pid)

	report := make(chan Report, 1)
	go func() { report <- readReport(reports) }()
	err = command.Wait()
	// Kill what is left of its group.
	signalGroup(command.Process.Pid, syscall.SIGKILL)
	stdout.flush()
	stderr.flush()
	reports.SetReadDeadline(time.Now().Add(time.Second))

	exit := Exit{Code: command.ProcessState.ExitCode(), Report: <-report}
	if state, ok := command.ProcessState.Sys().(syscall.WaitStatus); ok && state.Signaled() {
		exit.Signal = state.Signal().String()
		exit.Code = 128 + int(state.Signal()) // as in a shell
	}
	var exitError *exec.ExitError
	if err != nil && !errors.As(err, &exitError) && !errors.Is(err, exec.ErrWaitDelay) {
		exit.Err = err
	}
	return exit
}

// startProcess starts a child and adds it to alive.
func (c *Children) startProcess(command *exec.Cmd) error {
	c.starting.RLock()
	defer c.starting.RUnlock()
	if err := command.Start(); err != nil {
		return err
	}
	c.alive.Store(command.Process.Pid, true)
	preferOOMKill(command.Process.Pid)
	return nil
}

// signalGroup signals a process group, which may be gone already.
func signalGroup(group int, signal syscall.Signal) { _ = syscall.Kill(-group, signal) }

// readReport reads a child's report. If it cannot be read it is empty: what counts is the exit
// status.
func readReport(r io.Reader) Report {
	const most = 64 << 10
	var report Report
	text, _ := io.ReadAll(io.LimitReader(r, most))
	if json.Unmarshal(text, &report) != nil {
		return Report{}
	}
	return report
}
