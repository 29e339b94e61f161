package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"tapedeck/analytics"
	"tapedeck/internal/binance"
	"tapedeck/internal/durable"
	"tapedeck/internal/tape"
	"tapedeck/jobs/schedule"
	"tapedeck/jobs/stream"
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
	if analytics.IsOutOfMemory(err) {
		text, _, _ := strings.Cut(err.Error(), "\n") // what follows is advice about DuckDB's own settings
		a.say("tapedeck: %s", text)
	} else {
		a.say("tapedeck: %v", err)
	}
	if hint := a.hint(err); hint != "" {
		a.say("hint: %s", hint)
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
	var manifest *tape.ManifestError
	var unreachable *binance.UnreachableError
	switch {
	case errors.As(err, &unreachable):
		return "check the network and the address; --rest-url, TAPEDECK_REST_URL or rest_url in config.yaml names another one"
	case errors.Is(err, stream.ErrUnreachable):
		return "check the network and the address; --stream-url, TAPEDECK_STREAM_URL or stream_url in config.yaml names another one"
	case errors.As(err, &newer):
		return "use a newer tapedeck; older versions do not change a tape whose format is newer"
	case errors.As(err, &manifest) && manifest.Content != "":
		return fmt.Sprintf("write it again: echo '%s' > %s", manifest.Content, manifest.Path)
	case errors.Is(err, tape.ErrNoManifest):
		return "restore tape.json from a backup, or recreate it with the feed that was recorded: " +
			`{"format": 1, "feed": "aggTrade", "made_at": "2026-01-01T00:00:00Z"}`
	case errors.Is(err, stream.ErrNotPublished) && errors.Is(err, durable.ErrLocked):
		return "end the process that holds the lock; tapedeck backfill fetches the trades that were not published"
	case errors.Is(err, schedule.ErrLocked):
		return "a tapedeck run or schedule is already running; tapedeck stream can record next to it"
	case errors.Is(err, syscall.EADDRINUSE):
		return "another process uses this address; choose another one, or :0 for any free port"
	case analytics.IsOutOfMemory(err):
		return "give tapedeck more memory (docs/OPERATING.md says how much a command needs), raise --memory if it is set, " +
			"or ask for a shorter window or fewer symbols; the tape is intact"
	case errors.Is(err, syscall.ENOSPC), strings.Contains(err.Error(), "No space left on device"): // DuckDB's words
		return fullHint(a.dataDir)
	case errors.Is(err, syscall.EDQUOT):
		return "the disk quota of this user, group or directory is used up; free some of it or raise the quota; the tape is intact"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), strings.Contains(err.Error(), "Too many open files"): // DuckDB's words
		return openFilesHint()
	case errors.Is(err, syscall.EROFS):
		return "the file system is mounted read-only; mount it for writing, or name another directory with --data-dir"
	case isTableMissing(err, a.dataDir):
		return "tapedeck db-migrate makes the directories of the tape again"
	case fileForDir(err, a.dataDir) != "":
		return fmt.Sprintf("%q is not a directory, as it must be: move it away; tapedeck db-migrate makes the directory again", fileForDir(err, a.dataDir))
	case errors.Is(err, syscall.ENOTDIR):
		return "a part of this path is a file, not a directory; name another data directory with --data-dir"
	case errors.Is(err, fs.ErrPermission):
		return a.place.permissionHint(err, a.dataDir)
	}
	return ""
}

// isTableMissing reports whether an error is about the missing directory of a table in the data directory.
func isTableMissing(err error, dataDir string) bool {
	var path *fs.PathError
	return errors.Is(err, fs.ErrNotExist) && errors.As(err, &path) && filepath.Dir(path.Path) == dataDir &&
		slices.Contains([]tape.Table{tape.Trades, tape.Alerts, tape.Runs, tape.Coverage, tape.Conflicts, tape.Recorder, tape.Drops}, tape.Table(filepath.Base(path.Path)))
}

// fileForDir returns what an error is about if it is no directory and directly in the data directory, where
// only directories have names without an extension: a table or the state. Otherwise it returns "".
func fileForDir(err error, dataDir string) string {
	var path *fs.PathError
	if !errors.Is(err, syscall.ENOTDIR) || !errors.As(err, &path) {
		return ""
	}
	for at := path.Path; at != filepath.Dir(at); at = filepath.Dir(at) {
		if info, err := os.Lstat(at); err == nil && !info.IsDir() && filepath.Dir(at) == dataDir {
			return at
		}
	}
	return ""
}
