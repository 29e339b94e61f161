// Package health judges from the services' state files whether what should be alive is alive and fresh. It cannot pass
// for lack of evidence: no state at all, a state that nobody renews, a connection without data and symbols that went
// silent while others trade are each unhealthy, with one line that says why.
package health

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// Part is a service that can be judged.
type Part string

// The parts.
const (
	Stream   Part = "stream"
	Schedule Part = "schedule"
)

// Parts lists them.
func Parts() []Part { return []Part{Stream, Schedule} }

// StateReader reads a small JSON document by its name into v; fs.ErrNotExist where there is none.
type StateReader interface {
	ReadState(name string, v any) error
}

// Limits are how old things may get. They stand far from what a healthy service shows, for a service that flaps between
// healthy and unhealthy is worse than one that is called unhealthy a minute late.
const (
	streamState   = 30 * time.Second // the stream renews its state every 5 s
	scheduleState = time.Minute      // the scheduler renews its state every 15 s
	startPeriod   = time.Minute      // every connection and symbol need not be there before; a first trade must
	linkLeast     = time.Minute      // a connection may be silent for so long, whatever is usual
	linkUnknown   = 5 * time.Minute  // and for so long while nothing is known of it
	linkFactor    = 10               // times its usual longest silence
	symbolLeast   = 5 * time.Minute
	symbolUnknown = time.Hour
	symbolFactor  = 20
	neverPeriod   = 5 * time.Minute // by then half of the symbols must have traded once
	flushSlack    = 30 * time.Second
	lateSlack     = 2 * time.Minute // a job may start so much later than it was due
	failuresMost  = 3               // runs of one job in a row
)

// Verdict is what was found.
type Verdict struct {
	Healthy bool
	// Why is one line: what is wrong, the worst first, or what is alive.
	Why string
	// Warning is empty, or one line about what will go wrong if nobody acts.
	Warning string
}

// Check judges the parts. With none it judges every part that has run here and was not stopped in the ordinary way; at
// least one must be alive. An error means that a state could not be read.
func Check(state StateReader, now time.Time, parts []Part) (Verdict, error) {
	asked := len(parts) > 0
	if !asked {
		parts = Parts()
	}
	var wrong, alive, warnings []string
	for _, part := range parts {
		finding, err := judge(state, part, now)
		if err != nil {
			return Verdict{}, err
		}
		if finding.warning != "" {
			warnings = append(warnings, finding.warning)
		}
		switch {
		case len(finding.wrong) > 0 && (asked || !finding.idle):
			wrong = append(wrong, finding.wrong...)
		case len(finding.wrong) == 0:
			alive = append(alive, finding.alive)
		}
	}
	switch {
	case len(wrong) > 0:
		return Verdict{Why: strings.Join(wrong, "; "), Warning: strings.Join(warnings, "; ")}, nil
	case len(alive) == 0:
		return Verdict{Why: "nothing runs on this data directory: neither a stream nor a scheduler"}, nil
	}
	return Verdict{Healthy: true, Why: strings.Join(alive, "; "), Warning: strings.Join(warnings, "; ")}, nil
}

// finding is what one part shows. idle means that it is not meant to run: never started, or stopped in the ordinary way.
type finding struct {
	wrong []string
	alive string
	idle  bool
	// warning is what does not make the part unhealthy yet.
	warning string
}

func judge(state StateReader, part Part, now time.Time) (finding, error) {
	var found finding
	var err error
	switch part {
	case Stream:
		var s streamJSON
		if err = state.ReadState("stream.json", &s); err == nil {
			found = s.judge(now)
		}
	case Schedule:
		var s scheduleJSON
		if err = state.ReadState("schedule.json", &s); err == nil {
			found = s.judge(now)
		}
	default:
		return finding{}, fmt.Errorf("there is no service %q", part)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return finding{idle: true, wrong: []string{fmt.Sprintf("no %s has ever run on this data directory", noun(part))}}, nil
	case err != nil:
		return finding{}, fmt.Errorf("read the state of the %s: %w", noun(part), err)
	}
	return found, nil
}

