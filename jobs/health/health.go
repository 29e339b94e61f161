// Package health judges from the services' state files whether each service is alive and up to
// date.
//
// A lack of evidence is never healthy: a missing state file, a state that is no longer updated, a
// connection without data, and symbols that went silent while others trade are each unhealthy, with
// one line that says why. docs/OPERATING.md lists the limits.
package health

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/wording"
)

// Service is a service that can be judged.
type Service string

// The services.
const (
	Stream   Service = "stream"
	Schedule Service = "schedule"
)

// Services returns all services.
func Services() []Service { return []Service{Stream, Schedule} }

// noun returns what the service is called in sentences.
func (s Service) noun() string {
	if s == Schedule {
		return "scheduler"
	}
	return string(s)
}

// StateReader reads the state files.
type StateReader interface {
	// Read reads a file, which is JSON, into v. The error is fs.ErrNotExist if there is no such file.
	Read(name string, v any) error
	state.Machine
}

// Limits. They are far from what a healthy service shows, because a verdict that flaps is worse
// than one that comes a minute late.
const (
	// The stream writes its state every 5 s. It may be older than its flush interval by this much, and
	// in any case as old as that.
	streamStateSlack, streamStateAge = 5 * time.Second, 15 * time.Second
	scheduleStateAge                 = time.Minute     // the scheduler writes its state every 15 s
	startPeriod                      = time.Minute     // after the start, connections and symbols may be missing, but not all trades
	startedSymbols                   = 5 * time.Minute // after that, half of the symbols must have traded once
	flushSlack                       = 30 * time.Second
	startSlack                       = 2 * time.Minute  // a job may start this long after it is due
	failuresMost                     = 3                // consecutive failures of a job
	skewMost                         = time.Minute      // between the exchange's clock and this machine's
	lateMost                         = 30 * time.Second // that trades arrive later than they did at best
	knownLag                         = 2 * time.Minute  // up to when a symbol is known, besides three flush intervals
)

// silenceLimit is how long something may be silent: factor times its usual silence, but not less
// than least. If its usual silence is unknown, the limit is unknown.
type silenceLimit struct {
	least, unknown time.Duration
	factor         int64
}

var (
	connectionSilence = silenceLimit{least: time.Minute, unknown: 5 * time.Minute, factor: 10}
	symbolSilence     = silenceLimit{least: 5 * time.Minute, unknown: time.Hour, factor: 20}
)

func (l silenceLimit) of(usualMS int64) time.Duration {
	if usualMS == 0 {
		return l.unknown
	}
	return max(l.least, time.Duration(l.factor*usualMS)*time.Millisecond)
}

// Verdict is the result of a check.
type Verdict struct {
	Healthy bool
	// Why is one line: what is wrong, or what is alive.
	Why string
	// Warning is one line about what will go wrong if nobody acts, or empty.
	Warning string
}

// Check judges the services. If none are given, it judges those that have run on this data
// directory and were not stopped normally; at least one must be alive. The error is about a state
// file that cannot be read.
func Check(reader StateReader, now time.Time, services []Service) (Verdict, error) {
	named := len(services) > 0
	if !named {
		services = Services()
	}
	var problems, alive, warnings []string
	for _, service := range services {
		found, err := judge(reader, service, now)
		if err != nil {
			return Verdict{}, err
		}
		if found.warning != "" {
			warnings = append(warnings, found.warning)
		}
		switch {
		case len(found.problems) == 0:
			alive = append(alive, found.alive)
		case named || !found.idle:
			problems = append(problems, found.problems...)
		}
	}
	if warning := blockedWarning(reader, now); warning != "" {
		warnings = append(warnings, warning)
	}
	out := Verdict{Warning: strings.Join(warnings, "; ")}
	switch {
	case len(problems) > 0:
		out.Why = strings.Join(problems, "; ")
	case len(alive) == 0:
		out.Why = "nothing runs on this data directory: neither a stream nor a scheduler"
	default:
		out.Healthy, out.Why = true, strings.Join(alive, "; ")
	}
	return out, nil
}

