package main

import (
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"tapedeck/internal/wording"
)

// console is standard error if it is a terminal: lines that stay and, below them, one status line
// that is rewritten in place. Everything that a command writes there passes through it, so the
// status line never tears a line apart. It is safe for concurrent use.
type console struct {
	out io.Writer
	// size returns the terminal's width in columns, or 0 if it is unknown.
	size func() int
	// foreground reports whether this process may draw. In the background of a shell it must not,
	// because it would overwrite what is typed there.
	foreground func() bool
	// bold makes the status line stand out.
	bold bool

	mu      sync.Mutex
	status  func(width int) string // nil if there is no status line
	drawn   bool                   // the status line is on the screen
	midLine bool                   // the last line that was written has not ended
}

const (
	// The cursor stays at the start of the status line. If the terminal becomes narrower and breaks
	// the line, clearing from there still removes all of it.
	clearStatus  = "\r\x1b[J"
	defaultWidth = 80 // of a terminal that does not know its width
)

// newConsole returns a console on a terminal. out writes to it.
func newConsole(file *os.File, out io.Writer) *console {
	fd := int(file.Fd())
	return &console{
		out: out,
		size: func() int {
			width, _, _ := term.GetSize(fd)
			return width
		},
		foreground: func() bool {
			group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
			return err != nil || group == unix.Getpgrp()
		},
	}
}

// childStderr returns what child processes get as their standard error: the terminal itself.
func (a *app) childStderr() io.Writer {
	if a.console != nil {
		return a.console.out
	}
	return a.stderr
}

// Write writes text above the status line.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	before := ""
	if c.drawn {
		before = clearStatus
	}
	c.midLine = p[len(p)-1] != '\n'
	after := c.render()
	n, err := io.WriteString(c.out, before+string(p)+after)
	c.drawn = after != ""
	return min(max(n-len(before), 0), len(p)), err
}

// setStatus shows a status line; status returns its text for a width. nil removes it.
func (c *console) setStatus(status func(width int) string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = status
	c.draw()
}

// redraw brings the status line up to date.
func (c *console) redraw() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draw()
}

func (c *console) draw() {
	line := c.render()
	if c.drawn {
		line = clearStatus + line
	}
	c.drawn = c.drawn && line != clearStatus || !c.drawn && line != ""
	_, _ = io.WriteString(c.out, line) // a command must not fail because a status cannot be shown
}

// render returns what draws the status line on an empty line, or "" if none is to be shown.
func (c *console) render() string {
	if c.status == nil || c.midLine || !c.foreground() {
		return ""
	}
	// The last column stays empty: some terminals start a new line as soon as it is filled.
	line := wording.Truncate(c.status(c.width()), c.width()-1)
	if line == "" {
		return ""
	}
	if c.bold {
		line = "\x1b[1m" + line + plain
	}
	return line + "\r"
}

func (c *console) width() int {
	if width := c.size(); width > 0 {
		return width
	}
	return defaultWidth
}

// redrawOnResize redraws the status line when the terminal's size changes, until stop is called.
func (c *console) redrawOnResize() (stop func()) {
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for range resized {
			c.redraw()
		}
	})
	return func() {
		signal.Stop(resized)
		close(resized)
		watcher.Wait()
	}
}
