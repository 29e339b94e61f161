package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	duckdb "github.com/duckdb/duckdb-go-bindings"
)

type versionCmd struct{}

func (versionCmd) manual() manual {
	return manual{
		about: `Prints which tapedeck this is, the commit it was built from, and the version of DuckDB inside it: ` +
			`what to say when something is wrong. It opens nothing and is quick.`,
		examples: []string{"tapedeck version"},
		exits:    []string{"0  printed"},
	}
}

func (versionCmd) Run(a *app) error {
	name, from := buildVersion()
	_, err := fmt.Fprintf(a.stdout, "tapedeck %s\ncommit   %s\nduckdb   %s\ngo       %s %s/%s\n",
		name, from, duckdb.LibraryVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// buildVersion is what the linker stamped, else what the Go command knows of the source tree.
func buildVersion() (name, from string) {
	name, from = version, commit
	if info, ok := debug.ReadBuildInfo(); ok && from == "" {
		dirty := ""
		for _, setting := range info.Settings {
			switch {
			case setting.Key == "vcs.revision":
				from = setting.Value
			case setting.Key == "vcs.modified" && setting.Value == "true":
				dirty = " (with changes)"
			}
		}
		if from != "" {
			from += dirty
		}
	}
	if name == "" {
		name = "development"
	}
	if from == "" {
		from = "unknown"
	}
	return name, from
}
