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

// reads holds the results of the readers.
type reads struct {
	mu sync.Mutex
	counts
	most  map[string]int64 // by symbol: the most rows of a finished read
	first string           // the first problem
}

type counts struct {
	done    int
	twice   int // reads with duplicates
	fewer   int // reads with fewer rows than one that had finished before they began
	retried int // reads that succeeded after a retry
	failed  int // reads that never succeeded
}

// readers is the number of concurrent readers.
const readers = 2

// startReaders repeatedly reads all trades with plain DuckDB until ctx ends.
func (s *soak) startReaders(ctx context.Context) {
	s.reads.most = map[string]int64{}
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
	s.waitForReaders = group.Wait
}

// maxTries bounds how often a read is tried.
const maxTries = 20

func (s *soak) read(ctx context.Context, db *sql.DB) {
	r := &s.reads
	failed := 0
	for {
		r.mu.Lock()
		before := maps.Clone(r.most)
		r.mu.Unlock()
		rows, twice, err := count(ctx, db, s.data)
		if ctx.Err() != nil {
			return
		}
		r.mu.Lock()
		if err != nil {
			if failed++; failed < maxTries {
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
			r.retried++
		}
		if twice > 0 {
			r.twice++
			r.note("%d duplicates", twice)
		}
		fewer := false
		for symbol, n := range before {
			if rows[symbol] < n {
				fewer = true
				r.note("%d rows of %s, an earlier read had %d", rows[symbol], symbol, n)
			}
		}
		if fewer {
			r.fewer++
		}
		for symbol, n := range rows {
			r.most[symbol] = max(r.most[symbol], n)
		}
		r.mu.Unlock()
		return
	}
}

// note keeps the first problem; mu is held.
func (r *reads) note(format string, args ...any) {
	if r.first == "" {
		r.first = fmt.Sprintf(format, args...)
	}
}

// count returns the number of rows by symbol and the number of duplicates.
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
