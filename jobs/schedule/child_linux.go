package schedule

import (
	"bytes"
	"context"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

// ownGroup makes a child the leader of a process group that the kernel kills with its parent.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// preferOOMKill makes the kernel kill a child rather than the scheduler if memory runs out. It is
// best effort: if /proc is not writable, the kernel chooses by memory use.
func preferOOMKill(pid int) {
	_ = os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte("500"), 0)
}

// Reap waits for orphaned processes that became children of this one, until ctx is done. The first
// process of a container must do this, or they stay in the process table forever; other processes
// get no orphans.
func (c *Children) Reap(ctx context.Context) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	defer signal.Stop(ended)
	for {
		c.reapOnce()
		select {
		case <-ctx.Done():
			return
		case <-ended:
		}
	}
}

func (c *Children) reapOnce() {
	c.starting.Lock()
	defer c.starting.Unlock()
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	self := os.Getpid()
	for _, process := range processes {
		pid, err := strconv.Atoi(process.Name())
		if _, waitedFor := c.alive.Load(pid); err == nil && !waitedFor && isDeadChild(pid, self) {
			_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
		}
	}
}

// isDeadChild reports whether pid is a child of parent that has ended and has not been waited for.
func isDeadChild(pid, parent int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	// pid (name) state parent …; the name may contain anything
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	return len(fields) > 1 && string(fields[0]) == "Z" && string(fields[1]) == strconv.Itoa(parent)
}
