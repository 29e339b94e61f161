package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"tapedeck/internal/binance"
	"tapedeck/internal/tape"
	"tapedeck/jobs/schedule"
)

// The exit statuses, the same for every command.
const (
	exitDone    = 0  // done
	exitFailed  = 1  // failed
	exitPartial = 3  // done but incomplete, or a check found something
	exitMisuse  = 80 // the command line or the configuration is wrong; nothing was done
)

// statusError is an error with an exit status other than exitFailed.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

func misuse(format string, args ...any) error {
	return &statusError{exitMisuse, fmt.Errorf(format, args...)}
}

func partial(format string, args ...any) error {
	return &statusError{exitPartial, fmt.Errorf(format, args...)}
}

// hintError is an error with its own hint.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

func withHint(err error, hint string) error { return &hintError{err, hint} }

// status returns the exit status of an error.
func status(err error) int {
	var withStatus *statusError
	if errors.As(err, &withStatus) {
		return withStatus.status
	}
	var parseError *kong.ParseError
	if errors.As(err, &parseError) {
		return exitMisuse
	}
	return exitFailed
}

// fail prints err, and a hint if the remedy is known, and returns the exit status.
func (a *app) fail(err error) int {
	fmt.Fprintf(a.stderr, "tapedeck: %s\n", strings.TrimRight(err.Error(), "\n"))
	if hint := a.hint(err); hint != "" {
		fmt.Fprintf(a.stderr, "hint: %s\n", hint)
	}
	return status(err)
}

// hint returns what to do about err, or "".
func (a *app) hint(err error) string {
	var hinted *hintError
	if errors.As(err, &hinted) {
		return hinted.hint
	}
	var newer *tape.NewerError
	var unreachable *binance.UnreachableError
	switch {
	case errors.As(err, &unreachable):
		return "check the network and the address; --rest-url, TAPEDECK_REST_URL or rest_url in config.yaml names another one"
	case errors.As(err, &newer):
		return "use a newer tapedeck; older versions do not change a tape whose format is newer"
	case errors.Is(err, tape.ErrNoManifest):
		return "restore tape.json from a backup, or recreate it with the feed that was recorded: " +
			`{"format": 1, "feed": "aggTrade", "made_at": "2026-01-01T00:00:00Z"}`
	case errors.Is(err, schedule.ErrLocked):
		return "a tapedeck run or schedule is already running; tapedeck stream can record next to it"
	case errors.Is(err, syscall.EADDRINUSE):
		return "another process uses this address; choose another one, or :0 for any free port"
	case errors.Is(err, syscall.ENOSPC):
		return "the disk is full; free some space; the tape is intact"
	case errors.Is(err, syscall.EROFS):
		return "the file system is mounted read-only; mount it for writing, or name another directory with --data-dir"
	case errors.Is(err, fs.ErrPermission):
		return a.permissionHint(err)
	}
	return ""
}

// permissionHint returns the command that gives this user the data directory. In a container, it
// must be typed outside, where the directory has another name.
func (a *app) permissionHint(err error) string {
	user := fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
	dir := absolute(a.dataDir)
	var pathError *fs.PathError
	if errors.As(err, &pathError) && !strings.HasPrefix(absolute(pathError.Path)+"/", dir+"/") {
		return fmt.Sprintf("this process runs as user %s, which has no permission for %s", user, pathError.Path)
	}
	if inContainer() {
		return fmt.Sprintf("this process runs as user %s; outside of the container, type: sudo chown -R %s DIR, "+
			"where DIR is the directory mounted at %s", user, user, dir)
	}
	command := fmt.Sprintf("chown -R %s %s", user, dir)
	if _, statErr := os.Stat(dir); errors.Is(statErr, fs.ErrNotExist) {
		command = fmt.Sprintf("install -d -o %d -g %d %s", os.Getuid(), os.Getgid(), dir)
	}
	return fmt.Sprintf("this process runs as user %s; type: sudo %s (or name another directory with --data-dir)", user, command)
}

// absolute returns the absolute form of a path, or the path itself if the working directory is unknown.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// inContainer reports whether this process runs in a container of Docker or Podman.
func inContainer() bool {
	for _, path := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Stat(path); err == nil {
			return true
		}
	}
	return false
}
