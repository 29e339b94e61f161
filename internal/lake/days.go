package lake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/apache/iceberg-go"
	iceio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"

	"tapedeck/internal/durable"
	"tapedeck/internal/tape"
)

// Certificate says what a table has of a date. It is a property of the table.
type Certificate struct {
	// Tape is the id of the tape that shipped it.
	Tape string `json:"tape"`
	// Rows is the number of rows, Symbols that of symbols.
	Rows    int64 `json:"rows"`
	Symbols int   `json:"symbols,omitempty"`
	// Open is the number of symbols whose record begins or ends on the date; in coverage only.
	Open int `json:"open,omitempty"`
	// Hash is that of the rows.
	Hash string `json:"hash"`
}

// Table is a table as it was when it was read.
type Table struct {
	lake *Lake
	name tape.Table
	read *table.Table // nil if it does not exist
}

// Read reads a table. If it does not exist, the result has no dates. The error is a *TableError if it is not one
// that tapedeck can use.
func (l *Lake) Read(ctx context.Context, name tape.Table) (*Table, error) {
	found, err := l.load(ctx, name)
	return &Table{l, name, found}, err
}

// Exists reports whether there is such a table.
func (t *Table) Exists() bool { return t.read != nil }

// Feed returns the feed of the table's trades; empty if it does not exist.
func (t *Table) Feed() tape.Feed {
	if t.read == nil {
		return ""
	}
	return feedOf(t.read)
}

// Days returns the certificates by date.
func (t *Table) Days() map[string]Certificate {
	out := map[string]Certificate{}
	if t.read == nil {
		return out
	}
	for key, value := range t.read.Properties() {
		date, ok := strings.CutPrefix(key, dayPrefix)
		var c Certificate
		if ok && json.Unmarshal([]byte(value), &c) == nil {
			out[date] = c
		}
	}
	return out
}

// File is a data file of a table.
type File struct {
	// Path is the location of the object, Rows and Bytes are what the table says of it.
	Path        string
	Rows, Bytes int64
	data        iceberg.DataFile
}

