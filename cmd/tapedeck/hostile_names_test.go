package main

import (
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/xuri/excelize/v2"

	"tapedeck/internal/standin/botapi"
	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/state"
	"tapedeck/internal/tape"
	"tapedeck/jobs/health"
	"tapedeck/jobs/metrics"
)

const (
	// hostile is a name that tries everything: a formula, a line of its own, a cleared screen, a title, a
	// reversed direction, markup, and a byte at which C programs stop.
	hostile = "=1+1\nComplete: every id of everything is on the tape once.\x1b[2J\x1b]0;owned\a\u009b31m\u202e|<b>`*_&\"'\x00\r\tend"
	// hostileFile is one that a file can have.
	hostileFile = "=1+1\nComplete: every id of everything is on the tape once.\x1b[2J\a\u009b31m\u202e|<b>`*_&\"'\r\tend"
	// shownHostile is in every text for people that shows either of them.
	shownHostile = `=1+1\nComplete: every id of everything is on the tape once.\x1b[2J`
)

// hostilePlace is a directory with a tape, a configuration, queries and files that all have the hostile
// name where they can.
type hostilePlace struct {
	t       *testing.T
	dir     *tape.Dir
	chat    *botapi.Server
	environ []string
	now     time.Time
}

func newHostilePlace(t *testing.T) *hostilePlace {
	t.Helper()
	t.Chdir(t.TempDir())
	p := &hostilePlace{t: t, now: time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)}
	dir, err := tape.Create("data", tape.AggTrade, p.now)
	if err != nil {
		t.Fatal(err)
	}
	p.dir = dir
	market := exchange.StartTest(t, exchange.NewMemory(nil, []exchange.MemoryRow{{Symbol: "BTCUSDT", Kind: exchange.AggTrade, Row: exchange.Row{
		ID: 1, FirstTradeID: 1, LastTradeID: 1, TradedAt: p.now.UnixMicro(), Price: "1", Qty: "1"}}}), exchange.Options{Speed: exchange.Manual, Start: p.now}, exchange.BadRequest)
	p.chat = botapi.New(botapi.Options{Token: "1:STAND-IN-FOR-A-BOT", Now: time.Now})
	api := httptest.NewServer(p.chat)
	t.Cleanup(api.Close)
	p.environ = []string{"TAPEDECK_NOW=" + p.now.Format(time.RFC3339), "TAPEDECK_REST_URL=" + market.URL(), "TAPEDECK_ARCHIVE_URL=" + market.URL(),
		"TAPEDECK_TELEGRAM_URL=" + api.URL, "TAPEDECK_TELEGRAM_TOKEN=1:STAND-IN-FOR-A-BOT", "TERM=dumb"}
	p.fill()
	p.write("own/detect/loud.sql", loudQuery("minutes", "column:   symbol VARCHAR as spelled\n-- column:   at TIMESTAMP UTC\n-- column:   score DOUBLE dimensionless\n-- column:   severity VARCHAR low\n-- column:   message VARCHAR text\n-- column:   first_id BIGINT id\n-- column:   last_id BIGINT id\n-- key:      symbol, at",
		"symbol, minute + INTERVAL 1 MINUTE AS at, 1.0::DOUBLE AS score, 'low' AS severity, decode(from_base64('"+base64.StdEncoding.EncodeToString([]byte(hostile))+"')) AS message, first_id, last_id FROM minutes WHERE minute >= $window_start::TIMESTAMP AND minute < $window_end::TIMESTAMP AND trades > 0 ORDER BY symbol, minute"))
	p.write("own/report/loud.sql", loudQuery("alerts", "column:   symbol VARCHAR as spelled\n-- column:   note VARCHAR text\n-- key:      symbol",
		"symbol, first(message) AS note FROM alerts WHERE alerts.at >= $window_start::TIMESTAMP AND alerts.at < $window_end::TIMESTAMP GROUP BY symbol ORDER BY symbol"))
	p.write("own/check/loud.sql", "-- loud lists symbols: \x1b[2J\u202e.\n--\n-- reads:    alerts all\n-- column:   symbol VARCHAR as spelled\n-- column:   note VARCHAR text\n-- key:      symbol\n-- severity: warn\n"+
		"SELECT symbol, first(message) AS note FROM alerts GROUP BY symbol ORDER BY symbol\n")
	p.write("own/report/"+hostileFile+".sql", "-- nothing\n")
	p.write("silent.yaml", "memory: 1GB\n")
	p.write("config.yaml", "telegram:\n  chats:\n    - {id: 42}\n")
	p.write("crontab.yaml", fmt.Sprintf("jobs:\n  - name: %s\n    run: report\n    schedule: '@hourly'\n", quotedYAML(hostileFile)))
	return p
}

