package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tapedeck/internal/wording"
	"tapedeck/jobs/schedule"

	"github.com/alecthomas/kong"
)

// cli is the whole command line. A flag with a `key` tag can also be set as TAPEDECK_KEY in the environment and, where
// config.yaml knows the key, there.
type cli struct {
	globals

	Run_     runCmd      `cmd:"" name:"run" group:"record" help:"Record and run the schedule in one process: the image's default."`
	Stream   streamCmd   `cmd:"" group:"record" help:"Record the trades of symbols as they happen."`
	Backfill backfillCmd `cmd:"" group:"record" help:"Fetch the trades that are missing, and only those."`
	Import   importCmd   `cmd:"" group:"record" help:"Put trades on the tape from files that you already have."`
	Schedule scheduleCmd `cmd:"" group:"record" help:"Run the jobs of crontab.yaml at their times."`

	Detect  detectCmd  `cmd:"" group:"use" help:"Find what is out of the ordinary in what is new on the tape."`
	Report  reportCmd  `cmd:"" group:"use" help:"Report on a window: prices, volumes, movers, alerts, completeness."`
	Query   queryCmd   `cmd:"" group:"use" help:"Run SQL over the tape."`
	Runs    runsCmd    `cmd:"" group:"use" help:"Show the last runs of the jobs, and what failed."`
	Queries queriesCmd `cmd:"" group:"use" help:"List the detectors, report sections and checks, with their parameters."`

	Verify  verifyCmd    `cmd:"" group:"care" help:"Prove how complete the tape is, and name what is missing."`
	Compact compactCmd   `cmd:"" group:"care" help:"Merge the small files of hours and days that are over."`
	Health  healthCmd    `cmd:"" group:"care" help:"Say whether what should be alive is alive and fresh."`
	Migrate dbMigrateCmd `cmd:"" name:"db-migrate" group:"care" help:"Make the data directory and market.duckdb, or bring them to this version."`

	Demo     demoCmd     `cmd:"" group:"try" help:"Show all of it in under a minute, on nothing but this machine."`
	Exchange exchangeCmd `cmd:"" group:"try" help:"Serve a stand-in Binance on this machine."`

	Version versionCmd `cmd:"" group:"look" help:"Print version, commit and DuckDB's version."`
}

// globals are the flags that stand before or after any command.
type globals struct {
	Config   string   `key:"config" placeholder:"FILE" default:"config.yaml" help:"The configuration. A missing config.yaml is fine, a missing file that was asked for is not."`
	DataDir  string   `key:"data_dir" placeholder:"DIR" default:"data" help:"The data directory, which holds the tape."`
	Now      instant  `key:"now" placeholder:"TIME" help:"Take TIME (RFC 3339) for the present, for replays and tests."`
	LogLevel string   `key:"log_level" placeholder:"LEVEL" enum:"debug,info,warn,error," default:"" help:"debug, info, warn or error. Services log from info on, other commands from warn."`
	Help     helpFlag `short:"h" help:"Show help for tapedeck or for a command, and end."`
}

// groups are the headings that tapedeck --help lists the commands under.
func groups() []kong.Group {
	return []kong.Group{
		{Key: "record", Title: "Recording"},
		{Key: "use", Title: "Using the tape"},
		{Key: "care", Title: "Looking after it"},
		{Key: "try", Title: "Trying it out"},
		{Key: "look", Title: "Other"},
	}
}

// longRunning is implemented by the commands that run until they are told to stop; some of their flags make them do
// something shorter instead.
type longRunning interface{ runsUntilStopped() bool }

// parsedCommand is a command line that fits the flags, with all values in place.
type parsedCommand struct {
	*kong.Context
	cli *cli
}

// parse reads args, the environment and the configuration, and prepares a: on success only Run is left to do.
func parse(a *app, args []string) (*parsedCommand, error) {
	settings := &settings{env: a.env, config: &config{}}
	parsed := &parsedCommand{cli: &cli{}}
	parser, err := newParser(a, parsed.cli, settings)
	if err != nil {
		return nil, fmt.Errorf("the command line's own definition: %w", err)
	}
	if len(args) > 0 && args[0] == "help" {
		args = append(slices.Clone(args[1:]), "--help")
	}
	path, required, err := configPath(parser, args, a.env)
	if err != nil {
		return nil, err
	}
	// Help must come out even where the configuration is broken.
	loaded, configErr := loadConfig(path, required)
	if configErr == nil {
		settings.config = loaded
	}
	context, err := parser.Parse(args)
	switch {
	case errors.Is(err, errHelpShown):
		return nil, errHelpShown
	case configErr != nil && !isMisspelt(err):
		return nil, configErr
	case err != nil:
		return nil, parseError(err, settings)
	}
	parsed.Context = context

	a.config = settings.config
	a.started = time.Now().UTC()
	a.fixed = parsed.cli.Now.Time
	a.dataDir = filepath.Clean(parsed.cli.DataDir)
	a.set = settingsGiven(context)
	level := slog.LevelWarn
	if command, ok := context.Selected().Target.Addr().Interface().(longRunning); ok && command.runsUntilStopped() {
		level = slog.LevelInfo
	}
	if parsed.cli.LogLevel != "" {
		if err := level.UnmarshalText([]byte(parsed.cli.LogLevel)); err != nil {
			return nil, misuse("--log-level: %w", err)
		}
	}
	a.log = newLogger(a.stderr, level)
	a.tellMisspelt(parser.Model.Node)
	return parsed, nil
}

