package tape

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"tapedeck/internal/durable"
)

// staging is the directory of files that are being written. Nothing in it is part of the tape until
// a publisher renames it.
type staging struct {
	path string
	disk durable.Disk
}

// stagedName returns a new name for a staged segment. Without its .tmp it is the segment's name.
func stagedName(prefix string) string { return durable.UniqueName(prefix, ".parquet.tmp") }

// finalName returns the published name of a staged segment.
func finalName(staged string) string { return strings.TrimSuffix(filepath.Base(staged), ".tmp") }

// write writes a new file and makes its content durable. On an error no file is left.
func (s staging) write(name string, write func(io.Writer) error) (path string, bytes int64, err error) {
	return s.writeAnd((*stagedFile).sync, name, write)
}

// writeUnsynced writes a new file whose content is not durable. On an error no file is left.
func (s staging) writeUnsynced(name string, write func(io.Writer) error) (path string, bytes int64, err error) {
	return s.writeAnd((*stagedFile).flush, name, write)
}

func (s staging) writeAnd(
	finish func(*stagedFile) error, name string, write func(io.Writer) error,
) (path string, bytes int64, err error) {
	file, err := s.create(name)
	if err != nil {
		return "", 0, err
	}
	if err = write(file); err != nil {
		err = fmt.Errorf("write %q: %w", file.path, err)
	} else if err = finish(file); err == nil {
		err = file.close()
	}
	if err != nil {
		file.discard()
		return "", 0, err
	}
	return file.path, file.bytes, nil
}

// remove removes a staged file.
func (s staging) remove(path string) error {
	if err := s.disk.Remove(path); err != nil {
		return fmt.Errorf("remove %q: %w", path, err)
	}
	return nil
}

// abandonedAfter is the age from which an unlocked staged file counts as left by a writer that
// died. The first files of a merge are closed, and so unlocked, while the last one is still being
// written.
const abandonedAfter = time.Hour

// stagedNames matches the names of the files that tapedeck writes in the staging directory: those of
// durable.UniqueName, of files that are sorted, and of downloads.
var stagedNames = regexp.MustCompile(`^(.+-[0-9a-f]{24}(\.parquet)?\.tmp|sort-[0-9]+\.tmp|` +
	`.+-(aggTrades|trades)-\d{4}-\d\d-\d\d\.zip(-[0-9a-f]{24})?\.part)$`)

// sweep deletes files whose writer died and returns their number. A file that has the name of none stays.
func (s staging) sweep(now time.Time) (removed int, err error) {
	entries, err := os.ReadDir(s.path)
	if err != nil {
		return 0, fmt.Errorf("list the staging directory: %w", err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() || !stagedNames.MatchString(entry.Name()) || now.Sub(info.ModTime()) < abandonedAfter {
			continue
		}
		path := filepath.Join(s.path, entry.Name())
		if durable.Abandoned(path) && s.disk.Remove(path) == nil {
			removed++
		}
	}
	return removed, nil
}

// stagedFile is a file being written in the staging directory. It is locked while it is open, so
// that sweep leaves it alone.
type stagedFile struct {
	staging staging
	path    string
	file    durable.File // nil after close
	out     *bufio.Writer
	bytes   int64
	gone    bool // published or removed
}

func (s staging) create(name string) (*stagedFile, error) {
	path := filepath.Join(s.path, name)
	file, err := s.disk.Create(path)
	if err != nil {
		return nil, fmt.Errorf("create %q: %w", path, err)
	}
	return &stagedFile{staging: s, path: path, file: file, out: bufio.NewWriterSize(file, 256<<10)}, nil
}

// Write implements io.Writer.
func (f *stagedFile) Write(p []byte) (int, error) {
	n, err := f.out.Write(p)
	f.bytes += int64(n)
	return n, err
}

// flush passes everything written to the operating system.
func (f *stagedFile) flush() error {
	if err := f.out.Flush(); err != nil {
		return fmt.Errorf("write %q: %w", f.path, err)
	}
	return nil
}

// sync makes everything written durable.
func (f *stagedFile) sync() error {
	if err := f.flush(); err != nil {
		return err
	}
	if err := f.file.Sync(); err != nil {
		return fmt.Errorf("write %q: %w", f.path, err)
	}
	return nil
}

func (f *stagedFile) close() error {
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	if err != nil {
		return fmt.Errorf("write %q: %w", f.path, err)
	}
	return nil
}

// release closes the file after it was published.
func (f *stagedFile) release() error {
	f.gone = true
	return f.close()
}

// discard closes the file and removes it unless it was published.
func (f *stagedFile) discard() error {
	f.close()
	if f.gone {
		return nil
	}
	f.gone = true
	return f.staging.remove(f.path)
}
