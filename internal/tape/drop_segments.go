package tape

import (
	"slices"

	"tapedeck/internal/idset"
)

// segmentRuns is a segment of trades with its ids and origin.
type segmentRuns struct {
	Segment
	runs   symbolRuns
	origin Origin
	sorted bool // by (symbol, id), as tapedeck writes
}

// readSegmentRuns reads the footer of a segment, and the rows too if another program wrote it.
func (d *Dir) readSegmentRuns(date, name string) (out segmentRuns, err error) {
	out.Segment = Segment{Table: Trades, Path: segmentPath(Trades, date, name), Date: date}
	file, size, err := openParquet(d.catalog.path(out.Path))
	if err != nil {
		return out, err
	}
	defer file.close()
	out.Rows, out.Bytes = file.NumRows(), size
	if err := checkColumns(file, schemaOf(Trades)); err != nil {
		return out, err
	}
	if out.origin, err = readOrigin(file.File); err != nil {
		return out, err
	}
	if text, ok := file.Lookup(runsKey); ok {
		out.sorted = true
		if out.runs, err = parseRuns(text); err == nil {
			err = out.runs.checkIDs()
		}
		return out, err
	}
	found, err := scanRows(d.catalog.path(out.Path), "")
	out.runs = found.runs
	return out, err
}

// runsIn returns the ids of a segment's rows for whose id and time in microseconds selects returns
// true.
func (d *Dir) runsIn(file segmentRuns, selects func(id, micros int64) bool) (out symbolRuns, err error) {
	defer recoverDamage("content", &err)
	out = symbolRuns{}
	if !file.sorted {
		rows, err := d.ReadTrades(file.Path)
		if err != nil {
			return nil, err
		}
		rows = slices.DeleteFunc(rows, func(t Trade) bool { return !selects(t.ID, t.TradedAt) })
		slices.SortFunc(rows, compareTrades)
		return runsOf(slices.CompactFunc(rows, sameTrade)), nil
	}
	c, err := openColumns(d.catalog.path(file.Path), symbolField, idField, timeField)
	if err != nil {
		return nil, err
	}
	defer c.close()
	var rows []Trade
	for {
		more, err := c.readIDs()
		if err != nil || !more {
			return out, err
		}
		rows = rows[:0]
		from := 0
		for i, symbol := range c.symbols {
			for row := from; row < c.ends[i]; row++ {
				if selects(c.ids[row], c.times[row]) {
					rows = append(rows, Trade{Symbol: symbol, ID: c.ids[row], TradedAt: c.times[row]})
				}
			}
			from = c.ends[i]
		}
		out.add(rows)
	}
}

func idsBySymbol(bySymbol symbolRuns) map[string]idset.Set {
	out := make(map[string]idset.Set, len(bySymbol))
	for symbol, runs := range bySymbol {
		out[symbol] = idsOf(runs)
	}
	return out
}

// subtractAll returns the ids of bySymbol that are not in ids.
func subtractAll(bySymbol symbolRuns, ids map[string]idset.Set) symbolRuns {
	out := symbolRuns{}
	for symbol, runs := range bySymbol {
		if left := subtractIDs(runs, ids[symbol]); len(left) > 0 {
			out[symbol] = left
		}
	}
	return out
}

// count returns the number of ids.
func (s symbolRuns) count() (n int64) {
	for _, runs := range s {
		n += idsOf(runs).Count()
	}
	return n
}
