package main

import (
	"context"
	"sync"
	"time"

	"tapedeck/internal/idset"
	"tapedeck/internal/tape"
)

// gapsEvery is how often the tape is read again while a gap of the stream is open.
const gapsEvery = 10 * time.Second

// openGaps knows how many ids are missing on the tape. The recorder only counts what it did not
// receive, and a backfill, which is another process, fetches that.
type openGaps struct {
	dir *tape.Dir

	mu      sync.Mutex
	checked bool
	missing int64
	gaps    int64 // that the recorder had reported when the tape was read
}

// missingAfter returns how many ids are missing on the tape; ok is false if it was not read since
// the recorder reported that many gaps.
func (o *openGaps) missingAfter(gaps int64) (missing int64, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.missing, o.checked && o.gaps == gaps
}

// watch reads the tape while gaps, which returns what the recorder has reported, are open. It
// returns when ctx is done.
func (o *openGaps) watch(ctx context.Context, gaps func() int64) {
	ticker := time.NewTicker(gapsEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			reported := gaps()
			if missing, ok := o.missingAfter(reported); reported == 0 || ok && missing == 0 {
				continue
			}
			missing, err := missingOn(ctx, o.dir)
			o.mu.Lock()
			o.checked, o.missing, o.gaps = err == nil, missing, reported
			o.mu.Unlock()
		}
	}
}

// missingOn counts the ids between the first and the last of each symbol that are not on the tape,
// without those that the exchange does not have or that were removed on purpose.
func missingOn(ctx context.Context, dir *tape.Dir) (int64, error) {
	index := dir.Index()
	if err := index.Refresh(ctx); err != nil {
		return 0, err
	}
	absent, err := dir.Absent()
	if err != nil {
		return 0, err
	}
	dropped, err := dir.Dropped()
	if err != nil {
		return 0, err
	}
	var missing int64
	for _, symbol := range index.Symbols() {
		var gaps idset.Set
		for _, gap := range index.Gaps(symbol) {
			gaps = gaps.Add(idset.Range{First: gap.First, Last: gap.Last})
		}
		missing = idset.Sum(missing, gaps.Subtract(absent[symbol]).Subtract(dropped[symbol]).Count())
	}
	return missing, nil
}
