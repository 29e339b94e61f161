package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// IrregularError is returned for a name that should be that of a regular file and is another's.
type IrregularError struct {
	Path string
	Kind string // what it is, such as "a pipe"
}

func (e *IrregularError) Error() string {
	return fmt.Sprintf("%q is %s, not a regular file", e.Path, e.Kind)
}

// Open opens a file that a person named for reading. It follows symbolic links. It never blocks: the
// error for a pipe, a device or a directory is *IrregularError, for others *fs.PathError.
func Open(path string) (*os.File, error) { return openRegular(path, os.O_RDONLY, 0) }

// OpenOwn is Open for a file that tapedeck wrote: a symbolic link in its place is an *IrregularError.
func OpenOwn(path string) (*os.File, error) {
	return openRegular(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
}

// ReadFile reads a file as Open does. It is an error if the file has more than limit bytes.
func ReadFile(path string, limit int64) ([]byte, error) {
	file, err := Open(path)
	if err != nil {
		return nil, err
	}
	return readAll(file, limit)
}

// ReadOwn reads a file as OpenOwn does. It is an error if the file has more than limit bytes.
func ReadOwn(path string, limit int64) ([]byte, error) {
	file, err := OpenOwn(path)
	if err != nil {
		return nil, err
	}
	return readAll(file, limit)
}

func readAll(file *os.File, limit int64) ([]byte, error) {
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(text)) > limit {
		return nil, fmt.Errorf("%q is larger than %d bytes", file.Name(), limit)
	}
	return text, err
}

// openRegular opens a regular file without blocking.
func openRegular(path string, flags int, mode os.FileMode) (*os.File, error) {
	file, err := os.OpenFile(path, flags|syscall.O_NONBLOCK, mode)
	if err != nil {
		return nil, irregular(path, err)
	}
	info, err := file.Stat()
	if err == nil {
		err = CheckRegular(path, info)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// CheckRegular returns an *IrregularError unless info is that of a regular file. path is for the error.
func CheckRegular(path string, info fs.FileInfo) error {
	if info.Mode().IsRegular() {
		return nil
	}
	return &IrregularError{path, kindOf(info.Mode())}
}

// irregular returns an IrregularError if err is about what a path is.
func irregular(path string, err error) error {
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.ENXIO) {
		if info, statErr := os.Lstat(path); statErr == nil && !info.Mode().IsRegular() {
			return &IrregularError{path, kindOf(info.Mode())}
		}
	}
	return err
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "something else"
}
