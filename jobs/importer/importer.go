// Package importer puts trades on the tape from files that people already have: zips and CSVs in the form of data.binance.vision, and Parquet
// with the tape's own columns.
//
// The guarantee: a file is taken whole or not at all. Its rows are staged while it is read, and become visible when its last row,
// its checksum and the order of its ids have been seen to be right. Only ids that are not on the tape are written.
package importer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"tapedeck/internal/ingest"
	"tapedeck/internal/tape"
)

// Options are an import's settings; the zero value is the default.
type Options struct {
	// Symbol of CSVs and zips; empty takes it from each file's name, as in BTCUSDT-aggTrades-2024-08-08.zip.
	Symbol string
	// Feed of CSVs and zips; empty takes it from each file's name, and else from its first line.
	Feed tape.Feed
	// Run is the id of the run, for the segments' metadata.
	Run string
	// Logger hears of values that are not exact as doubles; nil means silence.
	Logger *slog.Logger
	// Progress hears how far it is; nil means nobody.
	Progress Progress
}

// Progress hears how far an import is. Its methods are called from one goroutine at a time and must not block.
type Progress interface {
	// Started comes once a file: the index-th of all, from 0. bytes is its size.
	Started(path string, index, of int, bytes int64)
	// Advanced says how many of a file's bytes were read. A file that is not in the order of its ids is read twice and begins again at 0.
	Advanced(path string, bytes, of int64)
	// Finished comes once a file.
	Finished(summary FileSummary)
}

type silent struct{}

func (silent) Started(string, int, int, int64) {}
func (silent) Advanced(string, int64, int64)   {}
func (silent) Finished(FileSummary)            {}

// FileSummary is what became of one file.
type FileSummary struct {
	Path string
	// Symbols whose trades it holds.
	Symbols []string
	// Rows are its trades, each id once. Repeated counts the rows that say again what one before says, Voided those that the
	// exchange itself has voided (price and quantity 0, trade ids -1).
	Rows, Repeated, Voided int64
	// Published is how many of Rows were put on the tape; the others were there already.
	Published int64
	// Missing is how many ids between its first and its last, a symbol, it does not hold.
	Missing int64
	// Segments and Bytes that were written, and values in the file whose double does not print back as the exchange's decimal.
	Segments int
	Bytes    int64
	Inexact  int64
	// Verified says that a .CHECKSUM beside the file fits it.
	Verified bool
	// Problem is why nothing of the file was taken: what cannot be read, with its line. Nil where it was taken.
	Problem error
}

// Summary is what an import did.
type Summary struct {
	Files []FileSummary // in the order in which they were given, without the .CHECKSUM files among them
}

// Total adds the files up; its Path, Symbols and Problem are empty.
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

// Problems lists the files of which nothing was taken.
func (s Summary) Problems() []FileSummary {
	var out []FileSummary
	for _, file := range s.Files {
		if file.Problem != nil {
			out = append(out, file)
		}
	}
	return out
}

// fileError makes an error one of the file: nothing of it is imported, and the other files still are.
func fileError(err error) error { return &ingest.FileError{Err: err} }

func fileErrorf(format string, args ...any) error { return fileError(fmt.Errorf(format, args...)) }

// Run imports files, one after the other. A file that cannot be taken stands in the summary with its Problem and does not keep the others from being
// taken; an error means that it was stopped: the context, a full disk. The summary is right also beside an error. Files whose name ends in
// .CHECKSUM are only held against the file that they lie beside.
func Run(ctx context.Context, dir *tape.Dir, files []string, opt Options) (Summary, error) {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Progress == nil {
		opt.Progress = silent{}
	}
	var summary Summary
	var paths []string
	for _, path := range files {
		if !isChecksum(path) {
			paths = append(paths, path)
		}
	}
	for i, path := range paths {
		j := &fileImport{dir: dir, opt: opt, path: path, out: FileSummary{Path: path}}
		err := j.run(ctx, i, len(paths))
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
		var unusable *ingest.FileError
		if errors.As(err, &unusable) {
			j.out = FileSummary{Path: path, Verified: j.out.Verified, Problem: fmt.Errorf("import %q: %w", path, unusable.Err)}
			err = nil
		}
		summary.Files = append(summary.Files, j.out)
		opt.Progress.Finished(j.out)
		if err != nil {
			return summary, fmt.Errorf("import %q: %w", path, err)
		}
	}
	return summary, nil
}

// FeedOf tells which feed's rows a file holds, for a tape that is yet to be made; empty where it does not say, as Parquet that tapedeck did not write.
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

// fileImport is the work on one file.
type fileImport struct {
	dir  *tape.Dir
	opt  Options
	path string
	out  FileSummary
}

func (j *fileImport) run(ctx context.Context, index, of int) error {
	source, err := openSource(j.path, j.opt)
	if err != nil {
		return fileError(err)
	}
	defer source.close()
	j.opt.Progress.Started(j.path, index, of, source.size)
	sum, verified, err := source.verify(ctx)
	if err != nil {
		return err
	}
	j.out.Verified = verified
	if source.form != formParquet {
		if feed := ingest.FeedOf(source.kind); feed != j.dir.Feed() {
			return fileError(&tape.FeedError{Path: j.dir.Path(), Have: j.dir.Feed(), Want: feed})
		}
	}
	source.onRead = func(bytes int64) { j.opt.Progress.Advanced(j.path, bytes, source.size) }

	origin := tape.Origin{Source: tape.FromFile, Run: j.opt.Run, Detail: source.name + " sha256:" + sum}
	out := &staging{position: "line", newLoad: func() *tape.Load { return j.dir.Load(origin) }}
	stage := stageCSV
	if source.form == formParquet {
		out.position, stage = "row", stageParquet
	}
	defer out.discard()
	if err := stage(ctx, j.dir, source, out); err != nil {
		return err
	}
	published, err := out.load.Publish(ctx)
	out.summarize(&j.out)
	j.out.Published, j.out.Bytes, j.out.Segments = published.Rows, published.Bytes, len(published.Segments)
	if j.out.Inexact > 0 {
		j.opt.Logger.Warn("values are not exact as doubles", "file", j.path, "values", j.out.Inexact)
	}
	return err
}
