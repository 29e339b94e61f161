// Package durable writes, syncs, renames and locks files. It is the only package that does.
//
// Its one guarantee: when a call that publishes a file returns without an error, the file's content
// and its name survive a power cut; when it returns an error or the process dies, a reader finds
// the old file or the new one, never a part. The order is the usual one: write a temporary file,
// fsync it, rename it, fsync the directory. docs/TAPE.md describes the files that tapedeck keeps.
package durable

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// Disk is the file system as writers of the tape use it. OS is the real one. Tests replace it with
// one that fails at a chosen call, or that loses what was not synced. It is safe for concurrent
// use.
type Disk interface {
	// Create creates a file and keeps it locked until it is closed, so that Abandoned is false while
	// its writer lives. It is an error if the file exists.
	Create(path string) (File, error)
	Rename(from, to string) error
	// SyncDir makes the names in a directory durable.
	SyncDir(path string) error
	// SyncFile makes the content of a closed file durable.
	SyncFile(path string) error
	// Mkdir creates one directory. It is no error if it exists.
	Mkdir(path string) error
	Remove(path string) error
	// RemoveAll removes a directory and everything in it. It is no error if it does not exist.
	RemoveAll(path string) error
	Link(from, to string) error
	// Exchange swaps the names of two directories in one atomic step. If the file system cannot do
	// that, the error is errors.ErrUnsupported, EINVAL or ENOSYS.
	Exchange(a, b string) error
	// Touch sets the modification time to the present.
	Touch(path string) error
}

// File is a file being written.
type File interface {
	io.Writer
	Sync() error
	Close() error
}

// OS is the operating system's file system.
type OS struct{}

// Create implements Disk.
func (OS) Create(path string) (File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, err
	}
	if err := flock(file, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %q: %w", path, err)
	}
	return file, nil
}

// Rename implements Disk.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// SyncDir implements Disk.
func (OS) SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// SyncFile implements Disk.
func (OS) SyncFile(path string) error {
	file, err := openRegular(path, os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Sync()
}

// Mkdir implements Disk.
func (OS) Mkdir(path string) error {
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// Remove implements Disk.
func (OS) Remove(path string) error { return os.Remove(path) }

// RemoveAll implements Disk.
func (OS) RemoveAll(path string) error { return os.RemoveAll(path) }

// Link implements Disk.
func (OS) Link(from, to string) error { return os.Link(from, to) }

// Exchange implements Disk.
func (OS) Exchange(a, b string) error { return exchangeNames(a, b) }

// Touch implements Disk.
func (OS) Touch(path string) error { return os.Chtimes(path, time.Time{}, time.Now()) }
