package durable

import (
	"fmt"
	"math"
	"syscall"
)

// Free returns how many bytes an unprivileged user can write to the file system of path.
func Free(path string) (int64, error) {
	var system syscall.Statfs_t
	if err := syscall.Statfs(path, &system); err != nil {
		return 0, fmt.Errorf("measure the free space at %q: %w", path, err)
	}
	return int64(min(uint64(system.Bavail)*uint64(system.Bsize), math.MaxInt64)), nil
}
