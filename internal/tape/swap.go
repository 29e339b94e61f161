package tape

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"tapedeck/internal/durable"
	"time"
)

// asidePrefix names the directories in staging that hold replaced partitions.
const asidePrefix = "aside-"

// asideGrace is how long a replaced partition is kept: a listing that was under way when it was replaced still finds its files' names
// consistent, and nothing that takes a directory's inode sees it vanish. It is far longer than any listing.
const asideGrace = 10 * time.Minute

// swap is the replacement of segments of one partition by staged files in one atomic step. A glob sees all of the old files or all of the new ones.
type swap struct {
	table  Table
	date   string
	staged []string
	// replaced are the names that go; every other segment of the partition stays.
	replaced map[string]bool
	// next is the directory that is to take the partition's place.
	next string
}

func (d *Dir) partitionPath(table Table, date string) string {
	return filepath.Join(d.path, string(table), "date="+date)
}

// swapPartition does one swap for good. The caller holds the writers' lock. atomic is false where the file system cannot exchange two directories
// and the files were exchanged one by one instead.
func (d *Dir) swapPartition(table Table, date string, staged []string, replaced map[string]bool) (atomic bool, err error) {
	s := &swap{table: table, date: date, staged: staged, replaced: replaced}
	if err := d.makePartition(d.partitionPath(table, date)); err != nil {
		return false, err
	}
	if err := d.prepareSwap(s); err != nil {
		return false, err
	}
	if err := d.syncSwap(s); err != nil {
		return false, err
	}
	atomic, err = d.exchangeSwap(s)
	if err != nil || !atomic {
		return atomic, err
	}
	return true, d.settleSwaps(table)
}

// prepareSwap builds the directory that is to take the partition's place; on an error it is gone.
func (d *Dir) prepareSwap(s *swap) error {
	final := d.partitionPath(s.table, s.date)
	names, err := d.files(s.table, s.date)
	if err != nil {
		return err
	}
	next := filepath.Join(d.path, stagingDir, durable.UniqueName(asidePrefix+"date="+s.date, ""))
	if err := d.disk.Mkdir(next); err != nil {
		return fmt.Errorf("create %q: %w", next, err)
	}
	s.next = next
	for _, name := range names {
		if s.replaced[name] {
			continue
		}
		if err := d.disk.Link(filepath.Join(final, name), filepath.Join(next, name)); err != nil {
			d.dropSwap(s)
			return fmt.Errorf("link %q: %w", name, err)
		}
	}
	for _, path := range s.staged {
		if err := d.disk.Rename(path, filepath.Join(next, strings.TrimSuffix(filepath.Base(path), ".tmp"))); err != nil {
			d.dropSwap(s)
			return fmt.Errorf("place %q: %w", path, err)
		}
	}
	return nil
}

// syncSwap makes durable what the directory that is to take the partition's place holds; on an error it is gone.
func (d *Dir) syncSwap(s *swap) error {
	if err := d.disk.SyncDir(s.next); err != nil {
		err = fmt.Errorf("sync %q: %w", s.next, err)
		d.dropSwap(s)
		return err
	}
	return nil
}

// dropSwap takes away what was built for a swap that is not to be.
func (d *Dir) dropSwap(s *swap) {
	if s.next != "" {
		d.disk.RemoveAll(s.next)
		s.next = ""
	}
}

// exchangeSwap lets the directories change places. Where the file system can do that it is durable after settleSwaps, else at once.
func (d *Dir) exchangeSwap(s *swap) (atomic bool, err error) {
	final := d.partitionPath(s.table, s.date)
	// The grace counts from here, also if this process ends between the exchange and what follows it.
	if err := d.disk.Touch(final); err != nil {
		d.dropSwap(s)
		return false, fmt.Errorf("replace %q: %w", final, err)
	}
	next := s.next
	s.next = "" // it is not ours to take away any more
	err = d.disk.Exchange(next, final)
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSYS) {
		return false, d.swapOneByOne(next, s.table, s.date, s.replaced)
	}
	if err != nil {
		// It may have happened all the same: which of the two next names is not known. It is swept later.
		return false, fmt.Errorf("replace %q: %w", final, err)
	}
	return true, nil
}

// settleSwaps makes the exchanges of a table's partitions durable.
func (d *Dir) settleSwaps(table Table) error {
	for _, path := range []string{filepath.Join(d.path, string(table)), filepath.Join(d.path, stagingDir)} {
		if err := d.disk.SyncDir(path); err != nil {
			return fmt.Errorf("sync %q: %w", path, err)
		}
	}
	return nil
}

// pendingPrefix names the directories in staging that hold an exchange under way, file by file.
const pendingPrefix = "pending-"

