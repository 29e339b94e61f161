package backfill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/tape"
)

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
	case errors.Is(err, binance.ErrNotInArchive) && len(day.edges) == 0 && !day.idsKnown():
		// Before the first trade that REST shows: most probably there was none.
	case errors.Is(err, binance.ErrNotInArchive), errors.As(err, &unfit), errors.As(err, &status), errors.As(err, &checksum), binance.Temporary(err):
		level := slog.LevelWarn
		if errors.Is(err, binance.ErrNotInArchive) {
			level = slog.LevelInfo // yesterday's comes some hours after midnight
		}
		s.opt.Logger.Log(ctx, level, "archive file not used", "symbol", s.plan.Symbol, "date", day.Day.Format(time.DateOnly), "error", err)
		problem := fmt.Errorf("archive file of %s: %w", day.Day.Format(time.DateOnly), err)
		if day.idsKnown() {
			s.late = problem
		} else {
			s.out.Problem = problem // nobody else knows what was in it
		}
	default:
		return err
	}
	return nil
}

// takeDay stages what is wanted of a file while it is read, and publishes it when all of the file has been seen to be right.
func (s *symbolRun) takeDay(ctx context.Context, file *binance.ArchiveFile, kind binance.ArchiveKind, day DayPlan) error {
	t := &dayTaker{symbolRun: s, file: file, kind: kind, day: day}
	t.begin()
	defer func() { t.load.Discard() }()
	err := t.eachBatch(ctx, func(b *dayBatch) error {
		if b.unsorted || len(b.trades) > 0 && b.trades[0].ID < t.last {
			return errUnsorted
		}
		if n := len(b.trades); n > 0 {
			t.last = b.trades[n-1].ID
		}
		return t.add(ctx, b.trades, b.inexact)
	})
	if errors.Is(err, errUnsorted) {
		t.load.Discard()
		t.begin()
		err = t.addUnsorted(ctx)
	}
	if err != nil {
		return err
	}
	if err := t.flush(ctx); err != nil {
		return err
	}
	if lacking := day.Missing.Intersect(idset.Set{day.Ids}).Subtract(t.found).Subtract(t.doubtful); day.idsKnown() && len(lacking) > 0 {
		s.opt.Logger.Warn("archive file lacks ids", "symbol", s.plan.Symbol, "file", file.Name, "ids", lacking.Count(), "first_id", lacking[0].First, "last_id", lacking[len(lacking)-1].Last)
	}
	if len(t.doubtful) > 0 {
		s.opt.Logger.Warn("archive file has ids twice with different rows, left to REST", "symbol", s.plan.Symbol, "file", file.Name, "ids", t.doubtful.Count())
	}
	published, err := t.load.Publish(ctx)
	return s.bookPublished(published, t.inexact, tape.FromArchive, t.taken, err)
}

// errUnsorted says that a file is not in the order of its ids.
var errUnsorted = errors.New("the rows are not in the order of their ids")

// dayTaker takes the rows of a day's file, in the order of their ids.
type dayTaker struct {
	*symbolRun
	file *binance.ArchiveFile
	kind binance.ArchiveKind
	day  DayPlan
	load *tape.Load
	last int64 // the id read last

	// found are the ids that the file holds once, or more than once with the same content; doubtful those with different ones. taken are
	// those of found that were staged.
	found, doubtful, taken idset.Set
	inexact                int64
	held                   tape.Trade // the last row, until it is known that none with its id differs
	holds, differ          bool       // whether there is one, and whether one of its id differs
	near                   int        // where the last id was found in the wanted ones
	kept                   []tape.Trade
}

func (t *dayTaker) begin() {
	*t = dayTaker{symbolRun: t.symbolRun, file: t.file, kind: t.kind, day: t.day, last: -1}
	t.load = t.dir.Load(tape.Origin{Source: tape.FromArchive, Run: t.opt.Run, Detail: t.file.Name + " sha256:" + t.file.SHA256})
}

// eachBatch reads the file to its end, where its zip's own checksum is verified. What cannot be read, or cannot be what the file says that it is, makes it unfit.
func (t *dayTaker) eachBatch(ctx context.Context, do func(*dayBatch) error) error {
	content, err := t.file.Open()
	if err != nil {
		return &unfitError{err.Error()}
	}
	defer content.Close()
	const slack = time.Second // rows at midnight may be booked a little off
	from, to := t.day.Day.Add(-slack).UnixMicro(), t.day.Day.AddDate(0, 0, 1).Add(slack).UnixMicro()
	_, err = binance.ReadAhead(ctx, content, t.kind, func() *dayBatch {
		return &dayBatch{symbol: t.plan.Symbol, kind: t.kind, edges: t.day.edges, wanted: t.day.Missing, from: from, to: to, last: -1}
	}, do)
	var unreadable *binance.UnreadableError
	if errors.As(err, &unreadable) {
		return &unfitError{fmt.Sprintf("%s: %v", t.file.Name, err)}
	}
	return err
}

