package benchtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Usage is what a process used.
type Usage struct {
	Wall, CPU time.Duration
	Memory    int64 // the most resident memory, in bytes
}

// exitPartial is the exit status of a command that is done, with something to say about the tape.
const exitPartial = 3

// Run runs a command line of the program. Exit statuses other than 0 and 3 fail the benchmark.
func Run(b testing.TB, binary string, args ...string) Usage {
	b.Helper()
	command := exec.Command(binary, args...)
	command.Dir = b.TempDir()
	var errors bytes.Buffer
	command.Stderr = &errors
	started := time.Now()
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	ended, peak := make(chan struct{}), make(chan int64)
	go func() { peak <- peakMemory(command.Process.Pid, ended) }()
	err := command.Wait()
	wall := time.Since(started)
	close(ended)
	memory := <-peak
	if err != nil && command.ProcessState.ExitCode() != exitPartial {
		b.Fatalf("tapedeck %v: %v\n%s", args, err, errors.Bytes())
	}
	return Usage{wall, command.ProcessState.UserTime() + command.ProcessState.SystemTime(), memory}
}

// peakMemory returns the most resident memory of a process in bytes, as of at most 20 ms before its
// end. The kernel's own figure after the end also counts the memory that this process had when it
// started the other.
func peakMemory(pid int, ended <-chan struct{}) (most int64) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return most
		case <-tick.C:
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue // it has just ended, or this system has no /proc
		}
		_, rest, _ := strings.Cut(string(text), "\nVmHWM:")
		size, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		if kb, err := strconv.ParseInt(size, 10, 64); err == nil {
			most = max(most, kb<<10)
		}
	}
}
