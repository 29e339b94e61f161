package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
	"tapedeck/jobs/stream"

	"github.com/rivo/uniseg"
)

// statusEvery is how often the status line is rewritten.
const statusEvery = time.Second

// rateWindow is over how long trades per second are averaged.
const rateWindow = 10 * time.Second

// statusSources are where the status line's numbers come from. Each may be nil.
type statusSources struct {
	recorder func() stream.Status
	tape     *tape.Dir // with recorder, for the gaps that were filled since
	jobs     *jobBoard
}

// jobBoard holds the last states of the scheduler's jobs.
type jobBoard struct{ jobs atomic.Pointer[[]state.Job] }

func (b *jobBoard) observe(jobs []state.Job) { b.jobs.Store(&jobs) }

// showStatus shows the status line on a terminal until the returned function is called. ctx is done
// when the services were told to stop. On anything but a terminal it does nothing.
func (a *app) showStatus(ctx context.Context, sources statusSources) (stop func()) {
	if a.console == nil || !a.status {
		return func() {}
	}
	s := &statusLine{sources: sources, now: a.stopwatch, stopping: func() bool { return ctx.Err() != nil }}
	s.gaps.dir = sources.tape
	s.sample()
	a.console.setStatus(s.text)
	stopResizing := a.console.redrawOnResize()
	drawingCtx, stopDrawing := context.WithCancel(ctx)
	var drawing sync.WaitGroup
	if sources.recorder != nil {
		drawing.Go(func() { s.gaps.watch(drawingCtx, s.reportedGaps) })
	}
	done := make(chan struct{}) // not ctx: the line stays while the services stop
	drawing.Go(func() {
		ticker := time.NewTicker(statusEvery)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				s.sample()
				a.console.redraw()
			}
		}
	})
	return func() {
		stopDrawing()
		close(done)
		drawing.Wait()
		stopResizing()
		a.console.setStatus(nil)
	}
}

// statusLine words the status line.
type statusLine struct {
	sources  statusSources
	now      func() time.Time
	stopping func() bool
	gaps     openGaps

	mu        sync.Mutex
	recorder  stream.Status // as of the last sample
	samples   []rateSample  // one per second, oldest first
	downSince time.Time     // zero while every connection is up
}

type rateSample struct {
	at     time.Time
	trades int64
}

// sample asks the recorder. text does not, because a line of the log, below which the status is
// drawn again, may be written while the recorder holds a lock.
func (s *statusLine) sample() {
	if s.sources.recorder == nil {
		return
	}
	status, now := s.sources.recorder(), s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recorder = status
	for len(s.samples) > 0 && now.Sub(s.samples[0].at) > rateWindow {
		s.samples = s.samples[1:]
	}
	s.samples = append(s.samples, rateSample{now, status.Trades})
	switch {
	case status.Up == status.Connections:
		s.downSince = time.Time{}
	case s.downSince.IsZero():
		s.downSince = now
	}
}

// reportedGaps returns how many gaps the recorder had reported at the last sample, in the stream and
// before its start.
func (s *statusLine) reportedGaps() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.recorder.Gaps + s.recorder.GapsBefore
}

// rate returns the trades per second over the last seconds; ok is false before that is known.
func (s *statusLine) rate() (perSecond float64, ok bool) {
	if len(s.samples) < 3 {
		return 0, false
	}
	first, last := s.samples[0], s.samples[len(s.samples)-1]
	return float64(last.trades-first.trades) / last.at.Sub(first.at).Seconds(), true
}

// statusSeparator is between the parts of the status line.
const statusSeparator = "  ·  "

// text returns the most important parts that fit into the width, in their usual order.
func (s *statusLine) text(width int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	parts := s.parts()
	separator := statusSeparator
	if width <= defaultWidth {
		separator = " · "
	}
	// The parts are listed by importance. Those that do not fit are left out, even if a less
	// important one would.
	used, shown := 0, 0
	for i, part := range parts {
		used += uniseg.StringWidth(part)
		if i > 0 {
			used += uniseg.StringWidth(separator)
		}
		if used >= width {
			break
		}
		shown++
	}
	return strings.Join(parts[:max(shown, min(1, len(parts)))], separator)
}

// parts returns the parts of the line, the most important first.
func (s *statusLine) parts() []string {
	now := s.now()
	var recording, jobs, more []string
	if s.sources.recorder != nil {
		recording, more = s.recordingParts(s.recorder, now)
	}
	if s.sources.jobs != nil {
		if states := s.sources.jobs.jobs.Load(); states != nil {
			jobs = jobParts(*states, now)
		}
	}
	if s.stopping() {
		jobs, more = nil, nil
	}
	if recording == nil && jobs == nil {
		jobs = []string{"no jobs"}
		if s.stopping() {
			jobs = []string{"stopping"}
		}
	}
	if len(jobs) > 1 {
		more = append(slices.Clone(jobs[1:]), more...)
		jobs = jobs[:1]
	}
	return slices.Concat(recording, jobs, more)
}

