package tape

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"tapedeck/internal/durable"
)

// OpenSegment is a segment with its file, which stays readable whatever a compaction does.
type OpenSegment struct {
	Segment
	File *os.File
}

// OpenTrades opens the segments of trades of one date, in the order of their paths, all as of one instant. Those
// that cannot be read or are stray are returned separately. The caller closes the files with CloseSegments.
func (d *Dir) OpenTrades(date string) ([]OpenSegment, []BrokenSegment, error) {
	for range maxListings {
		segments, broken, err := d.TradesOf(date)
		if err != nil {
			return nil, nil, err
		}
		out, err := d.openAll(segments)
		if err == nil {
			return out, broken, nil
		}
		CloseSegments(out)
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
	}
	return nil, nil, errors.New("the segments of " + date + " changed while they were opened")
}

func (d *Dir) openAll(segments []Segment) (out []OpenSegment, err error) {
	for _, s := range segments {
		if s.Rows == 0 {
			continue
		}
		file, err := durable.Open(d.layout.path(s.Path))
		if err != nil {
			return out, err
		}
		out = append(out, OpenSegment{s, file})
	}
	return out, nil
}

// CloseSegments closes the files of segments.
func CloseSegments(segments []OpenSegment) {
	for _, s := range segments {
		s.File.Close()
	}
}

// ID returns the random id of the tape. It is empty for a tape that version 0.1.0 created.
func (d *Dir) ID() string { return d.manifest.ID }

// EachTrades calls use for the rows of an open Parquet file with the columns of trades, in their order, at most a row
// group at a time. use must not keep its argument.
func EachTrades(ctx context.Context, open *os.File, use func([]Trade) error) (err error) {
	defer recoverDamage("content", &err)
	parquet, _, err := parquetOf(open)
	if err != nil {
		return err
	}
	file, err := columnsOf(parquet)
	if err != nil {
		return err
	}
	var rows []Trade
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		more, err := file.read()
		if err != nil || !more {
			return err
		}
		rows = rows[:0]
		from := 0
		for i, name := range file.symbols {
			rows = file.appendTrades(rows, name, from, file.ends[i])
			from = file.ends[i]
		}
		if err := use(rows); err != nil {
			return err
		}
	}
}
