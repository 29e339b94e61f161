package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"tapedeck/internal/durable"
)

// SummaryDir is the directory of what is stored of the days that are over: for each summary a directory with
// files DATE-KEY.parquet. Each can be deleted; it is computed again.
const SummaryDir = "summaries"

// ForgetSummaries deletes what is stored of a UTC date.
func ForgetSummaries(d *Dir, date string) error {
	if err := durable.CheckNotLinked(d.Path(SummaryDir)); err != nil {
		return err
	}
	paths, err := filepath.Glob(filepath.Join(d.Path(SummaryDir), "*", date+"-*.parquet"))
	for _, path := range paths {
		if durable.CheckNotLinked(filepath.Dir(path)) != nil {
			continue // it is not a directory that was made here
		}
		if removed := os.Remove(path); !errors.Is(removed, fs.ErrNotExist) {
			err = errors.Join(err, removed)
		}
	}
	return err
}
