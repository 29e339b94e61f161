package tape

import (
	"fmt"
	"slices"
)

// content is what the rows of one segment of trades are, read from its columns and not from its metadata.
type content struct {
	rows  int64
	spans map[string][]timedSpan // sorted, disjoint; adjacent ones are joined
	// twice counts the rows whose (symbol, id) stands in the file before them.
	twice int64
	// misplaced counts the rows that another date's partition should hold.
	misplaced int64
}

// scan reads the symbol, id and traded_at of every row of a segment, given its path, that lies in the partition of date.
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
	s := scanner{date: date, content: content{spans: map[string][]timedSpan{}}}
	for _, group := range file.RowGroups() {
		chunks := group.ColumnChunks()
		if err := s.symbolRuns.read(chunks[columns[0]], int(group.NumRows())); err != nil {
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

	symbolRuns
	ids, times  []int64
	last        timedSpan // the run under way
	lastSymbol  string
	started     bool
	unsorted    bool
	first, next int64 // the date's bounds in microseconds
}

// add takes one row group in.
func (s *scanner) add() error {
	if s.next == 0 {
		s.first, s.next = dateBounds(s.date)
	}
	for i, at := range s.times {
		if at < s.first || at >= s.next {
			if !tradeable(at) {
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
	return fmt.Errorf("row %d: traded_at is %d µs since 1970, when nothing was traded", row+1, micros)
}

// addRun takes the rows [from, to) in, which are all of symbol.
func (s *scanner) addRun(symbol string, from, to int) {
	if s.started && symbol < s.lastSymbol {
		s.unsorted = true
		return
	}
	i := from
	if !s.started || symbol != s.lastSymbol {
		s.close()
		s.last, s.lastSymbol, s.started = timedSpan{s.ids[i], s.ids[i], s.times[i], s.times[i]}, symbol, true
		i++
	}
	for ; i < to; i++ {
		id := s.ids[i]
		switch {
		case id == s.last.last+1:
			s.last.last, s.last.lastAt = id, s.times[i]
		case id == s.last.last:
			s.twice++
		case id < s.last.last:
			s.unsorted = true
			return
		default:
			s.close()
			s.last = timedSpan{id, id, s.times[i], s.times[i]}
		}
	}
}

// close puts the run under way into the result; add goes on with it if the next row follows.
func (s *scanner) close() {
	if !s.started {
		return
	}
	runs := s.spans[s.lastSymbol]
	if n := len(runs); n > 0 && runs[n-1].last+1 >= s.last.first {
		runs[n-1].last, runs[n-1].lastAt = s.last.last, s.last.lastAt
	} else {
		runs = append(runs, s.last)
	}
	s.spans[s.lastSymbol] = runs
}

// scanRows is scan for files that are not sorted or that another program wrote: it reads whole rows and sorts them.
func scanRows(path, date string) (content, error) {
	trades, err := readRows[Trade](path)
	if err != nil {
		return content{}, err
	}
	first, next := dateBounds(date)
	out := content{rows: int64(len(trades))}
	for i, t := range trades {
		if !tradeable(t.TradedAt) {
			return content{}, impossibleTime(int64(i), t.TradedAt)
		}
		if t.TradedAt < first || t.TradedAt >= next {
			out.misplaced++
		}
	}
	slices.SortFunc(trades, compareTrades)
	kept := slices.CompactFunc(trades, sameTrade)
	out.twice = out.rows - int64(len(kept))
	out.spans = spansOf(kept)
	return out, nil
}

// overlap counts the ids that stand in both of two sorted lists of runs.
func overlap(a, b []timedSpan) int64 {
	var n int64
	for len(a) > 0 && len(b) > 0 {
		n += max(0, min(a[0].last, b[0].last)-max(a[0].first, b[0].first)+1)
		if a[0].last < b[0].last {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return n
}
