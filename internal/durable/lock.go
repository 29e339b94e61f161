package durable

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// ErrLocked is returned by TryLock and OpenLocked if another process or another caller holds the
// lock.
var ErrLocked = errors.New("locked by another process")

// Lock takes an exclusive lock on the file at path, which it creates if necessary, and blocks until
// it has it. If somebody removed the directory of the file, it is created again, but not those above it. The lock
// excludes other processes and other callers in this process. The system
// releases the lock of a process that dies.
func Lock(path string) (unlock func(), err error) { return lock(path, syscall.LOCK_EX) }

// LockUntil is Lock that waits until ctx is done at the latest. Then its error is ErrLocked, and the cause of
// ctx.
func LockUntil(ctx context.Context, path string) (unlock func(), err error) {
	if unlock, err = TryLock(path); !errors.Is(err, ErrLocked) || ctx.Done() == nil {
		if errors.Is(err, ErrLocked) {
			return Lock(path)
		}
		return unlock, err
	}
	type result struct {
		unlock func()
		err    error
	}
	locked := make(chan result, 1)
	go func() { // flock cannot be interrupted; the goroutine ends when the other process lets go
		unlock, err := Lock(path)
		locked <- result{unlock, err}
	}()
	select {
	case r := <-locked:
		return r.unlock, r.err
	case <-ctx.Done():
		go func() {
			if r := <-locked; r.err == nil {
				r.unlock()
			}
		}()
		return nil, fmt.Errorf("lock %q: %w: %w", path, ErrLocked, context.Cause(ctx))
	}
}

// TryLock is Lock without waiting: its error is ErrLocked if the lock is held.
func TryLock(path string) (unlock func(), err error) {
	return lock(path, syscall.LOCK_EX|syscall.LOCK_NB)
}

func lock(path string, how int) (unlock func(), err error) {
	file, err := openLocked(path, how)
	if err != nil {
		return nil, err
	}
	return func() { file.Close() }, nil
}

// OpenLocked opens the file at path for reading and writing, creates it if necessary, and locks it
// until it is closed. Its error is ErrLocked if the lock is held. What has another name besides, as
// a link has, or is no regular file, is removed first, so that no other file is written.
func OpenLocked(path string) (*os.File, error) {
	if info, err := os.Lstat(path); err == nil && (!info.Mode().IsRegular() || names(info) > 1) {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("open with a lock: %w", err)
		}
	}
	file, err := openLocked(path, syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		return nil, err
	}
	if info, err := file.Stat(); err != nil || names(info) > 1 {
		file.Close()
		return nil, cmp.Or(err, error(&IrregularError{path, "a link to another file"}))
	}
	return file, nil
}

// names returns how many names a file has.
func names(info os.FileInfo) uint64 {
	if system, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(system.Nlink)
	}
	return 1
}

func openLocked(path string, how int) (*os.File, error) {
	const flags = os.O_RDWR | os.O_CREATE | syscall.O_NOFOLLOW
	file, err := openRegular(path, flags, 0o600)
	if errors.Is(err, os.ErrNotExist) && os.Mkdir(filepath.Dir(path), 0o700) == nil {
		file, err = openRegular(path, flags, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("open with a lock: %w", err)
	}
	if err := flock(file, how); err != nil {
		file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("lock %q: %w", path, err)
	}
	return file, nil
}

// Abandoned reports whether the writer that created the file with Disk.Create has closed it or
// died. It is false for a file that cannot be opened.
func Abandoned(path string) bool {
	file, err := OpenOwn(path)
	if err != nil {
		return false
	}
	defer file.Close()
	return flock(file, syscall.LOCK_EX|syscall.LOCK_NB) == nil
}

func flock(file *os.File, how int) error {
	for {
		if err := syscall.Flock(int(file.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// Held reports whether a lock of Lock, TryLock or OpenLocked on the file at path is held. It is false
// for a file that cannot be opened. For the instant of the call, TryLock may fail elsewhere.
func Held(path string) bool {
	file, err := OpenOwn(path)
	if err != nil {
		return false
	}
	defer file.Close()
	return errors.Is(flock(file, syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}
