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
}

// scan reads the symbol, id and traded_at of every row of a segment of date's partition.
func scan(path, date string) (out content, err error) {
	file, _, err := openParquet(path)
	if err != nil {
		return content{}, err
	}
	defer file.close()
	defer func() {
		if p := recover(); p != nil {
			out, err = content{}, fmt.Errorf("damaged content: %v", p)
		}
	}()
	columns := [3]int{}
	for i, name := range []string{"symbol", "id", "traded_at"} {
		leaf, ok := file.Schema().Lookup(name)
		if !ok {
			return content{}, fmt.Errorf("has no column %q", name)
		}
		columns[i] = leaf.ColumnIndex
	}
	s := scanner{date: date, content: content{runs: symbolRuns{}}}
	for _, group := range file.RowGroups() {
		chunks := group.ColumnChunks()
		if err := s.symbolColumn.read(chunks[columns[0]], int(group.NumRows())); err != nil {
			return content{}, fmt.Errorf("read its symbols: %w", err)
		}
		if s.ids, err = readInts(chunks[columns[1]], s.ids[:0]); err != nil {
			return content{}, fmt.Errorf("read its ids: %w", err)
		}
		if s.times, err = readInts(chunks[columns[2]], s.times[:0]); err != nil {
			return content{}, fmt.Errorf("read its times: %w", err)
		}
		if n := int(group.NumRows()); len(s.ids) != n || len(s.times) != n {
			return content{}, fmt.Errorf("a row group has %d ids, %d times in %d rows", len(s.ids), len(s.times), n)
		}
		if err := s.add(); err != nil {
			return content{}, err
		}
	}
	if s.unsorted {
		return scanRows(path, date)
	}
	return s.content, nil
}

type scanner struct {
	content
	date string

	symbolColumn
	ids, times  []int64
	last        IDRun // the current run
	lastSymbol  string
	started     bool
	unsorted    bool
	first, next int64 // the date's bounds in microseconds
}

// add adds the row group that was read last.
func (s *scanner) add() error {
	if s.next == 0 {
		s.first, s.next = dateBounds(s.date)
	}
	for i, at := range s.times {
		if at < s.first || at >= s.next {
			if !validTime(at) {
				return impossibleTime(s.rows+int64(i), at)
			}
			s.misplaced++
		}
	}
	s.rows += int64(len(s.ids))
	from := 0
	for run, symbol := range s.symbols {
		s.addRun(symbol, from, s.ends[run])
		if s.unsorted {
			return nil
		}
		from = s.ends[run]
	}
	s.close()
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
		s.close()
		s.last, s.lastSymbol, s.started = singleID(s.ids[i], s.times[i]), symbol, true
		i++
	}
	for ; i < to; i++ {
		id := s.ids[i]
		switch {
		case id == s.last.Last+1:
			s.last.Last, s.last.LastAt = id, s.times[i]
		case id == s.last.Last:
			s.duplicates++
		case id < s.last.Last:
			s.unsorted = true
			return
		default:
			s.close()
			s.last = singleID(id, s.times[i])
		}
	}
}

func singleID(id, at int64) IDRun { return IDRun{idset.Range{First: id, Last: id}, at, at} }

// close adds the current run to the result. If the next row group continues the run, it is joined.
func (s *scanner) close() {
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
	return out, nil
}
