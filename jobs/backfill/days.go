package backfill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"tapedeck/analytics/tape"
	"tapedeck/jobs/internal/binance"
)

// rowsPerPiece is how many rows of an archive file are published at once: about 40 MB in memory.
const rowsPerPiece = 500_000

// unfitError is a file of the archive that must not be used, whatever its checksum says.
type unfitError struct{ reason string }

func (e *unfitError) Error() string { return e.reason }

// archiveDay takes what it can of a day from the archive. A file that is late, damaged or wrong is no error: what it was to bring
// stays missing.
func (s *symbolRun) archiveDay(ctx context.Context, day DayPlan) error {
	s.tried[day.Day] = true
	release, err := take(ctx, s.files)
	if err != nil {
		return err
	}
	defer release()
	kind := binance.KindAggTrades
	if s.dir.Feed() == tape.RawTrade {
		kind = binance.KindTrades
	}
	file, err := s.clients.Archive.Fetch(ctx, kind, s.plan.Symbol, day.Day, s.dir.StagingPath())
	if err == nil {
		defer file.Close()
		err = s.takeDay(ctx, file, kind, day)
	}
	var unfit *unfitError
	var status *binance.StatusError
	var checksum *binance.ChecksumError
	switch {
	case err == nil:
		s.out.Days++
	case ctx.Err() != nil:
		return err
	case errors.Is(err, binance.ErrNotInArchive) && len(day.edges) == 0 && day.Ids == (tape.Span{}):
		// Before the first trade that REST shows: most probably there was none.
	case errors.Is(err, binance.ErrNotInArchive), errors.As(err, &unfit), errors.As(err, &status), errors.As(err, &checksum), binance.Temporary(err):
		s.opt.Logger.Warn("archive file not used", "symbol", s.plan.Symbol, "date", day.Day.Format(time.DateOnly), "error", err)
		s.out.Problem = fmt.Errorf("archive file of %s: %w", day.Day.Format(time.DateOnly), err)
	default:
		return err
	}
	return nil
}

