package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tapedeck/internal/wording"
	"tapedeck/jobs/schedule"

	"github.com/alecthomas/kong"
)

// cli is the whole command line. A flag with a `key` tag can also be set as TAPEDECK_KEY in the
// environment and, if it is one of configKeys, in config.yaml.
type cli struct {
	globals

	Run_     runCmd      `cmd:"" name:"run" group:"record" help:"Record trades and run scheduled jobs in one process."`
	Stream   streamCmd   `cmd:"" group:"record" help:"Record live trades."`
	Backfill backfillCmd `cmd:"" group:"record" help:"Fetch missing trades."`
	Import   importCmd   `cmd:"" group:"record" help:"Add trades from files that you already have."`
	Restore  restoreCmd  `cmd:"" group:"record" help:"Make a data directory of days in the lake."`
	Schedule scheduleCmd `cmd:"" group:"record" help:"Run the jobs of crontab.yaml at their times."`

	Detect  detectCmd  `cmd:"" group:"use" help:"Find unusual trading in what is new on the tape."`
	Report  reportCmd  `cmd:"" group:"use" help:"Report prices, volumes, movers, alerts and completeness."`
	Query   queryCmd   `cmd:"" group:"use" help:"Run SQL over the tape."`
	Runs    runsCmd    `cmd:"" group:"use" help:"List the last runs of scheduled jobs."`
	History historyCmd `cmd:"" group:"use" help:"Show what happened to the recorder, and what was missing meanwhile."`
	Queries queriesCmd `cmd:"" group:"use" help:"List detectors, report sections and checks."`

	Check   checkCmd     `cmd:"" group:"care" help:"Look for trades on the tape that cannot be right."`
	Verify  verifyCmd    `cmd:"" group:"care" help:"Prove completeness and list missing trades."`
	Compact compactCmd   `cmd:"" group:"care" help:"Merge small files of past hours and days."`
	Ship    shipCmd      `cmd:"" group:"care" help:"Copy proven days into Iceberg tables on object storage."`
	Repair  repairCmd    `cmd:"" group:"care" help:"Take doubled and misplaced files off the tape."`
	Drop    dropCmd      `cmd:"" group:"care" help:"Remove trades, alerts or conflicts from the tape on purpose."`
	Health  healthCmd    `cmd:"" group:"care" help:"Check that the stream and the scheduler are alive."`
	Migrate dbMigrateCmd `cmd:"" name:"db-migrate" group:"care" help:"Create or upgrade the data directory and market.duckdb."`

	Demo     demoCmd     `cmd:"" group:"try" help:"Show everything in under a minute, without a network."`
	Exchange exchangeCmd `cmd:"" group:"try" help:"Serve a stand-in for Binance on this machine."`

	Version versionCmd `cmd:"" group:"look" help:"Print the versions of tapedeck and DuckDB."`
}

// globals are the flags of every command.
type globals struct {
	Config   string      `key:"config" placeholder:"FILE" default:"config.yaml" help:"The configuration. It is an error if a FILE other than the default is missing."`
	DataDir  dirName     `key:"data_dir" placeholder:"DIR" default:"data" help:"The data directory with the tape."`
	Now      instant     `key:"now" placeholder:"TIME" help:"Use TIME (RFC 3339) as the current time, for replays and tests."`
	LogLevel string      `key:"log_level" placeholder:"LEVEL" enum:"debug,info,warn,error," default:"" help:"debug, info, warn or error. The default is info for services and warn for other commands."`
	Help     helpFlag    `short:"h" help:"Show help for tapedeck or a command."`
	Version  versionFlag `help:"Print the versions, as tapedeck version does."`
}

// groups returns the headings of the commands in tapedeck --help.
func groups() []kong.Group {
	return []kong.Group{
		{Key: "record", Title: "Recording"},
		{Key: "use", Title: "Using the tape"},
		{Key: "care", Title: "Maintaining it"},
		{Key: "try", Title: "Trying it out"},
		{Key: "look", Title: "Other"},
	}
}

