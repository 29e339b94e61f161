package schedule

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrClaimed says that another scheduler runs on the same ledger.
var ErrClaimed = errors.New("another scheduler runs on this data directory")

// Claim makes this process the one scheduler, by a lock on the file at path, until release is called or the process ends, however it does.
// Its error is ErrClaimed where there is one already.
func Claim(path string) (release func(), err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the scheduler's lock: %w", err)
	}
	for {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrClaimed
		}
		return nil, fmt.Errorf("lock %q: %w", path, err)
	}
	return func() { file.Close() }, nil
}