// tellMisspelt tells of environment variables that were probably meant for settings and are none. Others are left alone: who starts
// tapedeck may have variables of the same beginning.
func (a *app) tellMisspelt(commands *kong.Node) {
	known := []string{"config", "telegram_token", "telegram_token_file", strings.TrimPrefix(runIDVariable, envName("")), strings.TrimPrefix(schedule.ReportVariable, envName("")),
		"image", "user", "data", "stream_cpus", "stream_memory", "jobs_cpus", "jobs_memory"} // these are compose.yaml's
	_ = kong.Visit(commands, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok && flag.Tag.Get("key") != "" {
			known = append(known, flag.Tag.Get("key"))
		}
		return next(nil)
	})
	for _, name := range sortedKeys(a.env) {
		word, ours := strings.CutPrefix(name, envName(""))
		if !ours || a.env[name] == "" || slices.ContainsFunc(known, func(key string) bool { return strings.EqualFold(key, word) }) {
			continue
		}
		if meant := wording.Nearest(word, known); meant != "" {
			a.say("there is no setting %s; did you mean %s?", name, envName(meant))
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

// configPath is the configuration file that args or the environment name, and whether it was asked for.
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

// settings gives kong the values of flags that the command line does not name: the environment's, else config.yaml's.
type settings struct {
	env    map[string]string
	config *config
	// last is where the value came from that was resolved last, for the error about it.
	last struct{ flag, origin string }
}

func envName(key string) string { return "TAPEDECK_" + strings.ToUpper(key) }

func (s *settings) resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	key := flag.Tag.Get("key")
	if key == "" {
		return nil, nil
	}
	if value := s.env[envName(key)]; value != "" {
		s.last.flag, s.last.origin = flag.Name, envName(key)
		return value, nil
	}
	if value, ok := s.config.values[key]; ok {
		s.last.flag, s.last.origin = flag.Name, s.config.place(value.line)+": "+key
		return value.text, nil
	}
	return nil, nil
}

// parseError is kong's error in tapedeck's words: it says where a bad value came from, if not from the command line.
func parseError(err error, settings *settings) error {
	text := err.Error()
	if rest, ok := strings.CutPrefix(text, "--"+settings.last.flag+": "); ok && settings.last.flag != "" {
		text = settings.last.origin + ": " + rest
	}
	if strings.HasPrefix(text, "expected one of ") { // kong's words where no command was named
		return withHint(misuse("no command given"), "tapedeck --help lists the commands; tapedeck demo shows all of it")
	}
	text = strings.Replace(text, "unexpected argument ", "unknown command or argument ", 1)
	return withHint(misuse("%s", text), "%s", helpHint(err))
}

// isMisspelt reports whether the command line itself is wrong, whatever the configuration says.
func isMisspelt(err error) bool {
	var parseError *kong.ParseError
	return errors.As(err, &parseError) && parseError.Context.Error != nil
}

// helpHint names the help page for the command that err is about.
func helpHint(err error) string {
	var parseError *kong.ParseError
	if errors.As(err, &parseError) && parseError.Context != nil {
		if node := parseError.Context.Selected(); node != nil {
			return fmt.Sprintf("tapedeck %s --help shows what it takes, with an example", node.Name)
		}
	}
	return "tapedeck --help lists the commands"
}

// settingsGiven lists KEY=VALUE for each setting that stands on the command line itself.
func settingsGiven(context *kong.Context) []string {
	var given []string
	for _, step := range context.Path {
		if step.Flag == nil || step.Resolved {
			continue
		}
		if key := step.Flag.Tag.Get("key"); key != "" && key != "log_level" {
			given = append(given, envName(key)+"="+flagText(context, step))
		}
	}
	return given
}

// typed reports whether the setting key stands on the command line itself.
func (a *app) typed(key string) bool {
	return slices.ContainsFunc(a.set, func(given string) bool { return strings.HasPrefix(given, envName(key)+"=") })
}

// flagText is the value of a flag as it would be typed.
func flagText(context *kong.Context, step *kong.Path) string {
	value := context.Value(step).Interface()
	switch value := value.(type) {
	case []string:
		return strings.Join(value, ",")
	case instant:
		return value.Format(time.RFC3339Nano)
	}
	return fmt.Sprint(value)
}

// validateCommand checks a command line that can run as a job, as a person would type it, without running it.
func (a *app) validateCommand(args []string) (*parsedCommand, error) {
	probe := &app{environ: a.environ, env: a.env, stdout: io.Discard, stderr: io.Discard}
	parsed, err := parse(probe, args)
	switch {
	case errors.Is(err, errHelpShown):
		return nil, errors.New("it shows help, so it is not a job")
	case err != nil:
		return nil, errors.New(err.Error()) // without the hint, which is for a typed command line
	}
	if _, ok := parsed.Selected().Target.Addr().Interface().(longRunning); ok {
		return nil, fmt.Errorf("%s runs until it is stopped, so it is not a job", parsed.Selected().Name)
	}
	return parsed, nil
}
