// Package state reads and writes the small files in a data directory's .state, and defines the
// schemas that more than one package uses.
//
// Its one guarantee: a reader sees the old content of a file or the new one, and what Write wrote
// without an error survives a power cut. This is the full list of the files; docs/OPERATING.md
// describes them for operators.
//
//	file                             owner             lost with it
//	absent.json                      internal/tape     ids that the exchange lacks; it is asked again
//	dropped.json                     internal/tape     ids that were dropped; they count as missing,
//	                                                   and a backfill fetches them again
//	extent.json                      internal/tape     each symbol's bounds, except those that the next two
//	                                                   name; a loss at an end may go unnoticed
//	watched/<run>.json               jobs/stream       up to when records are known (type Watched)
//	answers.json, .lock              jobs/backfill     the same (type Answers)
//	scanned/<date>.json              internal/tape     what files contain; they are read again
//	writers.lock                     internal/tape     nothing; a lock
//	budget.json, .lock               internal/binance  the request weight in use, and bans
//	minutes/, minutes.json           analytics         one-minute buckets; computed again
//	market.json                      analytics         market.duckdb's version; it is created again
//	stream.json                      jobs/stream       nothing; rewritten every 5 s (type Stream)
//	stream.lock                      jobs/stream       nothing; a lock, held while recording
//	schedule.json                    jobs/schedule     what is not in the ledger yet (type Scheduler)
//	schedule.lock                    jobs/schedule     nothing; a lock
//	begun/<symbol>                   jobs/backfill     symbols with an unfinished first backfill;
//	                                                   symbol.Name.FileName encodes the name
//	left-out.json                    internal/tape     files that commands leave out; health lists them
//	                                                   again after the next command that reads the tape
//	not-symbols.json                 internal/tape     names on the tape that are not symbols; health
//	                                                   lists them again after the next verify
//	detect.json                      jobs/detect       the tape is judged again
//	judged/<date>.json               jobs/detect       claims that time was judged (type JudgedDay)
//	judged-definitions.json          jobs/detect       a change of a detector goes unnoticed once
//	judged.lock                      jobs/detect       nothing; a lock
//	report-*.json                    jobs/report       corrections of recent reports
//	outbox/                          jobs/notify       messages that wait to be sent
//	telegram-chats.json              jobs/notify       new ids of groups; Telegram sends them again
//	outbox.lock, outbox-sender.lock  jobs/notify       nothing; locks
package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tapedeck/internal/durable"
)

const (
	dirName     = ".state"
	stagingName = ".staging"
	// maxFile is the most bytes of a state file that are read. The largest ones have a few MB.
	maxFile = 256 << 20
)

// Dir is the state directory of one data directory. It is safe for concurrent use, and several
// processes may use the same one.
type Dir struct {
	path    string // of .state
	staging string
	disk    durable.Disk
	dirs    durable.Dirs
}

// Open returns the state directory of the data directory at path. Nothing is read or created yet.
func Open(dataDir string, disk durable.Disk) *Dir {
	return &Dir{
		path: filepath.Join(dataDir, dirName), staging: filepath.Join(dataDir, stagingName),
		disk: disk, dirs: durable.Dirs{Disk: disk},
	}
}

// Path returns the path of a state file. A name may have directories in it, separated by slashes.
func (d *Dir) Path(name string) string { return filepath.Join(d.path, filepath.FromSlash(name)) }

// DamagedError is the error of reading a state file whose content is not the JSON that it should be.
type DamagedError struct {
	Path string
	Err  error
}

func (e *DamagedError) Error() string { return fmt.Sprintf("read the state %q: %v", e.Path, e.Err) }

func (e *DamagedError) Unwrap() error { return e.Err }

// Read decodes a state file from JSON into v. The error is fs.ErrNotExist if there is no such file, and a
// *DamagedError if it is damaged; then v may have some of its content.
func (d *Dir) Read(name string, v any) error {
	text, err := durable.ReadOwn(d.Path(name), maxFile)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return &DamagedError{d.Path(name), err}
	}
	return nil
}

// SetAside renames a state file to its name with .damaged at the end, so that a person can look at it and
// nothing reads it.
func (d *Dir) SetAside(name string) error {
	return d.disk.Rename(d.Path(name), d.Path(name)+".damaged")
}

// CheckNotLinked returns a *durable.LinkedDirError if the state directory, or a directory in it, is a symbolic
// link. Links in the place of files are replaced and never followed.
func (d *Dir) CheckNotLinked() error {
	if err := durable.CheckNotLinked(d.path); err != nil {
		return err
	}
	entries, _ := os.ReadDir(d.path) // what cannot be listed is reported by its use
	for _, entry := range entries {
		path := filepath.Join(d.path, entry.Name())
		if entry.Type()&fs.ModeSymlink == 0 {
			continue
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return &durable.LinkedDirError{Path: path}
		}
	}
	return nil
}

// Write replaces a state file with v as JSON.
func (d *Dir) Write(name string, v any) error {
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return fmt.Errorf("encode the state %q: %w", name, err)
	}
	return d.WriteBytes(name, append(text, '\n'))
}

// WriteBytes replaces a state file with content as it is. It creates the directory in the name, if
// there is one, and the state directory if somebody has removed it.
func (d *Dir) WriteBytes(name string, content []byte) error {
	err := d.writeBytes(name, content)
	if errors.Is(err, fs.ErrNotExist) && d.restore() == nil {
		err = d.writeBytes(name, content)
	}
	return err
}

// restore creates the directory again that somebody has removed, but not the data directory.
func (d *Dir) restore() error {
	if _, err := os.Stat(filepath.Dir(d.path)); err != nil {
		return err
	}
	defer durable.MakePrivate(d.path)
	return d.disk.Mkdir(d.path)
}

func (d *Dir) writeBytes(name string, content []byte) error {
	path := d.Path(name)
	parent := filepath.Dir(path)
	for _, dir := range []string{d.staging, d.path, parent} { // the link may be newer than the opening of the tape
		if err := durable.CheckNotLinked(dir); err != nil {
			return err
		}
	}
	if parent != d.path {
		if err := d.dirs.Make(d.path, parent); err != nil {
			return err
		}
	}
	return durable.ReplacePrivate(d.disk, d.staging, path, content)
}

// Held reports whether some process holds the lock on a state file.
func (d *Dir) Held(name string) bool { return durable.Held(d.Path(name)) }

// Uptime returns the present on the clock of the running system.
func (d *Dir) Uptime() Uptime { return ReadUptime() }

// ReadCache reads a state file whose loss costs only the work to compute it again: a file that is
// missing or damaged is an empty map.
func ReadCache[V any](d *Dir, name string) (map[string]V, error) {
	text, err := durable.ReadOwn(d.Path(name), maxFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out map[string]V
	if json.Unmarshal(text, &out) != nil || out == nil {
		out = map[string]V{}
	}
	return out, nil
}
