package tape

import (
	"fmt"
	"slices"

	"tapedeck/internal/idset"
)

// content is what the rows of one segment of trades hold, read from its columns and not from its
// metadata.
type content struct {
	rows int64
	runs symbolRuns // sorted, disjoint and not adjacent
	// duplicates is the number of rows whose (symbol, id) occurs earlier in the file.
	duplicates int64
	// misplaced is the number of rows that belong to another date.
	misplaced int64
	// backwards are the steps back in time between consecutive ids.
	backwards backwardSteps
	// tape is what the metadata says, and foreign is true if another program wrote the file.
	tape    identity
	foreign bool
}

// scan reads the symbol, id and traded_at of every row of a segment of date's partition.
func scan(path, date string) (out content, err error) {
	defer recoverDamage("content", &err)
	c, err := openColumns(path, symbolField, idField, timeField)
	if err != nil {
		return content{}, err
	}
	defer c.close()
	s := scanner{columns: c, content: content{runs: symbolRuns{}}}
	_, own := c.file.Lookup(runsKey)
	s.tape, s.foreign = identityOf(c.file), !own
	s.first, s.next = dateBounds(date)
	for {
		more, err := c.readIDs()
		if err == nil && more {
			err = s.add()
		}
		if err != nil {
			return content{}, err
		}
		if s.unsorted {
			out, err := scanRows(path, date)
			out.tape, out.foreign = s.tape, s.foreign
			return out, err
		}
		if !more {
			return s.content, s.runs.checkIDs()
		}
	}
}

type scanner struct {
	content
	*columns

	first, next int64 // the date's bounds in microseconds
	last        IDRun // the current run
	lastSymbol  string
	started     bool
	unsorted    bool
}

// add adds the row group that was read last.
func (s *scanner) add() error {
	for i, at := range s.times {
		if at < s.first || at >= s.next {
			if !validTime(at) {
				return impossibleTime(s.content.rows+int64(i), at)
			}
			s.misplaced++
		}
	}
	s.content.rows += int64(len(s.ids))
	from := 0
	for run, symbol := range s.symbols {
		s.addRun(symbol, from, s.ends[run])
		if s.unsorted {
			return nil
		}
		from = s.ends[run]
	}
	s.endRun()
	return nil
}

func impossibleTime(row, micros int64) error {
	return fmt.Errorf("row %d: traded_at is %d µs since 1970, outside of 2009 to 2099", row+1, micros)
}

// addRun adds the rows [from, to), all of symbol.
func (s *scanner) addRun(symbol string, from, to int) {
	if s.started && symbol < s.lastSymbol {
		s.unsorted = true
		return
	}
	i := from
	if !s.started || symbol != s.lastSymbol {
		s.endRun()
		s.last, s.lastSymbol, s.started = singleID(s.ids[i], s.times[i]), symbol, true
		i++
	}
	for ; i < to; i++ {
		id := s.ids[i]
		switch {
		case id == s.last.Last+1:
			s.backwards.check(symbol, id, s.times[i], s.last.LastAt)
			s.last.Last, s.last.LastAt = id, s.times[i]
		case id == s.last.Last:
			s.duplicates++
		case id < s.last.Last:
			s.unsorted = true
			return
		default:
			s.endRun()
			s.last = singleID(id, s.times[i])
		}
	}
}

func singleID(id, at int64) IDRun { return IDRun{idset.Range{First: id, Last: id}, at, at} }

// endRun adds the current run to the result. If the next row group continues the run, it is joined.
func (s *scanner) endRun() {
	if !s.started {
		return
	}
	runs := s.runs[s.lastSymbol]
	if n := len(runs); n > 0 && runs[n-1].Last+1 >= s.last.First {
		runs[n-1].Last, runs[n-1].LastAt = s.last.Last, s.last.LastAt
	} else {
		runs = append(runs, s.last)
	}
	s.runs[s.lastSymbol] = runs
}

// scanRows is scan for files that are not sorted or that another program wrote. It reads whole rows
// and sorts them.
func scanRows(path, date string) (content, error) {
	trades, err := readRows[Trade](path)
	if err != nil {
		return content{}, err
	}
	first, next := dateBounds(date)
	out := content{rows: int64(len(trades))}
	for i, t := range trades {
		if !validTime(t.TradedAt) {
			return content{}, impossibleTime(int64(i), t.TradedAt)
		}
		if t.TradedAt < first || t.TradedAt >= next {
			out.misplaced++
		}
	}
	slices.SortFunc(trades, compareTrades)
	kept := slices.CompactFunc(trades, sameTrade)
	out.duplicates = out.rows - int64(len(kept))
	out.runs = runsOf(kept)
	if err := out.runs.checkIDs(); err != nil {
		return content{}, err
	}
	for i := 1; i < len(kept); i++ {
		if a, b := &kept[i-1], &kept[i]; a.Symbol == b.Symbol && a.ID+1 == b.ID {
			out.backwards.check(b.Symbol, b.ID, b.TradedAt, a.TradedAt)
		}
	}
	return out, nil
}
