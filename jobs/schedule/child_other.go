//go:build !linux

package schedule

import (
	"context"
	"syscall"
)

// ownGroup makes a child the leader of a process group. Only Linux can kill it with its parent.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func preferOOMKill(int) {}

// Reap blocks until ctx is done: only the first process of a Linux container gets orphans.
func (c *Children) Reap(ctx context.Context) { <-ctx.Done() }
