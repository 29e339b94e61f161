package durable

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// UniqueName returns a name that is used once: prefix, 96 random bits in hex, suffix.
func UniqueName(prefix, suffix string) string {
	var bits [12]byte
	rand.Read(bits[:])
	return prefix + "-" + hex.EncodeToString(bits[:]) + suffix
}

// Replace writes content to path by way of a temporary file in the directory staging, which must be
// on the same file system. On an error the temporary file is removed.
func Replace(disk Disk, staging, path string, content []byte) error {
	return replace(disk, staging, path, content, func(File) error { return nil })
}

// ReplacePrivate is Replace for a file that only its owner may read. A File without permissions, such
// as a test's, keeps those that it has.
func ReplacePrivate(disk Disk, staging, path string, content []byte) error {
	return replace(disk, staging, path, content, func(file File) error {
		if file, ok := file.(interface{ Chmod(os.FileMode) error }); ok {
			return file.Chmod(0o600)
		}
		return nil
	})
}

func replace(disk Disk, staging, path string, content []byte, prepare func(File) error) error {
	temporary := filepath.Join(staging, UniqueName("state", ".tmp"))
	err := create(disk, temporary, content, prepare)
	if err == nil {
		err = Publish(disk, temporary, path)
	}
	if err != nil {
		disk.Remove(temporary)
	}
	return err
}

// Create writes a new file and makes its content durable, but not its name. It is an error if the
// file exists. After another error a part of the file may be left.
func Create(disk Disk, path string, content []byte) error {
	return create(disk, path, content, func(File) error { return nil })
}

func create(disk Disk, path string, content []byte, prepare func(File) error) error {
	file, err := disk.Create(path)
	if err != nil {
		return fmt.Errorf("create %q: %w", path, err)
	}
	if err = prepare(file); err == nil {
		_, err = file.Write(content)
	}
	if err == nil {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	return nil
}

// ReplaceUnsynced writes content to path by way of path+".tmp", and syncs nothing: a reader finds
// the old content or the new one, but if the machine crashes the file may be empty or damaged. Only
// its owner may read it. The caller must be the only writer.
func ReplaceUnsynced(path string, content []byte) error {
	temporary := path + ".tmp"
	// What is there was left by a process that was killed, or is a link to another file.
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(temporary)
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		os.Remove(temporary)
		return err
	}
	return nil
}

// Publish renames a file whose content is durable to its final name, and makes that name durable.
func Publish(disk Disk, temporary, path string) error {
	if err := disk.Rename(temporary, path); err != nil {
		return fmt.Errorf("publish %q: %w", path, err)
	}
	if err := disk.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("sync %q: %w", filepath.Dir(path), err)
	}
	return nil
}

// WriteFile writes a file that a person named, by way of a temporary file in the same directory:
// afterwards path holds everything that write wrote, or what it held before. An existing file keeps
// its permissions. A pipe, a device or a file that is open, such as /dev/stdout, is written directly, until
// ctx is done; the error for a pipe without a reader is *NoReaderError.
func WriteFile(ctx context.Context, path string, write func(io.Writer) error) error {
	info, err := os.Stat(path)
	if err == nil && (!info.Mode().IsRegular() || isDescriptor(path)) {
		return writeDirectly(ctx, path, write)
	}
	return writeRegular(path, write)
}

// isDescriptor reports whether a path is one of /dev or /proc: of a file that is open, which has no other name.
func isDescriptor(path string) bool {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	return err == nil && (dir == "/dev" || strings.HasPrefix(dir, "/proc/"))
}

func writeRegular(path string, write func(io.Writer) error) (err error) {
	mode := os.FileMode(0o644)
	if info, statErr := os.Stat(path); statErr == nil && info.Mode().IsRegular() {
		mode = info.Mode().Perm()
	}
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return fmt.Errorf("write %q: %w", path, withoutPath(err))
	}
	defer func() {
		if err != nil {
			file.Close()
			os.Remove(file.Name())
			err = fmt.Errorf("write %q: %w", path, err)
		}
	}()
	if err = write(file); err != nil {
		return err
	}
	if err = file.Chmod(mode); err != nil {
		return err
	}
	if err = file.Sync(); err != nil {
		return err
	}
	if err = file.Close(); err != nil {
		return err
	}
	return Publish(OS{}, file.Name(), path)
}

// WriteContent is WriteFile of a regular file with content that is in memory.
func WriteContent(path, content string) error {
	return writeRegular(path, func(w io.Writer) error {
		_, err := io.WriteString(w, content)
		return err
	})
}

// NoReaderError is returned for a pipe that no process reads.
type NoReaderError struct{ Path string }

func (e *NoReaderError) Error() string {
	return fmt.Sprintf("%q is a pipe that no process reads; start the reader first", e.Path)
}

// writeDirectly waits neither for a pipe to be opened by a reader nor, when ctx is done, for it to be read.
func writeDirectly(ctx context.Context, path string, write func(io.Writer) error) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|syscall.O_NONBLOCK, 0)
	if info, statErr := os.Stat(path); errors.Is(err, syscall.ENXIO) && statErr == nil && info.Mode()&os.ModeNamedPipe != 0 {
		return &NoReaderError{path}
	}
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		_ = file.SetWriteDeadline(time.Unix(1, 0)) // a file that cannot have one does not block either
	})
	defer func() {
		stop()
		err = errors.Join(err, file.Close())
	}()
	if err := write(file); ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("write %q: %w", path, context.Cause(ctx))
	} else if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	return nil
}

// withoutPath removes the temporary file's name from an error, because it means nothing to a
// person.
func withoutPath(err error) error {
	var known *os.PathError
	if errors.As(err, &known) {
		return known.Err
	}
	return err
}