// longRunning is implemented by the commands that run until they are stopped, unless some of their
// flags make them do something else.
type longRunning interface{ runsUntilStopped() bool }

func runsUntilStopped(command any) bool {
	service, ok := command.(longRunning)
	return ok && service.runsUntilStopped()
}

// recording is implemented by the commands that must continue when nobody reads what they write to
// standard error. Others wait for their reader, and end with it.
type recording interface{ recordsUnread() }

// timeless is implemented by the commands that do not use the current time, or only the real one. noNow
// says why --now has no meaning for them.
type timeless interface{ noNow() string }

// parse parses args, the environment and the configuration, and sets up a. On success the command
// can run.
func parse(a *app, args []string) (*kong.Context, error) {
	settings := &settings{env: a.env, config: &config{}, origins: map[string]string{}}
	var flags cli
	parser, err := newParser(a, &flags, settings)
	if err != nil {
		return nil, fmt.Errorf("define the command line: %w", err)
	}
	if len(args) > 0 && args[0] == "help" {
		args = append(slices.Clone(args[1:]), "--help")
	}
	args = joinValues(parser.Model, args)
	path, required, err := configPath(parser, args, a.env)
	if err != nil {
		return nil, err
	}
	// Help must work even if the configuration is wrong.
	loaded, configErr := loadConfig(path, required)
	if configErr == nil {
		settings.config = loaded
	}
	context, err := parser.Parse(args)
	var failed *statusError
	switch {
	case errors.Is(err, errHelpShown):
		return nil, errHelpShown
	case errors.As(err, &failed): // help was not shown
		return nil, failed
	case errors.Is(configErr, fs.ErrNotExist) && !isSyntaxError(err):
		return nil, withHint(configErr, "--config or TAPEDECK_CONFIG names this file; without either, config.yaml is read if it exists")
	case configErr != nil && !isSyntaxError(err):
		return nil, configErr
	case err != nil:
		return nil, parseError(err, settings)
	}
	a.args = args
	a.config = settings.config
	a.started = time.Now().UTC()
	a.fixed = flags.Now.Time
	a.dataDir = filepath.Clean(string(flags.DataDir))
	a.logLevel = flags.LogLevel
	a.set = flagSettings(context)
	if command, ok := context.Selected().Target.Addr().Interface().(timeless); ok && a.givenAsFlag("now") {
		return nil, misuse("--now has no meaning for %s: %s", context.Selected().Name, command.noNow())
	}
	level := slog.LevelWarn
	if runsUntilStopped(context.Selected().Target.Addr().Interface()) {
		level = slog.LevelInfo
	}
	if flags.LogLevel != "" {
		if err := level.UnmarshalText([]byte(flags.LogLevel)); err != nil {
			return nil, misuse("--log-level: %w", err)
		}
	}
	a.setUpLog(level, context.Selected())
	a.warnAboutVariables(parser.Model.Node)
	return context, nil
}

// warnAboutVariables warns about environment variables that look like misspelled settings. Other
// variables that start with TAPEDECK_ are ignored.
func (a *app) warnAboutVariables(commands *kong.Node) {
	known := []string{
		"config", "telegram_token", "telegram_token_file",
		"lake_credential", "lake_credential_file", "lake_token", "lake_token_file",
		strings.TrimPrefix(schedule.RunIDVariable, envName("")), strings.TrimPrefix(schedule.ReportVariable, envName("")),
		"image", "user", "data", "stream_cpus", "stream_memory", "jobs_cpus", "jobs_memory", // used by compose.yaml
	}
	_ = kong.Visit(commands, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok && flag.Tag.Get("key") != "" {
			known = append(known, flag.Tag.Get("key"))
		}
		return next(nil)
	})
	for _, name := range slices.Sorted(maps.Keys(a.env)) {
		word, ok := strings.CutPrefix(name, envName(""))
		isKnown := slices.ContainsFunc(known, func(key string) bool { return strings.EqualFold(key, word) })
		if !ok || a.env[name] == "" || isKnown {
			continue
		}
		if nearest := wording.Nearest(word, known); nearest != "" {
			a.say("warning: unknown setting %s; did you mean %s?", name, envName(nearest))
		}
	}
}

