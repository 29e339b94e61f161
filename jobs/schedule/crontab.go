package schedule

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"
	"gopkg.in/yaml.v3"

	"tapedeck/internal/redact"
	"tapedeck/internal/strictyaml"
	"tapedeck/internal/window"
)

// Defaults of an entry.
const (
	// defaultTimeout is longer than any healthy job takes. A job that hangs blocks its entry for no
	// longer.
	defaultTimeout = 6 * time.Hour
	// defaultBackoff is about as long as a short outage of an exchange or a network lasts.
	defaultBackoff = 30 * time.Second
	// defaultLimit is a day of an hourly job.
	defaultLimit = 24
)

// Limits of an entry.
const (
	maxRetries = 20
	maxLimit   = 1000
)

// Overlap says what happens to a run that is due while the previous one is active.
type Overlap string

// The values of overlap.
const (
	Skip    Overlap = "skip"    // it does not take place
	Queue   Overlap = "queue"   // it waits
	Replace Overlap = "replace" // the previous one is stopped
)

// CatchUp says what happens to runs that failed, or were due while no scheduler ran.
type CatchUp string

// The values of catch_up.
const (
	CatchUpNone CatchUp = "none" // they are given up
	CatchUpLast CatchUp = "last" // one run makes up for all of them
	CatchUpAll  CatchUp = "all"  // each is made up, oldest first
)

// WindowMode says which flags of a window the scheduler appends to a command line.
type WindowMode int

// The window modes.
const (
	// NoWindow: none. The command has no window, names its own, or keeps track of what it has done.
	NoWindow WindowMode = iota
	// WindowSinceDone: --from and --to, from the end of the job's last window that was done to when
	// the run is due.
	WindowSinceDone
	// WindowEnd: --to, when the run is due. The command line says how long the window is.
	WindowEnd
)

// Job is one entry of crontab.yaml.
type Job struct {
	Name     string
	Spec     string         // as written: "*/5 * * * *", "@every 90s", "@daily"
	Location *time.Location // the zone of Spec
	Command  string         // as written, with *** for secrets
	Args     []string       // the command split into words, without a leading "tapedeck"
	Window   WindowMode
	Timeout  time.Duration // of one attempt
	Retries  int           // after the first attempt
	Backoff  time.Duration // before the first retry; doubles with each
	Overlap  Overlap
	CatchUp  CatchUp
	Limit    int           // how many runs CatchUpAll makes up
	Jitter   time.Duration // a run starts up to this much after it is due
	Notify   bool          // people are told about failures
	PingURL  string        // requested when a run starts, is done and fails; a secret; may be ""
	Line     int           // of the entry in the file

	times times
}

// Next returns when the job is first due after t, in UTC; zero if it is not due within five years.
func (j Job) Next(t time.Time) time.Time { return j.times.next(t) }

// Validate checks that args are a command line that can run as a job, and returns which flags of a
// window it gets. Its error is shown to the author of the crontab.
type Validate func(args []string) (WindowMode, error)

// Parse parses a crontab.yaml and checks every command line with validate. path is only used in
// errors. The error lists all problems, one line each, as FILE:LINE: problem. A schedule that never
// comes after now is one.
func Parse(path string, text []byte, now time.Time, validate Validate) ([]Job, error) {
	root, err := strictyaml.Document(path, text)
	if err != nil {
		return nil, explainSyntaxError(path, text, err)
	}
	if root == nil {
		return nil, fmt.Errorf("%s: no jobs", path)
	}
	var jobs []Job
	var problems []error
	err = strictyaml.Each(path, root, "the file", []string{"jobs"}, func(_ string, line int, list *yaml.Node) error {
		if list.Kind != yaml.SequenceNode || len(list.Content) == 0 {
			return fmt.Errorf("%s:%d: jobs needs a list of entries, each starting with \"- name:\"", path, line)
		}
		names := map[string]int{}
		for _, item := range list.Content {
			e := &entryParser{path: path, now: now, validate: validate, lines: map[string]int{}}
			job := e.parse(strictyaml.Resolve(item))
			problems = append(problems, e.problems...)
			if first, found := names[job.Name]; found && job.Name != "" {
				problems = append(problems,
					fmt.Errorf("%s:%d: duplicate job %q; the first is on line %d", path, job.Line, job.Name, first))
			}
			names[job.Name] = job.Line
			jobs = append(jobs, job)
		}
		return nil
	})
	if err != nil {
		problems = append(problems, err)
	}
	slices.SortStableFunc(problems, func(a, b error) int { return lineOf(path, a) - lineOf(path, b) })
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	if len(jobs) == 0 {
		return nil, fmt.Errorf("%s: no jobs", path)
	}
	return jobs, nil
}

// explainSyntaxError says what to do about the most common mistake.
func explainSyntaxError(path string, text []byte, err error) error {
	lines := strings.Split(string(text), "\n")
	number := lineOf(path, err)
	if number < 1 || number > len(lines) {
		return err
	}
	key, value, _ := strings.Cut(lines[number-1], ":")
	if strings.HasSuffix(strings.TrimSpace(key), "schedule") && strings.HasPrefix(strings.TrimSpace(value), "*") {
		return fmt.Errorf("%s:%d: a schedule that starts with * needs quotes: \"%s\"",
			path, number, strictyaml.Shorten(strings.TrimSpace(value)))
	}
	return err
}

// lineOf returns the line number in a problem, or 0.
func lineOf(path string, problem error) int {
	line, _, _ := strings.Cut(strings.TrimPrefix(problem.Error(), path+":"), ":")
	number, _ := strconv.Atoi(line)
	return number
}

// entryKeys returns the keys of an entry, in the order of the help.
func entryKeys() []string {
	return []string{
		"name", "schedule", "run", "timezone", "timeout", "retries", "backoff", "overlap", "catch_up", "catch_up_limit",
		"jitter", "on_failure", "ping_url",
	}
}

