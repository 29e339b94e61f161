// Package ship copies proven days of the tape into the Iceberg tables of a lake.
//
// Its one guarantee: what is in the lake is never made less. A date is added once, and replaced only by rows that
// contain all ids that the lake has of it, with the same content unless this tape shipped them itself. Whatever
// interrupts it, running it again completes it. docs/LAKE.md describes the tables and the protocol.
package ship

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"tapedeck/internal/lake"
	"tapedeck/internal/progress"
	"tapedeck/internal/tape"
)

// Options say what to ship. The zero value of all but Now is a default.
type Options struct {
	Now time.Time
	// DryRun changes nothing and says what would be shipped.
	DryRun bool
	// AllowShrink ships dates of which ids were dropped on purpose, and replaces dates by fewer ids if this tape
	// shipped them.
	AllowShrink bool
	Run         string // the id of the run, for conflicts
	Logger      *slog.Logger
	Progress    progress.Display
}

// Summary is the result of Run.
type Summary struct {
	// Added and Replaced are dates of trades, Current the number of dates that the lake has as they are. In a dry
	// run nothing was changed.
	Added, Replaced []string
	Current         int
	// Waiting are the dates that cannot be shipped yet, with the reason; Refused those that must not be.
	Waiting, Refused []Reason
	// Trades and Bytes are those of the dates added and replaced; Alerts were added.
	Trades, Bytes, Alerts int64
	Traffic               lake.Traffic
}

// Reason says why a date was not shipped.
type Reason struct{ Date, Text string }

// grace is the time after its end from which a day counts as over, as for a compaction.
const grace = 5 * time.Minute

// mostFiles is how many files a compacted day may have besides those of the compaction; see package compact.
const mostFiles = 4

// Run ships the dates that can be shipped, oldest first. After an error those before it are shipped.
func Run(ctx context.Context, dir *tape.Dir, l *lake.Lake, opt Options) (Summary, error) {
	s := &shipment{dir: dir, lake: l, opt: opt, have: map[tape.Table]map[string]lake.Certificate{}}
	if s.opt.Logger == nil {
		s.opt.Logger = slog.New(slog.DiscardHandler)
	}
	if s.opt.Progress == nil {
		s.opt.Progress = progress.None{}
	}
	err := s.run(ctx)
	s.out.Traffic = l.Traffic()
	return s.out, err
}

type shipment struct {
	dir  *tape.Dir
	lake *lake.Lake
	opt  Options
	have map[tape.Table]map[string]lake.Certificate // when the shipment began
	out  Summary
}

func (s *shipment) run(ctx context.Context) error {
	for _, name := range []tape.Table{tape.Trades, tape.Coverage, tape.Alerts} {
		found, err := s.lake.Read(ctx, name)
		if err != nil {
			return err
		}
		s.have[name] = found.Days()
	}
	certificate, err := s.dir.Certify(ctx, s.opt.Now, false)
	if err != nil {
		return err
	}
	days := byDate(certificate)
	s.opt.Progress.Begin("ship", int64(len(days)))
	done := int64(0)
	for _, date := range slices.Sorted(maps.Keys(days)) {
		if err := s.date(ctx, date, days[date]); err != nil {
			return fmt.Errorf("ship %s: %w", date, err)
		}
		done++
		s.opt.Progress.Set("", done)
	}
	return nil
}

// byDate returns the coverage of each date, sorted by symbol.
func byDate(c tape.Certificate) map[string][]tape.Day {
	out := map[string][]tape.Day{}
	for _, symbol := range c.Symbols {
		for _, day := range symbol.Days {
			out[day.Date] = append(out[day.Date], day)
		}
	}
	return out
}

// date ships one date, if it can be.
func (s *shipment) date(ctx context.Context, date string, days []tape.Day) error {
	if text := s.unproven(date, days); text != "" {
		s.out.Waiting = append(s.out.Waiting, Reason{date, text})
		return nil
	}
	day, err := s.open(ctx, date, days)
	if err != nil {
		return err
	}
	defer day.close()
	if day.waiting != "" {
		s.out.Waiting = append(s.out.Waiting, Reason{date, day.waiting})
		return nil
	}
	shipped, err := s.trades(ctx, day)
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		s.out.Refused = append(s.out.Refused, Reason{date, refused.text})
		return nil
	case errors.Is(err, lake.ErrKept):
		s.out.Current++ // the lake has more
		return s.alerts(ctx, date)
	case err != nil:
		return err
	}
	if s.opt.DryRun {
		return nil
	}
	if shipped {
		s.opt.Logger.Info("day shipped", "date", date, "trades", day.certificate.Rows, "bytes", day.bytes)
	}
	if err := s.coverage(ctx, day); err != nil {
		return err
	}
	return s.alerts(ctx, date)
}

// unproven says why the coverage of a date does not let it be shipped, or "".
func (s *shipment) unproven(date string, days []tape.Day) string {
	end, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return err.Error()
	}
	if s.opt.Now.Before(end.AddDate(0, 0, 1).Add(grace)) {
		return "it is not over"
	}
	proven := false
	for _, day := range days {
		switch {
		case day.Conflicts > 0:
			return fmt.Sprintf("%s has conflicts", day.Symbol)
		case day.State == tape.StateGap:
			return fmt.Sprintf("%s has a gap", day.Symbol)
		case day.State == tape.StateDropped && !s.opt.AllowShrink:
			return fmt.Sprintf("ids of %s were dropped on purpose (--allow-shrink ships it)", day.Symbol)
		case day.State != tape.StateOpen:
			proven = true
		}
	}
	if !proven {
		return "the record begins or ends on it"
	}
	return ""
}
