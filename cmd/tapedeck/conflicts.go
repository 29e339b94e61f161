package main

import (
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
)

// sayConflicts names the first few of the conflicts that a command has found.
func (a *app) sayConflicts(found int64, rows []tape.Conflict) {
	for _, row := range rows {
		a.say("conflict: %v", row)
	}
	if more := found - int64(len(rows)); more > 0 && len(rows) > 0 {
		a.say("%s not shown; the table conflicts has all", wording.Count(more, "conflict"))
	}
}

// foundConflicts returns an error if there are conflicts, or nil.
func foundConflicts(found int64) error {
	if found == 0 {
		return nil
	}
	return withHint(partial("%s: the tape has another content for the %s and keeps it",
		wording.Count(found, "conflict"), wording.Noun(found, "id")), `tapedeck query "FROM conflicts" lists both contents`)
}
