// Package repair takes segments that somebody put where they do not belong off the tape: those that double
// rows, for example because a backup was restored over compacted files, and those in the directory of another
// date.
//
// Its one guarantee: no row is lost and no content is chosen in silence. Rows that are nowhere else stay, another
// content of an id becomes a conflict, and what is removed is kept aside for a week. Package tape does the work;
// docs/TAPE.md describes it.
package repair

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"tapedeck/internal/progress"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
)

// Plan lists the segments that a repair looks at, in the order of their paths. None is changed.
func Plan(ctx context.Context, dir *tape.Dir) ([]tape.BrokenSegment, error) {
	index := dir.Index()
	if err := index.Refresh(ctx); err != nil {
		return nil, fmt.Errorf("read which ids are on the tape: %w", err)
	}
	return index.Strays(), nil
}

// Run repairs the tape. display shows the segments that are done. After an error the summary describes what
// was done, and the next run completes it.
func Run(ctx context.Context, dir *tape.Dir, now time.Time, display progress.Display) (tape.Repaired, error) {
	return dir.Repair(ctx, now, func(done, total int) {
		if done == 0 {
			display.Begin("repair", int64(total))
		}
		display.Set("files", int64(done))
	})
}

// maxListed is how many segments Write names.
const maxListed = 20

// Write prints what a plan lists.
func Write(w io.Writer, plan []tape.BrokenSegment) error {
	if len(plan) == 0 {
		_, err := fmt.Fprintln(w, "Nothing to repair.")
		return err
	}
	reason, _ := tape.BrokenReason(plan)
	var out strings.Builder
	fmt.Fprintf(&out, "%s:\n", reason)
	for i, segment := range plan {
		if i == maxListed && len(plan) > maxListed+1 {
			fmt.Fprintf(&out, "  and %s\n", wording.Count(len(plan)-i, "more file"))
			break
		}
		fmt.Fprintf(&out, "  %s: %v\n", wording.Visible(segment.Path), wording.Visible(segment.Err.Error()))
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// Message says in one line what a repair did.
func Message(done tape.Repaired) string {
	if done.Segments == 0 {
		return "nothing was repaired"
	}
	var parts []string
	add := func(n int64, format string, args ...any) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(done.Twice, "%s on the tape with the same content", wording.Count(done.Twice, "row was", "rows were"))
	add(done.Moved, "%s in new files of their dates", wording.Count(done.Moved, "row is", "rows are"))
	add(done.Dropped, "%s dropped on purpose before", wording.Count(done.Dropped, "row had been", "rows had been"))
	add(done.Conflicts, "%s", wording.Count(done.Conflicts, "conflict"))
	return fmt.Sprintf("removed %s: %s", wording.Count(done.Segments, "file"), strings.Join(parts, ", "))
}