func newParser(a *app, target *cli, settings *settings) (*kong.Kong, error) {
	return kong.New(target,
		kong.Name("tapedeck"),
		kong.NoDefaultHelp(),
		kong.ExplicitGroups(groups()),
		kong.Writers(a.stdout, a.stderr),
		kong.Resolvers(kong.ResolverFunc(settings.resolve)),
		kong.BindTo(a.stdout, (*io.Writer)(nil)),
	)
}

// configPath returns the path of the configuration, and whether the file must exist because args or
// the environment name it.
func configPath(parser *kong.Kong, args []string, env map[string]string) (path string, required bool, err error) {
	trace, err := kong.Trace(parser, args)
	if err != nil {
		return "", false, err
	}
	for _, step := range trace.Path {
		if step.Flag != nil && step.Flag.Name == "config" {
			return trace.Value(step).String(), true, nil
		}
	}
	if path := env[envName("config")]; path != "" {
		return path, true, nil
	}
	return "config.yaml", false, nil
}

// settings provides the values of flags that are not on the command line: from the environment,
// else from config.yaml.
type settings struct {
	env    map[string]string
	config *config
	// origins says where the values came from, by flag.
	origins map[string]string
}

// envName returns the environment variable of a key.
func envName(key string) string { return "TAPEDECK_" + strings.ToUpper(key) }

func (s *settings) resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	key := flag.Tag.Get("key")
	if key == "" {
		return nil, nil
	}
	if value := s.env[envName(key)]; value != "" {
		s.origins[flag.Name] = envName(key)
		return value, nil
	}
	if value, ok := s.config.values[key]; ok {
		s.origins[flag.Name] = s.config.position(value.line) + ": " + key
		return value.text, nil
	}
	return nil, nil
}

// flagSettings returns KEY=VALUE for every setting that is given as a flag.
func flagSettings(context *kong.Context) []string {
	var out []string
	for _, step := range context.Path {
		if step.Flag == nil || step.Resolved {
			continue
		}
		if key := step.Flag.Tag.Get("key"); key != "" && key != "log_level" {
			text := ""
			switch value := context.Value(step).Interface().(type) {
			case []string:
				text = strings.Join(value, ",")
			case symbolList:
				text = strings.Join(value, ",")
			case instant:
				text = value.Format(time.RFC3339Nano)
			default:
				text = fmt.Sprint(value)
			}
			out = append(out, envName(key)+"="+text)
		}
	}
	return out
}

// givenAsFlag reports whether a setting is given as a flag.
func (a *app) givenAsFlag(key string) bool {
	return slices.ContainsFunc(a.set, func(setting string) bool { return strings.HasPrefix(setting, envName(key)+"=") })
}

// validateCommand checks a command line that can run as a job, as a person would type it, without
// running it. It also returns the app that would run it, with its flags for every command.
func (a *app) validateCommand(args []string) (*kong.Context, *app, error) {
	probe := &app{environ: a.environ, env: a.env, stdout: io.Discard, stderr: io.Discard}
	parsed, err := parse(probe, args)
	switch {
	case errors.Is(err, errHelpShown):
		return nil, nil, errors.New("it shows help, so it is not a job")
	case err != nil:
		return nil, nil, errors.New(err.Error()) // without the hint, which is for a typed command line
	}
	if _, ok := parsed.Selected().Target.Addr().Interface().(longRunning); ok {
		return nil, nil, fmt.Errorf("%s runs until it is stopped, so it is not a job", parsed.Selected().Name)
	}
	return parsed, probe, nil
}