// finding is what was found about one service.
type finding struct {
	problems []string
	alive    string // used if there are no problems
	idle     bool   // the service never ran, or was stopped normally
	warning  string
}

func (f *finding) problem(format string, args ...any) {
	f.problems = append(f.problems, fmt.Sprintf(format, args...))
}

func judge(reader StateReader, service Service, now time.Time) (found finding, err error) {
	switch service {
	case Stream:
		var s state.Stream
		err = reader.Read(state.StreamFile, &s)
		found = judgeStream(s, reader, now)
	case Schedule:
		var s state.Scheduler
		err = reader.Read(state.SchedulerFile, &s)
		found = judgeScheduler(s, reader, now)
	default:
		return finding{}, fmt.Errorf("unknown service %q", service)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		found = finding{idle: true}
		found.problem("no %s has ever run on this data directory", service.noun())
	case err != nil:
		return finding{}, fmt.Errorf("read the state of the %s: %w", service.noun(), err)
	}
	return found, nil
}

// judgeStream judges the stream by its state, whose times are by the machine's clock at its last beat.
func judgeStream(s state.Stream, machine state.Machine, now time.Time) (found finding) {
	flushInterval := time.Duration(s.FlushIntervalMS) * time.Millisecond
	beatAge, known := s.Age(s.UpdatedAt, machine, now)
	limit := max(flushInterval+streamStateSlack, streamStateAge)
	switch {
	case !s.EndedAt.IsZero() && s.Error != "":
		found.problem("the stream ended %s: %s", since(now, s.EndedAt), s.Error)
		return found
	case !s.EndedAt.IsZero():
		found.idle = true
		found.problem("the stream was stopped %s", since(now, s.EndedAt))
		return found
	case s.WasKilled(machine):
		found.problem("the stream was killed: its last sign of life was %s", sinceBeat(beatAge, known, now, s.UpdatedAt))
		return found
	case known && beatAge > limit:
		found.problem("the stream hangs or was killed: its last sign of life was %s ago", short(beatAge))
		return found
	case state.IsAhead(s.UpdatedAt, now):
		found.aheadProblem(Stream, beatAge, known, now, s.UpdatedAt)
		return found
	}
	now = s.UpdatedAt.Add(beatAge) // by the clock that the other times are by
	age := max(0, now.Sub(s.StartedAt))
	switch {
	case !hasReceived(s):
		found.problem("the stream started %s ago and has not received a trade yet%s", short(age), firstTrouble(s))
		return found
	case age < startPeriod:
		found.alive = fmt.Sprintf("stream: started %s ago%s", short(age), downText(s, now))
		return found
	}
	found.alive = fmt.Sprintf("stream: %s on %s",
		wording.Count(len(s.Symbols), "symbol"), wording.Count(len(s.Connections), "connection")) + downText(s, now)
	if !s.UnflushedSince.IsZero() {
		limit := 3*flushInterval + flushSlack
		if waiting := now.Sub(s.UnflushedSince); waiting > limit {
			found.problem("nothing is written to the tape: trades have waited for %s", short(waiting))
		}
	}
	if len(s.Connections) == 0 {
		found.problem("the stream has no connection")
	}
	for _, c := range s.Connections {
		silence := age
		if !c.LastReceivedAt.IsZero() {
			silence = now.Sub(c.LastReceivedAt)
		}
		switch {
		case silence <= connectionSilence.of(c.UsualSilenceMS):
		case !c.Up && c.Trouble != "":
			found.problem("connection %s has been down for %s: %s", c.Name, short(silence), c.Trouble)
		default:
			found.problem("connection %s has delivered no trade for %s", c.Name, short(silence))
		}
	}
	found.judgeSymbols(s.Symbols, now, age)
	if !found.judgeDelay(s) {
		found.judgeClock(s)
	}
	found.judgeKnown(s, 3*flushInterval+knownLag)
	return found
}