// takeDay reads a file twice: once to see whether it can be trusted, once to publish what is wanted of it.
func (s *symbolRun) takeDay(ctx context.Context, file *binance.ArchiveFile, kind binance.ArchiveKind, day DayPlan) error {
	found, err := s.inspect(ctx, file, kind, day)
	if err != nil {
		return err
	}
	if lacking := day.Missing.Intersect(tape.Spans{day.Ids}).Subtract(found.ids); len(lacking) > 0 {
		s.opt.Logger.Warn("archive file lacks ids", "symbol", s.plan.Symbol, "file", file.Name, "ids", lacking.Count(), "first_id", lacking[0].First, "last_id", lacking[len(lacking)-1].Last)
	}
	take := day.Missing.Intersect(found.ids)
	trades := make([]tape.Trade, 0, min(take.Count(), rowsPerPiece))
	var inexact int64
	publish := func() error {
		slices.SortFunc(trades, func(a, b tape.Trade) int { return int(a.ID - b.ID) })
		err := s.publish(ctx, trades, inexact, tape.FromArchive, file.Name+" sha256:"+file.SHA256)
		trades, inexact = trades[:0], 0
		return err
	}
	near := 0 // where the last id was found in take: rows mostly come in order
	err = s.eachRow(ctx, file, kind, func(row *binance.Row, _ int64) error {
		if near = holding(take, row.ID, near); near < 0 {
			near = 0
			return nil
		}
		if row.Time < day.from.UnixMicro() && !day.from.IsZero() {
			return nil
		}
		trade, parts, err := tradeOf(s.plan.Symbol, row)
		if err != nil {
			return &unfitError{err.Error()}
		}
		trades = append(trades, trade)
		inexact += parts
		if len(trades) == rowsPerPiece {
			return publish()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return publish()
}

// holding gives the place of the span that holds id, or -1. near is where to look first.
func holding(spans tape.Spans, id int64, near int) int {
	for i := near; i < min(near+2, len(spans)); i++ {
		if spans[i].First <= id && id <= spans[i].Last {
			return i
		}
	}
	i, _ := slices.BinarySearchFunc(spans, id, func(span tape.Span, id int64) int {
		if span.Last < id {
			return -1
		}
		return 1
	})
	if i < len(spans) && spans[i].First <= id {
		return i
	}
	return -1
}

// eachRow gives every row of a file, with its line. A row that cannot be read makes the file unfit.
func (s *symbolRun) eachRow(ctx context.Context, file *binance.ArchiveFile, kind binance.ArchiveKind, do func(row *binance.Row, line int64) error) error {
	rows, closer, err := file.Rows(kind)
	if err != nil {
		return &unfitError{err.Error()}
	}
	defer closer.Close()
	var row binance.Row
	for {
		if rows.Line()%(1<<16) == 0 {
			if err := context.Cause(ctx); err != nil {
				return err
			}
		}
		err := rows.Next(&row)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return &unfitError{fmt.Sprintf("%s: %v", file.Name, err)}
		}
		if err := do(&row, rows.Line()); err != nil {
			return err
		}
	}
}

// found is what a file turned out to hold.
type found struct {
	ids tape.Spans // those that stand once, or more than once with the same content
}

// inspect reads a file to its end, where its zip's own checksum is verified, and looks whether it can be what it says: rows of that day, equal
// to those that REST gave.
func (s *symbolRun) inspect(ctx context.Context, file *binance.ArchiveFile, kind binance.ArchiveKind, day DayPlan) (found, error) {
	const slack = time.Second // rows at midnight may be booked a little off
	from, to := day.Day.Add(-slack).UnixMicro(), day.Day.AddDate(0, 0, 1).Add(slack).UnixMicro()
	var ids, doubtful tape.Spans
	var last, lastDigest = int64(-1), uint64(0)
	sorted := true
	err := s.eachRow(ctx, file, kind, func(row *binance.Row, line int64) error {
		if row.Time < from || row.Time >= to {
			return &unfitError{fmt.Sprintf("%s: line %d: id %d traded at %s, on another day", file.Name, line, row.ID, time.UnixMicro(row.Time).UTC().Format(time.RFC3339Nano))}
		}
		for i := range day.edges {
			if differs(&day.edges[i], row, kind) {
				return &unfitError{fmt.Sprintf("%s: line %d: id %d differs from what REST gives", file.Name, line, row.ID)}
			}
		}
		digest := digestOf(row)
		switch {
		case !sorted || row.ID < last:
			sorted = false
			return nil
		case row.ID == last:
			if digest != lastDigest {
				doubtful = doubtful.Add(tape.Span{First: row.ID, Last: row.ID})
			}
			return nil
		}
		last, lastDigest = row.ID, digest
		if n := len(ids); n > 0 && row.ID == ids[n-1].Last+1 {
			ids[n-1].Last = row.ID
		} else {
			ids = append(ids, tape.Span{First: row.ID, Last: row.ID})
		}
		return nil
	})
	if err != nil {
		return found{}, err
	}
	if !sorted {
		if ids, doubtful, err = s.inspectUnsorted(ctx, file, kind); err != nil {
			return found{}, err
		}
	}
	if len(doubtful) > 0 {
		s.opt.Logger.Warn("archive file has ids twice with different rows, left to REST", "symbol", s.plan.Symbol, "file", file.Name, "ids", doubtful.Count())
	}
	return found{ids: ids.Subtract(doubtful)}, nil
}

// inspectUnsorted is inspect for a file that is not in order: 16 bytes a row in memory.
func (s *symbolRun) inspectUnsorted(ctx context.Context, file *binance.ArchiveFile, kind binance.ArchiveKind) (ids, doubtful tape.Spans, err error) {
	type seenRow struct {
		id     int64
		digest uint64 // of the rest of the row
	}
	var rows []seenRow
	err = s.eachRow(ctx, file, kind, func(row *binance.Row, _ int64) error {
		rows = append(rows, seenRow{row.ID, digestOf(row)})
		return nil
	})
	slices.SortFunc(rows, func(a, b seenRow) int { return int(a.id - b.id) })
	for i, row := range rows {
		if i > 0 && rows[i-1].id == row.id {
			if rows[i-1].digest != row.digest {
				doubtful = doubtful.Add(tape.Span{First: row.id, Last: row.id})
			}
			continue
		}
		if n := len(ids); n > 0 && row.id == ids[n-1].Last+1 {
			ids[n-1].Last = row.id
		} else {
			ids = append(ids, tape.Span{First: row.id, Last: row.id})
		}
	}
	return ids, doubtful, err
}

// digestOf hashes what a row says besides its id (FNV-1a).
func digestOf(row *binance.Row) uint64 {
	const prime = 1099511628211
	hash := uint64(14695981039346656037)
	for _, text := range [][]byte{row.Price, row.Qty} {
		for _, char := range text {
			hash = (hash ^ uint64(char)) * prime
		}
		hash = (hash ^ ',') * prime
	}
	maker := uint64(0)
	if row.IsBuyerMaker {
		maker = 1
	}
	for _, number := range []uint64{uint64(row.FirstTradeID), uint64(row.LastTradeID), uint64(row.Time), maker} {
		hash = (hash ^ number) * prime
	}
	return hash
}

// differs says whether a row of a file is the one that REST gave and yet not equal to it. REST gives an aggregate trade, of which a raw
// trade shares all but the quantity; files before 2025 have no microseconds.
func differs(rest, row *binance.Row, kind binance.ArchiveKind) bool {
	if kind == binance.KindTrades {
		if row.ID != rest.FirstTradeID {
			return false
		}
	} else {
		if row.ID != rest.ID {
			return false
		}
		if row.FirstTradeID != rest.FirstTradeID || row.LastTradeID != rest.LastTradeID || !sameDecimal(row.Qty, rest.Qty) {
			return true
		}
	}
	sameTime := row.Time == rest.Time || row.Time%1000 == 0 && row.Time == rest.Time-rest.Time%1000
	return !sameTime || row.IsBuyerMaker != rest.IsBuyerMaker || !sameDecimal(row.Price, rest.Price)
}

func sameDecimal(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, _, errX := tape.ParseDecimal(a)
	y, _, errY := tape.ParseDecimal(b)
	return errX == nil && errY == nil && x == y
}

// lastResort gives the past days that may hold what REST did not show and that were not looked up yet.
func (s *symbolRun) lastResort() []DayPlan {
	if s.clients.Archive == nil || s.opt.Source != Auto {
		return nil
	}
	var days []DayPlan
	for _, hole := range s.plan.holes {
		missing := s.out.StillMissing.Intersect(tape.Spans{hole.Span})
		if len(missing) == 0 {
			continue
		}
		for day := dayOf(hole.from); !day.After(hole.to); day = day.AddDate(0, 0, 1) {
			if !s.tried[day] && !day.AddDate(0, 0, 1).After(s.opt.Now) {
				s.tried[day] = true
				days = append(days, DayPlan{Day: day, Ids: hole.Span, Missing: missing})
			}
		}
	}
	return days
}
