package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// oracleDay is the day on which histories begin. They end on the next one.
var oracleDay = time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)

// chronicle is one random history: a market of a few symbols, a tape, and what happened to it. It sees the
// market's trades, those that nobody recorded and those of the future too.
type chronicle struct {
	t        *testing.T
	seed     uint64
	random   *rand.Rand
	symbols  []string
	market   map[string][]tape.Trade // all trades, in the order of ids
	server   *exchange.Server
	dir      *tape.Dir
	now      time.Time // of the exchange's clock, and of this machine's plus skew
	skew     time.Duration
	attacked bool            // the tape may hold another content of a row, and less may be proven than could be
	calm     bool            // one recorder runs, and nothing else happens
	placed   []window.Window // the next results of someWindow
	queries  string          // a directory with a detector
	rest     string          // the address of REST and the archive
	// elsewhere runs a command in another process, if set.
	elsewhere func(args []string) (status int, stdout, stderr string)
	runs      int
	events    []string // what happened, for a failure

	// evidence says what is proven by what: the windows in which a recorder watched a symbol, and until when
	// the exchange was asked.
	watched map[string][]window.Window
	asked   map[string]time.Time
	// altered are the ids that were seen with other contents, by symbol, and how many; the tape has the
	// right one.
	altered map[string]map[int64]map[tape.Trade]bool
	// disturbed symbols were dropped from, so a report says less about them than could be said.
	disturbed map[string]bool
	// dropped are the ids that were dropped on purpose and are not on the tape again.
	dropped map[string]map[int64]bool
	// on is what the tape has, as of the last look, and had what it ever had: what was dropped is known.
	on  map[string]map[int64]tape.Trade
	had map[string]map[int64]bool
	// judgeable are the minutes since 1970 that a detect can have judged.
	judgeable map[string]map[int64]bool
}

