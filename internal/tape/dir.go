package tape

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"tapedeck/internal/durable"
	"tapedeck/internal/state"
	"time"
)

// Format is the version of the data directory's layout that this package reads and writes.
const Format = 1

const (
	manifestName = "tape.json"
	stagingDir   = ".staging"
	stateDir     = ".state"
)

// ErrNoTape says that a directory holds no tape.
var ErrNoTape = errors.New("no tape there")

// ErrNoManifest says that a directory holds trades, but no tape.json that says of which feed.
var ErrNoManifest = errors.New("there are trades, but no " + manifestName)

// NewerError says that a data directory was made by a version of tapedeck with a newer layout.
type NewerError struct {
	Path   string
	Format int
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("data directory %q has format %d, made by a newer tapedeck; this one reads up to format %d", e.Path, e.Format, Format)
}

// FeedError says that a tape records another feed than the one asked for.
type FeedError struct {
	Path       string
	Have, Want Feed
}

func (e *FeedError) Error() string {
	return fmt.Sprintf("the tape at %q records the feed %s, not %s: a tape has one feed, chosen when it is made", e.Path, e.Have, e.Want)
}

// manifest is the content of tape.json.
type manifest struct {
	Format int       `json:"format"`
	Feed   Feed      `json:"feed"`
	MadeAt time.Time `json:"made_at"`
}

// Dir is an opened data directory. Its methods may be called from many goroutines, and many processes may open the same one.
type Dir struct {
	path     string
	manifest manifest
	disk     durable.Disk

	state *state.Dir
	dirs  durable.Dirs // of partitions

	mu      sync.Mutex // guards index and encoder
	index   *Index
	encoder *encoder
}

// Path is the data directory.
func (d *Dir) Path() string { return d.path }

// Feed is what the tape records.
func (d *Dir) Feed() Feed { return d.manifest.Feed }

// MadeAt is when the tape was made.
func (d *Dir) MadeAt() time.Time { return d.manifest.MadeAt }

// Open opens a data directory. Its errors are ErrNoTape where there is none and *NewerError where this version cannot read it.
func Open(path string) (*Dir, error) { return open(path, durable.OS{}) }

func newDir(path string, disk durable.Disk, m manifest) *Dir {
	return &Dir{path: path, disk: disk, manifest: m, state: state.Open(path, disk), dirs: durable.Dirs{Disk: disk}}
}