// Files lists the data files of a date. The error is a *TableError if rows were deleted by other means than new
// data files, which tapedeck does not read.
func (t *Table) Files(ctx context.Context, date string) ([]File, error) {
	if t.read == nil || t.read.CurrentSnapshot() == nil {
		return nil, nil
	}
	day, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return nil, err
	}
	var filter iceberg.BooleanExpression
	if column := iceberg.Reference(timeColumn(t.name)); t.name == tape.Coverage {
		filter = iceberg.EqualTo(column, iceberg.Date(day.Unix()/86400))
	} else {
		filter = iceberg.NewAnd(iceberg.GreaterThanEqual(column, iceberg.Timestamp(day.UnixMicro())),
			iceberg.LessThan(column, iceberg.Timestamp(day.AddDate(0, 0, 1).UnixMicro())))
	}
	tasks, err := t.read.Scan(table.WithRowFilter(filter)).PlanFiles(ctx)
	if err != nil {
		var access *AccessError
		if errors.As(err, &access) {
			return nil, access
		}
		return nil, fmt.Errorf("list the files of %s on %s: %w", t.name, date, err)
	}
	var out []File
	seen := map[string]bool{}
	for _, task := range tasks {
		if len(task.DeleteFiles)+len(task.EqualityDeleteFiles)+len(task.DeletionVectorFiles) > 0 {
			return nil, &TableError{string(t.name), fmt.Sprintf("has delete files on %s, which tapedeck does not read; rewrite its data files", date)}
		}
		if seen[task.File.FilePath()] {
			continue
		}
		seen[task.File.FilePath()] = true
		out = append(out, File{task.File.FilePath(), task.File.Count(), task.File.FileSizeBytes(), task.File})
	}
	slices.SortFunc(out, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

// timeColumn is the column by whose day a table is partitioned.
func timeColumn(name tape.Table) string {
	switch name {
	case tape.Alerts:
		return "at"
	case tape.Coverage:
		return "date"
	}
	return "traded_at"
}

// Fetch downloads a data file into a directory and opens it. The caller closes it; its name is removed already.
func (t *Table) Fetch(ctx context.Context, file File, dir string) (*os.File, error) {
	to := path.Join(dir, durable.UniqueName("lake", ".parquet.tmp"))
	if _, err := t.lake.objects.download(ctx, file.Path, to); err != nil {
		return nil, err
	}
	defer os.Remove(to)
	return durable.Open(to)
}

// Content reads all rows of trades on a date from the files of the table, which are downloaded into dir, one at a
// time.
func (t *Table) Content(ctx context.Context, date, dir string) (*tape.DayContent, error) {
	files, err := t.Files(ctx, date)
	if err != nil {
		return nil, err
	}
	out := tape.NewDayContent(date, nil)
	for _, file := range files {
		if err := t.addTo(ctx, out, file, dir); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (t *Table) addTo(ctx context.Context, out *tape.DayContent, file File, dir string) error {
	open, err := t.Fetch(ctx, file, dir)
	if err != nil {
		return err
	}
	defer open.Close()
	if err := out.AddFile(ctx, open); err != nil {
		return fmt.Errorf("%s: %w", file.Path, err)
	}
	return nil
}

// Upload is a file to add to a table.
type Upload struct {
	// Name is the name of the object below the table's directory of the date. It must be unique to the content.
	Name string
	File *os.File
	Size int64
	Sum  [32]byte // SHA-256
}

// ErrKept is returned by a decide function for a date that must stay as it is.
var ErrKept = errors.New("the date stays as it is")

// Change is what is to become of a date.
type Change struct {
	Table       tape.Table
	Date        string
	Certificate Certificate
	Files       []Upload
	// Adds keeps the files that the date has; otherwise they are replaced.
	Adds bool
}

// Commit makes one change in one transaction and returns whether it was necessary: not if the table has the
// certificate already. If the table has another one for the date, or files without one, decide says whether the change is right, which
// depends on the table that it gets. Its error ends Commit. Files are uploaded before the transaction; an
// object that an earlier attempt uploaded is found again.
func (l *Lake) Commit(ctx context.Context, c Change, decide func(*Table) error) (changed bool, err error) {
	for attempt := range attempts {
		done, own, tried, err := l.try(ctx, c, decide)
		switch {
		case done:
			return tried || attempt > 0 && own, nil // if it is its own, the answer to an attempt was lost
		case ctx.Err() != nil, attempt == attempts-1, !tried && !isTransient(err):
			return false, err
		}
		var access *AccessError
		if errors.As(err, &access) || errors.Is(err, ErrOtherObject) {
			return false, err
		}
		// ErrCommitFailed means that another process was faster. After any other error the transaction may have
		// been committed, or may still be. In both cases the table, when it is read again, decides; and since a
		// transaction is bound to the snapshot that it was made for, at most one of two is committed.
		if err := wait(ctx, attempt+rand.IntN(3)); err != nil {
			return false, err
		}
	}
	return false, nil // not reached
}

// try is one attempt of Commit. done is true if the table has the certificate; own, if this tape set it. tried is true
// if a transaction was attempted.
func (l *Lake) try(ctx context.Context, c Change, decide func(*Table) error) (done, own, tried bool, err error) {
	found, err := l.ensure(ctx, c.Table)
	if err != nil {
		return false, false, false, err
	}
	now := &Table{l, c.Table, found}
	if have, ok := now.Days()[c.Date]; ok && have.Hash == c.Certificate.Hash {
		return true, have.Tape == c.Certificate.Tape, false, nil
	}
	if err := decide(now); err != nil {
		return false, false, false, err
	}
	err = l.commitOnce(ctx, now, c)
	return err == nil, true, true, err
}

func (l *Lake) commitOnce(ctx context.Context, t *Table, c Change) error {
	var have []File
	if !c.Adds {
		var err error
		if have, err = t.Files(ctx, c.Date); err != nil {
			return err
		}
	}
	dir := strings.TrimSuffix(t.read.Location(), "/") + "/data/" + timeColumn(c.Table) + "_day=" + c.Date + "/"
	var added []iceberg.DataFile
	for _, file := range c.Files {
		to := dir + file.Name
		if i := slices.IndexFunc(have, func(f File) bool { return f.Path == to }); i >= 0 {
			have = slices.Delete(have, i, i+1) // it stays
			continue
		}
		if err := l.objects.put(ctx, to, io.NewSectionReader(file.File, 0, file.Size), file.Size, file.Sum); err != nil {
			return err
		}
		data, err := table.FileToDataFile(ctx, localFile{to, file.File, file.Size}, to, t.read.Schema(), t.read.Spec(),
			t.read.SortOrder().OrderID(), t.read.Properties())
		if err != nil {
			return fmt.Errorf("describe %q: %w", to, err)
		}
		added = append(added, data)
	}
	replaced := make([]iceberg.DataFile, len(have))
	for i, file := range have {
		replaced[i] = file.data
	}
	certificate, err := json.Marshal(c.Certificate)
	if err != nil {
		return err
	}
	transaction := t.read.NewTransaction()
	if err := transaction.AssertRefSnapshotID(""); err != nil {
		return err
	}
	summary := iceberg.Properties{"tapedeck.date": c.Date, "tapedeck.tape": c.Certificate.Tape}
	if err := transaction.ReplaceDataFilesWithDataFiles(ctx, replaced, added, summary, table.WithoutDuplicateCheck()); err != nil {
		return err
	}
	if err := transaction.SetProperties(iceberg.Properties{dayPrefix + c.Date: string(certificate)}); err != nil {
		return err
	}
	_, err = transaction.Commit(ctx)
	return l.config.catalogError(err)
}

// localFile is a file system with one file: the library reads the footer of what was uploaded from the disk.
type localFile struct {
	remote string
	local  *os.File
	size   int64
}

// Open implements iceio.IO.
func (l localFile) Open(name string) (iceio.File, error) {
	if name != l.remote {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return section{io.NewSectionReader(l.local, 0, l.size), fileInfo{path.Base(name), l.size, time.Time{}, false}}, nil
}

// Remove implements iceio.IO.
func (l localFile) Remove(name string) error {
	return &fs.PathError{Op: "remove", Path: name, Err: errors.ErrUnsupported}
}

// section is a file that its owner closes.
type section struct {
	*io.SectionReader
	info fileInfo
}

func (s section) Stat() (fs.FileInfo, error) { return s.info, nil }
func (s section) Close() error               { return nil }
