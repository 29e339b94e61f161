package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"tapedeck/internal/outbound"
	"tapedeck/internal/state"
	"tapedeck/internal/strictyaml"
	"tapedeck/internal/tape"
	"tapedeck/internal/telegram"
	"tapedeck/internal/wording"
	"tapedeck/jobs/health"
	"tapedeck/jobs/schedule"
)

// childGrace is how long a run may take to end after SIGTERM. It is less than the 10 s after which
// Docker kills the scheduler itself. manual/schedule.txt states it.
const childGrace = 8 * time.Second

// crontabFlags name the crontab.
type crontabFlags struct {
	Crontab string `key:"crontab" placeholder:"FILE" default:"crontab.yaml" help:"The schedule."`
}

type scheduleCmd struct {
	crontabFlags
	metricsFlags
	feedFlags
	restURLFlag
	archiveURLFlag
	telegramFlags
	Check bool   `xor:"what" help:"Check the schedule, list every problem with its line, and exit."`
	Next  int    `xor:"what" placeholder:"N" help:"Print the next N runs and exit."`
	Once  string `xor:"what" placeholder:"NAME" help:"Run the job NAME now, record the run, and exit with its status."`
}

func (c *scheduleCmd) runsUntilStopped() bool { return !c.Check && c.Next == 0 && c.Once == "" }

func (*scheduleCmd) recordsUnread() {}

func (*scheduleCmd) reloadsOnHangup() {}

func (c *scheduleCmd) Run(ctx context.Context, a *app) error {
	crontab := a.crontab(c.Crontab)
	jobs, err := a.loadCrontab(crontab)
	if err != nil {
		return err
	}
	switch {
	case c.Check:
		problems, err := a.unsendable(c.Crontab, jobs)
		if err != nil {
			return err
		}
		if len(problems) > 0 {
			return partial("%w", errors.Join(problems...))
		}
		_, err = fmt.Fprintf(a.stdout, "%s: %s, no problems\n", wording.Visible(c.Crontab), wording.Count(len(jobs), "job"))
		return err
	case c.Next > 0:
		return a.printUpcoming(schedule.Upcoming(jobs, a.now(), c.Next))
	case c.Next < 0:
		return misuse("--next: %d is not a number above 0", c.Next)
	}
	if c.Once == "" && !a.fixed.IsZero() {
		return misuse("--now stops the clock, and the scheduler needs a running one; " +
			"use --now with --check, --next or --once")
	}
	dir, err := a.createTape(c.Feed)
	if err != nil {
		return err
	}
	if c.Once != "" {
		return a.runOnce(ctx, dir, c.Crontab, c.Once, jobs)
	}
	notifier, err := a.serviceNotifier(ctx, dir, c.telegramFlags)
	if err != nil {
		return err
	}
	a.upgrade(ctx, dir)
	metrics, err := a.metrics(ctx, c.metricsFlags, dir, notifier, health.Schedule)
	if err != nil {
		return err
	}
	board := &jobBoard{}
	defer a.showStatus(ctx, statusSources{jobs: board})()
	return runServices(ctx, append(metrics, a.schedule(dir, crontab, jobs, notifier, board))...)
}

// unsendable returns a line for each job whose messages cannot be sent with the present configuration
// and environment. The scheduler starts all the same: messages wait, and a chat may be added later.
func (a *app) unsendable(path string, jobs []schedule.Job) (problems []error, err error) {
	config, err := a.chatConfig()
	if err != nil {
		return nil, err
	}
	token, err := telegram.ReadToken(func(name string) string { return a.env[name] })
	if err != nil {
		return nil, &statusError{exitMisuse, err}
	}
	reason := ""
	switch {
	case len(config.Chats) == 0:
		reason = "nobody receives it, because there are no chats in config.yaml"
	case token == (telegram.Token{}):
		reason = "nothing can be sent, because there is no token of a Telegram bot; set " + tokenVariables
	default:
		return nil, nil
	}
	for _, job := range jobs {
		if len(job.Args) > 0 && job.Args[0] == "report" && slices.Contains(job.Args, "--send") {
			problems = append(problems, fmt.Errorf("%s:%d: job %s: report --send: %s", path, job.Line, job.Name, reason))
		}
		if job.Notify {
			problems = append(problems, fmt.Errorf("%s:%d: job %s: on_failure: notify: %s", path, job.Line, job.Name, reason))
		}
	}
	return problems, nil
}

