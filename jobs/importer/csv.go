package importer

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"

	"tapedeck/internal/ingest"
	"tapedeck/internal/tape"
)

// stageCSV stages the rows of a CSV or of the CSV in a zip.
func stageCSV(ctx context.Context, dir *tape.Dir, s *source, out *staging) error {
	if err := checkFeed(dir, ingest.FeedOf(s.kind)); err != nil {
		return err
	}
	csv := ingest.CSV{Symbol: s.symbol, Kind: s.kind, Layout: s.layout, Open: func() (io.ReadCloser, error) {
		_, content, err := s.open()
		return content, err
	}}
	voided, err := csv.ReadSorted(ctx, dir, out.restart, func(b *ingest.Batch) error { return out.add(ctx, b) })
	var unusable *ingest.FileError
	if errors.As(err, &unusable) {
		return fileError(describeAfter(unusable.Line, unusable.Err))
	}
	out.voided = voided
	return err
}

// describeAfter adds the line after which a zip turned out to be damaged. The error of a row names
// its line already.
func describeAfter(line int64, err error) error {
	if described := describe(err); described != err {
		return fmt.Errorf("after line %d: %w", line, described)
	}
	return err
}

// describe replaces the errors of the zip library by ones that say what is wrong with the file.
func describe(err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case errors.Is(err, zip.ErrFormat):
		return errors.New("not a complete zip file")
	case errors.Is(err, zip.ErrChecksum):
		return errors.New("the zip is damaged: its content does not match its checksum")
	case errors.Is(err, zip.ErrAlgorithm):
		return errors.New("the zip uses a compression method that is not supported")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &corrupt):
		return fmt.Errorf("the zip is damaged: %w", err)
	}
	return err
}
