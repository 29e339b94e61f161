package tape

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"tapedeck/internal/durable"
	"time"
)

// stage writes a new file in the staging directory and makes its content durable; place then makes it visible. On an error no file is left.
func (d *Dir) stage(name string, write func(io.Writer) error) (path string, bytes int64, err error) {
	return d.stageWith(name, write, (*stagedFile).sync)
}

// stageLoosely writes a new file in the staging directory whose content is not durable.
func (d *Dir) stageLoosely(name string, write func(io.Writer) error) (path string, bytes int64, err error) {
	return d.stageWith(name, write, (*stagedFile).flush)
}

func (d *Dir) stageWith(name string, write func(io.Writer) error, finish func(*stagedFile) error) (path string, bytes int64, err error) {
	file, err := d.createStaged(name)
	if err != nil {
		return "", 0, err
	}
	if err := write(file); err != nil {
		file.discard()
		return "", 0, fmt.Errorf("write %q: %w", file.path, err)
	}
	if err := finish(file); err != nil {
		return "", 0, err
	}
	if err := file.close(); err != nil {
		file.discard()
		return "", 0, err
	}
	return file.path, file.out.n, nil
}

// stagedFile is a file being written in the staging directory. It is locked while it is open, so that Sweep leaves it alone.
type stagedFile struct {
	dir  *Dir
	path string
	file durable.File // nil when it was closed
	out  *countingWriter
	gone bool // placed or removed
}

func (d *Dir) createStaged(name string) (*stagedFile, error) {
	path := filepath.Join(d.path, stagingDir, name)
	file, err := d.disk.Create(path)
	if err != nil {
		return nil, fmt.Errorf("create %q: %w", path, err)
	}
	return &stagedFile{dir: d, path: path, file: file, out: &countingWriter{w: bufio.NewWriterSize(file, 256<<10)}}, nil
}

func (f *stagedFile) Write(p []byte) (int, error) { return f.out.Write(p) }

// flush hands what was written to the system. On an error the file is removed.
func (f *stagedFile) flush() error { return f.orDiscard(f.out.w.Flush()) }

// sync makes what was written durable. On an error the file is removed.
func (f *stagedFile) sync() error {
	err := f.out.w.Flush()
	if err == nil {
		err = f.file.Sync()
	}
	return f.orDiscard(err)
}

func (f *stagedFile) orDiscard(err error) error {
	if err != nil {
		f.discard()
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

// place gives the file its final name, relative to the data directory, for good.
func (f *stagedFile) place(name string) error {
	if err := f.dir.place(f.path, name); err != nil {
		return err
	}
	f.gone = true
	return f.close()
}

// discard removes the file, unless it was placed.
func (f *stagedFile) discard() error {
	f.close()
	if f.gone {
		return nil
	}
	f.gone = true
	if err := f.dir.disk.Remove(f.path); err != nil {
		return fmt.Errorf("remove %q: %w", f.path, err)
	}
	return nil
}

// place gives a staged file its final name, relative to the data directory, for good.
func (d *Dir) place(staged, name string) error {
	final := filepath.Join(d.path, name)
	parent := filepath.Dir(final)
	if filepath.Dir(filepath.Dir(name)) != "." { // the directories above were made with the tape
		if err := d.makePartition(parent); err != nil {
			return err
		}
	}
	return durable.Publish(d.disk, staged, final)
}

// makePartition makes a directory such as that of a partition, and its name durable.
func (d *Dir) makePartition(path string) error {
	return d.dirs.Make(filepath.Dir(path), path)
}

// makePartitions is makePartition for several of a table at once.
func (d *Dir) makePartitions(table Table, dates []string) error {
	paths := make([]string, len(dates))
	for i, date := range dates {
		paths[i] = d.partitionPath(table, date)
	}
	return d.dirs.Make(filepath.Join(d.path, string(table)), paths...)
}

// settle makes durable what another writer, or this one in vain, put into a partition: it was seen there, but whoever put it there may have
// ended before it was durable.
func (d *Dir) settle(table Table, date string) error {
	path := filepath.Join(d.path, string(table), "date="+date)
	if err := d.makePartition(path); err != nil {
		return err
	}
	if err := d.disk.SyncDir(path); err != nil {
		return fmt.Errorf("sync %q: %w", path, err)
	}
	return nil
}

type countingWriter struct {
	w *bufio.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// abandonedAfter is how old an unlocked staging file must be to count as left by a dead writer: the first files of a merge wait without a lock, closed, for
// the last one and for their turn.
const abandonedAfter = time.Hour

// Sweep deletes what writers that died left in the staging directory, and replaced partitions whose grace is over. now is compared with the files' modification times.
func (d *Dir) Sweep(now time.Time) (removed int, err error) {
	entries, err := os.ReadDir(filepath.Join(d.path, stagingDir))
	if err != nil {
		return 0, fmt.Errorf("list the staging directory: %w", err)
	}
	if err := d.sweepAside(now); err != nil {
		return 0, err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() || now.Sub(info.ModTime()) < abandonedAfter {
			continue
		}
		path := filepath.Join(d.path, stagingDir, entry.Name())
		if durable.Abandoned(path) && d.disk.Remove(path) == nil {
			removed++
		}
	}
	return removed, nil
}
