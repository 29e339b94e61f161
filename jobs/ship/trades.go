package ship

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"tapedeck/internal/idset"
	"tapedeck/internal/lake"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
)

// refusal is an error that says why a date must not be shipped. It does not end the shipment.
type refusal struct{ text string }

func (e *refusal) Error() string { return e.text }

func refuse(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

// trades ships the trades of a date. The error is lake.ErrKept if the lake has all of them and more.
func (s *shipment) trades(ctx context.Context, d *day) (shipped bool, err error) {
	have, certified := s.have[tape.Trades][d.date]
	if certified && have.Hash == d.certificate.Hash {
		s.out.Current++
		return false, nil
	}
	replaces := false
	decide := func(now *lake.Table) error {
		replaces, err = s.mayReplace(ctx, d, now)
		return err
	}
	if s.opt.DryRun {
		found, err := s.lake.Read(ctx, tape.Trades)
		if err == nil {
			err = decide(found)
		}
		if err != nil {
			return false, err
		}
		s.count(d, replaces)
		return true, nil
	}
	files, err := d.uploads(ctx)
	if err != nil {
		return false, err
	}
	shipped, err = s.lake.Commit(ctx, lake.Change{Table: tape.Trades, Date: d.date, Certificate: d.certificate, Files: files}, decide)
	if err != nil {
		return false, err
	}
	if shipped {
		s.count(d, replaces)
	} else {
		s.out.Current++ // another recorder was faster
	}
	return shipped, nil
}

func (s *shipment) count(d *day, replaced bool) {
	if replaced {
		s.out.Replaced = append(s.out.Replaced, d.date)
	} else {
		s.out.Added = append(s.out.Added, d.date)
	}
	s.out.Trades += d.certificate.Rows
	s.out.Bytes += d.bytes
}

// mayReplace returns whether the lake has anything of a date, and an error unless the day may replace it.
func (s *shipment) mayReplace(ctx context.Context, d *day, now *lake.Table) (replaces bool, err error) {
	files, err := now.Files(ctx, d.date)
	if err != nil || len(files) == 0 {
		return false, err
	}
	theirs, err := now.Content(ctx, d.date, s.dir.StagingPath())
	if err != nil {
		return true, err
	}
	ours, err := d.content(ctx, nil)
	if err != nil {
		return true, err
	}
	own := s.dir.ID() != "" && now.Days()[d.date].Tape == s.dir.ID()
	lacking, more := missing(theirs, ours), missing(ours, theirs)
	switch {
	case len(lacking) > 0 && own && s.opt.AllowShrink:
		return true, nil
	case len(lacking) > 0 && own:
		return true, refuse("%s, and %s; --allow-shrink ships it all the same", "this tape shipped more than it has now", describeIDs("not here any more", lacking))
	}
	different, err := s.differences(ctx, d, ours, theirs)
	switch {
	case err != nil:
		return true, err
	case len(different) > 0 && !own:
		return true, s.recordConflicts(ctx, d, now, different, ours, theirs)
	case len(lacking) > 0 && len(more) == 0:
		return true, lake.ErrKept
	case len(lacking) > 0:
		return true, refuse("another tape shipped it with other ids, and neither has all: %s; %s",
			describeIDs("not here", lacking), describeIDs("not in the lake", more))
	}
	return true, nil
}

// missing returns the ids of a that b does not have, by symbol.
func missing(a, b *tape.DayContent) map[string]idset.Set {
	out := map[string]idset.Set{}
	have := b.IDs()
	for name, ids := range a.IDs() {
		if lacking := ids.Subtract(have[name]); len(lacking) > 0 {
			out[name] = lacking
		}
	}
	return out
}

// describeIDs names the first symbol of some ids.
func describeIDs(what string, ids map[string]idset.Set) string {
	names := slices.Sorted(maps.Keys(ids))
	first := ids[names[0]]
	text := fmt.Sprintf("%s of %s (from %d) %s %s", wording.Count(first.Count(), "id"), names[0], first[0].First,
		wording.Noun(first.Count(), "is", "are"), what)
	if len(names) > 1 {
		text += fmt.Sprintf(", and ids of %s", wording.Count(len(names)-1, "more symbol"))
	}
	return text
}

// differences returns the symbols of which the ids that both have do not have the same content, with these ids.
func (s *shipment) differences(ctx context.Context, d *day, ours, theirs *tape.DayContent) (map[string]idset.Set, error) {
	common := map[string]idset.Set{}
	have := theirs.IDs()
	for name, ids := range ours.IDs() {
		if both := ids.Intersect(have[name]); len(both) > 0 {
			common[name] = both
		}
	}
	restricted, err := d.content(ctx, common)
	if err != nil {
		return nil, err
	}
	out := map[string]idset.Set{}
	for name, ids := range common {
		their := theirs.Symbols()[name]
		if their.IDs.Count() != ids.Count() || len(their.Doubled) > 0 {
			out[name] = ids // the sum is of other rows too; comparing the rows decides
			continue
		}
		if restricted.Symbols()[name].Sum != their.Sum {
			out[name] = ids
		}
	}
	return out, nil
}

// recordConflicts compares the rows of the lake with those of the tape, which records conflicts in the table
// conflicts of the tape, and returns an error unless there is none.
func (s *shipment) recordConflicts(
	ctx context.Context, d *day, now *lake.Table, ids map[string]idset.Set, ours, theirs *tape.DayContent,
) error {
	if s.opt.DryRun {
		return refuse("another tape may have shipped another content of %s", wording.List(slices.Sorted(maps.Keys(ids)), 5))
	}
	files, err := now.Files(ctx, d.date)
	if err != nil {
		return err
	}
	conflicts := int64(0)
	for _, file := range files {
		found, err := s.compare(ctx, now, file, ids)
		if err != nil {
			return err
		}
		conflicts += found
	}
	switch lacking, more := missing(theirs, ours), missing(ours, theirs); {
	case conflicts > 0:
		return refuse("another tape shipped another content of %s: %s; tapedeck verify names them",
			wording.List(slices.Sorted(maps.Keys(ids)), 5), wording.Count(conflicts, "conflict"))
	case len(lacking) > 0 && len(more) == 0:
		return lake.ErrKept
	case len(lacking) > 0:
		return refuse("another tape shipped it with other ids, and neither has all: %s; %s",
			describeIDs("not here", lacking), describeIDs("not in the lake", more))
	}
	return nil
}

// compare compares the rows of one file of the lake that have some ids with the tape.
func (s *shipment) compare(ctx context.Context, now *lake.Table, file lake.File, ids map[string]idset.Set) (conflicts int64, err error) {
	open, err := now.Fetch(ctx, file, s.dir.StagingPath())
	if err != nil {
		return 0, err
	}
	defer open.Close()
	origin := tape.Origin{Source: tape.FromFile, Run: s.opt.Run, Detail: file.Path, At: s.opt.Now}
	var rows []tape.Trade
	err = tape.EachTrades(ctx, open, func(group []tape.Trade) error {
		rows = rows[:0]
		for _, row := range group {
			if ids[row.Symbol].Contains(row.ID) { // all are on the tape, so that none is added
				rows = append(rows, row)
			}
		}
		published, err := s.dir.Publish(ctx, rows, origin)
		conflicts += published.Conflicts
		var other *tape.DisagreementError
		if errors.As(err, &other) {
			return refuse("another tape shipped another market: %v", other)
		}
		return err
	})
	return conflicts, err
}
