package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows how far a command is: a bar on a terminal, and elsewhere only the lines that it is told. Its methods may
// be called concurrently.
type progress struct {
	out      io.Writer
	terminal bool
	bytes    bool // it counts bytes

	mu    sync.Mutex // guards the rest
	bar   *progressbar.ProgressBar
	done  map[string]int64 // by part
	total int64
}

// newProgress shows progress on standard error.
func (a *app) newProgress() *progress {
	return &progress{out: a.stderr, terminal: isTerminal(a.stderr), done: map[string]int64{}}
}

// begin says how much there is to do. Nothing is shown where that is nothing.
func (p *progress) begin(description string, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total = total
	clear(p.done)
	if !p.terminal || total <= 0 {
		return
	}
	p.bar = progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(p.out), progressbar.OptionSetDescription(description), progressbar.OptionSetWidth(24),
		progressbar.OptionShowCount(), progressbar.OptionShowBytes(p.bytes), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionUseANSICodes(true), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
	_ = p.bar.RenderBlank() // its clock starts here
}

// set says how much of one part is done.
func (p *progress) set(part string, done int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done[part] = done
	if p.bar == nil {
		return
	}
	var sum int64
	for _, n := range p.done {
		sum += n
	}
	// A bar that cannot be drawn is no reason to fail what it is about.
	_ = p.bar.Set64(min(sum, p.total))
}

// line prints a line above the bar.
func (p *progress) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	fmt.Fprintf(p.out, format+"\n", args...)
	if p.bar != nil {
		_ = p.bar.RenderBlank()
	}
}

// end takes the bar away.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
}

// grouped writes a number with commas between its thousands.
func grouped(n int64) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
