package schedule

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	"gopkg.in/yaml.v3"

	"tapedeck/internal/strictyaml"
)

// defaultTimeout ends a run that its entry gives no timeout: long enough for any job that is well, short enough that one
// that hangs does not keep its entry from running for more than a few hours.
const defaultTimeout = 6 * time.Hour

// Job is one entry of crontab.yaml.
type Job struct {
	Name     string
	Spec     string         // as written: "*/5 * * * *", "@every 90s", "@daily"
	Location *time.Location // the zone that Spec is read in
	Command  string         // as written
	Args     []string       // Command taken apart, without a leading "tapedeck"
	Timeout  time.Duration
	Line     int // of the entry in the file

	schedule cron.Schedule
}

// Next is the first run after t, in UTC; zero where there is none within five years.
func (j Job) Next(t time.Time) time.Time {
	next := j.schedule.Next(t.In(j.Location))
	if next.IsZero() {
		return next
	}
	return next.UTC()
}

// Validate says whether args are a command line that can be run as a job. Its error is what the person who wrote the
// line should read.
type Validate func(args []string) error

// Parse reads a crontab.yaml; path is only for errors. Every command line is put to validate. The error lists everything
// that is wrong, one line each, as FILE:LINE: what. A schedule that does not fire after now is an error.
func Parse(path string, text []byte, now time.Time, validate Validate) ([]Job, error) {
	root, err := strictyaml.Document(path, text)
	if err != nil {
		return nil, err
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
			job, errs := parseJob(path, strictyaml.Resolve(item), now, validate)
			problems = append(problems, errs...)
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

// lineOf is the line that a problem names.
func lineOf(path string, problem error) int {
	line, _, _ := strings.Cut(strings.TrimPrefix(problem.Error(), path+":"), ":")
	number, _ := strconv.Atoi(line)
	return number
}

// entryKeys are the keys of an entry.
func entryKeys() []string { return []string{"name", "schedule", "timezone", "run", "timeout"} }

func parseJob(path string, node *yaml.Node, now time.Time, validate Validate) (Job, []error) {
	job := Job{Line: node.Line, Location: time.UTC, Timeout: defaultTimeout}
	var problems []error
	wrong := func(line int, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s:%d: %w", path, line, fmt.Errorf(format, args...)))
	}
	scheduleLine := node.Line
	given := map[string]bool{}
	err := strictyaml.Each(path, node, "an entry", entryKeys(), func(key string, line int, value *yaml.Node) error {
		given[key] = true
		text, err := strictyaml.Text(value)
		if err != nil {
			wrong(line, "%s: %w", key, err)
			return nil
		}
		switch key {
		case "name":
			if strings.ContainsFunc(text, func(r rune) bool { return !isNameRune(r) }) {
				wrong(line, "name: %q may hold letters, digits, dashes, dots and underscores only", strictyaml.Cut(text))
				return nil
			}
			job.Name = text
		case "schedule":
			job.Spec, scheduleLine = text, line
		case "timezone":
			location, err := time.LoadLocation(text)
			if err != nil || strings.EqualFold(text, "local") {
				wrong(line, "timezone: %q is not a zone of the IANA database; write for example UTC or Europe/Berlin", strictyaml.Cut(text))
				return nil
			}
			job.Location = location
		case "run":
			job.Command = text
			if job.Args, err = splitCommand(text); err != nil {
				wrong(line, "run: %w", err)
				return nil
			}
			if err := validate(job.Args); err != nil {
				wrong(line, "run: %w", err)
			}
		case "timeout":
			if job.Timeout, err = time.ParseDuration(text); err != nil || job.Timeout < time.Second {
				wrong(line, "timeout: %q is not a length of time of a second or more; write for example 90s, 10m or 1h30m", strictyaml.Cut(text))
			}
		}
		return nil
	})
	if err != nil {
		return job, append(problems, err)
	}
	for _, key := range []string{"name", "schedule", "run"} {
		if !given[key] {
			wrong(node.Line, "the entry has no %s", key)
		}
	}
	if job.Spec != "" {
		if job.schedule, err = parseSpec(job.Spec, job.Location, now); err != nil {
			wrong(scheduleLine, "schedule: %w", err)
		}
	}
	return job, problems
}

func isNameRune(r rune) bool {
	return r == '-' || r == '_' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// parseSpec reads a schedule: five fields, @every LENGTH or a descriptor such as @daily.
func parseSpec(spec string, location *time.Location, now time.Time) (schedule cron.Schedule, err error) {
	defer func() {
		// cron.ParseStandard slices past the end of some specs, such as "TZ=0".
		if fault := recover(); fault != nil {
			schedule, err = nil, fmt.Errorf("%q cannot be read; write five fields (minute hour day month weekday), @every 90s or @daily", strictyaml.Cut(spec))
		}
	}()
	if strings.Contains(spec, "TZ=") {
		return nil, fmt.Errorf("%q: name the zone under the key timezone instead", strictyaml.Cut(spec))
	}
	if rest, ok := strings.CutPrefix(spec, "@every "); ok {
		// cron makes a second of everything shorter, and of what is below zero.
		if every, err := time.ParseDuration(strings.TrimSpace(rest)); err != nil || every < time.Second {
			return nil, fmt.Errorf("%q: @every wants a length of time of a second or more, such as 90s or 1h30m", strictyaml.Cut(spec))
		}
	}
	parsed, err := cron.ParseStandard(spec)
	if err != nil {
		return nil, fmt.Errorf("%q: %w; write five fields (minute hour day month weekday), @every 90s or @daily", strictyaml.Cut(spec), err)
	}
	if fields, ok := parsed.(*cron.SpecSchedule); ok {
		fields.Location = location
	}
	if parsed.Next(now.In(location)).IsZero() {
		return nil, fmt.Errorf("%q never comes: no such day within five years", strictyaml.Cut(spec))
	}
	return parsed, nil
}

// splitCommand takes a command line apart as a shell would, but there is no shell: what only a shell could do is an error.
func splitCommand(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord, quote := false, rune(0)
	runes := []rune(text)
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == '\'':
			word.WriteRune(r)
		case r == '\\' && i+1 < len(runes):
			i++
			word.WriteRune(runes[i])
			inWord = true
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == ' ' || r == '\t' || r == '\n':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		case strings.ContainsRune("|&;<>`$", r):
			return nil, fmt.Errorf("%q is for a shell, and there is none here; one tapedeck command is wanted, special characters in quotes", string(r))
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("the quote %c is not closed", quote)
	}
	if inWord {
		words = append(words, word.String())
	}
	if len(words) > 0 && words[0] == "tapedeck" {
		words = words[1:]
	}
	if len(words) == 0 {
		return nil, errors.New("there is no command in it")
	}
	return words, nil
}
