// Package recorded finds the recordings of real traffic that tests use. They are not part of the
// project: they are in shared/recorded beside it, or in the directory of TAPEDECK_RECORDED.
package recorded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// variable is the environment variable with the directory of the recordings. If it is set, tests fail
// without recordings instead of being skipped.
const variable = "TAPEDECK_RECORDED"

// Path returns the path of a recording, such as pumps/trades.parquet. It skips the test if there are no
// recordings, and fails it if TAPEDECK_RECORDED is set or this one is missing.
func Path(tb testing.TB, name string) string {
	tb.Helper()
	dir, err := Dir()
	if err != nil {
		tb.Fatal(err)
	}
	if dir == "" {
		tb.Skip("no recordings of real traffic beside the project, and " + variable + " is not set")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		tb.Fatal(err)
	}
	return path
}

// Dir returns the directory of the recordings, or "" if there is none. It fails if TAPEDECK_RECORDED is
// set to a directory that does not exist.
func Dir() (string, error) {
	if dir := os.Getenv(variable); dir != "" {
		dir, err := filepath.Abs(dir)
		if err != nil {
			return "", err
		}
		if _, err := os.Stat(dir); err != nil {
			return "", fmt.Errorf("%s: %w", variable, err)
		}
		return dir, nil
	}
	dir, err := filepath.Abs(".")
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod in this directory or above it")
		}
		dir = filepath.Dir(dir)
	}
	dir = filepath.Join(dir, "..", "shared", "recorded")
	if _, err := os.Stat(dir); err != nil {
		return "", nil
	}
	return dir, nil
}
