package soak

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"path/filepath"
	"sync"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"
)

// reads is what the readers saw.
type reads struct {
	mu sync.Mutex
	counts
	seen  map[string]int64 // by symbol: the most that a finished read had
	first string           // the first thing that was wrong
}

type counts struct {
	done     int
	twice    int // reads that saw a duplicate
	less     int // reads that saw less than one that had finished before they began
	repeated int // reads that failed and were right when repeated
	failed   int // reads that never succeeded
}

// readers is how many read at the same time.
const readers = 2

// startReaders reads all trades with plain DuckDB again and again until the test ends its disturbance.
func (s *soak) startReaders(ctx context.Context) {
	s.reads.seen = map[string]int64{}
	var group sync.WaitGroup
	for range readers {
		db, err := sql.Open("duckdb", "?threads=1")
		if err != nil {
			s.t.Fatal(err)
		}
		group.Go(func() {
			defer db.Close()
			for ctx.Err() == nil {
				s.read(ctx, db)
				pause(ctx, 50*time.Millisecond)
			}
		})
	}
	s.t.Cleanup(group.Wait)
	s.readersEnd = group.Wait
}

// repeats bounds how often a failed read is begun again.
const repeats = 20

func (s *soak) read(ctx context.Context, db *sql.DB) {
	r := &s.reads
	failed := 0
	for {
		r.mu.Lock()
		before := maps.Clone(r.seen)
		r.mu.Unlock()
		rows, twice, err := count(ctx, db, s.data)
		if ctx.Err() != nil {
			return
		}
		r.mu.Lock()
		if err != nil {
			if failed++; failed < repeats {
				r.mu.Unlock()
				continue
			}
			r.failed++
			r.note("%v", err)
			r.mu.Unlock()
			return
		}
		r.done++
		if failed > 0 {
			r.repeated++
		}
		if twice > 0 {
			r.twice++
			r.note("%d rows stand twice", twice)
		}
		less := false
		for symbol, n := range before {
			if rows[symbol] < n {
				less = true
				r.note("%d rows of %s, a read before had %d", rows[symbol], symbol, n)
			}
		}
		if less {
			r.less++
		}
		for symbol, n := range rows {
			r.seen[symbol] = max(r.seen[symbol], n)
		}
		r.mu.Unlock()
		return
	}
}

// note keeps the first thing that was wrong; mu is held.
func (r *reads) note(format string, args ...any) {
	if r.first == "" {
		r.first = fmt.Sprintf(format, args...)
	}
}

// count counts the rows by symbol, and those that stand twice, as anyone would.
func count(ctx context.Context, db *sql.DB, data string) (bySymbol map[string]int64, twice int64, err error) {
	query := fmt.Sprintf("SELECT symbol, count(*), count(DISTINCT id) FROM read_parquet('%s') GROUP BY symbol", filepath.Join(data, "trades/*/*.parquet"))
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	bySymbol = map[string]int64{}
	for rows.Next() {
		var symbol string
		var all, distinct int64
		if err := rows.Scan(&symbol, &all, &distinct); err != nil {
			return nil, 0, err
		}
		bySymbol[symbol] = all
		twice += all - distinct
	}
	return bySymbol, twice, rows.Err()
}