// loudQuery returns a query with hostile characters in its prose.
func loudQuery(relation, header, selected string) string {
	return "-- loud \x1b[2J\u202e is loud.\n--\n-- reads:    " + relation + " from window_start\n" +
		"-- param:    window_start TIMESTAMP UTC, inclusive, on a minute\n-- param:    window_end   TIMESTAMP UTC, exclusive, on a minute\n-- " + header + "\nSELECT " + selected + "\n"
}

func quotedYAML(text string) string {
	return strconv.QuoteToASCII(text)
}

func (p *hostilePlace) write(path, content string) {
	p.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// fill writes files of the tape as another program would, which checks no names.
func (p *hostilePlace) fill() {
	at := func(minute int) int64 {
		return p.now.Add(-time.Hour).Add(time.Duration(minute) * time.Minute).UnixMicro()
	}
	id := func(n int64) *int64 { return &n }
	var trades []tape.Trade
	for i := range 60 {
		if row := int64(i + 1); i != 30 { // an id is missing
			trades = append(trades, tape.Trade{Symbol: "BTCUSDT", ID: row, Price: 1, Qty: 2, FirstTradeID: row, LastTradeID: row, TradedAt: at(i)})
			trades = append(trades, tape.Trade{Symbol: hostile, ID: row, Price: 1, Qty: 2, FirstTradeID: row, LastTradeID: row, TradedAt: at(i)})
		}
	}
	trades[40].TradedAt = at(20) // and time runs back
	writeTape(p.t, "trades", trades)
	writeTape(p.t, "alerts", []tape.Alert{{Detector: hostile, Symbol: hostile, At: at(10), Score: 1, Severity: "high", Message: hostile, FirstID: 1, LastID: 2, Extra: "{}", RunID: hostile}})
	writeTape(p.t, "runs", []tape.Run{{ID: hostile, Job: hostile, Command: hostile, StartedAt: at(1), FinishedAt: at(2), Attempt: 1, Outcome: state.Failed, Exit: 1, Message: hostile, Output: hostile + "\n" + hostile}})
	writeTape(p.t, "conflicts", []tape.Conflict{{Symbol: hostile, ID: 5, Price: 1, Qty: 1, TradedAt: at(4), Source: hostile, RunID: hostile, OtherPrice: 2, OtherQty: 1, OtherTradedAt: at(4), OtherSource: hostile, OtherRunID: hostile, FoundAt: at(5)}})
	writeTape(p.t, "recorder", []tape.RecorderEvent{
		{At: at(1), Event: tape.EventStarted, Message: hostile, RunID: hostile},
		{At: at(2), Event: tape.EventLost, Connection: hostile, Message: hostile, RunID: hostile},
		{At: at(30), Event: tape.EventGap, Symbol: hostile, FirstID: id(31), LastID: id(31), IDs: 1, RunID: hostile},
	})
	p.write("data/trades/date=2026-01-15/"+hostileFile+".parquet", "not Parquet")
	stream := state.Stream{StartedAt: p.now.Add(-time.Hour), UpdatedAt: p.now, Feed: "aggTrade", FlushIntervalMS: 1000,
		Connections: []state.StreamConnection{{Name: hostile, Trouble: hostile, LastReceivedAt: p.now.Add(-30 * time.Minute)}},
		Symbols:     map[string]state.StreamSymbol{hostile: {LastReceivedAt: p.now.Add(-30 * time.Minute)}}}
	schedule := state.Scheduler{BeatAt: p.now, CrontabError: hostile, CrontabErrorAt: p.now, Jobs: []state.Job{{Name: hostile + "\xff", Failures: 9, Outcome: state.Failed, Message: hostile}}}
	for name, content := range map[string]any{state.StreamFile: stream, state.SchedulerFile: schedule} {
		if err := p.dir.State().Write(name, content); err != nil {
			p.t.Fatal(err)
		}
	}
}

func writeTape[T any](t *testing.T, table string, rows []T) {
	t.Helper()
	dir := filepath.Join("data", table, "date=2026-01-15")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := parquet.WriteFile(filepath.Join(dir, "foreign.parquet"), rows); err != nil {
		t.Fatal(err)
	}
}

// run runs a command and returns its standard output, after checking that nothing in its lines for
// people is hidden.
func (p *hostilePlace) run(args ...string) (stdout, stderr string) {
	p.t.Helper()
	var out, err bytes.Buffer
	status := run(args, p.environ, strings.NewReader(""), &out, &err)
	if status == exitMisuse {
		p.t.Errorf("%q is a wrong command line: %s", args, err.String())
	}
	checkShown(p.t, strings.Join(args, " ")+": standard error", err.String())
	return out.String(), err.String()
}

// checkShown checks a text for people.
func checkShown(t *testing.T, what, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("%s is not UTF-8: %q", what, text)
	}
	if i := strings.IndexFunc(text, func(r rune) bool {
		return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp))
	}); i >= 0 {
		t.Errorf("%s has the hidden character %q after %q", what, []rune(text[i:])[0], text[max(0, i-60):i])
	}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "  ") && strings.HasPrefix(strings.TrimLeft(line, "✓✅·- "), "Complete: every id of everything") {
			t.Errorf("%s has the forged line %q", what, line)
		}
	}
}

