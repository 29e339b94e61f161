package health

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// daysLeast is how many days of room there must be without a warning: time enough for a person to act after a weekend.
	daysLeast = 7
	// rateDays is how many days that are over the rate is taken from.
	rateDays = 3
	// rateLeast is how long a tape must have been written for its rate to mean anything.
	rateLeast = time.Hour
)

// Room is how much more fits on the disk that the tape lies on.
type Room struct {
	// Free is in bytes, as a user without rights may use them.
	Free uint64
	// PerDay is how many bytes of trades a day takes at the present rate; 0 where that is not known yet.
	PerDay uint64
}

// Days is for how many days the room lasts; false where the rate is not known.
func (r Room) Days() (float64, bool) {
	if r.PerDay == 0 {
		return 0, false
	}
	return float64(r.Free) / float64(r.PerDay), true
}

// Warning is empty where there is room enough.
func (r Room) Warning() string {
	days, known := r.Days()
	if !known || days >= daysLeast {
		return ""
	}
	return fmt.Sprintf("the disk is full in %s at the present rate: %s free, %s a day", short(time.Duration(days*24*float64(time.Hour))), size(r.Free), size(r.PerDay))
}

func size(bytes uint64) string {
	value, unit := float64(bytes), "bytes"
	for _, larger := range []string{"kB", "MB", "GB", "TB"} {
		if value < 1000 {
			break
		}
		value, unit = value/1000, larger
	}
	if unit == "bytes" || value >= 100 {
		return fmt.Sprintf("%.0f %s", value, unit)
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}

// MeasureRoom looks at the disk below a data directory. The rate is that of the last days that are over, else of today since the first trade.
func MeasureRoom(dataDir string, now time.Time) (Room, error) {
	var room Room
	var system syscall.Statfs_t
	if err := syscall.Statfs(dataDir, &system); err != nil {
		return room, fmt.Errorf("ask for the free space at %q: %w", dataDir, err)
	}
	room.Free = uint64(system.Bavail) * uint64(system.Bsize)
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
		case days == 0: // entries are sorted, so today comes first
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

// partitionSize is how large a date's files are, and when the first of them was written.
func partitionSize(path string) (bytes uint64, first time.Time, err error) {
	err = filepath.WalkDir(path, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return skipGone(err)
		}
		info, err := entry.Info()
		if err != nil {
			return skipGone(err)
		}
		bytes += uint64(info.Size())
		if first.IsZero() || info.ModTime().Before(first) {
			first = info.ModTime()
		}
		return nil
	})
	return bytes, first, err
}

// skipGone passes over what a compaction took away meanwhile.
func skipGone(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}
