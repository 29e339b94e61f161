package tape

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// OpenConflicts returns the conflicts that are not resolved, by symbol and id. A conflict is resolved
// when the row on the tape has the content that was refused, or when its id was dropped on purpose.
func (d *Dir) OpenConflicts(ctx context.Context) ([]Conflict, error) {
	all, err := d.ReadConflicts("", "")
	if err != nil || len(all) == 0 {
		return nil, err
	}
	dropped, err := d.Dropped()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b Conflict) int {
		return cmp.Or(strings.Compare(a.Symbol, b.Symbol), cmp.Compare(a.ID, b.ID), cmp.Compare(a.FoundAt, b.FoundAt))
	})
	// The row of an id can be on the date of either content.
	type dates struct{ kept, other string }
	byDates := map[dates][]int{}
	for i := range all {
		key := dates{DateOf(all[i].TradedAt), DateOf(all[i].OtherTradedAt)}
		byDates[key] = append(byDates[key], i)
	}
	resolved := make([]bool, len(all))
	for key, indexes := range byDates {
		on := append(adjacentDates(key.kept), adjacentDates(key.other)...)
		slices.Sort(on)
		if err := d.resolve(ctx, slices.Compact(on), all, indexes, resolved); err != nil {
			return nil, fmt.Errorf("look up the rows of conflicts: %w", err)
		}
	}
	var out []Conflict
	for i := range all {
		if !resolved[i] && !dropped[all[i].Symbol].Contains(all[i].ID) {
			out = append(out, all[i])
		}
	}
	return out, nil
}

// resolve sets which of some conflicts are resolved by a row on the tape in the partitions of dates.
// indexes are in the order of symbols and ids.
func (d *Dir) resolve(ctx context.Context, dates []string, all []Conflict, indexes []int, resolved []bool) error {
	existing := d.newExistingRows(dates)
	bySymbol := map[string][]int{}
	for _, i := range indexes {
		bySymbol[all[i].Symbol] = append(bySymbol[all[i].Symbol], i)
	}
	for _, symbol := range slices.Sorted(maps.Keys(bySymbol)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		others := make([]Trade, len(bySymbol[symbol]))
		equal := map[Trade]bool{}
		for k, i := range bySymbol[symbol] {
			others[k] = all[i].Other()
		}
		if _, err := existing.each(others, func(row *Trade, c *columns, i int, _ Origin) {
			if c.sameContent(i, row) {
				equal[*row] = true
			}
		}); err != nil {
			return err
		}
		for k, i := range bySymbol[symbol] {
			resolved[i] = equal[others[k]]
		}
	}
	return nil
}
