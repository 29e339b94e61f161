package tape

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"tapedeck/internal/durable"
	"tapedeck/internal/state"
)

// Format is the version of the data directory's layout that this package reads and writes.
const Format = 1

// ErrNoTape is returned for a directory without a tape.
var ErrNoTape = errors.New("no tape there")

// NewerError is returned for a data directory whose layout is newer than Format.
type NewerError struct {
	Path   string
	Format int
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("data directory %q has format %d, made by a newer tapedeck; this one reads up to format %d",
		e.Path, e.Format, Format)
}

// FeedError is returned if a tape records another feed than the one asked for.
type FeedError struct {
	Path       string
	Have, Want Feed
}

func (e *FeedError) Error() string {
	return fmt.Sprintf("the tape at %q records the feed %s, not %s: a tape has one feed, chosen when it is created",
		e.Path, e.Have, e.Want)
}

// Dir is an open data directory. Its methods are safe for concurrent use, and many processes may
// have the same directory open.
type Dir struct {
	layout    layout
	manifest  manifest
	state     *state.Dir
	staging   staging
	catalog   catalog
	dropped   *droppedIDs
	extent    extent
	publisher *publisher

	index *Index // holds the partitions published to lately

	mu      sync.Mutex // held by Publish, guards encoder
	encoder encoder[Trade]
}

func newDir(path string, disk durable.Disk, m manifest) *Dir {
	l, st := layout(path), state.Open(path, disk)
	parts := &partitions{layout: l, disk: disk, dirs: durable.Dirs{Disk: disk}}
	dropped := &droppedIDs{state: st}
	d := &Dir{
		layout: l, manifest: m, state: st, staging: staging{l.staging(), disk}, catalog: catalog{l},
		dropped: dropped, extent: extent{st, dropped},
	}
	d.publisher = &publisher{
		partitions: parts, staging: d.staging, catalog: d.catalog, replacer: replacer{parts, d.catalog},
		lockPath: st.Path(writersLock),
	}
	d.index = newIndex(d, true)
	return d
}

// Path returns the path of the data directory.
func (d *Dir) Path() string { return string(d.layout) }

// Feed returns the feed that the tape records.
func (d *Dir) Feed() Feed { return d.manifest.Feed }

// identity is what the tape's segments say of it.
func (d *Dir) identity() identity { return identity{d.manifest.Feed, d.manifest.ID} }

// CreatedAt returns the time at which the tape was created.
func (d *Dir) CreatedAt() time.Time { return d.manifest.CreatedAt }

// State returns the data directory's state directory.
func (d *Dir) State() *state.Dir { return d.state }

// StagingPath returns the directory for files that are being written. Readers never list it.
func (d *Dir) StagingPath() string { return d.staging.path }

// CheckWritable returns an error if files cannot be written to the tape.
func (d *Dir) CheckWritable() error {
	path := filepath.Join(d.StagingPath(), durable.UniqueName("check", ".tmp"))
	file, err := d.staging.disk.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Close(), d.staging.disk.Remove(path))
}

// Sweep deletes what dead writers left in the staging directory, and replaced partitions and what repairs
// removed whose grace is over. It returns the number of files of dead writers. now is compared with modification
// times. What is in those directories under other names than tapedeck's stays. The error is a
// *durable.LinkedDirError if one of them is a symbolic link.
func (d *Dir) Sweep(now time.Time) (removed int, err error) {
	if err := durable.CheckNotLinked(d.layout.staging()); err != nil {
		return 0, err
	}
	if err := d.publisher.replacer.sweep(now); err != nil {
		return 0, err
	}
	if err := d.sweepAside(now); err != nil {
		return 0, err
	}
	return d.staging.sweep(now)
}

// Open opens a data directory. The error is ErrNoTape if there is none, *ManifestError if its tape.json
// is missing or damaged, *NewerError if this version cannot read it, and *durable.LinkedDirError if one of the
// tape's own directories is a symbolic link.
func Open(path string) (*Dir, error) { return open(path, durable.OS{}) }

func open(path string, disk durable.Disk) (*Dir, error) {
	m, err := readManifest(layout(path))
	if err != nil {
		return nil, err
	}
	d := newDir(path, disk, m)
	if err := d.checkNotLinked(); err != nil {
		return nil, err
	}
	d.makePrivate() // an earlier version may have created it
	return d, nil
}

// Create opens the tape at path, or creates one there that records feed. An empty feed means the
// tape's own, and AggTrade for a new tape. Directories that an existing tape has lost are created
// again, empty. Two processes may call it at the same time. The error is *FeedError, *NewerError,
// ErrNoManifest, *durable.LinkedDirError or one of the file system.
func Create(path string, feed Feed, now time.Time) (*Dir, error) {
	return create(path, feed, now, durable.OS{})
}