func noun(part Part) string {
	if part == Schedule {
		return "scheduler"
	}
	return string(part)
}

// streamJSON is what is needed of .state/stream.json.
type streamJSON struct {
	StartedAt       time.Time  `json:"started_at"`
	UpdatedAt       time.Time  `json:"updated_at"`
	EndedAt         *time.Time `json:"ended_at"`
	Error           string     `json:"error"`
	FlushIntervalMS int64      `json:"flush_interval_ms"`
	UnflushedSince  *time.Time `json:"unflushed_since"`
	Connections     []struct {
		Link           string     `json:"link"`
		Up             bool       `json:"up"`
		Trouble        string     `json:"trouble"`
		LastReceivedAt *time.Time `json:"last_received_at"`
		UsualSilenceMS int64      `json:"usual_silence_ms"`
	} `json:"connections"`
	Symbols map[string]struct {
		LastReceivedAt *time.Time `json:"last_received_at"`
		UsualSilenceMS int64      `json:"usual_silence_ms"`
	} `json:"symbols"`
}

func (s streamJSON) judge(now time.Time) finding {
	switch {
	case s.EndedAt != nil && s.Error != "":
		return finding{wrong: []string{fmt.Sprintf("the stream ended %s ago: %s", ago(now, *s.EndedAt), s.Error)}}
	case s.EndedAt != nil:
		return finding{idle: true, wrong: []string{fmt.Sprintf("the stream was stopped %s ago", ago(now, *s.EndedAt))}}
	case now.Sub(s.UpdatedAt) > streamState:
		return finding{wrong: []string{fmt.Sprintf("the stream hangs or was killed: it last gave a sign of life %s ago", ago(now, s.UpdatedAt))}}
	}
	age := now.Sub(s.StartedAt)
	if trouble, never := s.neverHeard(); never {
		return finding{wrong: []string{fmt.Sprintf("the stream started %s ago and no trade has come yet%s", ago(now, s.StartedAt), trouble)}}
	}
	if age < startPeriod {
		return finding{alive: fmt.Sprintf("stream: started %s ago", ago(now, s.StartedAt))}
	}
	var wrong []string
	if s.UnflushedSince != nil {
		limit := 3*time.Duration(s.FlushIntervalMS)*time.Millisecond + flushSlack
		if waiting := now.Sub(*s.UnflushedSince); waiting > limit {
			wrong = append(wrong, fmt.Sprintf("nothing gets onto the tape: trades have waited for %s", short(waiting)))
		}
	}
	if len(s.Connections) == 0 {
		wrong = append(wrong, "the stream has no connection")
	}
	for _, c := range s.Connections {
		silence := age
		if c.LastReceivedAt != nil {
			silence = now.Sub(*c.LastReceivedAt)
		}
		if silence <= allowed(c.UsualSilenceMS, linkLeast, linkUnknown, linkFactor) {
			continue
		}
		switch {
		case !c.Up && c.Trouble != "":
			wrong = append(wrong, fmt.Sprintf("connection %s is down for %s: %s", c.Link, short(silence), c.Trouble))
		default:
			wrong = append(wrong, fmt.Sprintf("connection %s has brought no trade for %s", c.Link, short(silence)))
		}
	}
	return finding{wrong: append(wrong, s.judgeSymbols(now, age)...), alive: fmt.Sprintf("stream: %s on %s", counted(len(s.Symbols), "symbol"), counted(len(s.Connections), "connection"))}
}

// neverHeard reports whether no trade has come since the start, and what is known of the reason. Until one has come nothing proves that any will, so
// that not even a stream that was just started is well.
func (s streamJSON) neverHeard() (trouble string, never bool) {
	for _, symbol := range s.Symbols {
		if symbol.LastReceivedAt != nil {
			return "", false
		}
	}
	for _, c := range s.Connections {
		if c.LastReceivedAt != nil {
			return "", false
		}
		if trouble == "" && c.Trouble != "" {
			trouble = fmt.Sprintf(": connection %s is down: %s", c.Link, c.Trouble)
		}
	}
	return trouble, true
}