// pending is written into such a directory, as pendingName, before the first file moves.
type pending struct {
	Table    Table           `json:"table"`
	Date     string          `json:"date"`
	Replaced map[string]bool `json:"replaced"`
}

const pendingName = "pending.json"

// swapOneByOne serves file systems without an atomic exchange. The old files go first, then the new ones come: a reader may miss rows
// for an instant but never sees one twice. An exchange cut short by a crash is finished before anything else is published (finishPending).
func (d *Dir) swapOneByOne(next string, table Table, date string, replaced map[string]bool) error {
	text, err := json.Marshal(pending{table, date, replaced})
	if err != nil {
		return err
	}
	file, err := d.disk.Create(filepath.Join(next, pendingName))
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = d.disk.SyncDir(next)
	}
	if err != nil {
		d.disk.RemoveAll(next)
		return fmt.Errorf("replace the partition %s of %s: %w", date, table, err)
	}
	name := filepath.Join(filepath.Dir(next), durable.UniqueName(pendingPrefix, ""))
	if err := d.disk.Rename(next, name); err != nil {
		d.disk.RemoveAll(next)
		return fmt.Errorf("replace the partition %s of %s: %w", date, table, err)
	}
	if err := d.disk.SyncDir(filepath.Dir(name)); err != nil {
		return err
	}
	return d.finishPending()
}

// finishPending completes the exchanges that were cut short; the caller holds the writers' lock.
func (d *Dir) finishPending() error {
	entries, err := os.ReadDir(filepath.Join(d.path, stagingDir))
	if err != nil {
		return fmt.Errorf("list the staging directory: %w", err)
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), pendingPrefix) {
			continue
		}
		from := filepath.Join(d.path, stagingDir, entry.Name())
		text, err := os.ReadFile(filepath.Join(from, pendingName))
		if errors.Is(err, fs.ErrNotExist) {
			// All of it was done but taking the directory away.
			if err := d.takeAway(from); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("finish the exchange %q: %w", from, err)
		}
		var p pending
		if err := json.Unmarshal(text, &p); err != nil {
			return fmt.Errorf("finish the exchange %q: %w", from, err)
		}
		final := filepath.Join(d.path, string(p.Table), "date="+p.Date)
		for name := range p.Replaced {
			if err := d.disk.Remove(filepath.Join(final, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("replace %q: %w", name, err)
			}
		}
		// Before the first new file comes the old ones are gone for good, or after a power cut both could be there.
		if err := d.disk.SyncDir(final); err != nil {
			return fmt.Errorf("sync %q: %w", final, err)
		}
		files, err := os.ReadDir(from)
		if err != nil {
			return err
		}
		for _, file := range files {
			if file.Name() == pendingName {
				continue
			}
			if err := d.disk.Rename(filepath.Join(from, file.Name()), filepath.Join(final, file.Name())); err != nil {
				return fmt.Errorf("place %q: %w", file.Name(), err)
			}
		}
		if err := d.disk.SyncDir(final); err != nil {
			return fmt.Errorf("sync %q: %w", final, err)
		}
		if err := d.takeAway(from); err != nil {
			return err
		}
	}
	return nil
}

// takeAway deletes a directory of an exchange that is done, for good: if it came back after a power cut, it would be done again, and links of
// files that have been replaced since would come back with it.
func (d *Dir) takeAway(pending string) error {
	err := d.disk.RemoveAll(pending)
	if err == nil {
		err = d.disk.SyncDir(filepath.Dir(pending))
	}
	if err != nil {
		return fmt.Errorf("finish the exchange %q: %w", pending, err)
	}
	return nil
}

// sweepAside deletes replaced partitions whose grace is over.
func (d *Dir) sweepAside(now time.Time) error {
	entries, err := os.ReadDir(filepath.Join(d.path, stagingDir))
	if err != nil {
		return fmt.Errorf("list the staging directory: %w", err)
	}
	durable := false
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !entry.IsDir() || !strings.HasPrefix(entry.Name(), asidePrefix) {
			continue
		}
		age := now.Sub(info.ModTime())
		if age < -asideGrace { // the clock was set back: the grace counts from now
			if err := d.disk.Touch(filepath.Join(d.path, stagingDir, entry.Name())); err != nil {
				return fmt.Errorf("keep a replaced partition: %w", err)
			}
		}
		if age < asideGrace {
			continue
		}
		if !durable { // that they were replaced
			for _, table := range []Table{Trades, Alerts, Runs, Coverage} {
				if err := d.disk.SyncDir(filepath.Join(d.path, string(table))); err != nil {
					return fmt.Errorf("sync %q: %w", table, err)
				}
			}
			durable = true
		}
		if err := d.disk.RemoveAll(filepath.Join(d.path, stagingDir, entry.Name())); err != nil {
			return fmt.Errorf("delete a replaced partition: %w", err)
		}
	}
	return nil
}
