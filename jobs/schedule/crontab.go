package schedule

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"tapedeck/internal/strictyaml"
)

// What an entry has where it does not say otherwise.
const (
	// defaultTimeout is long enough for any job that is well, short enough that one that hangs does not keep its entry from
	// running for more than a few hours.
	defaultTimeout = 6 * time.Hour
	// defaultBackoff is about what an exchange or a network needs to come back from a hiccup.
	defaultBackoff = 30 * time.Second
	// defaultLimit is a day of an hourly job.
	defaultLimit = 24
)

// Bounds of what an entry may say.
const (
	mostRetries = 20
	mostLimit   = 1000
)

// Overlap says what happens to a run that is due while the one before it still goes.
type Overlap string

// The ways.
const (
	Skip    Overlap = "skip"    // it is left out
	Queue   Overlap = "queue"   // it waits for its turn
	Replace Overlap = "replace" // the one before it is ended
)

// CatchUp says what happens to runs that were due while no scheduler was there to start them, or that failed.
type CatchUp string

// The ways.
const (
	CatchUpNone CatchUp = "none" // they are left out
	CatchUpLast CatchUp = "last" // one run makes up for all of them
	CatchUpAll  CatchUp = "all"  // each is made up, the oldest first
)

// Takes is what a command line wants to be told about the time that its run answers for.
type Takes int

// What it wants.
const (
	// TakesNothing: the command has no window, or keeps its own account of what it has done.
	TakesNothing Takes = iota
	// TakesWindow: --from and --to are appended, from the end of the last window that was done to when the run was due.
	TakesWindow
	// TakesEnd: the line says how long its window is; --to is appended, so that it ends when the run was due.
	TakesEnd
)

// Job is one entry of crontab.yaml.
type Job struct {
	Name     string
	Spec     string         // as written: "*/5 * * * *", "@every 90s", "@daily"
	Location *time.Location // the zone that Spec is read in
	Command  string         // as written
	Args     []string       // Command taken apart, without a leading "tapedeck"
	Takes    Takes
	Timeout  time.Duration // of one attempt
	Retries  int           // after the first attempt
	Backoff  time.Duration // before the first retry; it doubles with each
	Overlap  Overlap
	CatchUp  CatchUp
	Limit    int           // of runs that CatchUpAll makes up one by one
	Jitter   time.Duration // a run starts up to so much later than it is due
	Notify   bool          // people are told when it fails
	PingURL  string        // told when a run starts, is done and fails; a secret
	Line     int           // of the entry in the file

	times times
}

// Next is the first run after t, in UTC; zero where there is none within five years.
func (j Job) Next(t time.Time) time.Time { return j.times.next(t) }

// Validate says whether args are a command line that can be run as a job, and what window it takes. Its error is what the
// person who wrote the line should read.
type Validate func(args []string) (Takes, error)

