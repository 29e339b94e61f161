package main

// The Go runtime reserves address space before it starts, and ends with its own words if it gets none. So
// this is checked before that.

/*
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

__attribute__((constructor)) static void check_address_space(void) {
	const rlim_t least = (rlim_t)2000 << 20;
	struct rlimit limit;
	if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= least)
		return;
	fprintf(stderr,
		"tapedeck: the limit of address space here is %llu MB (ulimit -v); it must be 2000 MB at least\n"
		"hint: raise it; address space is not memory: that is limited by --memory, docker run -m or MemoryMax=\n",
		(unsigned long long)limit.rlim_cur >> 20);
	_exit(1);
}
*/
import "C"

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

// checkOpenFiles returns an error if this process may open so few files that DuckDB would end it.
func checkOpenFiles() error {
	const least = 16
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil || limit.Cur >= least {
		return nil
	}
	return withHint(fmt.Errorf("too few files may be open at once: %d; tapedeck needs %d at least, and more for large tapes", limit.Cur, least),
		openFilesHint())
}
