package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"tapedeck/internal/wording"
)

// progressDelay is how long a task must take before its progress is shown.
const progressDelay = time.Second

// progressEvery is how often the progress is drawn again.
const progressEvery = 200 * time.Millisecond

// progressDisplay is a progress.Display: a status line on a terminal, and elsewhere only its lines.
type progressDisplay struct {
	out     io.Writer
	console *console // nil if standard error is no terminal
	bytes   bool     // the unit is bytes
	now     func() time.Time

	lines sync.Mutex // held while a line is written; drawing the status takes mu

	mu        sync.Mutex // guards the rest
	task      string     // "" if there is none
	total     int64      // 0 if it is unknown
	done      map[string]int64
	startedAt time.Time

	drawing sync.WaitGroup
	stop    chan struct{} // nil while nothing is drawn
}

// newProgress returns a display on standard error. It is to be ended.
func (a *app) newProgress() *progressDisplay {
	p := &progressDisplay{out: a.stderr, done: map[string]int64{}, now: time.Now}
	if a.status {
		p.console = a.console
	}
	return p
}

// Begin starts a task of total units; 0 means that their number is unknown. A task without a name
// ends the one before it.
func (p *progressDisplay) Begin(task string, total int64) {
	p.mu.Lock()
	if task != p.task { // the size of a task may become known after its start
		p.startedAt = p.now()
	}
	p.task, p.total = task, total
	clear(p.done)
	begins := task != "" && p.console != nil && p.stop == nil
	if begins {
		p.stop = make(chan struct{})
	}
	stop := p.stop
	p.mu.Unlock()
	if begins {
		p.console.setStatus(p.text)
		p.drawing.Go(func() { p.draw(stop) })
	}
}

// draw draws the progress again and again until stop is closed.
func (p *progressDisplay) draw(stop <-chan struct{}) {
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
			p.console.redraw()
		}
	}
}

// Set sets how much of one part is done.
func (p *progressDisplay) Set(part string, done int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done[part] = done
}

// Line prints a line above the progress.
func (p *progressDisplay) Line(text string) {
	p.lines.Lock()
	defer p.lines.Unlock()
	fmt.Fprintln(p.out, wording.Visible(text))
}

// end removes the progress. It may be called more than once.
func (p *progressDisplay) end() {
	p.Begin("", 0)
	p.mu.Lock()
	stop := p.stop
	p.stop = nil
	p.mu.Unlock()
	if stop != nil {
		close(stop)
		p.drawing.Wait()
		p.console.setStatus(nil)
	}
}

// text words the progress for a width: "backfill  ━━━━────────  45 %  23,000 of 50,000  14 s left".
func (p *progressDisplay) text(width int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	took := p.now().Sub(p.startedAt)
	if p.task == "" || took < progressDelay {
		return ""
	}
	if p.total <= 0 {
		return p.task + "  " + wording.Duration(took.Truncate(time.Second))
	}
	var done int64
	for _, n := range p.done {
		done += n
	}
	done = min(max(done, 0), p.total)
	share := float64(done) / float64(p.total)
	parts := []string{p.task, fmt.Sprintf("%d %%", int(share*100)), p.amount(done) + " of " + p.amount(p.total)}
	if done > 0 && done < p.total && took > 2*progressDelay {
		left := time.Duration(float64(took) / share * (1 - share))
		parts = append(parts, wording.Duration(max(left, time.Second).Round(time.Second))+" left")
	}
	if width > defaultWidth-20 {
		const columns = 24
		full := int(share * columns)
		bar := strings.Repeat("━", full) + strings.Repeat("─", columns-full)
		parts = append([]string{parts[0], bar}, parts[1:]...)
	}
	return strings.Join(parts, "  ")
}

func (p *progressDisplay) amount(n int64) string {
	if p.bytes {
		return humanize.Bytes(uint64(n))
	}
	return wording.Comma(n)
}

// output returns w, and ends the progress before the first byte is written to it: the result may go
// to the same terminal.
func (p *progressDisplay) output(w io.Writer) *resultWriter { return &resultWriter{w: w, progress: p} }

type resultWriter struct {
	w        io.Writer
	progress *progressDisplay
	begun    bool
}

func (r *resultWriter) Write(text []byte) (int, error) {
	if !r.begun {
		r.begun = true
		r.progress.end()
	}
	return r.w.Write(text)
}
