//go:build !linux

package schedule

import (
	"context"
	"syscall"
)

// ownGroup makes a child the leader of a process group. Only Linux kills it when its parent dies without a chance to.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func takeFirst(int) {}

// Reap waits until ctx is done: only in a Linux container is a program like this the one that orphans fall to.
func (c *Children) Reap(ctx context.Context) { <-ctx.Done() }