// judgeSymbols finds symbols that are silent while their connection is not. A few may be: coins sleep and are delisted.
func (s streamJSON) judgeSymbols(now time.Time, age time.Duration) []string {
	var silent []string
	never := 0
	for name, symbol := range s.Symbols {
		silence := age
		if symbol.LastReceivedAt != nil {
			silence = now.Sub(*symbol.LastReceivedAt)
		} else {
			never++
		}
		if silence > allowed(symbol.UsualSilenceMS, symbolLeast, symbolUnknown, symbolFactor) {
			silent = append(silent, name)
		}
	}
	slices.Sort(silent)
	switch {
	case len(s.Symbols) == 0:
		return []string{"the stream records no symbol"}
	case len(silent)*10 > len(s.Symbols):
		return []string{fmt.Sprintf("%d of %d symbols are silent for much longer than usual: %s", len(silent), len(s.Symbols), few(silent))}
	case never*2 > len(s.Symbols) && age > neverPeriod:
		return []string{fmt.Sprintf("%d of %d symbols have not traded once in %s", never, len(s.Symbols), short(age))}
	}
	return nil
}

// scheduleJSON is what is needed of .state/schedule.json.
type scheduleJSON struct {
	BeatAt         time.Time `json:"beat_at"`
	StoppedAt      time.Time `json:"stopped_at"`
	CrontabError   string    `json:"crontab_error"`
	CrontabErrorAt time.Time `json:"crontab_error_at"`
	UnwrittenRuns  int       `json:"unwritten_runs"`
	Jobs           []struct {
		Name     string    `json:"name"`
		NextAt   time.Time `json:"next_at"`
		Outcome  string    `json:"outcome"`
		Failures int       `json:"failures"`
	} `json:"jobs"`
}

func (s scheduleJSON) judge(now time.Time) finding {
	switch {
	case !s.StoppedAt.IsZero():
		return finding{idle: true, wrong: []string{fmt.Sprintf("the scheduler was stopped %s ago", ago(now, s.StoppedAt))}}
	case now.Sub(s.BeatAt) > scheduleState:
		return finding{wrong: []string{fmt.Sprintf("the scheduler hangs or was killed: it last gave a sign of life %s ago", ago(now, s.BeatAt))}}
	case len(s.Jobs) == 0:
		return finding{wrong: []string{"the scheduler has no job"}}
	}
	var wrong []string
	if s.UnwrittenRuns > 0 {
		wrong = append(wrong, fmt.Sprintf("%d runs could not be written to the ledger", s.UnwrittenRuns))
	}
	var warning string
	if s.CrontabError != "" {
		first, _, _ := strings.Cut(s.CrontabError, "\n")
		warning = fmt.Sprintf("the crontab was changed %s ago and is wrong, so the one before it stays in force: %s", ago(now, s.CrontabErrorAt), first)
	}
	for _, job := range s.Jobs {
		switch {
		case !job.NextAt.IsZero() && now.Sub(job.NextAt) > lateSlack:
			wrong = append(wrong, fmt.Sprintf("job %s was due %s ago and did not start", job.Name, ago(now, job.NextAt)))
		case job.Failures >= failuresMost:
			wrong = append(wrong, fmt.Sprintf("job %s failed %d times in a row (%s)", job.Name, job.Failures, job.Outcome))
		}
	}
	return finding{wrong: wrong, alive: "scheduler: " + counted(len(s.Jobs), "job"), warning: warning}
}

// allowed is how long something may be silent that usually is for at most usualMS milliseconds; 0 is unknown.
func allowed(usualMS int64, least, unknown time.Duration, factor int64) time.Duration {
	if usualMS == 0 {
		return unknown
	}
	return max(least, time.Duration(factor*usualMS)*time.Millisecond)
}

func ago(now, then time.Time) string { return short(now.Sub(then)) }

// short is a length of time as people say it.
func short(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// few lists the first names of many.
func few(names []string) string {
	const most = 5
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
