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

	"tapedeck/internal/tape"
	"tapedeck/jobs/schedule"
)

// The exit statuses, the same for every command.
const (
	exitDone    = 0  // done
	exitFailed  = 1  // failed
	exitPartial = 3  // done, but not all of it could be had, or a check found something
	exitMisuse  = 80 // the command line or the configuration is wrong; nothing was done
)

// statusError carries an exit status other than exitFailed.
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

// hintError carries what to do about an error, where the place that saw it knows better than hint.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

func withHint(err error, format string, args ...any) error {
	return &hintError{err, fmt.Sprintf(format, args...)}
}

// status is the exit status that an error stands for.
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

// fail prints err as one line, with a hint below it where the cure is known, and returns the exit status.
func (a *app) fail(err error) int {
	fmt.Fprintf(a.stderr, "tapedeck: %s\n", strings.TrimRight(err.Error(), "\n"))
	if hint := a.hint(err); hint != "" {
		fmt.Fprintf(a.stderr, "hint: %s\n", hint)
	}
	return status(err)
}

// hint says what to do about err; empty where we do not know.
func (a *app) hint(err error) string {
	var hinted *hintError
	if errors.As(err, &hinted) {
		return hinted.hint
	}
	var newer *tape.NewerError
	switch {
	case errors.As(err, &newer):
		return "take a newer tapedeck; an older one does not touch what it does not understand"
	case errors.Is(err, tape.ErrNoManifest):
		return `restore tape.json from a backup, or write it again with the feed that was recorded: {"format": 1, "feed": "aggTrade", "made_at": "2026-01-01T00:00:00Z"}`
	case errors.Is(err, schedule.ErrLocked):
		return "a tapedeck run or schedule is at work here already; tapedeck stream records beside it"
	case errors.Is(err, syscall.EADDRINUSE):
		return "another process listens there; choose another address, or :0 for any free port"
	case errors.Is(err, syscall.ENOSPC):
		return "the disk is full; free some space, what is on the tape is not harmed"
	case errors.Is(err, syscall.EROFS):
		return "it lies on a file system that is mounted read-only; mount it for writing, or name another directory with --data-dir"
	case errors.Is(err, fs.ErrPermission):
		return a.permissionHint(err)
	}
	return ""
}

// permissionHint says what to type where this user may not do what it must. Inside a container the directory has another
// name than outside, where it can be given away.
func (a *app) permissionHint(err error) string {
	who := fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
	dir, absErr := filepath.Abs(a.dataDir)
	if absErr != nil {
		dir = a.dataDir
	}
	var at *fs.PathError
	if errors.As(err, &at) {
		if path, absErr := filepath.Abs(at.Path); absErr == nil && path != dir && !strings.HasPrefix(path, dir+string(filepath.Separator)) {
			return fmt.Sprintf("this process runs as user %s, which may not touch %s", who, at.Path)
		}
	}
	if inContainer() {
		return fmt.Sprintf("this process runs as user %s; outside of the container type: sudo chown -R %s DIR, where DIR is what is mounted at %s", who, who, dir)
	}
	cure := fmt.Sprintf("chown -R %s %s", who, dir)
	if _, statErr := os.Stat(dir); errors.Is(statErr, fs.ErrNotExist) {
		cure = fmt.Sprintf("install -d -o %d -g %d %s", os.Getuid(), os.Getgid(), dir)
	}
	return fmt.Sprintf("this process runs as user %s; type: sudo %s (or name another directory with --data-dir)", who, cure)
}

// inContainer reports whether Docker or Podman started this.
func inContainer() bool {
	for _, mark := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Stat(mark); err == nil {
			return true
		}
	}
	return false
}