func create(path string, feed Feed, now time.Time, disk durable.Disk) (*Dir, error) {
	d, err := open(path, disk)
	if errors.Is(err, ErrNoTape) {
		if err := initialize(path, feed, now, disk); err != nil {
			return nil, fmt.Errorf("create a tape at %q: %w", path, err)
		}
		d, err = open(path, disk)
	} else if err == nil {
		// The process that created it may have died before it was durable.
		if err := disk.SyncDir(path); err != nil {
			return nil, fmt.Errorf("sync %q: %w", path, err)
		}
		if err := d.CreateMissing(); err != nil {
			return nil, fmt.Errorf("create what is missing in %q: %w", path, err)
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

// initialize creates the directories and then tape.json: a directory that has it is complete.
func initialize(path string, feed Feed, now time.Time, disk durable.Disk) error {
	if err := createPath(path, disk); err != nil {
		return err
	}
	d := newDir(path, disk, manifest{Format, cmp.Or(feed, AggTrade), now.UTC(), newTapeID()})
	if err := d.checkNotLinked(); err != nil {
		return err
	}
	unlock, err := d.lockNewDirs()
	if err != nil {
		return err
	}
	defer unlock()
	manifestPath := d.layout.path(manifestName)
	if _, err := os.Stat(manifestPath); err == nil {
		return nil // another process was first
	}
	if d.catalog.hasTrades() {
		return ErrNoManifest
	}
	if err := d.publishEmptySegments(allTables()...); err != nil {
		return err
	}
	text, err := json.MarshalIndent(d.manifest, "", "  ")
	if err != nil {
		return err
	}
	if err := disk.SyncDir(path); err != nil { // the directories are durable before tape.json is
		return err
	}
	return durable.Replace(disk, d.StagingPath(), manifestPath, append(text, '\n'))
}

// createPath creates a directory and those above it, and makes the name of the last one durable.
func createPath(path string, disk durable.Disk) error {
	parent := filepath.Dir(path)
	if _, err := os.Stat(path); err != nil {
		if parent != path {
			if err := createPath(parent, disk); err != nil {
				return err
			}
		}
		if err := disk.Mkdir(path); err != nil {
			return err
		}
	} else if parent == path {
		return nil
	}
	// A process may use a directory that somebody else created without permission to read its parent.
	if err := disk.SyncDir(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// checkNotLinked returns a *durable.LinkedDirError if a directory whose files are replaced and deleted is a
// symbolic link. The data directory and the tables may be behind links.
func (d *Dir) checkNotLinked() error {
	for _, name := range []string{stagingDir, asideDir} {
		if err := durable.CheckNotLinked(d.layout.path(name)); err != nil {
			return err
		}
	}
	return d.state.CheckNotLinked()
}

// createDirs creates the directories of a tape that do not exist.
func (d *Dir) createDirs() error {
	paths := []string{d.layout.staging(), d.layout.path(stateDir)}
	for _, table := range allTables() {
		paths = append(paths, d.layout.table(table))
	}
	for _, path := range paths {
		if err := d.staging.disk.Mkdir(path); err != nil {
			return err
		}
	}
	d.makePrivate()
	return nil
}

// makePrivate lets only their owner read the state and what is being written. Published files are for
// everyone.
func (d *Dir) makePrivate() {
	durable.MakePrivate(d.layout.path(stateDir))
	durable.MakeDirPrivate(d.layout.staging()) // its files are published with the permissions that they have
}

// lockNewDirs creates the directories that do not exist and takes the writers' lock.
func (d *Dir) lockNewDirs() (unlock func(), err error) {
	if err := d.createDirs(); err != nil {
		return nil, err
	}
	return d.publisher.lock()
}

// CreateMissing creates the directories and empty segments of the tape that an earlier version did not
// know or that somebody has deleted, so that every table can be read. Create does so, too.
func (d *Dir) CreateMissing() error {
	lost := false
	missing := func(relative string) (bool, error) {
		_, err := os.Stat(d.layout.path(relative))
		if errors.Is(err, fs.ErrNotExist) {
			lost = true
			return true, nil
		}
		return false, err
	}
	for _, name := range []string{stagingDir, stateDir} {
		if _, err := missing(name); err != nil {
			return err
		}
	}
	var tables []Table
	for _, table := range allTables() {
		if gone, err := missing(emptyPath(table)); err != nil {
			return err
		} else if gone {
			tables = append(tables, table)
		}
	}
	if !lost {
		return nil
	}
	unlock, err := d.lockNewDirs()
	if err != nil {
		return err
	}
	defer unlock()
	if err := d.publishEmptySegments(tables...); err != nil {
		return err
	}
	return d.staging.disk.SyncDir(d.Path())
}

// publishEmptySegments publishes the tables' segments without rows. The caller holds the writers'
// lock.
func (d *Dir) publishEmptySegments(tables ...Table) error {
	write := map[Table]func(io.Writer) error{
		Trades: func(w io.Writer) error {
			return encodeTrades(new(encoder[Trade]), w, nil, nil, d.identity(), Origin{})
		},
		Alerts:    func(w io.Writer) error { return encodeRows[Alert](w, nil) },
		Runs:      func(w io.Writer) error { return encodeRows[Run](w, nil) },
		Coverage:  func(w io.Writer) error { return encodeRows[CoverageRow](w, nil) },
		Conflicts: func(w io.Writer) error { return encodeRows[Conflict](w, nil) },
		Recorder:  func(w io.Writer) error { return encodeRows[RecorderEvent](w, nil) },
		Drops:     func(w io.Writer) error { return encodeRows[Drop](w, nil) },
	}
	for _, table := range tables {
		staged, _, err := d.staging.write(durable.UniqueName("empty", ".tmp"), write[table])
		if err != nil {
			return err
		}
		if _, err := d.publisher.publishAs(emptyPath(table), staged, table, emptyDate); err != nil {
			return err
		}
	}
	return nil
}
