// Command tapedeck-lake does what `tapedeck ship` and `tapedeck restore` ask for. It is a program of its own because
// the library of Iceberg would make every start of tapedeck slower. People do not start it: its one argument is
// a request, which internal/lake/request specifies.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"

	"tapedeck/internal/lake"
	"tapedeck/internal/lake/request"
	"tapedeck/internal/redact"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
	"tapedeck/jobs/restore"
)

// The exit statuses are those of tapedeck.
const (
	exitDone    = 0
	exitFailed  = 1
	exitPartial = 3
	exitMisuse  = 80
)

func main() {
	log.SetOutput(io.Discard) // net/http writes to it, and quotes what servers send
	os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run does what the request among args asks for and returns the exit status.
func run(args, environ []string, stdout, stderr io.Writer) int {
	a := &app{stdout: stdout, stderr: stderr, env: map[string]string{}}
	for _, line := range environ {
		if key, value, ok := strings.Cut(line, "="); ok {
			a.env[key] = value
		}
	}
	var asked request.Request
	if len(args) != 1 || json.Unmarshal([]byte(args[0]), &asked) != nil {
		a.say("tapedeck-lake is started by tapedeck ship and tapedeck restore; see tapedeck ship --help")
		return exitMisuse
	}
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup ignores it
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal kills
	a.setUpLog(asked.LogLevel)
	status, err := a.serve(ctx, asked)
	a.endLine()
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			err = context.Cause(ctx) // names the signal
		}
		a.say("tapedeck: %s", wording.Visible(err.Error()))
		if hint := hintFor(err); hint != "" {
			a.say("hint: %s", hint)
		}
		return max(status, exitFailed)
	}
	return status
}

// app is the process's streams and environment.
type app struct {
	stdout, stderr io.Writer
	env            map[string]string
	log            *slog.Logger
	terminal       bool
	task           string // of progress
	total          int64  // days of the task
	line           bool   // the last line of the terminal is one of progress
}

func (a *app) setUpLog(level string) {
	least := slog.LevelWarn
	if level != "" {
		_ = least.UnmarshalText([]byte(level)) // tapedeck has checked it
	}
	if file, ok := a.stderr.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		a.terminal = true
	}
	a.log = slog.New(redact.Handler(slog.NewJSONHandler(wording.JSON(a.stderr), &slog.HandlerOptions{Level: least})))
}

// say writes a line for people to standard error.
func (a *app) say(format string, args ...any) {
	a.endLine()
	fmt.Fprintln(a.stderr, redact.Text(fmt.Sprintf(format, args...)))
}

// serve does what is asked for. A status other than exitDone may come without an error.
func (a *app) serve(ctx context.Context, asked request.Request) (int, error) {
	secrets, err := a.secrets()
	if err != nil {
		return exitMisuse, err
	}
	switch asked.Command {
	case request.Ship:
		return a.ship(ctx, asked, secrets)
	case request.Verify:
		return a.verify(ctx, asked, secrets)
	case request.Expire:
		return a.expire(ctx, asked, secrets)
	case request.Restore:
		return a.restore(ctx, asked, secrets)
	}
	return exitMisuse, fmt.Errorf("this tapedeck-lake does not know %q; it is of another version than tapedeck", asked.Command)
}

// secrets reads the secrets of the catalog.
func (a *app) secrets() (out lake.Secrets, err error) {
	if out.Credential, err = a.secret(request.CredentialVariable); err != nil {
		return out, err
	}
	out.Token, err = a.secret(request.TokenVariable)
	return out, err
}

// maxSecret bounds a file with a secret in bytes.
const maxSecret = 64 << 10

func (a *app) secret(name string) (string, error) {
	file := a.env[name+request.FileSuffix]
	if value := a.env[name]; value != "" || file == "" {
		return value, nil
	}
	text, err := readSecret(file)
	if err != nil {
		return "", fmt.Errorf("read the file that %s names: %w", name+request.FileSuffix, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// hintFor says what to do about an error, or "".
func hintFor(err error) string {
	var access *lake.AccessError
	var unreachable *lake.UnreachableError
	var table *lake.TableError
	var newer *tape.NewerError
	switch {
	case errors.As(err, &access):
		return "lake in config.yaml says where the catalog and the object storage are; credentials are in AWS_ACCESS_KEY_ID and " +
			"AWS_SECRET_ACCESS_KEY, and " + request.CredentialVariable + " or " + request.TokenVariable + " (docs/LAKE.md)"
	case errors.As(err, &unreachable):
		return "check the network and lake in config.yaml; the same command continues"
	case errors.As(err, &table):
		return "namespace under lake in config.yaml names other tables"
	case errors.As(err, &newer):
		return "use a newer tapedeck; older versions do not change a tape whose format is newer"
	case errors.Is(err, restore.ErrNothing):
		return "tapedeck ship --verify lists what the lake has"
	case errors.Is(err, syscall.ENOSPC):
		return "the volume is full; the tape is intact, and the same command continues"
	}
	return ""
}