func newChronicle(t *testing.T, seed uint64) *chronicle {
	h := &chronicle{
		t: t, seed: seed, calm: seed%4 == 0, random: rand.New(rand.NewPCG(seed, 14)), market: map[string][]tape.Trade{},
		watched: map[string][]window.Window{}, asked: map[string]time.Time{}, altered: map[string]map[int64]map[tape.Trade]bool{},
		disturbed: map[string]bool{}, had: map[string]map[int64]bool{}, dropped: map[string]map[int64]bool{},
		judgeable: map[string]map[int64]bool{},
	}
	h.now = oracleDay.Add(2*time.Hour + h.upTo(18*time.Hour)).Truncate(time.Microsecond)
	var rows []exchange.MemoryRow
	for i := range 1 + h.random.IntN(3) {
		symbol := []string{"BTCUSDT", "ETHUSDT", "LSKBTC"}[i]
		h.symbols, h.altered[symbol] = append(h.symbols, symbol), map[int64]map[tape.Trade]bool{}
		h.had[symbol], h.dropped[symbol], h.judgeable[symbol] = map[int64]bool{}, map[int64]bool{}, map[int64]bool{}
		h.market[symbol] = h.trade(symbol)
		for _, row := range h.market[symbol] {
			rows = append(rows, exchange.MemoryRow{Symbol: symbol, Kind: exchange.AggTrade, Row: exchange.Row{
				ID: row.ID, FirstTradeID: row.FirstTradeID, LastTradeID: row.LastTradeID, TradedAt: row.TradedAt,
				Price: decimal(row.Price), Qty: decimal(row.Qty), BuyerMaker: row.IsBuyerMaker,
			}})
		}
	}
	h.server = exchange.StartTest(t, exchange.NewMemory(nil, rows), exchange.Options{Speed: exchange.Manual, Start: h.now}, exchange.BadRequest)
	h.rest = h.server.URL()
	dir, err := tape.Create(filepath.Join(t.TempDir(), "data"), tape.AggTrade, h.now)
	if err != nil {
		t.Fatal(err)
	}
	h.dir, h.queries = dir, t.TempDir()
	if err = os.Mkdir(filepath.Join(h.queries, "detect"), 0o755); err == nil {
		err = os.WriteFile(filepath.Join(h.queries, "detect", "large_trade.sql"), []byte(oracleDetector), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.note("a market of %v, clocks at %s", h.symbols, h.now.Format(time.DateTime))
	return h
}

func decimal(v float64) string { return strconv.FormatFloat(v, 'f', 8, 64) }

func (h *chronicle) upTo(most time.Duration) time.Duration {
	return time.Duration(h.random.Int64N(int64(most)))
}

func (h *chronicle) chance(n int) bool { return h.random.IntN(n) == 0 }

func (h *chronicle) note(format string, args ...any) {
	h.events = append(h.events, h.now.Format("02 15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// trade draws all trades of a symbol, from its listing to the end of time: busy or thin, with pauses.
func (h *chronicle) trade(symbol string) (out []tape.Trade) {
	mean := []time.Duration{20 * time.Second, 90 * time.Second, 12 * time.Minute}[h.random.IntN(3)]
	if h.calm {
		mean = min(mean, 90*time.Second) // so that there are trades
	}
	id := []int64{0, 1, 1 + h.random.Int64N(5e9)}[h.random.IntN(3)]
	at := oracleDay.Add(-h.upTo(2 * time.Hour))
	if !h.calm && h.chance(3) {
		at = oracleDay.Add(h.upTo(16 * time.Hour)) // listed during the history
	}
	raw := id
	for at.Before(oracleDay.Add(40 * time.Hour)) {
		pause := time.Duration(h.random.ExpFloat64() * float64(mean))
		switch h.random.IntN(60) {
		case 0:
			pause = h.upTo(3 * time.Hour)
		case 1, 2, 3:
			pause = 0 // at the same time
		}
		at = at.Add(pause).Truncate(time.Microsecond)
		row := tape.Trade{
			Symbol: symbol, ID: id, Price: float64(100+h.random.IntN(900)) / 8, Qty: float64(1+h.random.IntN(99)) / 4,
			FirstTradeID: raw, LastTradeID: raw + h.random.Int64N(3), TradedAt: at.UnixMicro(), IsBuyerMaker: h.chance(2),
		}
		id, raw = id+1, row.LastTradeID+1
		out = append(out, row)
	}
	return out
}

// between returns the market's trades of a symbol in a window.
func (h *chronicle) between(symbol string, w window.Window) (rows []tape.Trade) {
	for _, row := range h.market[symbol] {
		if row.TradedAt >= w.Start.UnixMicro() && row.TradedAt < w.End.UnixMicro() {
			rows = append(rows, row)
		}
	}
	return rows
}

// wait moves all clocks.
func (h *chronicle) wait(d time.Duration) {
	h.now = h.now.Add(d.Truncate(time.Microsecond)) // nothing is traded between two microseconds
	if err := h.server.Advance(context.Background(), h.now); err != nil {
		h.t.Fatal(err)
	}
}

// environ returns the environment of commands.
func (h *chronicle) environ() []string {
	return []string{
		"TAPEDECK_STREAM_URL=" + h.server.StreamURL(), "TAPEDECK_REST_URL=" + h.rest, "TAPEDECK_ARCHIVE_URL=" + h.rest,
		"TAPEDECK_DATA_DIR=" + h.dir.Path(), "TAPEDECK_LOG_LEVEL=error", "TAPEDECK_SQL_DIR=" + h.queries,
	}
}

// dated returns the arguments of a command with the time of this machine's clock.
func (h *chronicle) dated(args []string) []string {
	return append(slices.Clone(args), "--now", h.now.Add(h.skew).Format(time.RFC3339Nano))
}

// run runs a command in this process, or elsewhere.
func (h *chronicle) run(args ...string) (status int, stdout, stderr string) {
	if args[0] == "detect" {
		h.noteJudgeable()
	}
	args = h.dated(args)
	if h.elsewhere != nil {
		status, stdout, stderr = h.elsewhere(args)
	} else {
		var out, errs bytes.Buffer
		status = run(args, h.environ(), strings.NewReader(""), &out, &errs)
		stdout, stderr = out.String(), errs.String()
	}
	h.note("%s: exit status %d: %s", strings.Join(args, " "), status, strings.TrimSpace(stderr))
	return status, stdout, stderr
}

// look reads what is on the tape, without the index.
func (h *chronicle) look() {
	h.on = map[string]map[int64]tape.Trade{}
	for _, symbol := range h.symbols {
		h.on[symbol] = map[int64]tape.Trade{}
	}
	files, err := filepath.Glob(filepath.Join(h.dir.Path(), "trades", "*", "*.parquet"))
	if err != nil {
		h.t.Fatal(err)
	}
	for _, file := range files {
		path, err := filepath.Rel(h.dir.Path(), file)
		if err != nil {
			h.t.Fatal(err)
		}
		rows, err := h.dir.ReadTrades(path)
		if err != nil {
			h.t.Fatal(err)
		}
		for _, row := range rows {
			if _, twice := h.on[row.Symbol][row.ID]; twice {
				h.fail("%s %d is on the tape twice", row.Symbol, row.ID)
			}
			h.on[row.Symbol][row.ID], h.had[row.Symbol][row.ID] = row, true
			delete(h.dropped[row.Symbol], row.ID)
		}
	}
}

// record lets a recorder run for a while: it publishes what it received and says what it watched, as
// jobs/stream does. Connections break, and a killed recorder loses what it has not written.
func (h *chronicle) record(length time.Duration) {
	length = length.Truncate(time.Microsecond)
	start, end := h.now, h.now.Add(length)
	symbols := h.symbols
	if !h.calm && h.chance(4) {
		symbols = symbols[:1]
	}
	var up []window.Window
	for at := start; at.Before(end); {
		until := end
		if !h.calm && h.chance(2) {
			until = at.Add(time.Microsecond + h.upTo(end.Sub(at))).Truncate(time.Microsecond)
		}
		up = append(up, window.Window{Start: at, End: until})
		if at = until; h.chance(4) {
			at = at.Add(h.upTo(20 * time.Second)) // reconnected soon
		} else {
			at = at.Add(h.upTo(20 * time.Minute))
		}
		at = at.Truncate(time.Microsecond)
	}
	h.wait(length)
	written := end
	if !h.calm && h.chance(3) { // killed after its last flush
		written = start.Add(h.upTo(length)).Truncate(time.Microsecond)
	}
	bySymbol := map[string][]window.Window{}
	rows := 0
	h.runs++
	run := fmt.Sprintf("stream-%d", h.runs)
	for _, symbol := range symbols {
		var received []tape.Trade
		for _, span := range up {
			span.End = earlier(span.End, written)
			if span.Start.Before(span.End) {
				received = append(received, h.between(symbol, span)...)
				bySymbol[symbol] = append(bySymbol[symbol], span)
			}
		}
		rows += len(received)
		for len(received) > 0 {
			n := 1 + h.random.IntN(len(received))
			h.publish(received[:n], run)
			received = received[n:]
		}
		h.watched[symbol] = append(h.watched[symbol], bySymbol[symbol]...)
	}
	if err := h.dir.RecordWatched(run, bySymbol); err != nil {
		h.t.Fatal(err)
	}
	h.note("a recorder of %v wrote %d trades of %s", symbols, rows, spansText(bySymbol[symbols[0]]))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func spansText(spans []window.Window) string {
	var texts []string
	for _, s := range spans {
		texts = append(texts, s.Start.Format("02 15:04:05.000")+" to "+s.End.Format("02 15:04:05.000"))
	}
	return strings.Join(texts, ", ")
}

func (h *chronicle) publish(rows []tape.Trade, run string) {
	origin := tape.Origin{Source: tape.FromStream, Run: run, At: h.now}
	if _, err := h.dir.Publish(context.Background(), slices.Clone(rows), origin); err != nil {
		h.fail("publish: %v", err)
	}
}

// someWindow draws a window of any kind: in the past, in the future, across now, across the first trade,
// with an edge at a trade or at the end of what was watched, in a pause.
func (h *chronicle) someWindow() window.Window {
	if len(h.placed) > 0 {
		w := h.placed[0]
		h.placed = h.placed[1:]
		return w
	}
	start := oracleDay.Add(h.upTo(h.now.Sub(oracleDay)))
	length := time.Duration(1) * time.Second
	switch h.random.IntN(4) {
	case 0:
		length = time.Second + h.upTo(10*time.Minute)
	case 1:
		length = time.Second + h.upTo(2*time.Hour)
	default:
		length = time.Second + h.upTo(12*time.Hour)
	}
	symbol := h.symbols[h.random.IntN(len(h.symbols))]
	rows := h.market[symbol]
	if h.calm && h.chance(2) && len(h.watched[symbol]) > 0 { // within what was watched
		first := h.watched[symbol][0].Start
		start = first.Add(h.upTo(h.now.Sub(first)))
		return window.Window{Start: start.Truncate(time.Microsecond), End: start.Add(h.upTo(h.now.Sub(start) + 1)).Truncate(time.Microsecond).Add(time.Microsecond)}
	}
	switch h.random.IntN(9) {
	case 0: // in the future
		start = h.now.Add(h.upTo(6 * time.Hour))
	case 1: // until now
		start = h.now.Add(-length)
	case 2: // before all trades, or across the first one
		start = time.UnixMicro(rows[0].TradedAt).UTC().Add(-h.upTo(3 * time.Hour))
	case 3: // at a trade
		start = time.UnixMicro(rows[h.random.IntN(len(rows))].TradedAt).UTC()
	case 4: // until a trade
		start = time.UnixMicro(rows[h.random.IntN(len(rows))].TradedAt).UTC().Add(-length)
	case 5, 6: // until or from the end of what was watched, or within it
		if spans := h.watched[symbol]; len(spans) > 0 {
			span := spans[h.random.IntN(len(spans))]
			start = [...]time.Time{span.End.Add(-length), span.End, span.Start}[h.random.IntN(3)]
			if h.chance(2) {
				start, length = span.Start, span.End.Sub(span.Start)
			}
		}
	case 7: // in the longest pause
		longest := 1
		for i := 1; i < len(rows) && rows[i].TradedAt < h.now.UnixMicro(); i++ {
			if rows[i].TradedAt-rows[i-1].TradedAt > rows[longest].TradedAt-rows[longest-1].TradedAt {
				longest = i
			}
		}
		start = time.UnixMicro(rows[longest-1].TradedAt + 1).UTC()
		length = max(time.Microsecond, time.Duration(rows[longest].TradedAt-rows[longest-1].TradedAt-1)*time.Microsecond)
	}
	start = start.Truncate(time.Microsecond)
	return window.Window{Start: start, End: start.Add(max(length.Truncate(time.Microsecond), time.Microsecond))}
}

// fail fails the test with the history so far.
func (h *chronicle) fail(format string, args ...any) {
	h.t.Helper()
	h.t.Fatalf("%s\nseed %d; what happened:\n%s", fmt.Sprintf(format, args...), h.seed, strings.Join(h.events, "\n"))
}
