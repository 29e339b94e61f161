package backfill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/ingest"
	"tapedeck/internal/outbound"
	"tapedeck/internal/tape"
)

// fetchDay publishes what it can of a day from its archive file. A file that is late, damaged or
// wrong is not an error: the ids that it should have had stay missing.
func (s *symbolRun) fetchDay(ctx context.Context, day DayPlan) error {
	s.tried[day.Day] = true
	if err := s.files.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.files.Release(1)
	date := day.Day.Format(time.DateOnly)
	file, err := s.Archive.Fetch(ctx, ingest.KindOf(s.dir.Feed()), s.Symbol, day.Day, s.dir.StagingPath())
	if err == nil {
		defer file.Close()
		err = s.publishFile(ctx, file, day)
	}
	var unusable *ingest.FileError
	var status *binance.StatusError
	var checksum *binance.ChecksumError
	var redirect *outbound.RedirectError
	var tooLarge *binance.TooLargeError
	var line *binance.CSVError
	if errors.As(err, &line) {
		line.Text = "" // what a server sent is not shown
	}
	switch {
	case err == nil:
		s.out.Days++
		s.archived[day.Day] = true
	case ctx.Err() != nil:
		return err
	case errors.Is(err, binance.ErrNotInArchive) && len(day.known) == 0 && !day.idsKnown():
		// The day is before the first trade that REST shows: most probably there was no trade.
	case errors.Is(err, binance.ErrNotInArchive), errors.As(err, &unusable), errors.As(err, &status),
		errors.As(err, &checksum), errors.As(err, &redirect), errors.As(err, &tooLarge), binance.Temporary(err):
		level := slog.LevelWarn
		if errors.Is(err, binance.ErrNotInArchive) {
			level = slog.LevelInfo // yesterday's file appears some hours after midnight
		}
		s.Logger.Log(ctx, level, "archive file not used", "symbol", s.Symbol, "date", date, "error", err)
		problem := fmt.Errorf("archive file of %s: %w", date, err)
		if day.idsKnown() {
			s.archiveProblem = problem
		} else {
			s.out.Problem = problem // REST cannot tell what the file had
		}
	default:
		return err
	}
	return nil
}

// publishFile stages the missing trades of a day's file while it is read, and publishes them after
// the whole file was found to be right.
func (s *symbolRun) publishFile(ctx context.Context, file *binance.ArchiveFile, day DayPlan) (err error) {
	defer func() { err = ofFile(file.Name, err) }()
	const slack = time.Second // rows at midnight may have the date of the other side
	kind := ingest.KindOf(s.dir.Feed())
	from, to := day.Day.Add(-slack).UnixMicro(), day.Day.AddDate(0, 0, 1).Add(slack).UnixMicro()
	csv := ingest.CSV{
		Symbol: s.Symbol, Kind: kind, Open: file.Open, Counted: day.Missing,
		Check: func(row *binance.Row) error {
			if row.Time < from || row.Time >= to {
				at := time.UnixMicro(row.Time).UTC().Format(time.RFC3339Nano)
				return fmt.Errorf("id %d traded on another day, at %s", row.ID, at)
			}
			for i := range day.known {
				if differs(&day.known[i], row, kind) {
					return fmt.Errorf("id %d differs from the same trade from REST", row.ID)
				}
			}
			return nil
		},
	}
	var t *dayStaging
	origin := tape.Origin{
		Source: tape.FromArchive, Run: s.Run, Detail: file.Name + " sha256:" + file.SHA256, At: s.Now, Restores: s.RestoreDropped,
	}
	_, err = csv.ReadSorted(ctx, s.dir, func() {
		if t != nil {
			t.load.Discard()
		}
		t = &dayStaging{day: day, onTape: s.onTape, load: s.dir.NewLoader(origin)}
	}, func(b *ingest.Batch) error { return t.add(ctx, b.Trades, b.Inexact) })
	defer func() { t.load.Discard() }()
	if err != nil {
		return err
	}
	if err := t.finish(ctx); err != nil {
		return err
	}
	lacking := day.Missing.Intersect(idset.Set{day.IDs}).Subtract(t.found).Subtract(t.conflicting)
	if day.idsKnown() && len(lacking) > 0 {
		s.warnIDs(lacking, "archive file lacks ids", "file", file.Name)
	}
	if len(t.conflicting) > 0 {
		s.Logger.Warn("archive file has different rows with the same id, REST decides", "symbol", s.Symbol,
			"file", file.Name, "ids", t.conflicting.Count())
	}
	if len(t.staged) > 0 && (s.firstArchived < 0 || t.staged[0].First < s.firstArchived) {
		s.firstArchived = t.staged[0].First
	}
	published, err := t.load.Publish(ctx)
	s.out.FromArchive += published.Rows
	return s.recordPublished(published, t.inexact, t.staged, err)
}