// judgeDelay adds a problem if trades arrive ever later, and says how far the tape is behind what was
// received. It reports whether there is a problem.
func (f *finding) judgeDelay(s state.Stream) bool {
	worst, worstName := time.Duration(-1), ""
	for _, name := range slices.Sorted(maps.Keys(s.Symbols)) {
		if lag, ok := s.Symbols[name].Lag(); ok && lag > worst {
			worst, worstName = lag, name
		}
	}
	if worst >= 0 {
		f.alive += fmt.Sprintf(", the newest row %s behind the newest trade", short(worst))
		if len(s.Symbols) > 1 {
			f.alive += " at most (" + worstName + ")"
		}
	}
	late := time.Duration(s.DelayMS-s.LeastDelayMS) * time.Millisecond
	if late <= lateMost {
		return false
	}
	f.problem("the stream falls behind: trades arrive %s later than they did, because the connection or this machine is too slow for them",
		short(late))
	return true
}

// downText says which connections are down, which is tolerated for a while; "" if none is.
func downText(s state.Stream, now time.Time) string {
	down, since := 0, now
	for _, c := range s.Connections {
		if !c.Up && !c.DownSince.IsZero() {
			down++
			if c.DownSince.Before(since) {
				since = c.DownSince
			}
		}
	}
	switch {
	case down == 0:
		return ""
	case down == len(s.Connections):
		return ", not connected for " + short(now.Sub(since))
	}
	return fmt.Sprintf(", %d of them down for %s", down, short(now.Sub(since)))
}

// judgeClock adds a problem if the exchange's clock and this machine's differ too much. Windows of time
// would be about another time than people mean.
func (f *finding) judgeClock(s state.Stream) {
	if s.ExchangeAt.IsZero() {
		return
	}
	skew, direction := s.UpdatedAt.Sub(s.ExchangeAt), "behind"
	if skew < 0 {
		skew, direction = -skew, "ahead of"
	}
	if skew > skewMost {
		f.problem("the exchange's clock is %s %s this machine's, or its trades arrive that late: %s there when it was %s here (UTC)",
			short(skew), direction, s.ExchangeAt.UTC().Format(clockLayout), s.UpdatedAt.UTC().Format(clockLayout))
	}
}

// judgeKnown says up to when the stream proves the record of its symbols to be complete, and warns
// of symbols for which that is long ago.
func (f *finding) judgeKnown(s state.Stream, limit time.Duration) {
	if s.ExchangeAt.IsZero() {
		return
	}
	var behind []string
	worst, worstName := time.Duration(-1), ""
	for _, name := range slices.Sorted(maps.Keys(s.Symbols)) {
		symbol := s.Symbols[name]
		lag := s.ExchangeAt.Sub(symbol.WatchedUntil)
		if symbol.WatchedUntil.IsZero() || lag > limit {
			behind = append(behind, name)
		}
		if !symbol.WatchedUntil.IsZero() && lag > worst {
			worst, worstName = lag, name
		}
	}
	if worst >= 0 {
		f.alive += fmt.Sprintf(", known until %s ago", short(worst))
		if len(s.Symbols) > 1 {
			f.alive += " at least (" + worstName + ")"
		}
	}
	if len(behind) > 0 {
		f.warning = fmt.Sprintf("the stream does not prove that %s recorded completely: %s",
			wording.Count(len(behind), "symbol")+isOrAre(len(behind)), wording.List(behind, 5))
	}
}

func isOrAre(n int) string {
	if n == 1 {
		return " is"
	}
	return " are"
}

// hasReceived reports whether a trade was received since the start. Until then nothing proves that
// one will be, so not even a stream that was just started is healthy.
func hasReceived(s state.Stream) bool {
	for _, symbol := range s.Symbols {
		if !symbol.LastReceivedAt.IsZero() {
			return true
		}
	}
	return slices.ContainsFunc(s.Connections, func(c state.StreamConnection) bool { return !c.LastReceivedAt.IsZero() })
}

func firstTrouble(s state.Stream) string {
	for _, c := range s.Connections {
		if c.Trouble != "" {
			return fmt.Sprintf(": connection %s is down: %s", c.Name, c.Trouble)
		}
	}
	return ""
}

