package tape

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"tapedeck/internal/durable"
)

// scannedPartition is the content of one partition's files, read from their rows. It is saved in a
// state file for each date.
type scannedPartition struct {
	Files map[string]scannedFile `json:"files"` // by name
}

type scannedFile struct {
	Size       int64      `json:"size"`
	Modified   int64      `json:"modified_ns"`
	Runs       symbolRuns `json:"spans"`
	Duplicates int64      `json:"twice,omitempty"`
	Misplaced  int64      `json:"misplaced,omitempty"`
	Broken     string     `json:"broken,omitempty"`
	Feed       Feed       `json:"feed,omitempty"`    // empty if the file does not say, like Tape
	Tape       string     `json:"tape,omitempty"`    // the tape's id
	Foreign    bool       `json:"foreign,omitempty"` // another program wrote it
	// Version is scanVersion when the file was scanned; what an earlier version looked for less is
	// scanned again.
	Version   int           `json:"version"`
	Backwards backwardSteps `json:"backwards,omitempty"`
}

func (f scannedFile) tape() identity { return identity{f.Feed, f.Tape} }

// scanVersion changes when a scan finds more than before.
const scanVersion = 2

// valid reports whether a scan can have had this result.
func (f scannedFile) valid() bool {
	for symbol, runs := range f.Runs {
		next := int64(0)
		for _, run := range runs {
			if run.First < next || run.Last < run.First || run.Last > MaxID || !validTime(run.FirstAt) || !validTime(run.LastAt) {
				return false
			}
			next = run.Last + 1
		}
		if symbol == "" || len(runs) == 0 {
			return false
		}
	}
	return f.Duplicates >= 0 && f.Misplaced >= 0 && f.Version == scanVersion
}

// scannedDir is the directory of the state files of scanned partitions.
const scannedDir = "scanned"

func scannedName(date string) string { return filepath.Join(scannedDir, date+".json") }

// loadScanned returns the saved content of a partition. What is damaged is left out and read again.
func (d *Dir) loadScanned(date string) *scannedPartition {
	part := &scannedPartition{}
	if err := d.state.Read(scannedName(date), part); err != nil || part.Files == nil {
		part = &scannedPartition{Files: map[string]scannedFile{}}
	}
	maps.DeleteFunc(part.Files, func(_ string, file scannedFile) bool { return !file.valid() })
	return part
}

// tapeScan is a scan of all files of trades that are not known from an earlier scan.
type tapeScan struct {
	dir     *Dir
	full    bool // read every column, for the checksums of all pages
	files   int
	parts   map[string]*scannedPartition // by date
	changed map[string]bool              // dates to save
	pending []pendingScan
	saveErr error

	mu       sync.Mutex // guards parts and vanished during run
	vanished bool       // a compaction replaced a file that was listed
}

type pendingScan struct{ date, name string }

// maxListings bounds how often the tape is listed again because a compaction replaced files
// meanwhile.
const maxListings = 8

// scanTape reads the files of all partitions that were not read before.
func (d *Dir) scanTape(ctx context.Context, dates []string, full bool) (*tapeScan, error) {
	parts := map[string]*scannedPartition{}
	for range maxListings {
		scan, err := d.planScan(dates, full, parts)
		if err != nil {
			return nil, err
		}
		if err := scan.run(ctx); err != nil {
			return nil, err
		}
		scan.saveErr = scan.save()
		if !scan.vanished {
			return scan, nil
		}
		parts = scan.parts // what was just read is not read again
	}
	return nil, fmt.Errorf("the tape changed %d times while it was read", maxListings)
}