// addUnsorted is for a file that is not in order: it is read again and sorted on disk.
func (t *dayTaker) addUnsorted(ctx context.Context) error {
	sorter, err := t.dir.NewSorter(t.plan.Symbol)
	if err != nil {
		return err
	}
	defer sorter.Close()
	var inexact int64
	if err := t.eachBatch(ctx, func(b *dayBatch) error {
		inexact += b.inexact
		return sorter.Add(b.trades, b.lines)
	}); err != nil {
		return err
	}
	return sorter.Each(func(trades []tape.Trade, _ []int64) error {
		err := t.add(ctx, trades, inexact)
		inexact = 0 // it was told
		return err
	})
}

// add takes rows in the order of their ids.
func (t *dayTaker) add(ctx context.Context, trades []tape.Trade, inexact int64) error {
	t.kept = t.kept[:0]
	t.inexact += inexact
	for i := range trades {
		row := &trades[i]
		if t.holds && row.ID == t.held.ID {
			t.differ = t.differ || *row != t.held
			continue
		}
		t.release()
		t.held, t.holds, t.differ = *row, true, false
	}
	return t.load.Add(ctx, t.kept, inexact)
}

func (t *dayTaker) flush(ctx context.Context) error {
	t.kept = t.kept[:0]
	t.release()
	return t.load.Add(ctx, t.kept, 0)
}

// release lets the held row go where it belongs.
func (t *dayTaker) release() {
	if !t.holds {
		return
	}
	id := t.held.ID
	if t.differ {
		t.doubtful = extend(t.doubtful, id)
		return
	}
	t.found = extend(t.found, id)
	if t.near = holding(t.day.Missing, id, t.near); t.near < 0 {
		t.near = 0
		return
	}
	if !t.day.from.IsZero() && t.held.TradedAt < t.day.from.UnixMicro() {
		return
	}
	t.kept = append(t.kept, t.held)
	t.taken = extend(t.taken, id)
}

// extend adds an id after all others.
func extend(ids idset.Set, id int64) idset.Set {
	if n := len(ids); n > 0 && ids[n-1].Last+1 == id {
		ids[n-1].Last = id
		return ids
	}
	return append(ids, idset.Range{First: id, Last: id})
}

// dayBatch is some rows of a day's file, in the file's order.
type dayBatch struct {
	symbol   string
	kind     binance.ArchiveKind
	edges    []binance.Row
	wanted   idset.Set
	from, to int64 // of the day, a little more
	last     int64

	trades   []tape.Trade
	lines    []int64
	inexact  int64 // values of wanted trades
	unsorted bool
}

// Add takes a row that can be one of the day and does not contradict REST.
func (b *dayBatch) Add(row *binance.Row, line int64) error {
	if row.Time < b.from || row.Time >= b.to {
		return fmt.Errorf("line %d: id %d traded at %s, on another day", line, row.ID, time.UnixMicro(row.Time).UTC().Format(time.RFC3339Nano))
	}
	for i := range b.edges {
		if differs(&b.edges[i], row, b.kind) {
			return fmt.Errorf("line %d: id %d differs from what REST gives", line, row.ID)
		}
	}
	trade, inexact, err := tradeOf(b.symbol, row)
	if err != nil {
		return fmt.Errorf("line %d: %w", line, err)
	}
	if inexact > 0 && holding(b.wanted, row.ID, 0) >= 0 {
		b.inexact += inexact
	}
	b.unsorted = b.unsorted || row.ID < b.last
	b.last = row.ID
	b.trades, b.lines = append(b.trades, trade), append(b.lines, line)
	return nil
}

func (b *dayBatch) Len() int { return len(b.trades) }

func (b *dayBatch) Reset() {
	b.trades, b.lines, b.inexact, b.unsorted, b.last = b.trades[:0], b.lines[:0], 0, false, -1
}

// holding gives the place of the span that holds id, or -1. near is where to look first.
func holding(spans idset.Set, id int64, near int) int {
	for i := near; i < min(near+2, len(spans)); i++ {
		if spans[i].First <= id && id <= spans[i].Last {
			return i
		}
	}
	i, _ := slices.BinarySearchFunc(spans, id, func(span idset.Range, id int64) int {
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
		missing := s.out.StillMissing.Intersect(idset.Set{hole.Range})
		if len(missing) == 0 {
			continue
		}
		for day := dayOf(hole.from); !day.After(hole.to); day = day.AddDate(0, 0, 1) {
			if !s.tried[day] && !day.AddDate(0, 0, 1).After(s.opt.Now) {
				s.tried[day] = true
				days = append(days, DayPlan{Day: day, Ids: hole.Range, Missing: missing})
			}
		}
	}
	return days
}