func open(path string, disk durable.Disk) (*Dir, error) {
	text, err := os.ReadFile(filepath.Join(path, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open %q: %w", path, ErrNoTape)
	}
	if err != nil {
		return nil, fmt.Errorf("open the tape: %w", err)
	}
	d := newDir(path, disk, manifest{})
	if err := json.Unmarshal(text, &d.manifest); err != nil {
		return nil, fmt.Errorf("read %q: %w", filepath.Join(path, manifestName), err)
	}
	if d.manifest.Format > Format {
		return nil, &NewerError{Path: path, Format: d.manifest.Format}
	}
	if _, err := ParseFeed(string(d.manifest.Feed)); err != nil || d.manifest.Format < 1 {
		return nil, fmt.Errorf("read %q: not a tape's description", filepath.Join(path, manifestName))
	}
	d.index = newIndex(d, true)
	return d, nil
}

// Create opens the tape at path, or makes one there that records feed. An empty feed takes the tape's own, and AggTrade for a
// new one. Directories that a tape has lost are made again, empty. Two processes may do so at once. Its errors are *FeedError,
// *NewerError, ErrNoManifest, and those of the file system.
func Create(path string, feed Feed, now time.Time) (*Dir, error) {
	return create(path, feed, now, durable.OS{})
}

func create(path string, feed Feed, now time.Time, disk durable.Disk) (*Dir, error) {
	d, err := open(path, disk)
	if errors.Is(err, ErrNoTape) {
		if err := lay(path, feed, now, disk); err != nil {
			return nil, fmt.Errorf("make a tape at %q: %w", path, err)
		}
		d, err = open(path, disk)
	} else if err == nil {
		// Whoever made it may have ended before it was durable.
		if err := disk.SyncDir(path); err != nil {
			return nil, fmt.Errorf("sync %q: %w", path, err)
		}
		if err := d.remake(); err != nil {
			return nil, fmt.Errorf("make anew what is missing in %q: %w", path, err)
		}
	}
	if err != nil {
		return nil, err
	}
	if feed != "" && feed != d.Feed() {
		return nil, &FeedError{Path: path, Have: d.Feed(), Want: feed}
	}
	return d, nil
}

// lay makes the directories and, last of all, tape.json: a directory that has it is whole.
func lay(path string, feed Feed, now time.Time, disk durable.Disk) error {
	if feed == "" {
		feed = AggTrade
	}
	if err := mkdirs(path, disk); err != nil {
		return err
	}
	if err := layDirs(path, disk); err != nil {
		return err
	}
	d := newDir(path, disk, manifest{Format: Format, Feed: feed, MadeAt: now.UTC()})
	unlock, err := d.lock(writersLock)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(filepath.Join(path, manifestName)); err == nil {
		return nil // another process was first
	}
	dates, err := d.dates(Trades, "", "")
	if err != nil {
		return err
	}
	for _, date := range dates {
		if files, err := d.files(Trades, date); err != nil || len(files) > 0 {
			return cmp.Or(err, ErrNoManifest)
		}
	}
	if err := d.layEmpty(allTables()...); err != nil {
		return err
	}
	text, err := json.MarshalIndent(d.manifest, "", "  ")
	if err != nil {
		return err
	}
	if err := disk.SyncDir(path); err != nil { // what is described is there before its description
		return err
	}
	return durable.Replace(disk, d.StagingPath(), filepath.Join(path, manifestName), append(text, '\n'))
}

// layDirs makes the directories that a tape has.
func layDirs(path string, disk durable.Disk) error {
	names := []string{stagingDir, stateDir}
	for _, table := range allTables() {
		names = append(names, string(table))
	}
	for _, name := range names {
		if err := disk.Mkdir(filepath.Join(path, name)); err != nil {
			return err
		}
	}
	return nil
}

// remake makes again, empty, what somebody has deleted of the directories of a tape.
func (d *Dir) remake() error {
	missing := func(name string) (bool, error) {
		_, err := os.Stat(filepath.Join(d.path, name))
		if errors.Is(err, fs.ErrNotExist) {
			return true, nil
		}
		return false, err
	}
	gone := false
	for _, name := range []string{stagingDir, stateDir} {
		one, err := missing(name)
		if err != nil {
			return err
		}
		gone = gone || one
	}
	var empty []Table
	for _, table := range allTables() {
		one, err := missing(emptyName(table))
		if err != nil {
			return err
		}
		if one {
			empty = append(empty, table)
		}
	}
	if !gone && len(empty) == 0 {
		return nil
	}
	if err := layDirs(d.path, d.disk); err != nil {
		return err
	}
	unlock, err := d.lock(writersLock)
	if err != nil {
		return err
	}
	defer unlock()
	if err := d.layEmpty(empty...); err != nil {
		return err
	}
	return d.disk.SyncDir(d.path)
}

// mkdirs makes a directory and those above it, and makes the name of the last one durable.
func mkdirs(path string, disk durable.Disk) error {
	parent := filepath.Dir(path)
	if _, err := os.Stat(path); err != nil {
		if parent != path {
			if err := mkdirs(parent, disk); err != nil {
				return err
			}
		}
		if err := disk.Mkdir(path); err != nil {
			return err
		}
	} else if parent == path {
		return nil
	}
	// Who may use a directory need not be allowed to read the one above it, in which its name was made by somebody else.
	if err := disk.SyncDir(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// State is the data directory's state directory.
func (d *Dir) State() *state.Dir { return d.state }

// StagingPath is where files are written before they are published; nothing globs it.
func (d *Dir) StagingPath() string { return filepath.Join(d.path, stagingDir) }

// StatePath gives the path of a small state file.
func (d *Dir) StatePath(name string) string { return d.state.Path(name) }

// WriteState is State().Write.
func (d *Dir) WriteState(name string, v any) error { return d.state.Write(name, v) }

// WriteStateBytes is State().WriteBytes.
func (d *Dir) WriteStateBytes(name string, content []byte) error {
	return d.state.WriteBytes(name, content)
}

// ReadState is State().Read.
func (d *Dir) ReadState(name string, v any) error { return d.state.Read(name, v) }
