package tape

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"syscall"
)

// writersLock is held while files become visible: between two holders nothing is published.
const writersLock = "writers.lock"

// lock takes an exclusive lock among all processes on the data directory and blocks until it has it. Holders keep it for
// milliseconds (for a compaction's exchange too), and the system releases the lock of a process that dies.
func (d *Dir) lock(name string) (unlock func(), err error) {
	path := d.StatePath(name)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	for {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
		if err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %q: %w", path, err)
	}
	if err := d.finishPending(); err != nil {
		file.Close()
		return nil, err
	}
	return func() { file.Close() }, nil
}

// uniqueName gives a name that is used once: 96 random bits between prefix and suffix.
func uniqueName(prefix, suffix string) string {
	var bits [12]byte
	rand.Read(bits[:])
	return prefix + "-" + hex.EncodeToString(bits[:]) + suffix
}
