package detect

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"tapedeck/internal/tape"
)

// lookedName is the state file of the time that detectors have looked at, whether a run was given a window or not. Without it "no alerts" could mean
// that nobody looked. Losing it costs a caution in a report.
const lookedName = "detect-looked.json"

// Looked is a half-open time that detectors have looked at, UTC.
type Looked struct {
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
}

// LookedAt gives the time that detectors have looked at, in ascending order; what cannot be read is as if nobody had looked.
func LookedAt(dir *tape.Dir) ([]Looked, error) {
	var looked []Looked
	if err := dir.ReadState(lookedName, &looked); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read what detectors have looked at: %w", err)
	}
	return looked, nil
}

// look adds what this run looked at.
func (r *run) look() error {
	if r.opt.DryRun || r.summary.From.IsZero() {
		return nil
	}
	looked, err := LookedAt(r.dir)
	if err != nil {
		r.opt.Logger.Warn("begun anew", "error", err)
	}
	if err := r.dir.WriteState(lookedName, join(append(looked, Looked{r.summary.From.UTC(), r.summary.To.UTC()}))); err != nil {
		return fmt.Errorf("write down what was looked at: %w", err)
	}
	return nil
}

// join makes one of those that overlap or touch.
func join(all []Looked) (out []Looked) {
	slices.SortFunc(all, func(a, b Looked) int { return a.From.Compare(b.From) })
	for _, l := range all {
		if n := len(out); n > 0 && !out[n-1].Until.Before(l.From) {
			if l.Until.After(out[n-1].Until) {
				out[n-1].Until = l.Until
			}
			continue
		}
		out = append(out, l)
	}
	return out
}
