package tape

import "path/filepath"

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
