// Package progress is how a job reports how far it is to whoever shows it to a person.
package progress

// Display shows how far a job is. Its methods may be called concurrently and must not block.
type Display interface {
	// Begin starts a task of total units, for example trades or bytes, and ends the task before it.
	// A total of 0 means that it is unknown.
	Begin(task string, total int64)
	// Set reports how many units of one part of the task are done, for example of one symbol. The
	// parts add up.
	Set(part string, done int64)
	// Line shows a line of text that stays.
	Line(text string)
}

// None is a Display that shows nothing.
type None struct{}

// Begin implements Display.
func (None) Begin(string, int64) {}

// Set implements Display.
func (None) Set(string, int64) {}

// Line implements Display.
func (None) Line(string) {}
