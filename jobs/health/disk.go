package health

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"

	"tapedeck/internal/durable"
	"tapedeck/internal/state"
)

const (
	// readOnlyFlag is ST_RDONLY of statfs(2).
	readOnlyFlag = 1
	// daysLeast is the number of days of room below which there is a warning: time for a person to
	// act after a weekend.
	daysLeast = 7
	// rateDays is the number of complete days that the rate is measured over.
	rateDays = 3
	// rateLeast is how long a tape must have been written before its rate is meaningful.
	rateLeast = time.Hour
)

// Room is how much more fits on the disk of the tape.
type Room struct {
	// Free is in bytes, as available to an unprivileged user.
	Free uint64
	// PerDay is the number of bytes of trades per day at the present rate; 0 if that is not known
	// yet.
	PerDay uint64
	// ReadOnly is set if nothing can be written, as after an error of the file system.
	ReadOnly bool
	// Summaries is the number of bytes of what is stored of days that are over. It can be deleted.
	Summaries uint64
}

// Warning returns a line about a disk that takes nothing more or will be full soon, or "".
func (r Room) Warning() string {
	switch {
	case r.ReadOnly:
		return "the file system is read-only, so nothing can be recorded"
	case r.Free == 0:
		return "the disk is full, so nothing can be recorded"
	}
	if r.PerDay == 0 {
		return ""
	}
	days := float64(r.Free) / float64(r.PerDay)
	if days >= daysLeast {
		return ""
	}
	line := fmt.Sprintf("the disk is full in %s at the present rate: %s free, %s a day",
		short(time.Duration(days*24*float64(time.Hour))), humanize.Bytes(r.Free), humanize.Bytes(r.PerDay))
	if r.Summaries > r.PerDay/10 {
		line += fmt.Sprintf("; .state/%s takes %s and can be deleted", state.SummaryDir, humanize.Bytes(r.Summaries))
	}
	return line
}

// MeasureRoom measures the disk of a data directory. The rate is that of the last complete days, or
// else that of today since the first trade.
func MeasureRoom(dataDir string, now time.Time) (Room, error) {
	var room Room
	var system syscall.Statfs_t
	if err := syscall.Statfs(dataDir, &system); err != nil {
		return room, fmt.Errorf("measure the free space at %q: %w", dataDir, err)
	}
	room.Free = uint64(system.Bavail) * uint64(system.Bsize)
	if system.Blocks == 0 { // a file system that does not say how large it is
		room.Free = math.MaxInt64
	}
	room.ReadOnly = system.Flags&readOnlyFlag != 0
	var err error
	if room.Summaries, _, err = partitionSize(state.Open(dataDir, durable.OS{}).Path(state.SummaryDir)); err != nil {
		return room, err
	}
	trades := filepath.Join(dataDir, "trades")
	entries, err := os.ReadDir(trades)
	if err != nil {
		return room, fmt.Errorf("list the tape: %w", err)
	}
	today := now.UTC().Format(time.DateOnly)
	earliest := now.UTC().AddDate(0, 0, -rateDays).Format(time.DateOnly)
	var sum, days uint64
	for _, entry := range slices.Backward(entries) {
		date, ok := strings.CutPrefix(entry.Name(), "date=")
		if !ok || date > today || date < earliest {
			continue
		}
		bytes, first, err := partitionSize(filepath.Join(trades, entry.Name()))
		if err != nil {
			return room, err
		}
		switch {
		case bytes == 0:
		case date < today:
			sum += bytes
			days++
		default: // today comes first, because the entries are sorted
			if age := now.Sub(first); age >= rateLeast {
				room.PerDay = uint64(float64(bytes) / age.Hours() * 24)
			}
		}
	}
	if days > 0 {
		room.PerDay = sum / days
	}
	return room, nil
}

// partitionSize returns the size of the files below a directory, and when the first of them was written.
func partitionSize(path string) (bytes uint64, first time.Time, err error) {
	err = filepath.WalkDir(path, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return ignoreRemoved(err)
		}
		info, err := entry.Info()
		if err != nil {
			return ignoreRemoved(err)
		}
		bytes += uint64(info.Size())
		if first.IsZero() || info.ModTime().Before(first) {
			first = info.ModTime()
		}
		return nil
	})
	return bytes, first, err
}

// ignoreRemoved returns nil for a file that a compaction has removed meanwhile.
func ignoreRemoved(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}