// crontab returns the crontab at path, whose command lines are checked against the real flags.
func (a *app) crontab(path string) *schedule.Crontab {
	return &schedule.Crontab{Path: path, Validate: a.validateJob}
}

func (a *app) loadCrontab(crontab *schedule.Crontab) ([]schedule.Job, error) {
	jobs, err := crontab.Read(a.now())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, withHint(misuse("no schedule at %q", crontab.Path),
			"name another file with --crontab; tapedeck schedule --help shows an example")
	case err != nil:
		return nil, &statusError{exitMisuse, err}
	}
	return jobs, nil
}

// validateJob checks a job's command line as validateCommand does, and returns which flags of a
// window it gets: backfill and report work on the time since their last run. Other commands keep
// track of what they have done.
func (a *app) validateJob(args []string) (schedule.WindowMode, error) {
	parsed, probe, err := a.validateCommand(args)
	if err != nil {
		return schedule.NoWindow, err
	}
	// What only a job may not do: a command line that a person types may.
	if command, ok := parsed.Selected().Target.Addr().Interface().(interface{ checkJob(*app) error }); ok {
		if err := command.checkJob(probe); err != nil {
			return schedule.NoWindow, errors.New(err.Error()) // without the hint
		}
	}
	given := map[string]bool{}
	for _, step := range parsed.Path {
		if step.Flag != nil && !step.Resolved {
			given[step.Flag.Name] = true
		}
	}
	switch {
	case !slices.Contains([]string{"backfill", "report"}, parsed.Selected().Name), given["from"], given["to"]:
		return schedule.NoWindow, nil
	case given["since"], given["hours"]:
		return schedule.WindowEnd, nil
	}
	return schedule.WindowSinceDone, nil
}

// schedule returns the service that runs jobs and sends the messages of the outbox. It shows the
// jobs on the board.
func (a *app) schedule(
	dir *tape.Dir, crontab *schedule.Crontab, jobs []schedule.Job, notifier *notifier, board *jobBoard,
) service {
	return serviceFunc(func(ctx context.Context) error {
		unlock, err := schedule.Lock(dir.State().Path("schedule.lock"))
		if err != nil {
			return err
		}
		defer unlock()
		options, children, err := a.scheduleOptions(dir)
		if err != nil {
			return err
		}
		hangups := make(chan os.Signal, 1)
		signal.Notify(hangups, syscall.SIGHUP)
		defer signal.Stop(hangups)

		ctx, stop := context.WithCancel(ctx)
		var helpers sync.WaitGroup
		defer helpers.Wait()
		defer stop()
		if os.Getpid() == 1 {
			helpers.Go(func() { children.Reap(ctx) })
		}
		helpers.Go(func() {
			// The schedule goes on without Telegram: messages wait in the outbox.
			if err := notifier.Run(ctx); err != nil {
				a.log.Error("messages are not sent until the scheduler restarts", "error", err)
			}
		})
		options.Notifier, options.Observe = notifier, board.observe
		options.Jobs, options.Crontab, options.Reload = jobs, crontab, hangups
		return schedule.Run(ctx, options)
	})
}

