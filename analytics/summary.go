package analytics

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// A summary is a query of the kind Summary: a SELECT over trades, and gaps if it needs them, whose rows
// each depend on the trades of one UTC hour only, which the column hour names. A query reads it as a macro:
// FROM hours(since, until) are the rows of the trades in [since, until). The first and the last hour of
// the window count only trades in the window. A NULL leaves that end open.

// embeddedSummaries returns the summaries that are part of tapedeck, ordered by name.
var embeddedSummaries = sync.OnceValue(func() []Query {
	queries, problems := Load("", Summary)
	if len(problems) > 0 {
		panic(problems[0]) // a test loads them all
	}
	return queries
})

// embeddedSummaryNames are the names of embeddedSummaries. They are known before any file is parsed.
var embeddedSummaryNames = [...]string{"hour_largest", "hour_returns", "hour_sizes", "hours"}

// summaries returns the summaries that queries of the session can read.
func (s *Session) summaries() []Query {
	if s.opt.Summaries != nil {
		return s.opt.Summaries
	}
	return embeddedSummaries()
}

// createSummaries creates the macros of summaries, which compute them from trades.
func createSummaries(ctx context.Context, db execer, summaries []Query) error {
	for _, summary := range summaries {
		if err := exec(ctx, db, summary.macroOverTrades()); err != nil {
			return fmt.Errorf("create the summary %s: %w", summary.Name, err)
		}
	}
	return nil
}

// windowStart and windowEnd are the window of a summary's macro, with open ends.
const (
	windowStart = "coalesce(since::TIMESTAMP, TIMESTAMP '0001-01-01')"
	windowEnd   = "coalesce(until::TIMESTAMP, TIMESTAMP '9999-12-31')"
	// inWindow is the condition on trades in the window of a summary's macro. The conditions on date let
	// DuckDB skip the files of other days.
	inWindow = "traded_at >= " + windowStart + " AND traded_at < " + windowEnd +
		" AND date >= (" + windowStart + ")::DATE AND date <= (" + windowEnd + ")::DATE"
)

// macroOverTrades returns the statement that creates the macro of a summary, computed from trades.
func (q Query) macroOverTrades() string {
	return summaryMacro(q, q.overTrades("SELECT * FROM main.trades WHERE "+inWindow))
}

// summaryMacro returns the statement that creates the macro of a summary.
func summaryMacro(summary Query, source string) string {
	return fmt.Sprintf("CREATE OR REPLACE MACRO %s(since, until) AS TABLE %s", summary.Name, source)
}

// overTrades returns a SELECT of the columns of a summary, computed from the rows of a SELECT of trades.
func (q Query) overTrades(trades string) string {
	names := make([]string, len(q.Columns))
	for i, column := range q.Columns {
		names[i] = fmt.Sprintf("summary.%q", column.Name)
	}
	return fmt.Sprintf("SELECT %s FROM (WITH trades AS (%s) SELECT * FROM (%s)) AS summary", strings.Join(names, ", "), trades, q.statement())
}

// statement returns the text without a semicolon at its end, on lines of its own.
func (q Query) statement() string {
	return "\n" + strings.TrimRight(strings.TrimRight(q.Text, " \t\r\n"), ";") + "\n"
}

// isSummary reports whether a name is that of an embedded summary or of one of others.
func isSummary(name string, others []string) bool {
	return slices.Contains(embeddedSummaryNames[:], name) || slices.Contains(others, name)
}

// ReadsSummary reports whether the header names a summary.
func (q Query) ReadsSummary() bool {
	return slices.ContainsFunc(q.Reads, func(r Read) bool { return !slices.Contains(relationNames[:], r.Relation) })
}

// SummariesRead returns the names of the summaries that a statement reads, also through the shared macros and
// the macros of market.duckdb.
func SummariesRead(statement string, summaries []Query) (names []string) {
	tokens, err := scan(statement)
	if err != nil {
		return nil // running it says what is wrong
	}
	for i, t := range tokens {
		if t.kind != word || i+1 == len(tokens) || tokens[i+1].text != "(" {
			continue
		}
		called := append([]string{t.text}, macroSummaries[t.text]...)
		if slices.Contains(sharedMacros[:], t.text) {
			called = macroReads(t.text)
		}
		for _, name := range called {
			isNamed := func(q Query) bool { return q.Name == name }
			if slices.ContainsFunc(summaries, isNamed) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// macroSummaries are the summaries that macros of market.duckdb read.
var macroSummaries = map[string][]string{"candles": {"hours"}, "vwap": {"hours"}, "pieces_of": {"hours"}}

// SummaryMacros returns the statements that create the macros of the embedded summaries over the relations
// trades and gaps.
func SummaryMacros() (statements []string) {
	for _, summary := range embeddedSummaries() {
		statements = append(statements, summary.macroOverTrades())
	}
	return statements
}
