// Package importer publishes trades from files that people already have: zips and CSVs in the form
// of data.binance.vision, and Parquet files with the tape's columns.
//
// Its guarantee: a file is imported completely or not at all. Its rows are staged while it is read,
// and published after its last row, its checksum and its ids were found to be right. Only ids that
// are not on the tape are written. docs/BINANCE.md describes the archive's files, docs/TAPE.md the
// columns.
package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"tapedeck/internal/idset"
	"tapedeck/internal/ingest"
	"tapedeck/internal/progress"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
)

// Options are the settings of an import; the zero value is the default.
type Options struct {
	// Symbol is the symbol of CSVs and zips; if it is the zero value, each file's name says it:
	// BTCUSDT-aggTrades-2024-08-08.zip.
	Symbol symbol.Name
	// Feed is the feed of CSVs and zips; if empty, each file's name or its first lines say it.
	Feed tape.Feed
	// Columns maps the tape's names of the columns to those in the files, or to numbers from 1, for files
	// that have other columns than the archive's or the tape's.
	Columns map[string]string
	// Now is recorded as the time at which conflicts were found.
	Now time.Time
	// Latest is when a row can have traded at the latest. A file with a later one is not imported. Zero is any time.
	Latest time.Time
	// Run is the id of the run; it is written to the metadata of the segments.
	Run string
	// Logger receives warnings about inexact values; nil means none.
	Logger *slog.Logger
	// Progress shows the bytes that were read of the current file; nil means nothing is shown.
	Progress progress.Display
}

// Summary is what an import did.
type Summary struct {
	Files []FileSummary // in the given order, without .CHECKSUM files
}

// Total adds up the files. Its Path, Symbols and Problem are empty.
func (s Summary) Total() FileSummary {
	var total FileSummary
	for _, file := range s.Files {
		total.Rows += file.Rows
		total.Repeated += file.Repeated
		total.Voided += file.Voided
		total.Published += file.Published
		total.Conflicts += file.Conflicts
		total.ConflictRows = append(total.ConflictRows, file.ConflictRows...)
		total.Unreadable += file.Unreadable
		total.Missing = idset.Sum(total.Missing, file.Missing)
		total.Segments += file.Segments
		total.Bytes += file.Bytes
		total.Inexact += file.Inexact
	}
	return total
}

// Problems returns the files that were not imported.
func (s Summary) Problems() []FileSummary {
	var out []FileSummary
	for _, file := range s.Files {
		if file.Problem != nil {
			out = append(out, file)
		}
	}
	return out
}

// fileError makes an error one of the file: nothing of it is imported, and the other files still
// are.
func fileError(err error) error { return &ingest.FileError{Err: err} }

func fileErrorf(format string, args ...any) error { return fileError(fmt.Errorf(format, args...)) }

// Run imports files one after the other. A file that cannot be imported is in the summary with its
// Problem and does not prevent the import of the others. An error means that the run stopped early:
// the context is done or the disk is full. The summary is correct even if there is an error. Files
// whose names end in .CHECKSUM are not imported; the files that they belong to are checked against
// them.
func Run(ctx context.Context, dir *tape.Dir, files []string, opt Options) (Summary, error) {
	opt.Logger = cmp.Or(opt.Logger, slog.New(slog.DiscardHandler))
	if opt.Progress == nil {
		opt.Progress = progress.None{}
	}
	var summary Summary
	var paths []string
	for _, path := range files {
		if !IsChecksum(path) {
			paths = append(paths, path)
		}
	}
	for i, path := range paths {
		title := filepath.Base(path)
		if len(paths) > 1 {
			title = fmt.Sprintf("%s (%d of %d)", title, i+1, len(paths))
		}
		out := FileSummary{Path: path}
		err := importFile(ctx, dir, title, opt, &out)
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
		var unusable *ingest.FileError
		if errors.As(err, &unusable) {
			problem := fmt.Errorf("import %q: %w", path, unusable.Err)
			out = FileSummary{Path: path, Verified: out.Verified, Problem: problem}
			err = nil
		}
		summary.Files = append(summary.Files, out)
		if err != nil {
			return summary, fmt.Errorf("import %q: %w", path, err)
		}
		if out.Problem == nil || len(paths) > 1 { // the caller reports the problem of a single file
			opt.Progress.Line(out.String())
		}
	}
	return summary, nil
}

// FeedOf returns which feed's rows a file has. It is empty for Parquet that tapedeck did not write.
func FeedOf(path string, opt Options) (tape.Feed, error) {
	if opt.Feed != "" {
		return opt.Feed, nil
	}
	source, err := openSource(path, opt)
	if err != nil {
		return "", fmt.Errorf("import %q: %w", path, err)
	}
	defer source.close()
	if source.form == formParquet {
		feed, err := feedOfParquet(source)
		if err != nil {
			return "", fmt.Errorf("import %q: %w", path, err)
		}
		return feed, nil
	}
	return ingest.FeedOf(source.kind), nil
}

// importFile imports the file of out and sets the other fields of out.
func importFile(ctx context.Context, dir *tape.Dir, title string, opt Options, out *FileSummary) error {
	source, err := openSource(out.Path, opt)
	if err != nil {
		return fileError(err)
	}
	defer source.close()
	opt.Progress.Begin(title, source.size)
	sum, verified, err := source.verify(ctx)
	if err != nil {
		return err
	}
	out.Verified = verified
	source.onRead = func(bytes int64) { opt.Progress.Set(out.Path, bytes) }
	origin := tape.Origin{Source: tape.FromFile, Run: opt.Run, Detail: source.name + " sha256:" + sum, Restores: true, At: opt.Now}
	rows := &staging{position: "line", newLoad: func() *tape.Loader { return dir.NewLoader(origin) }}
	if !opt.Latest.IsZero() {
		rows.latest = opt.Latest.UnixMicro()
	}
	stage := stageCSV
	if source.form == formParquet {
		rows.position, stage = "row", stageParquet
	}
	defer rows.discard()
	if err := stage(ctx, dir, source, rows); err != nil {
		return refused(err)
	}
	published, err := rows.load.Publish(ctx)
	if err != nil {
		err = refused(err)
	}
	rows.summarize(out)
	out.Published, out.Bytes, out.Segments = published.Rows, published.Bytes, len(published.Segments)
	out.Conflicts, out.ConflictRows, out.Unreadable = published.Conflicts, published.ConflictRows, published.Unreadable
	if out.Inexact > 0 {
		opt.Logger.Warn("values are not exact as doubles", "file", out.Path, "values", out.Inexact)
	}
	return err
}

// refused makes the error of a file that is of another market one of the file.
func refused(err error) error {
	var other *tape.DisagreementError
	if errors.As(err, &other) {
		return fileError(err)
	}
	return err
}

// checkFeed returns an error if a file has the rows of another feed than the tape.
func checkFeed(dir *tape.Dir, feed tape.Feed) error {
	if feed != dir.Feed() {
		return fileError(&tape.FeedError{Path: dir.Path(), Have: dir.Feed(), Want: feed})
	}
	return nil
}