// entryParser parses one entry and collects its problems.
type entryParser struct {
	path     string
	now      time.Time
	validate Validate
	lines    map[string]int // of the keys that are set
	problems []error
}

func (e *entryParser) addProblem(line int, format string, args ...any) {
	e.problems = append(e.problems, fmt.Errorf("%s:%d: %w", e.path, line, fmt.Errorf(format, args...)))
}

func (e *entryParser) parse(node *yaml.Node) Job {
	job := Job{
		Line: node.Line, Location: time.UTC, Timeout: defaultTimeout, Backoff: defaultBackoff,
		Overlap: Skip, CatchUp: CatchUpLast, Limit: defaultLimit,
	}
	err := strictyaml.Each(e.path, node, "an entry", entryKeys(), func(key string, line int, value *yaml.Node) error {
		e.lines[key] = line
		text, err := strictyaml.Text(value)
		if err == nil {
			err = e.set(&job, key, text)
		}
		if err != nil {
			e.addProblem(line, "%s: %w", key, err)
		}
		return nil
	})
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		e.problems = append(e.problems, several.Unwrap()...)
	} else if err != nil {
		e.problems = append(e.problems, err)
	}
	if len(e.lines) == 0 && err != nil {
		return job // it is no list of keys
	}
	for _, key := range []string{"name", "schedule", "run"} {
		if e.lines[key] == 0 {
			e.addProblem(node.Line, "the entry has no %s", key)
		}
	}
	e.checkCombination(&job)
	return job
}

// set sets the field of one key.
func (e *entryParser) set(job *Job, key, text string) (err error) {
	switch key {
	case "name":
		if !regexp.MustCompile(`^[\w.-]+$`).MatchString(text) {
			return fmt.Errorf("%q has characters other than letters, digits, dashes, dots and underscores",
				strictyaml.Shorten(text))
		}
		job.Name = text
	case "schedule":
		job.Spec = text
	case "timezone":
		location, err := time.LoadLocation(text)
		if err != nil || strings.EqualFold(text, "local") {
			return fmt.Errorf("%q is not an IANA time zone, such as UTC or Europe/Berlin", strictyaml.Shorten(text))
		}
		job.Location = location
	case "run":
		job.Command = redact.Text(text)
		if job.Args, err = splitCommand(text); err == nil {
			job.Window, err = e.validate(job.Args)
		}
	case "timeout":
		job.Timeout, err = parseDuration(text)
	case "backoff":
		job.Backoff, err = parseDuration(text)
	case "jitter":
		job.Jitter, err = parseDuration(text)
	case "retries":
		job.Retries, err = parseNumber(text, 0, maxRetries)
	case "catch_up_limit":
		job.Limit, err = parseNumber(text, 1, maxLimit)
	case "overlap":
		job.Overlap, err = oneOf(text, Skip, Queue, Replace)
	case "catch_up":
		job.CatchUp, err = oneOf(text, CatchUpNone, CatchUpLast, CatchUpAll)
	case "on_failure":
		_, err = oneOf(text, "notify")
		job.Notify = err == nil
	case "ping_url":
		// The error does not quote the address, which is a secret.
		address, parseErr := url.Parse(text)
		if parseErr != nil || address.Scheme != "http" && address.Scheme != "https" || address.Host == "" {
			err = errors.New("not a web address; copy it from the service, such as https://hc-ping.com/…")
		}
		job.PingURL = strings.TrimRight(text, "/")
	}
	return err
}

// checkCombination checks the keys that depend on one another.
func (e *entryParser) checkCombination(job *Job) {
	if job.Spec != "" {
		var err error
		switch job.times, err = parseSpec(job.Spec, job.Location); {
		case err != nil:
			e.addProblem(e.lines["schedule"], "schedule: %w", err)
		case job.Next(e.now).IsZero():
			e.addProblem(e.lines["schedule"], "schedule: %q never happens: there is no such day within five years",
				strictyaml.Shorten(job.Spec))
		case job.Jitter > 0:
			first := job.Next(e.now)
			if second := job.Next(first); !second.IsZero() && second.Sub(first) <= job.Jitter {
				e.addProblem(e.lines["jitter"], "jitter: %s is not shorter than the time between two runs, %s",
					job.Jitter, second.Sub(first))
			}
		}
	}
	if line := e.lines["backoff"]; line != 0 && e.lines["retries"] == 0 {
		e.addProblem(line, "backoff: needs retries; add, for example, retries: 3")
	}
	if line := e.lines["catch_up_limit"]; line != 0 && job.CatchUp != CatchUpAll {
		e.addProblem(line, "catch_up_limit: needs catch_up: all")
	}
}

func parseDuration(text string) (time.Duration, error) {
	duration, err := window.ParseLength(text)
	if err != nil || duration < time.Second {
		return time.Second, fmt.Errorf("%q is not a duration of a second or more, such as 90s, 10m or 1h30m", strictyaml.Shorten(text))
	}
	return duration, nil
}

func parseNumber(text string, least, most int) (int, error) {
	number, err := strconv.Atoi(text)
	if err != nil || number < least || number > most {
		return least, fmt.Errorf("%q is not a whole number from %d to %d", strictyaml.Shorten(text), least, most)
	}
	return number, nil
}

func oneOf[T ~string](text string, known ...T) (T, error) {
	if slices.Contains(known, T(text)) {
		return T(text), nil
	}
	words := make([]string, len(known))
	for i, word := range known {
		words[i] = string(word)
	}
	return known[0], fmt.Errorf("%q is not a value of this key; write %s",
		strictyaml.Shorten(text), english.WordSeries(words, "or"))
}
