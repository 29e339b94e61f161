package analytics

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const recipe = `-- first_trade has a row for each symbol that traded since then.
--
-- reads:   trades  from since
-- param:   symbol  VARCHAR    as the exchange spells it; default 'BTCUSDT'
-- param:   since   TIMESTAMP  UTC, inclusive; default 1970-01-01
-- column:  symbol  VARCHAR    as the exchange spells it
-- column:  id      BIGINT     of its first row
-- key:     symbol
SELECT
    symbol,
    min(id) AS id,
FROM trades
WHERE symbol = coalesce(getvariable('symbol')::VARCHAR, 'BTCUSDT')
    AND traded_at >= coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01')
GROUP BY symbol
ORDER BY symbol
`

func TestVariablesMustMatchTheHeader(t *testing.T) {
	for name, change := range map[string]struct{ from, to, want string }{
		"right":            {"", "", ""},
		"not in header":    {"getvariable('symbol')", "getvariable('smybol')", "cookbook/first_trade.sql:13: the variable smybol is not in the header: add a line param:"},
		"another default":  {"VARCHAR, 'BTCUSDT'", "VARCHAR, 'ETHUSDT'", "cookbook/first_trade.sql:13: the variable symbol has the default 'ETHUSDT' here, but another one in the header"},
		"another time":     {"TIMESTAMP '1970-01-01'", "TIMESTAMP '1970-01-02'", "cookbook/first_trade.sql:14: the variable since has the default 1970-01-02 here, but another one in the header"},
		"no default":       {"; default 'BTCUSDT'", "", "cookbook/first_trade.sql:13: the variable symbol has the default 'BTCUSDT' here, but another one in the header"},
		"another type":     {"'symbol')::VARCHAR, 'BTCUSDT'", "'symbol')::BIGINT, 1", "cookbook/first_trade.sql:13: the variable symbol is a VARCHAR in the header, but is cast to BIGINT here"},
		"bare":             {"coalesce(getvariable('symbol')::VARCHAR, 'BTCUSDT')", "getvariable('symbol')", "cookbook/first_trade.sql:13: write the use of a variable like this: coalesce(getvariable('symbol')::VARCHAR, 'BTCUSDT')"},
		"not used":         {"symbol = coalesce(getvariable('symbol')::VARCHAR, 'BTCUSDT')\n    AND ", "", "cookbook/first_trade.sql:4: the variable symbol is in the header, but the query does not use it"},
		"with a parameter": {"coalesce(getvariable('symbol')::VARCHAR, 'BTCUSDT')", "$symbol::VARCHAR", "cookbook/first_trade.sql:13: a query of the cookbook has variables instead of parameters: coalesce(getvariable('symbol')::VARCHAR, …)"},
	} {
		_, err := ParseQuery("cookbook/first_trade.sql", strings.Replace(recipe, change.from, change.to, 1))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if diff := cmp.Diff(change.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestVariablesLastForOneRun checks that arguments become variables during a run, and that every statement
// sees the variables of the session.
func TestVariablesLastForOneRun(t *testing.T) {
	dir := newTape(t, seconds("BTCUSDT", 1, 10), seconds("ETHUSDT", 20, 30))
	query, err := ParseQuery("cookbook/first_trade.sql", recipe)
	if err != nil {
		t.Fatal(err)
	}
	s := openSession(t, dir, Options{Variables: map[string]string{"mine": "it's"}})
	for _, c := range []struct {
		args map[string]any
		want string
	}{
		{nil, "BTCUSDT,1"},
		{map[string]any{"symbol": "ETHUSDT"}, "ETHUSDT,20"},
		{map[string]any{"symbol": "ETHUSDT", "since": time.Date(2026, 1, 15, 12, 0, 25, 0, time.UTC)}, "ETHUSDT,26"},
		{nil, "BTCUSDT,1"},
	} {
		result, err := s.Run(t.Context(), query, c.args)
		if err != nil {
			t.Fatal(err)
		}
		if _, got, _ := strings.Cut(strings.TrimSpace(renderCSV(t, result)), "\n"); got != c.want {
			t.Errorf("%v: rows %s, want %s", c.args, got, c.want)
		}
	}
	if _, err := s.Run(t.Context(), query, map[string]any{"smybol": "ETHUSDT"}); err == nil || !strings.Contains(err.Error(), `did you mean "symbol"?`) {
		t.Errorf("misspelled variable: %v", err)
	}
	if result, err := s.SQL(t.Context(), "SELECT getvariable('mine') AS mine"); err != nil || result.Rows[0][0] != "it's" {
		t.Errorf("variable of the session: %v, %v", result.Rows, err)
	}
	if _, err := Open(t.Context(), dir, Options{Variables: map[string]string{"a b": ""}}); err == nil || !strings.Contains(err.Error(), "not the name of a variable") {
		t.Errorf("invalid variable name: %v", err)
	}
}

// TestVariablesArePushedDown checks that the scan of the files knows the values of variables, so that it can
// skip row groups.
func TestVariablesArePushedDown(t *testing.T) {
	dir := newTape(t, seconds("BTCUSDT", 1, 10))
	if err := Migrate(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	db := openMarket(t, filepath.Join(dir.Path(), MarketName))
	if _, err := db.Exec("SET VARIABLE since = '2026-01-15 12:00:05'"); err != nil {
		t.Fatal(err)
	}
	plan := queryMarket(t, db, "EXPLAIN "+recipe)
	if !strings.Contains(plan, "symbol='BTCUSDT'") || !strings.Contains(plan, "traded_at>='2026-01-15 12") {
		t.Errorf("the variables are not constants in the scan:\n%s", plan)
	}
}
