package main

import "fmt"

// Begin implements progress.Display.
func (a *app) Begin(task string, total int64) {
	a.task, a.total = task, total
	a.Set("", 0)
}

// Set implements progress.Display.
func (a *app) Set(_ string, done int64) {
	if !a.terminal || a.total == 0 {
		return
	}
	fmt.Fprintf(a.stderr, "\r\x1b[K%s: %d of %d days", a.task, done, a.total)
	a.line = true
}

// Line implements progress.Display.
func (a *app) Line(text string) { a.say("%s", text) }

// endLine removes the line of progress.
func (a *app) endLine() {
	if a.line {
		fmt.Fprint(a.stderr, "\r\x1b[K")
		a.line = false
	}
}
