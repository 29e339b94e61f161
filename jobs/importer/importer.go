// Package importer publishes trades from files that people already have: zips and CSVs in the form
// of data.binance.vision, and Parquet files with the tape's columns.
//
// Its guarantee: a file is imported completely or not at all. Its rows are staged while it is read,
// and published after its last row, its checksum and its ids were found to be right. Only ids that
// are not on the tape are written. docs/BINANCE.md describes the archive's files, docs/TAPE.md the
// columns.
package importer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"tapedeck/internal/ingest"
	"tapedeck/internal/progress"
	"tapedeck/internal/tape"
)

// Options are the settings of an import; the zero value is the default.
type Options struct {
	// Symbol is the symbol of CSVs and zips; if empty, each file's name says it:
	// BTCUSDT-aggTrades-2024-08-08.zip.
	Symbol string
	// Feed is the feed of CSVs and zips; if empty, each file's name or its first lines say it.
	Feed tape.Feed
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
		total.Missing += file.Missing
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
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
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
		f := &fileImport{dir: dir, opt: opt, path: path, title: title, out: FileSummary{Path: path}}
		err := f.run(ctx)
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
		var unusable *ingest.FileError
		if errors.As(err, &unusable) {
			problem := fmt.Errorf("import %q: %w", path, unusable.Err)
			f.out = FileSummary{Path: path, Verified: f.out.Verified, Problem: problem}
			err = nil
		}
		summary.Files = append(summary.Files, f.out)
		if err != nil {
			return summary, fmt.Errorf("import %q: %w", path, err)
		}
		if f.out.Problem == nil || len(paths) > 1 { // the caller reports the problem of a single file
			opt.Progress.Line(f.out.String())
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
		return feedOfParquet(source)
	}
	return ingest.FeedOf(source.kind), nil
}

// fileImport imports one file.
type fileImport struct {
	dir         *tape.Dir
	opt         Options
	path, title string
	out         FileSummary
}

func (f *fileImport) run(ctx context.Context) error {
	source, err := openSource(f.path, f.opt)
	if err != nil {
		return fileError(err)
	}
	defer source.close()
	f.opt.Progress.Begin(f.title, source.size)
	sum, verified, err := source.verify(ctx)
	if err != nil {
		return err
	}
	f.out.Verified = verified
	if source.form != formParquet {
		if feed := ingest.FeedOf(source.kind); feed != f.dir.Feed() {
			return fileError(&tape.FeedError{Path: f.dir.Path(), Have: f.dir.Feed(), Want: feed})
		}
	}
	source.onRead = func(bytes int64) { f.opt.Progress.Set(f.path, bytes) }

	origin := tape.Origin{Source: tape.FromFile, Run: f.opt.Run, Detail: source.name + " sha256:" + sum}
	out := &staging{position: "line", newLoad: func() *tape.Loader { return f.dir.NewLoader(origin) }}
	stage := stageCSV
	if source.form == formParquet {
		out.position, stage = "row", stageParquet
	}
	defer out.discard()
	if err := stage(ctx, f.dir, source, out); err != nil {
		return err
	}
	published, err := out.load.Publish(ctx)
	out.summarize(&f.out)
	f.out.Published, f.out.Bytes, f.out.Segments = published.Rows, published.Bytes, len(published.Segments)
	if f.out.Inexact > 0 {
		f.opt.Logger.Warn("values are not exact as doubles", "file", f.path, "values", f.out.Inexact)
	}
	return err
}
