package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progressBar is a progress.Display: a bar on a terminal, and elsewhere only its lines.
type progressBar struct {
	out      io.Writer
	terminal bool
	bytes    bool // the unit is bytes

	mu    sync.Mutex               // guards the rest
	bar   *progressbar.ProgressBar // nil if there is none
	done  map[string]int64         // by part
	total int64
}

// newProgress returns a progress bar on standard error.
func (a *app) newProgress() *progressBar {
	return &progressBar{out: a.stderr, terminal: isTerminal(a.stderr), done: map[string]int64{}}
}

// Begin replaces the bar with one for a task of total units, or with none if total is 0.
func (p *progressBar) Begin(task string, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
	p.total = total
	clear(p.done)
	if !p.terminal || total <= 0 {
		return
	}
	p.bar = progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(p.out), progressbar.OptionSetDescription(task), progressbar.OptionSetWidth(24),
		progressbar.OptionShowCount(), progressbar.OptionShowBytes(p.bytes), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionUseANSICodes(true), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
	_ = p.bar.RenderBlank() // starts its clock
}

// Set sets how much of one part is done.
func (p *progressBar) Set(part string, done int64) {
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
	// The job must not fail because a bar cannot be drawn.
	_ = p.bar.Set64(min(sum, p.total))
}

// Line prints a line above the bar.
func (p *progressBar) Line(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	fmt.Fprintln(p.out, text)
	if p.bar != nil {
		_ = p.bar.RenderBlank()
	}
}

// end removes the bar.
func (p *progressBar) end() { p.Begin("", 0) }
