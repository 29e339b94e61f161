package demo

import "syscall"

// endWithParent makes the kernel end a child if the demo is killed, so that no exchange keeps running.
func endWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