// judgeSymbols adds what is wrong with the symbols. A few may be silent: tokens are suspended and
// delisted.
func (f *finding) judgeSymbols(symbols map[string]state.StreamSymbol, now time.Time, age time.Duration) {
	var silent []string
	untraded := 0
	for name, symbol := range symbols {
		silence := age
		if symbol.LastReceivedAt.IsZero() {
			untraded++
		} else {
			silence = now.Sub(symbol.LastReceivedAt)
		}
		if silence > symbolSilence.of(symbol.UsualSilenceMS) {
			silent = append(silent, name)
		}
	}
	slices.Sort(silent)
	switch {
	case len(symbols) == 0:
		f.problem("the stream records no symbol")
	case len(silent)*10 > len(symbols):
		f.problem("%d of %d symbols have been silent for much longer than usual: %s",
			len(silent), len(symbols), wording.List(silent, 5))
	case untraded*2 > len(symbols) && age > startedSymbols:
		f.problem("%d of %d symbols have not traded once in %s", untraded, len(symbols), short(age))
	}
}

func judgeScheduler(s state.Scheduler, machine state.Machine, now time.Time) (found finding) {
	beatAge, known := s.Age(s.BeatAt, machine, now)
	switch {
	case !s.StoppedAt.IsZero():
		found.idle = true
		found.problem("the scheduler was stopped %s", since(now, s.StoppedAt))
		return found
	case known && beatAge > scheduleStateAge:
		found.problem("the scheduler hangs or was killed: its last sign of life was %s ago", short(beatAge))
		return found
	case state.IsAhead(s.BeatAt, now):
		found.aheadProblem(Schedule, beatAge, known, now, s.BeatAt)
		return found
	case len(s.Jobs) == 0:
		found.problem("the scheduler has no job")
		return found
	}
	found.alive = "scheduler: " + wording.Count(len(s.Jobs), "job")
	if s.UnwrittenRuns > 0 {
		found.problem("%s could not be written to the ledger", wording.Count(s.UnwrittenRuns, "run"))
	}
	if s.CrontabError != "" {
		firstLine, _, _ := strings.Cut(s.CrontabError, "\n")
		found.warning = fmt.Sprintf("the crontab was changed %s and is wrong, so the previous version stays in force: %s",
			since(now, s.CrontabErrorAt), firstLine)
	}
	for _, job := range s.Jobs {
		switch {
		case !job.NextAt.IsZero() && now.Sub(job.NextAt) > startSlack:
			found.problem("job %s was due %s and did not start", job.Name, since(now, job.NextAt))
		case job.Failures >= failuresMost:
			found.problem("job %s failed %d times in a row (%s)", job.Name, job.Failures, job.Outcome)
		}
	}
	return found
}

const clockLayout = "2006-01-02 15:04:05"

// since says how long ago a time was, or that it is in the future, which no time of the past can be: the
// clock was set back.
func since(now, then time.Time) string {
	if state.IsAhead(then, now) {
		return fmt.Sprintf("at %s, in the future of this machine's clock, which says %s (UTC)",
			then.UTC().Format(clockLayout), now.UTC().Format(clockLayout))
	}
	return short(max(0, now.Sub(then))) + " ago"
}

// sinceBeat says how long ago a beat was that its writer dated writtenAt. age is as from Beat.Age.
func sinceBeat(age time.Duration, known bool, now, writtenAt time.Time) string {
	if !known {
		return since(now, writtenAt)
	}
	return short(age) + " ago"
}

// aheadProblem adds that the last sign of life of a service is dated in the future. age is as from
// Beat.Age.
func (f *finding) aheadProblem(service Service, age time.Duration, known bool, now, writtenAt time.Time) {
	dated, clock := writtenAt.UTC().Format(clockLayout), now.UTC().Format(clockLayout)
	if known {
		f.problem("this machine's clock was set back: the last sign of life of the %s, %s ago, is dated %s, and the clock says %s (UTC)",
			service.noun(), short(age), dated, clock)
		return
	}
	f.problem("the last sign of life of the %s is from the future, so nothing proves that it is alive: it is dated %s, and this machine's clock says %s (UTC)",
		service.noun(), dated, clock)
}

// short formats a duration in its largest unit.
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
