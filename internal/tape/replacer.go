package tape

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"tapedeck/internal/durable"
)

const (
	// replacedPrefix names the directories in the staging area that are to replace a partition, and
	// those that hold a replaced one.
	replacedPrefix = "aside-"
	// replacedGrace is how long a replaced partition is kept. A reader that has the old directory open
	// still finds the files in it. It is far longer than any listing.
	replacedGrace = 10 * time.Minute
	// movingPrefix names the directories in the staging area that hold a replacement under way, file
	// by file, described by the file movingName in it.
	movingPrefix = "pending-"
	movingName   = "pending.json"
)

// replacedNames matches the names of the directories that prepare creates.
var replacedNames = regexp.MustCompile(`^` + replacedPrefix + `date=.+-[0-9a-f]{24}$`)

// replacement is the exchange of some segments of one partition for staged files. A reader that
// lists the partition sees all of the old files or all of the new ones.
type replacement struct {
	table  Table
	date   string
	staged []string // paths of the new files
	// replaced are the names of the files that go. Every other file of the partition stays.
	replaced map[string]bool
	// next is the directory that will become the partition, empty before prepare and after exchange.
	next string
	// unlinked means that the file system has no hard links, so that next lacks the files that stay.
	unlinked bool
}

// replacer replaces segments of a partition in one atomic step. Its methods, except sweep, are
// called with the writers' lock held.
type replacer struct {
	*partitions
	catalog catalog
}

// replace does one replacement and makes it durable. atomic is false if the file system cannot
// exchange two directories and the files were moved one by one instead.
func (r replacer) replace(rep *replacement) (atomic bool, err error) {
	if err := r.create(rep.table, rep.date); err != nil {
		return false, err
	}
	if err := r.prepare(rep); err != nil {
		return false, err
	}
	if err := r.syncDirs(rep.next); err != nil {
		r.discard(rep)
		return false, err
	}
	atomic, err = r.exchange(rep)
	if err != nil || !atomic {
		return atomic, err
	}
	return true, r.syncExchanges(rep.table)
}

// filesAtOnce is how many files are synced or read at the same time. A file system writes its
// journal once for all fsyncs that wait for it.
const filesAtOnce = 16

