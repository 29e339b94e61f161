//go:build !linux

package schedule

import "syscall"

// ownGroup makes a child the leader of a process group. Only Linux kills it when its parent dies without a chance to.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
