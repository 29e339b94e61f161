package durable

import (
	"errors"
	"os"
	"syscall"
)

// Pipe creates a named pipe for another library, which takes a path, to write into. The pipe has an end, which
// reader meets, only after writer is closed as well, so reader may wait before the library opens the path.
// The caller closes both and removes the path. Some file systems, such as exFAT, have no pipes.
func Pipe(path string) (reader, writer *os.File, err error) {
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return nil, nil, &os.PathError{Op: "create the pipe", Path: path, Err: err}
	}
	// Without blocking, because there is no writer yet.
	if reader, err = os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0); err != nil {
		return nil, nil, err
	}
	if writer, err = os.OpenFile(path, os.O_WRONLY|syscall.O_NOFOLLOW, 0); err != nil {
		return nil, nil, errors.Join(err, reader.Close())
	}
	return reader, writer, nil
}