// ofFile adds the name of an archive file to the error of one that is of another market.
func ofFile(name string, err error) error {
	var other *tape.DisagreementError
	if errors.As(err, &other) {
		return fmt.Errorf("archive file %s: %w", name, err)
	}
	return err
}

// dayStaging stages the missing trades of a day's file. Rows come in the order of their ids.
type dayStaging struct {
	day    DayPlan
	onTape idset.Set // ids whose rows are compared with the tape's
	load   *tape.Loader

	// found are the ids that the file has once, or several times with the same content. conflicting
	// are those that it has with different contents. staged is the part of found that was missing
	// from the tape.
	found, conflicting, staged idset.Set
	inexact                    int64
	last                       tape.Trade // held back until no row with its id can follow
	hasLast, lastConflicts     bool
	kept                       []tape.Trade
}

func (t *dayStaging) add(ctx context.Context, trades []tape.Trade, inexact int64) error {
	t.kept = t.kept[:0]
	t.inexact += inexact
	for i := range trades {
		row := &trades[i]
		if t.hasLast && row.ID == t.last.ID {
			t.lastConflicts = t.lastConflicts || *row != t.last
			continue
		}
		t.keepLast()
		t.last, t.hasLast, t.lastConflicts = *row, true, false
	}
	return t.load.Add(ctx, t.kept, inexact)
}

func (t *dayStaging) finish(ctx context.Context) error {
	t.kept = t.kept[:0]
	t.keepLast()
	return t.load.Add(ctx, t.kept, 0)
}

// keepLast keeps the last row if it is missing from the tape or to be compared with the row there, and
// does not conflict with another.
func (t *dayStaging) keepLast() {
	if !t.hasLast {
		return
	}
	if t.lastConflicts {
		t.conflicting.Append(t.last.ID)
		return
	}
	t.found.Append(t.last.ID)
	if t.onTape.Contains(t.last.ID) {
		t.kept = append(t.kept, t.last)
		return
	}
	if !t.day.Missing.Contains(t.last.ID) || !t.day.from.IsZero() && t.last.TradedAt < t.day.from.UnixMicro() ||
		!t.day.until.IsZero() && t.last.TradedAt >= t.day.until.UnixMicro() {
		return
	}
	t.kept = append(t.kept, t.last)
	t.staged.Append(t.last.ID)
}

// differs reports whether a row of a file has the id of a trade from REST and another content. REST
// returns an aggregate trade; its first raw trade has the same content except the quantity. Files
// before 2025 have milliseconds.
func differs(rest, row *binance.Row, kind binance.ArchiveKind) bool {
	id := rest.ID
	if kind == binance.KindTrades {
		id = rest.FirstTradeID
	}
	if row.ID != id {
		return false
	}
	sameTime := row.Time == rest.Time || row.Time%1000 == 0 && row.Time == rest.Time-rest.Time%1000
	sameTrades := kind == binance.KindTrades || row.FirstTradeID == rest.FirstTradeID &&
		row.LastTradeID == rest.LastTradeID && sameDecimal(row.Qty, rest.Qty)
	return !sameTrades || !sameTime || row.IsBuyerMaker != rest.IsBuyerMaker || !sameDecimal(row.Price, rest.Price)
}

func sameDecimal(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, _, errX := tape.ParseDecimal(a)
	y, _, errY := tape.ParseDecimal(b)
	return errX == nil && errY == nil && x == y
}

// untriedDays returns the past days whose files may have what REST did not return, and were not
// tried yet.
func (s *symbolRun) untriedDays() []DayPlan {
	if s.Archive == nil || s.Source != Auto {
		return nil
	}
	var days []DayPlan
	for _, gap := range s.gaps {
		missing := s.out.StillMissing.Intersect(idset.Set{rangeOf(gap)})
		if len(missing) == 0 {
			continue
		}
		for _, day := range pastDays(gap.After, gap.Before, s.Now) {
			if !s.tried[day] {
				s.tried[day] = true
				days = append(days, DayPlan{Day: day, IDs: rangeOf(gap), Missing: missing})
			}
		}
	}
	return days
}
