package analytics

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tapedeck/internal/durable"
	"tapedeck/internal/tape"
)

const (
	// spillLimit is how much disk space a session may use if its memory is not enough. A query that
	// needs more fails.
	spillLimit    = "16GB"
	spillBytes    = 16_000_000_000
	scratchPrefix = "duckdb-"
	scratchLock   = "lock"
	// scratchGrace protects a new directory that is not locked yet.
	scratchGrace = time.Hour
)

// scratchDir is a directory for temporary files. It is locked while its session lives, so that other
// sessions can tell which directories are abandoned.
type scratchDir struct {
	path      string
	createdAt time.Time // by the clock of the file system
	unlock    func()
}

// createScratch creates a scratch directory in the tape's staging directory, or in the system's
// temporary directory if dir is nil or read-only. It deletes the directories of dead sessions.
func createScratch(dir *tape.Dir) (*scratchDir, error) {
	if dir != nil {
		staging, err := filepath.Abs(dir.StagingPath())
		if err != nil {
			return nil, err
		}
		if scratch, err := createScratchIn(staging, scratchPrefix); err == nil {
			sweepScratch(staging, scratch.createdAt)
			return scratch, nil
		}
	}
	return createScratchIn("", "tapedeck-"+scratchPrefix)
}

func createScratchIn(parent, prefix string) (*scratchDir, error) {
	path, err := os.MkdirTemp(parent, prefix)
	if err != nil {
		return nil, err
	}
	unlock, err := durable.TryLock(filepath.Join(path, scratchLock))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(path))
	}
	info, err := os.Stat(path)
	if err != nil {
		unlock()
		return nil, errors.Join(err, os.RemoveAll(path))
	}
	return &scratchDir{path, info.ModTime(), unlock}, nil
}

func (d *scratchDir) remove() error {
	defer d.unlock()
	return os.RemoveAll(d.path)
}

// sweepScratch deletes the scratch directories that no live session has locked.
func sweepScratch(staging string, now time.Time) {
	entries, err := os.ReadDir(staging)
	if err != nil {
		return
	}
	for _, entry := range entries {
		info, err := entry.Info()
		isScratch := err == nil && info.IsDir() && strings.HasPrefix(entry.Name(), scratchPrefix)
		if !isScratch || now.Sub(info.ModTime()) < scratchGrace {
			continue
		}
		path := filepath.Join(staging, entry.Name())
		unlock, err := durable.TryLock(filepath.Join(path, scratchLock))
		if err != nil {
			continue
		}
		_ = os.RemoveAll(path) // the next session tries again
		unlock()
	}
}
