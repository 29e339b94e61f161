package durable

import (
	"io/fs"
	"os"
	"path/filepath"
)

// MakeDirPrivate lets only its owner list and enter a directory, as MakePrivate does; what is in it keeps
// its permissions.
func MakeDirPrivate(dir string) {
	if info, err := os.Lstat(dir); err == nil && info.IsDir() && info.Mode().Perm()&0o077 != 0 {
		_ = os.Chmod(dir, 0o700)
	}
}

// MakePrivate lets only their owner read a directory and what is in it. It does nothing if the directory
// already is private. Links are left alone. What belongs to another user, or is on a file system that is
// read-only or has no permissions, stays as it is: then other means have to keep others out.
func MakePrivate(dir string) {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || info.Mode().Perm()&0o077 == 0 {
		return
	}
	// The directory is the last, so that this is repeated if it is interrupted.
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return nil
		}
		switch {
		case entry.IsDir():
			_ = os.Chmod(path, 0o700)
		case entry.Type().IsRegular():
			_ = os.Chmod(path, 0o600)
		}
		return nil
	})
	_ = os.Chmod(dir, 0o700)
}