// Parse reads a crontab.yaml; path is only for errors. Every command line is put to validate. The error lists everything
// that is wrong, one line each, as FILE:LINE: what. A schedule that does not fire after now is an error.
func Parse(path string, text []byte, now time.Time, validate Validate) ([]Job, error) {
	root, err := strictyaml.Document(path, text)
	if err != nil {
		return nil, hintAtQuotes(path, text, err)
	}
	if root == nil {
		return nil, fmt.Errorf("%s: there are no jobs in it", path)
	}
	var jobs []Job
	var problems []error
	err = strictyaml.Each(path, root, "the file", []string{"jobs"}, func(_ string, line int, list *yaml.Node) error {
		if list.Kind != yaml.SequenceNode || len(list.Content) == 0 {
			return fmt.Errorf("%s:%d: jobs wants a list of entries, each beginning with \"- name:\"", path, line)
		}
		names := map[string]int{}
		for _, item := range list.Content {
			e := &entryReader{path: path, now: now, validate: validate, lines: map[string]int{}}
			job := e.read(strictyaml.Resolve(item))
			problems = append(problems, e.problems...)
			if first, twice := names[job.Name]; twice && job.Name != "" {
				problems = append(problems, fmt.Errorf("%s:%d: a second job named %q; the first is on line %d", path, job.Line, job.Name, first))
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
		return nil, fmt.Errorf("%s: there are no jobs in it", path)
	}
	return jobs, nil
}

// hintAtQuotes adds the cure to the parser's words about the commonest slip: a schedule that begins with a star is something
// else in YAML.
func hintAtQuotes(path string, text []byte, err error) error {
	lines := strings.Split(string(text), "\n")
	number := lineOf(path, err)
	if number < 1 || number > len(lines) {
		return err
	}
	key, value, _ := strings.Cut(lines[number-1], ":")
	switch {
	case strings.HasSuffix(strings.TrimSpace(key), "schedule") && strings.HasPrefix(strings.TrimSpace(value), "*"):
		return fmt.Errorf("%s:%d: a schedule that begins with * stands in quotes: \"%s\"", path, number, strictyaml.Cut(strings.TrimSpace(value)))
	case strings.HasPrefix(strings.TrimLeft(lines[number-1], " "), "\t"):
		return fmt.Errorf("%s:%d: the line begins with a tab; YAML wants spaces", path, number)
	case strings.Contains(err.Error(), "unexpected end of stream"):
		return fmt.Errorf("%s:%d: a quote that begins here is not closed", path, number)
	}
	return err
}

// lineOf is the line that a problem names.
func lineOf(path string, problem error) int {
	line, _, _ := strings.Cut(strings.TrimPrefix(problem.Error(), path+":"), ":")
	number, _ := strconv.Atoi(line)
	return number
}

// entryKeys are the keys of an entry.
func entryKeys() []string {
	return []string{"name", "schedule", "timezone", "run", "timeout", "retries", "backoff", "overlap", "catch_up", "catch_up_limit",
		"jitter", "on_failure", "ping_url"}
}

// entryReader reads one entry and collects what is wrong with it.
type entryReader struct {
	path     string
	now      time.Time
	validate Validate
	lines    map[string]int // of the keys that are there
	problems []error
}

func (e *entryReader) wrong(line int, format string, args ...any) {
	e.problems = append(e.problems, fmt.Errorf("%s:%d: %w", e.path, line, fmt.Errorf(format, args...)))
}

func (e *entryReader) read(node *yaml.Node) Job {
	job := Job{Line: node.Line, Location: time.UTC, Timeout: defaultTimeout, Backoff: defaultBackoff, Overlap: Skip, CatchUp: CatchUpLast, Limit: defaultLimit}
	err := strictyaml.Each(e.path, node, "an entry", entryKeys(), func(key string, line int, value *yaml.Node) error {
		e.lines[key] = line
		text, err := strictyaml.Text(value)
		if err == nil {
			err = e.set(&job, key, text)
		}
		if err != nil {
			e.wrong(line, "%s: %w", key, err)
		}
		return nil
	})
	if err != nil {
		e.problems = append(e.problems, err)
		return job
	}
	for _, key := range []string{"name", "schedule", "run"} {
		if e.lines[key] == 0 {
			e.wrong(node.Line, "the entry has no %s", key)
		}
	}
	e.together(&job)
	return job
}

// set takes one key's value.
func (e *entryReader) set(job *Job, key, text string) (err error) {
	switch key {
	case "name":
		if strings.ContainsFunc(text, func(r rune) bool { return !isNameRune(r) }) {
			return fmt.Errorf("%q may hold letters, digits, dashes, dots and underscores only", strictyaml.Cut(text))
		}
		job.Name = text
	case "schedule":
		job.Spec = text
	case "timezone":
		location, err := time.LoadLocation(text)
		if err != nil || strings.EqualFold(text, "local") {
			return fmt.Errorf("%q is not a zone of the IANA database; write for example UTC or Europe/Berlin", strictyaml.Cut(text))
		}
		job.Location = location
	case "run":
		job.Command = text
		if job.Args, err = splitCommand(text); err == nil {
			job.Takes, err = e.validate(job.Args)
		}
	case "timeout":
		job.Timeout, err = lengthOf(text, time.Second)
	case "backoff":
		job.Backoff, err = lengthOf(text, time.Second)
	case "jitter":
		job.Jitter, err = lengthOf(text, time.Second)
	case "retries":
		job.Retries, err = numberOf(text, 0, mostRetries)
	case "catch_up_limit":
		job.Limit, err = numberOf(text, 1, mostLimit)
	case "overlap":
		job.Overlap, err = oneOf(text, Skip, Queue, Replace)
	case "catch_up":
		job.CatchUp, err = oneOf(text, CatchUpNone, CatchUpLast, CatchUpAll)
	case "on_failure":
		_, err = oneOf(text, "notify")
		job.Notify = err == nil
	case "ping_url":
		// The address is a secret, so it is not quoted.
		if where, parseErr := url.Parse(text); parseErr != nil || where.Scheme != "http" && where.Scheme != "https" || where.Host == "" {
			err = errors.New("not a web address; write it as the service gives it, such as https://hc-ping.com/…")
		}
		job.PingURL = strings.TrimRight(text, "/")
	}
	return err
}

// together checks what keys say about one another.
func (e *entryReader) together(job *Job) {
	if job.Spec != "" {
		var err error
		switch job.times, err = parseSpec(job.Spec, job.Location); {
		case err != nil:
			e.wrong(e.lines["schedule"], "schedule: %w", err)
		case job.Next(e.now).IsZero():
			e.wrong(e.lines["schedule"], "schedule: %q never comes: no such day within five years", strictyaml.Cut(job.Spec))
		case job.Jitter > 0:
			first := job.Next(e.now)
			if second := job.Next(first); !second.IsZero() && second.Sub(first) <= job.Jitter {
				e.wrong(e.lines["jitter"], "jitter: %s is as long as the time between two runs, which is %s", job.Jitter, second.Sub(first))
			}
		}
	}
	if line := e.lines["backoff"]; line != 0 && e.lines["retries"] == 0 {
		e.wrong(line, "backoff: there are no retries to wait for; add for example retries: 3")
	}
	if line := e.lines["catch_up_limit"]; line != 0 && job.CatchUp != CatchUpAll {
		e.wrong(line, "catch_up_limit: it counts the runs of catch_up: all, which is not said here")
	}
}

func lengthOf(text string, least time.Duration) (time.Duration, error) {
	length, err := parseLength(text)
	if err != nil || length < least {
		return least, fmt.Errorf("%q is not a length of time of a second or more; write for example 90s, 10m or 1h30m", strictyaml.Cut(text))
	}
	return length, nil
}

func numberOf(text string, least, most int) (int, error) {
	number, err := strconv.Atoi(text)
	if err != nil || number < least || number > most {
		return least, fmt.Errorf("%q is not a whole number from %d to %d", strictyaml.Cut(text), least, most)
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
	last := len(words) - 1
	list := words[last]
	if last > 0 {
		list = strings.Join(words[:last], ", ") + " or " + list
	}
	return known[0], fmt.Errorf("%q is not known here; write %s", strictyaml.Cut(text), list)
}

func isNameRune(r rune) bool {
	return r == '-' || r == '_' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}