// planScan lists the files of the tape and those that must be read. parts holds what is known
// already.
func (d *Dir) planScan(dates []string, full bool, parts map[string]*scannedPartition) (*tapeScan, error) {
	out := &tapeScan{dir: d, full: full, parts: map[string]*scannedPartition{}, changed: map[string]bool{}}
	for _, date := range dates {
		part := parts[date]
		if part == nil && full {
			part = &scannedPartition{Files: map[string]scannedFile{}}
		} else if part == nil {
			part = d.loadScanned(date)
		}
		names, err := d.catalog.files(Trades, date)
		if err != nil {
			return nil, err
		}
		listed := map[string]bool{}
		for _, name := range names {
			info, err := os.Stat(d.catalog.segment(Trades, date, name))
			if err != nil { // a link that leads nowhere is a file that cannot be read
				info, err = os.Lstat(d.catalog.segment(Trades, date, name))
			}
			if errors.Is(err, fs.ErrNotExist) {
				out.vanished = true
				continue
			}
			if err != nil {
				return nil, err
			}
			listed[name] = true
			size, modified := info.Size(), info.ModTime().UnixNano()
			known, ok := part.Files[name]
			if ok && known.Size == size && known.Modified == modified && isReadable(d.catalog.segment(Trades, date, name)) {
				continue
			}
			part.Files[name] = scannedFile{Size: size, Modified: modified, Version: scanVersion}
			out.pending = append(out.pending, pendingScan{date, name})
			out.changed[date] = true
		}
		if len(listed) < len(part.Files) {
			maps.DeleteFunc(part.Files, func(name string, _ scannedFile) bool { return !listed[name] })
			out.changed[date] = true
		}
		out.parts[date] = part
		out.files += len(listed)
	}
	return out, nil
}

// isReadable reports whether this process may read a file. What was read earlier proves nothing else.
func isReadable(path string) bool {
	file, err := durable.Open(path)
	if err == nil {
		err = file.Close()
	}
	return err == nil
}

// run reads the pending files, on every core.
func (s *tapeScan) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, p := range s.pending {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			path := s.dir.catalog.segment(Trades, p.date, p.name)
			found, err := scan(path, p.date)
			if _, linkErr := os.Lstat(path); errors.Is(err, fs.ErrNotExist) && linkErr == nil {
				err = errors.New("it is a link to a file that does not exist")
			}
			if err == nil && s.full {
				err = verifyPages(path)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.record(p, found, err)
			return nil
		})
	}
	return group.Wait()
}

// record stores the result of one scan.
func (s *tapeScan) record(p pendingScan, found content, err error) {
	files := s.parts[p.date].Files
	if errors.Is(err, fs.ErrNotExist) {
		s.vanished = true
		delete(files, p.name)
		return
	}
	file := files[p.name]
	if err != nil {
		file.Broken = err.Error()
		if errors.Is(err, fs.ErrPermission) { // which can change without a change of the file
			file.Modified = 0
		}
	} else {
		file.Runs, file.Duplicates, file.Misplaced = found.runs, found.duplicates, found.misplaced
		file.Backwards, file.Foreign = found.backwards, found.foreign
		file.Feed, file.Tape = found.tape.feed, found.tape.id
	}
	files[p.name] = file
}

// save saves the changed partitions for the next scan. It does not wait for the disk: a file lost
// or torn by a power cut is read as damaged, and its partition is scanned again.
func (s *tapeScan) save() error {
	if len(s.changed) == 0 {
		return nil
	}
	err := durable.CheckNotLinked(s.dir.state.Path(scannedDir))
	if err == nil {
		err = s.dir.staging.disk.Mkdir(s.dir.state.Path(scannedDir))
	}
	for date := range s.changed {
		if err == nil {
			err = s.savePartition(date)
		}
	}
	if err != nil {
		return fmt.Errorf("save what was checked: %w", err)
	}
	return nil
}

func (s *tapeScan) savePartition(date string) error {
	text, err := json.Marshal(s.parts[date])
	if err != nil {
		return err
	}
	staged, _, err := s.dir.staging.writeUnsynced(durable.UniqueName("state", ".tmp"), func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
	if err != nil {
		return err
	}
	if err := s.dir.staging.disk.Rename(staged, s.dir.state.Path(scannedName(date))); err != nil {
		s.dir.staging.remove(staged)
		return err
	}
	return nil
}
