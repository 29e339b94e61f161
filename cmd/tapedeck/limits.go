package main

import (
	"fmt"
	"syscall"

	"tapedeck/internal/wording"
)

// fullHint says what the file system of a data directory has run out of: space or inodes.
func fullHint(dataDir string) string {
	const few = 16
	var system syscall.Statfs_t
	if syscall.Statfs(dataDir, &system) == nil && system.Files > 0 && system.Ffree < few {
		return fmt.Sprintf("there is space, but the file system at %q has %s, and all are in use: every file and directory needs one; "+
			"remove files; the tape is intact", dataDir, wording.Count(int64(system.Files), "inode"))
	}
	return "the disk is full; free some space; the tape is intact"
}

// openFilesHint names the limit of open files that this process has reached.
func openFilesHint() string {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return "raise the limit of open files (ulimit -n)"
	}
	return fmt.Sprintf("at most %s may be open at once here; raise that limit (ulimit -n, LimitNOFILE=, docker run --ulimit nofile=1024)",
		wording.Count(int64(limit.Cur), "file"))
}