// scheduleOptions returns options without jobs, and what starts runs as child processes of this binary.
func (a *app) scheduleOptions(dir *tape.Dir) (schedule.Options, *schedule.Children, error) {
	binary, err := os.Executable()
	if err != nil {
		return schedule.Options{}, nil, fmt.Errorf("find the path of this program: %w", err)
	}
	environ := slices.Concat(a.environ, a.set)
	var tokens []string
	environ = slices.DeleteFunc(environ, func(line string) bool {
		name, _, _ := strings.Cut(line, "=")
		is := name == telegram.TokenVariable || name == telegram.TokenFileVariable
		if is {
			tokens = append(tokens, line)
		}
		return is
	})
	children := &schedule.Children{Path: binary, Env: environ, Grace: childGrace, Secrets: func(args []string) []string {
		if !a.sends(args) {
			return nil
		}
		return tokens
	}}
	return schedule.Options{
		Start: children.Start, Ledger: dir, State: dir.State(), Logger: a.log, Now: a.clock, Uptime: state.ReadUptime,
		ExchangeTime: func(ctx context.Context) time.Time { return a.exchangeTime(ctx, dir) },
		Ping:         schedule.HTTPPing(outbound.NewClient(nil)),
	}, children, nil
}

// sender is implemented by the commands that can send messages.
type sender interface{ sends() bool }

// sends reports whether a command line of a job sends messages, so that it needs the bot's token.
func (a *app) sends(args []string) bool {
	parsed, _, err := a.validateCommand(args)
	if err != nil {
		return false // it ends with an error
	}
	command, ok := parsed.Selected().Target.Addr().Interface().(sender)
	return ok && command.sends()
}

// runOnce runs one job now, whether it is due or not.
func (a *app) runOnce(ctx context.Context, dir *tape.Dir, crontab, name string, jobs []schedule.Job) error {
	i := slices.IndexFunc(jobs, func(job schedule.Job) bool { return job.Name == name })
	if i < 0 {
		var names []string
		for _, job := range jobs {
			names = append(names, job.Name)
		}
		return misuse("no job named %q in %s%s", name, crontab, strictyaml.DidYouMean(name, names))
	}
	options, children, err := a.scheduleOptions(dir)
	if err != nil {
		return err
	}
	// The output appears as if the command had been typed here.
	children.Stdout, children.Stderr = a.stdout, a.stderr
	row, err := schedule.Once(ctx, jobs[i], options)
	switch {
	case err != nil:
		return err
	case row.Outcome == state.OK:
		return nil
	case row.Outcome == state.Incomplete:
		return partial("job %s: %s", name, row.Message)
	}
	err = fmt.Errorf("job %s: %s: %s", name, row.Outcome, row.Message)
	if row.Exit > exitFailed && row.Exit < 128 {
		return &statusError{int(row.Exit), err}
	}
	return err
}

// printUpcoming prints upcoming runs with their time in UTC and, if a job has a time zone, also in
// that. A line below a run says how daylight saving time affects it.
func (a *app) printUpcoming(upcoming []schedule.Due) error {
	hasZone := func(due schedule.Due) bool { return due.Job.Location.String() != "UTC" }
	format := "%[1]s\t%[3]s\t%[4]s\n"
	if slices.ContainsFunc(upcoming, hasZone) {
		format = "%s\t%s\t%s\t%s\n"
	}
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, format, "AT (UTC)", "LOCAL TIME", "JOB", "COMMAND")
	for _, due := range upcoming {
		local := "-"
		if hasZone(due) {
			local = due.At.In(due.Job.Location).Format("2006-01-02 15:04:05 MST")
		}
		command := strings.Join(strings.Fields(due.Job.Command), " ")
		fmt.Fprintf(table, format, due.At.Format(time.DateTime), local, wording.Name(due.Job.Name), wording.Visible(command))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	lines := strings.SplitAfter(text.String(), "\n") // the first one is the header
	for i, due := range upcoming {
		if due.ClockChange != "" {
			lines[i+1] += strings.Repeat(" ", len(time.DateTime)+2) + due.ClockChange + "\n"
		}
	}
	_, err := io.WriteString(a.stdout, strings.Join(lines, ""))
	return err
}