// TestHostileNamesInTextForPeople runs every command that prints names in its form for people.
func TestHostileNamesInTextForPeople(t *testing.T) {
	if testing.Short() {
		t.Skip("runs every command: make test-all")
	}
	p := newHostilePlace(t)
	evilCSV := hostileFile + ".csv"
	p.write(evilCSV, "1,1,1\n")
	for _, args := range [][]string{
		{"verify"},
		{"report", "--since", "2h"},
		{"report", "--since", "2h", "--format", "table", "--sections", "overview,movers,incidents,candles,completeness,conflicts,judged,runs,loud", "--sql-dir", "own"},
		{"report", "--since", "2h", "--format", "markdown", "--sql-dir", "own"},
		{"report", "--since", "2h", "--format", "html", "--sql-dir", "own"},
		{"report", "--since", "2h", "--send", "--sql-dir", "own"},
		{"query", "SELECT symbol, [symbol] AS list, {'name': symbol} AS struct, MAP {symbol: symbol} AS map FROM trades LIMIT 1"},
		{"query", "SELECT 1 AS \"" + strings.ReplaceAll(strings.ReplaceAll(hostileFile, `"`, `""`), "\r", "") + "\""},
		{"detect", "--dry-run", "--since", "2h", "--sql-dir", "own", "--detector", "loud"},
		{"detect", "--since", "2h", "--sql-dir", "own", "--detector", "loud", "--config", "silent.yaml"},
		{"detect", "--since", "2h", "--sql-dir", "own", "--detector", "loud"},
		{"health"}, {"health", "stream"}, {"health", "schedule"},
		{"history", "--since", "2h"},
		{"check"}, {"check", "--sql-dir", "own"},
		{"drop", "--dry-run", "--since", "2h"},
		{"drop", "--dry-run", "--detector", hostile},
		{"drop", "--dry-run", "--import", "another\n" + hostileFile},
		{"runs"}, {"runs", "--job", hostileFile},
		{"import", "--symbol", "BTCUSDT", evilCSV},
		{"import", evilCSV},
		{"backfill", "--dry-run", "--since", "2h"}, {"backfill", "--since", "2h"},
		{"queries", "--sql-dir", "own"}, {"queries", "--sql-dir", "own", "loud"},
		{"schedule", "--check"}, {"schedule", "--next", "2"},
		{"compact"},
		{"report", "--since", "2h", "--config", hostileFile + ".yaml"},
		{"check", hostileFile},
		{"report", "--out", hostileFile + "/report.md"},
		{"verify", "--data-dir", hostileFile},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			var out, err bytes.Buffer
			run(args, p.environ, strings.NewReader(""), &out, &err)
			checkShown(t, "standard output", out.String())
			checkShown(t, "standard error", err.String())
			if all := out.String() + err.String(); !strings.Contains(all, `\x1b[`) && !strings.Contains(all, `\u001b[`) {
				t.Errorf("the name is not shown: %s\n%s", out.String(), err.String())
			}
		})
	}
	segment, err := os.ReadFile("data/trades/date=2026-01-15/foreign.parquet")
	if err != nil {
		t.Fatal(err)
	}
	p.write("data/trades/date=2026-01-14/"+hostileFile+".parquet", string(segment))
	for _, args := range [][]string{{"repair", "--dry-run"}, {"verify"}, {"report", "--since", "2h"}} {
		stdout, stderr := p.run(args...)
		checkShown(t, args[0]+" of a misplaced file", stdout)
		if !strings.Contains(stdout+stderr, `date=2026-01-14/=1+1\nComplete`) {
			t.Errorf("%q does not name the misplaced file: %s%s", args, stdout, stderr)
		}
	}
	said := 0
	for _, message := range p.chat.Messages() {
		checkShown(t, "a message", message.Text)
		said += strings.Count(message.Text, `=1+1\nComplete`)
	}
	if said < 2 {
		t.Errorf("the messages name it %d times: %v", said, p.chat.Messages())
	}
	if offences := p.chat.Offences(); len(offences) > 0 {
		t.Errorf("Telegram would not accept: %v", offences)
	}
}

// checkJSONText checks JSON, one value or one a line: nothing in it is hidden. It returns the texts in
// it.
func checkJSONText(t *testing.T, what, text string) (texts []string) {
	t.Helper()
	checkShown(t, what, text)
	decoder := json.NewDecoder(strings.NewReader(text))
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			return texts
		}
		if err != nil {
			t.Fatalf("%s: %v in %q", what, err, text)
		}
		if value, ok := token.(string); ok {
			texts = append(texts, value)
		}
	}
}

