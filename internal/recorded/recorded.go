// Package recorded finds the recordings of real traffic that tests are held to. They are no part of the project: they lie in shared/recorded beside it, or
// where an environment variable says.
package recorded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// variable names the folder of the recordings. Where it is set they have to be there: a test on them fails instead of skipping.
const variable = "TAPEDECK_RECORDED"

// Path gives the path of a recording, as pumps/trades.parquet. Where it is not there it skips the test, or fails it if the variable says that it should be.
func Path(tb testing.TB, name string) string {
	tb.Helper()
	dir, err := Dir()
	if err != nil {
		tb.Fatal(err)
	}
	if dir == "" {
		tb.Skip("no recordings of real traffic beside the project, and " + variable + " names no other folder of them")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		tb.Fatal(err)
	}
	return path
}

// Dir is the folder of the recordings, "" where there are none. It fails if the variable names a folder that is not there.
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
			return "", errors.New("no go.mod in this folder or above it")
		}
		dir = filepath.Dir(dir)
	}
	dir = filepath.Join(dir, "..", "shared", "recorded")
	if _, err := os.Stat(dir); err != nil {
		return "", nil
	}
	return dir, nil
}
