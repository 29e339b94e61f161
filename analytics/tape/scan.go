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
		symbols, err := readSymbols(chunks[columns[0]], s.names[:0])
		if err != nil {
			return content{}, fmt.Errorf("read its symbols: %w", err)
		}
		s.names = symbols
		if s.ids, err = readInts(chunks[columns[1]], s.ids[:0]); err != nil {
			return content{}, fmt.Errorf("read its ids: %w", err)
		}
		if s.times, err = readInts(chunks[columns[2]], s.times[:0]); err != nil {
			return content{}, fmt.Errorf("read its times: %w", err)
		}
		if n := int(group.NumRows()); len(symbols) != n || len(s.ids) != n || len(s.times) != n {
			return content{}, fmt.Errorf("a row group has %d symbols, %d ids, %d times in %d rows", len(symbols), len(s.ids), len(s.times), n)
		}
		s.add(symbols)
	}
	if s.unsorted {
		return scanRows(path, date)
	}
	return s.content, nil
}

type scanner struct {
	content
	date string

	names       []string // each row's symbol
	ids, times  []int64
	last        timedSpan // the run under way
	lastSymbol  string
	started     bool
	unsorted    bool
	first, next int64 // the date's bounds in microseconds
}

// add takes one row group in.
func (s *scanner) add(symbols []string) {
	if s.next == 0 {
		s.first, s.next = dateBounds(s.date)
	}
	for i, symbol := range symbols {
		id, at := s.ids[i], s.times[i]
		if at < s.first || at >= s.next {
			s.misplaced++
		}
		s.rows++
		if s.started && symbol == s.lastSymbol {
			switch {
			case id == s.last.last+1:
				s.last.last, s.last.lastAt = id, at
				continue
			case id == s.last.last:
				s.twice++
				continue
			case id < s.last.last:
				s.unsorted = true
				return
			}
		} else if s.started && symbol < s.lastSymbol {
			s.unsorted = true
			return
		}
		s.close()
		s.last, s.lastSymbol, s.started = timedSpan{id, id, at, at}, symbol, true
	}
	s.close()
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
	for _, t := range trades {
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
