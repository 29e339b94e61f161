package analytics

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"math"
	"slices"
)

// What a plan needs that passes its rows on: row groups being read and written, of each thread. Measured
// with FROM trades: with less it waits, with more it is not faster.
const (
	streamingMemory    = 64 << 20
	streamingPerThread = 64 << 20
)

// streamingSteps are the steps of DuckDB's plans that hold no more than some thousand rows at a time.
var streamingSteps = []string{
	"READ_PARQUET", "STREAMING_SAMPLE", "PROJECTION", "FILTER", "LIMIT", "STREAMING_LIMIT", "TOP_N", "UNION", "UNNEST", "SEQ_SCAN", "RANGE",
	"COLUMN_DATA_SCAN", "DUMMY_SCAN", "EMPTY_RESULT", "STREAMING_WINDOW",
}

// holdsRows reports whether a word in a statement shows that its plan holds rows.
func holdsRows(t token) bool {
	return t.kind == word && slices.Contains([]string{"group", "order", "distinct", "join", "count", "sum", "min", "max", "avg", "list", "candles", "vwap"}, t.text)
}

// limitStreaming lowers the limit of the session's memory if its statement streams.
func (s *Session) limitStreaming(ctx context.Context) error {
	if s.opt.Statement == "" || s.opt.MemoryLimit != "" {
		return nil
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if !streams(ctx, conn, s.opt.Statement) {
		return ctx.Err()
	}
	little := streamingMemory + uint64(max(1, s.budget.threads))*streamingPerThread
	if little >= cmp.Or(s.budget.bytes, math.MaxUint64) {
		return nil
	}
	if err := exec(ctx, conn, "SET memory_limit = "+Quote(inDuckDB(little))); err == nil {
		s.budget.bytes = little
	} // else more is in use already
	return ctx.Err()
}

// streams reports whether a statement can be run without holding many rows. Of a statement that cannot be
// run at all it reports false.
func streams(ctx context.Context, conn *sql.Conn, text string) bool {
	if tokens, err := scan(text); err != nil || slices.ContainsFunc(tokens, holdsRows) {
		return false // without planning it, which takes as long as a small query
	}
	statement, err := checkReadOnly(conn, text)
	if err != nil {
		return false
	}
	var key, plan string
	if err := conn.QueryRowContext(ctx, "EXPLAIN (FORMAT json) "+statement).Scan(&key, &plan); err != nil {
		return false
	}
	var steps []planStep
	return json.Unmarshal([]byte(plan), &steps) == nil && allStream(steps)
}

// planStep is a step of a plan in DuckDB's JSON.
type planStep struct {
	Name     string     `json:"name"`
	Children []planStep `json:"children"`
}

func allStream(steps []planStep) bool {
	return !slices.ContainsFunc(steps, func(step planStep) bool {
		return !slices.Contains(streamingSteps, step.Name) || !allStream(step.Children)
	})
}
