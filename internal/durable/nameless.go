package durable

import (
	"errors"
	"os"
)

// Nameless creates a file in dir for what does not fit in memory. It has no name: nobody else can open it,
// and its space is free once it is closed, also by a kill.
func Nameless(dir string) (*os.File, error) {
	file, err := os.CreateTemp(dir, "nameless-*.tmp")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}