// TestHostileNamesForPrograms requires every format that programs read to have the exact name, and to be
// safe on a terminal and in a spreadsheet.
func TestHostileNamesForPrograms(t *testing.T) {
	if testing.Short() {
		t.Skip("runs every command: make test-all")
	}
	p := newHostilePlace(t)
	for _, args := range [][]string{
		{"verify", "--format", "json"},
		{"report", "--since", "2h", "--format", "json", "--sql-dir", "own"},
		{"query", "--format", "json", "SELECT symbol FROM alerts"},
		{"detect", "--dry-run", "--since", "2h", "--sql-dir", "own", "--detector", "loud", "--format", "jsonl"},
		{"history", "--since", "2h", "--format", "json"},
		{"check", "--sql-dir", "own", "--format", "json"},
		{"runs", "--format", "jsonl"},
	} {
		stdout, _ := p.run(args...)
		if texts := checkJSONText(t, strings.Join(args, " "), stdout); !slices.Contains(texts, hostile) {
			t.Errorf("%q does not have the exact name: %q", args, texts)
		}
	}
	for _, args := range [][]string{
		{"verify", "--format", "csv"},
		{"report", "--since", "2h", "--format", "csv", "--sections", "loud", "--sql-dir", "own"},
		{"query", "--format", "csv", "SELECT symbol, -1 AS number, 'x' AS text, encode(symbol) AS blob FROM alerts"},
		{"history", "--since", "2h", "--format", "csv"},
		{"check", "--sql-dir", "own", "--format", "csv"},
	} {
		stdout, stderr := p.run(args...)
		rows, err := csv.NewReader(strings.NewReader(stdout)).ReadAll()
		if err != nil {
			t.Fatalf("%q: %v in %q", args, err, stdout)
		}
		found := false
		for _, cell := range slices.Concat(rows...) {
			// The reader turns \r\n into \n, of which the name has none.
			found = found || cell == "'"+hostile
			if strings.HasPrefix(cell, "=") || strings.HasPrefix(cell, "-") && cell != "-1" {
				t.Errorf("%q: the cell %q is a formula", args, cell)
			}
		}
		if !found && args[0] != "verify" { // rows of a name that no symbol can have are not certified
			t.Errorf("%q does not have the name: %q, %q", args, stdout, stderr)
		}
	}
	raw, _ := p.run("query", "--format", "csv", "--raw", "SELECT symbol FROM alerts LIMIT 1")
	if rows, err := csv.NewReader(strings.NewReader(raw)).ReadAll(); err != nil || rows[1][0] != hostile {
		t.Errorf("query --raw: %q, %v", raw, err)
	}
	p.run("report", "--since", "2h", "--out", "report.xlsx", "--sql-dir", "own")
	p.checkWorkbook("report.xlsx")
	p.checkMetrics()
}

func (p *hostilePlace) checkWorkbook(path string) {
	p.t.Helper()
	book, err := excelize.OpenFile(path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer book.Close()
	names := 0
	for _, sheet := range book.GetSheetList() {
		rows, err := book.GetRows(sheet)
		if err != nil {
			p.t.Fatal(err)
		}
		for y, row := range rows {
			for x, text := range row {
				cell, _ := excelize.CoordinatesToCellName(x+1, y+1)
				if formula, _ := book.GetCellFormula(sheet, cell); formula != "" {
					p.t.Errorf("%s!%s is the formula %q", sheet, cell, formula)
				}
				if strings.Contains(text, "Complete: every id of everything") {
					names++
					checkShown(p.t, sheet+"!"+cell, strings.NewReplacer("\t", "", "\nComplete: every id of everything", "").Replace(text))
				}
			}
		}
	}
	if names == 0 {
		p.t.Error("no cell has the name")
	}
}

// checkMetrics scrapes the metrics of a scheduler with a job whose name is not even UTF-8.
func (p *hostilePlace) checkMetrics() {
	p.t.Helper()
	handler := metrics.Handler(metrics.Sources{State: p.dir.State(), Version: "1", Health: func() (bool, string, error) {
		verdict, err := health.Check(p.dir.State(), p.now, nil)
		return verdict.Healthy, verdict.Why, err
	}}, slog.New(slog.DiscardHandler))
	for path, want := range map[string]string{"/metrics": `tapedeck_run_failures_in_a_row{job="=1+1\\nComplete`, "/healthz": shownHostile} {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest("GET", path, nil))
		checkShown(p.t, path, answer.Body.String())
		if !strings.Contains(answer.Body.String(), want) {
			p.t.Errorf("%s has no %q: %s", path, want, answer.Body.String())
		}
	}
}