// replaceAll does replacements of whole partitions of one table by staged files that are not
// durable yet. It waits for the disk once for all of them, not for each. After an error some have
// been done; the caller discards the others.
func (r replacer) replaceAll(ctx context.Context, table Table, reps []*replacement) error {
	dates := make([]string, len(reps))
	for i, rep := range reps {
		dates[i] = rep.date
	}
	if err := r.create(table, dates...); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(filesAtOnce)
	for _, rep := range reps {
		for _, path := range rep.staged {
			group.Go(func() error {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := r.disk.SyncFile(path); err != nil {
					return fmt.Errorf("sync %q: %w", path, err)
				}
				return nil
			})
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, rep := range reps {
		if err := r.prepare(rep); err != nil {
			return err
		}
	}
	// All files were renamed from the staging directory. A rename is durable in both directories or in
	// neither, so one sync covers all of them.
	if err := r.syncDirs(r.staging()); err != nil {
		return err
	}
	for _, rep := range reps {
		if _, err := r.exchange(rep); err != nil {
			return err
		}
	}
	return r.syncExchanges(table)
}

// prepare builds the directory that will become the partition. On an error it is removed.
func (r replacer) prepare(rep *replacement) error {
	names, err := r.catalog.files(rep.table, rep.date)
	if err != nil {
		return err
	}
	next := filepath.Join(r.staging(), durable.UniqueName(replacedPrefix+"date="+rep.date, ""))
	if err := r.disk.Mkdir(next); err != nil {
		return fmt.Errorf("create %q: %w", next, err)
	}
	rep.next = next
	for _, name := range names {
		if rep.replaced[name] {
			continue
		}
		err := r.disk.Link(r.segment(rep.table, rep.date, name), filepath.Join(next, name))
		if isUnsupported(err) {
			rep.unlinked = true
			break
		}
		if err != nil {
			r.discard(rep)
			return fmt.Errorf("link %q: %w", name, err)
		}
	}
	for _, path := range rep.staged {
		if err := r.disk.Rename(path, filepath.Join(next, finalName(path))); err != nil {
			r.discard(rep)
			return fmt.Errorf("rename %q: %w", path, err)
		}
	}
	return nil
}

// discard removes the prepared directory of a replacement that was not done.
func (r replacer) discard(rep *replacement) {
	if rep.next != "" {
		r.disk.RemoveAll(rep.next)
		rep.next = ""
	}
}

// exchange swaps the prepared directory and the partition. If atomic is true, the exchange is
// durable after syncExchanges, otherwise when exchange returns.
func (r replacer) exchange(rep *replacement) (atomic bool, err error) {
	final := r.partition(rep.table, rep.date)
	// The grace starts now, even if this process dies right after the exchange.
	if err := r.disk.Touch(final); err != nil {
		r.discard(rep)
		return false, fmt.Errorf("replace %q: %w", final, err)
	}
	next := rep.next
	rep.next = "" // from here on the directory may be the partition and must not be removed
	if !rep.unlinked {
		err = r.disk.Exchange(next, final)
	}
	if rep.unlinked || isUnsupported(err) {
		return false, r.moveFiles(next, rep)
	}
	if err != nil {
		// The exchange may have happened in spite of the error. Whichever directory is left is swept
		// later.
		return false, fmt.Errorf("replace %q: %w", final, err)
	}
	return true, nil
}

// isUnsupported reports whether the error of a link or an exchange means that the file system cannot
// do that, and did not. exFAT has no links, and permission is what it denies. An overlay cannot exchange a
// directory of its lower layer.
func isUnsupported(err error) bool {
	for _, cannot := range []error{errors.ErrUnsupported, syscall.EINVAL, syscall.ENOSYS, syscall.EPERM, syscall.EMLINK, syscall.EXDEV} {
		if errors.Is(err, cannot) {
			return true
		}
	}
	return false
}

// syncExchanges makes the exchanges of a table's partitions durable.
func (r replacer) syncExchanges(table Table) error { return r.syncDirs(r.table(table), r.staging()) }

// moving is the content of movingName, written before the first file moves.
type moving struct {
	Table    Table           `json:"table"`
	Date     string          `json:"date"`
	Replaced map[string]bool `json:"replaced"`
}

// moveFiles does a replacement on a file system without atomic exchange or without hard links. It removes the old files
// first and then adds the new ones: a reader may miss rows for an instant but never sees a row
// twice. If a crash interrupts it, finishInterrupted completes it before anything else is
// published.
func (r replacer) moveFiles(next string, rep *replacement) error {
	text, err := json.Marshal(moving{rep.table, rep.date, rep.replaced})
	if err != nil {
		return err
	}
	err = durable.Create(r.disk, filepath.Join(next, movingName), text)
	if err == nil {
		err = r.disk.SyncDir(next)
	}
	name := filepath.Join(r.staging(), durable.UniqueName(movingPrefix, ""))
	if err == nil {
		err = r.disk.Rename(next, name)
	}
	if err != nil {
		r.disk.RemoveAll(next)
		return fmt.Errorf("replace the partition %s of %s: %w", rep.date, rep.table, err)
	}
	if err := r.syncDirs(r.staging()); err != nil {
		return err
	}
	return r.finishInterrupted()
}

// finishInterrupted completes the replacements file by file that were begun.
func (r replacer) finishInterrupted() error {
	entries, err := os.ReadDir(r.staging())
	if err != nil {
		return fmt.Errorf("list the staging directory: %w", err)
	}
	for _, entry := range entries {
		if entry.IsDir() && strings.HasPrefix(entry.Name(), movingPrefix) { // not a link, which is not tapedeck's
			if err := r.finishMoving(filepath.Join(r.staging(), entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r replacer) finishMoving(from string) error {
	text, err := durable.ReadOwn(filepath.Join(from, movingName), 64<<20)
	if errors.Is(err, fs.ErrNotExist) { // only removing the directory was left to do
		return r.removeMoving(from)
	}
	var m moving
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		return fmt.Errorf("finish the replacement %q: %w", from, err)
	}
	if partition := "date=" + m.Date; !slices.Contains(allTables(), m.Table) || partition != filepath.Base(partition) {
		return fmt.Errorf("finish the replacement %q: %q is not a partition of a table %q", from, m.Date, m.Table)
	}
	for name := range m.Replaced {
		if name != filepath.Base(name) {
			return fmt.Errorf("finish the replacement %q: %q is not the name of a segment", from, name)
		}
		if err := r.disk.Remove(r.segment(m.Table, m.Date, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %q: %w", name, err)
		}
	}
	// The old files must be gone for good before the first new one is there, or a power cut could
	// leave both.
	final := r.partition(m.Table, m.Date)
	if err := r.syncDirs(final); err != nil {
		return err
	}
	files, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, file := range files {
		if file.Name() == movingName {
			continue
		}
		if err := r.disk.Rename(filepath.Join(from, file.Name()), filepath.Join(final, file.Name())); err != nil {
			return fmt.Errorf("rename %q: %w", file.Name(), err)
		}
	}
	if err := r.syncDirs(final); err != nil {
		return err
	}
	return r.removeMoving(from)
}

// removeMoving removes the directory of a finished replacement durably. If it came back after a
// power cut, the replacement would be done again and would restore links to files replaced since.
func (r replacer) removeMoving(path string) error {
	err := r.disk.RemoveAll(path)
	if err == nil {
		err = r.disk.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("finish the replacement %q: %w", path, err)
	}
	return nil
}

// sweep deletes replaced partitions whose grace is over.
func (r replacer) sweep(now time.Time) error {
	entries, err := os.ReadDir(r.staging())
	if err != nil {
		return fmt.Errorf("list the staging directory: %w", err)
	}
	synced := false
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !entry.IsDir() || !replacedNames.MatchString(entry.Name()) {
			continue
		}
		path := filepath.Join(r.staging(), entry.Name())
		age := now.Sub(info.ModTime())
		if age < -replacedGrace { // the clock was set back: the grace starts again
			if err := r.disk.Touch(path); err != nil {
				return fmt.Errorf("keep a replaced partition: %w", err)
			}
		}
		if age < replacedGrace {
			continue
		}
		if !synced { // the replacement must be durable before the old files go
			for _, table := range allTables() {
				if err := r.syncDirs(r.table(table)); err != nil {
					return err
				}
			}
			synced = true
		}
		if err := r.disk.RemoveAll(path); err != nil {
			return fmt.Errorf("delete a replaced partition: %w", err)
		}
	}
	return nil
}
