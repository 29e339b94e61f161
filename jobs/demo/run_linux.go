package demo

import "syscall"

// diesWithParent has the kernel end a child when the demo is killed, so that no stand-in exchange is left behind.
func diesWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