// recordingParts describes the recorder: first what everybody wants to see, then more for a wide
// terminal.
func (s *statusLine) recordingParts(r stream.Status, now time.Time) (parts, more []string) {
	switch {
	case s.stopping() && r.Unflushed > 0:
		return []string{"stopping: writing " + wording.Count(r.Unflushed, "trade")}, nil
	case s.stopping():
		return []string{"stopping"}, nil
	case r.StartedAt.IsZero():
		return []string{"asking the exchange for its symbols"}, nil
	}
	if r.Up < r.Connections {
		text := "NOT CONNECTED"
		if r.Connections > 1 {
			text = fmt.Sprintf("%d of %d CONNECTED", r.Up, r.Connections)
		}
		if !s.downSince.IsZero() {
			text += " for " + wording.Duration(now.Sub(s.downSince).Truncate(time.Second))
		}
		parts = append(parts, text)
	}
	if rate, ok := s.rate(); !ok {
		parts = append(parts, wording.Count(r.Trades, "trade"))
	} else if r.Up > 0 {
		parts = append(parts, rateText(rate)+" trades/s")
	}
	parts = append(parts, lagText(r, now))
	if r.Up > 0 || r.Gaps+r.GapsBefore > 0 { // without a connection there is a gap in the making
		parts = append(parts, s.gapText(r))
	}
	if r.LastFlushAt.IsZero() {
		parts = append(parts, "not written yet")
	} else {
		parts = append(parts, "written "+wording.Duration(now.Sub(r.LastFlushAt).Truncate(time.Second))+" ago")
	}
	switch {
	case r.Up < r.Connections:
	case r.Connections == 1:
		more = append(more, "connected")
	default:
		more = append(more, fmt.Sprintf("%d of %d connected", r.Up, r.Connections))
	}
	more = append(more, wording.Count(r.Symbols, "symbol"), wording.Count(r.Trades, "trade")+" in "+wording.Duration(now.Sub(r.StartedAt).Truncate(time.Second)))
	return parts, more
}

// gapText says how many gaps the stream had, and whether they were filled since.
func (s *statusLine) gapText(r stream.Status) string {
	missing, ok := s.gaps.missingAfter(r.Gaps + r.GapsBefore)
	switch {
	case r.Gaps+r.GapsBefore == 0:
		return "no gaps"
	case r.Gaps == 0 && ok && missing == 0:
		return wording.Count(r.MissingBefore, "id") + " from before the start filled"
	case r.Gaps == 0:
		return wording.Count(r.MissingBefore, "id") + " missing before the start"
	case !ok:
		return wording.Count(r.Gaps, "gap")
	case missing == 0:
		return wording.Count(r.Gaps, "gap") + ", filled"
	}
	return wording.Count(r.Gaps, "gap") + ", " + wording.Comma(missing) + " missing"
}

// rateText returns a rate with as many digits as matter.
func rateText(perSecond float64) string {
	if perSecond < 9.95 {
		return fmt.Sprintf("%.1f", perSecond)
	}
	return wording.Comma(int64(perSecond + 0.5))
}

// lagText says how old the newest trade is. A quiet market has old trades without any delay.
func lagText(r stream.Status, now time.Time) string {
	const skew = 2 * time.Second // below that the clocks agree well enough
	switch lag := now.Sub(r.NewestTradedAt); {
	case r.NewestTradedAt.IsZero():
		return "no trade yet"
	case lag < -skew:
		return "this clock is " + wording.Duration(-lag) + " behind"
	default:
		return "lag " + wording.Duration(lag)
	}
}

// jobParts describes the jobs that run and those that are due next, in that order.
func jobParts(jobs []state.Job, now time.Time) []string {
	var running, next []string
	due := slices.DeleteFunc(slices.Clone(jobs), func(j state.Job) bool { return j.NextAt.IsZero() || j.Run != nil })
	slices.SortStableFunc(due, func(a, b state.Job) int { return cmp.Or(a.NextAt.Compare(b.NextAt), cmp.Compare(a.Name, b.Name)) })
	for _, job := range jobs {
		if job.Run != nil {
			running = append(running, job.Name+" runs, "+countdown(now.Sub(job.Run.StartedAt)))
		}
	}
	for _, job := range due {
		next = append(next, job.Name+" in "+countdown(job.NextAt.Sub(now)))
	}
	out := append(running, next...)
	for i, text := range out {
		out[i] = wording.Visible(text)
	}
	return out
}

// countdown returns a time that passes, as minutes and seconds below an hour: 0:07.
func countdown(d time.Duration) string {
	d = max(d, 0).Round(time.Second)
	if d < time.Hour {
		return fmt.Sprintf("%d:%02d", d/time.Minute, d%time.Minute/time.Second)
	}
	return wording.Duration(d)
}
