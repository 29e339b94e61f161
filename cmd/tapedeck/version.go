package main

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	duckdb "github.com/duckdb/duckdb-go-bindings"
)

type versionCmd struct{}

func (*versionCmd) noNow() string { return "it does not use the time" }

func (versionCmd) Run(a *app) error { return printVersions(a.stdout) }

// versionFlag is --version. It prints the versions instead of running a command.
type versionFlag bool

// BeforeReset is kong's hook for flags that act while the command line is being parsed.
func (versionFlag) BeforeReset(stdout io.Writer) error {
	if err := printVersions(stdout); err != nil {
		return err
	}
	return errHelpShown
}

func printVersions(w io.Writer) error {
	name, revision := buildVersion()
	_, err := fmt.Fprintf(w, "tapedeck %s\ncommit   %s\nduckdb   %s\ngo       %s %s/%s\n",
		name, revision, duckdb.LibraryVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// buildVersion returns the version and the commit that the linker set, or else what the Go command
// recorded.
func buildVersion() (name, revision string) {
	name, revision = version, commit
	if info, ok := debug.ReadBuildInfo(); ok && revision == "" {
		for _, setting := range info.Settings {
			switch {
			case setting.Key == "vcs.revision":
				revision = setting.Value
			case setting.Key == "vcs.modified" && setting.Value == "true": // follows the revision
				revision += " (with changes)"
			}
		}
	}
	return cmp.Or(name, "development"), cmp.Or(revision, "unknown")
}
