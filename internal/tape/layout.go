package tape

import (
	"os"
	"path/filepath"
	"slices"
)

const (
	manifestName = "tape.json"
	stagingDir   = ".staging"
	stateDir     = ".state"
)

// layout is the path of a data directory. Its methods return the paths of what is in it.
type layout string

func (l layout) path(relative string) string { return filepath.Join(string(l), relative) }
func (l layout) staging() string             { return l.path(stagingDir) }
func (l layout) table(table Table) string    { return l.path(string(table)) }
func (l layout) partition(table Table, date string) string {
	return l.path(filepath.Join(string(table), "date="+date))
}
func (l layout) segment(table Table, date, name string) string {
	return l.path(segmentPath(table, date, name))
}

// segmentPath returns the path of a published file relative to the data directory.
func segmentPath(table Table, date, name string) string {
	return filepath.Join(string(table), "date="+date, name)
}

// marketName is the database of views that package analytics creates.
const marketName = "market.duckdb"

// Owns reports whether a file at path would be one of the tape in a data directory, or in one of the tape's
// directories, also by way of links. Other files in the data directory itself are not the tape's. Nothing needs
// to exist.
func Owns(dataDir, path string) bool {
	l := layout(dataDir)
	dirs := []string{stagingDir, stateDir, asideDir}
	for _, table := range allTables() {
		dirs = append(dirs, string(table))
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err == nil {
		parent, err = filepath.Abs(parent)
	}
	if err != nil {
		return false // nothing can be written there
	}
	names := append([]string{manifestName, marketName}, dirs...)
	if isSame(parent, dataDir) && slices.Contains(names, filepath.Base(path)) {
		return true
	}
	for _, name := range names {
		if isSame(path, l.path(name)) {
			return true
		}
	}
	for above := parent; ; above = filepath.Dir(above) {
		for _, name := range dirs {
			if isSame(above, l.path(name)) {
				return true
			}
		}
		if above == filepath.Dir(above) {
			return false
		}
	}
}

// isSame reports whether two paths are those of one existing file or directory.
func isSame(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}
