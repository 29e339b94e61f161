package backfill

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/tape"
)

var (
	day0 = time.Date(2026, 1, 13, 0, 0, 0, 0, time.UTC)
	now  = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
)

// Run plans and fetches.
func Run(ctx context.Context, dir *tape.Dir, clients Clients, opt Options) (Summary, error) {
	plan, err := Prepare(ctx, dir, clients, opt)
	if err != nil {
		return Summary{}, err
	}
	return Execute(ctx, dir, clients, plan, opt)
}

// rowAt returns the aggregate trade of a symbol with an id. Each has two raw trades.
func rowAt(symbol string, id int64, at time.Time) exchange.MemoryRow {
	return exchange.MemoryRow{Symbol: symbol, Kind: exchange.AggTrade, Row: exchange.Row{
		ID: id, FirstTradeID: 10 * id, LastTradeID: 10*id + 1, Price: fmt.Sprintf("%d.%02d000000", 100+id%50, id%100), Qty: fmt.Sprintf("0.%05d000", id%99999+1),
		TradedAt: at.UnixMicro(), BuyerMaker: id%3 == 0,
	}}
}

// market returns count aggregate trades of a symbol with ids from first, evenly spread over [from,
// until).
func market(symbol string, first int64, count int, from, until time.Time) []exchange.MemoryRow {
	rows := make([]exchange.MemoryRow, count)
	step := until.Sub(from) / time.Duration(count)
	for i := range rows {
		rows[i] = rowAt(symbol, first+int64(i), from.Add(time.Duration(i)*step).Truncate(time.Microsecond))
	}
	return rows
}

// clock moves only when sleep is called.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
	return ctx.Err()
}

// harness is a stand-in exchange, a tape and clients for both.
type harness struct {
	t        *testing.T
	exchange *exchange.Server
	dir      *tape.Dir
	clients  Clients
	rows     map[string][]exchange.MemoryRow
	log      *strings.Builder
	opt      Options
}

func newHarness(t *testing.T, feed tape.Feed, rows []exchange.MemoryRow) *harness {
	t.Helper()
	return newHarnessWith(t, feed, rows, exchange.Options{})
}

func newHarnessWith(t *testing.T, feed tape.Feed, rows []exchange.MemoryRow, opt exchange.Options) *harness {
	t.Helper()
	opt.Speed, opt.Start = exchange.Manual, now
	h := &harness{t: t, rows: map[string][]exchange.MemoryRow{}, log: &strings.Builder{}}
	for _, row := range rows {
		h.rows[row.Symbol] = append(h.rows[row.Symbol], row)
	}
	h.exchange = exchange.StartTest(t, exchange.NewMemory(nil, rows), opt)
	dir, err := tape.Create(filepath.Join(t.TempDir(), "data"), feed, day0)
	if err != nil {
		t.Fatal(err)
	}
	h.dir = dir
	h.clients = h.client()
	h.opt = Options{Now: now, Run: "run-1", Logger: slog.New(slog.NewTextHandler(&lockedWriter{out: h.log}, nil))}
	// Ask for the limits now, so that tests that count requests do not count this one.
	if _, _, err := h.clients.REST.ExchangeInfo(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

type lockedWriter struct {
	mu  sync.Mutex
	out *strings.Builder
}

func (w *lockedWriter) Write(text []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(text)
}

// client returns clients as another process would have them.
func (h *harness) client() Clients {
	c := &clock{at: now}
	budget := binance.OpenBudget(h.dir.State().Path("budget.json"), binance.BudgetOptions{Now: c.now, Sleep: c.sleep})
	rest := binance.NewREST(h.exchange.URL(), budget, binance.ClientOptions{Sleep: c.sleep})
	archive := binance.NewArchive(h.exchange.URL(), binance.ClientOptions{Sleep: c.sleep})
	h.t.Cleanup(rest.Close)
	h.t.Cleanup(archive.Close)
	return Clients{REST: rest, Archive: archive}
}

func (h *harness) inject(faults ...exchange.Fault) {
	h.t.Helper()
	for _, fault := range faults {
		if _, err := h.exchange.Inject(fault); err != nil {
			h.t.Fatal(err)
		}
	}
}

// requests returns how many requests an endpoint received.
func (h *harness) requests(path string) int64 { return h.exchange.Served().Endpoints[path].Requests }

const aggTradesPath = "/api/v3/aggTrades"

func (h *harness) run(change func(*Options)) (Summary, error) {
	h.t.Helper()
	opt := h.opt
	if change != nil {
		change(&opt)
	}
	return Run(h.t.Context(), h.dir, h.clients, opt)
}

func (h *harness) mustBackfill(change func(*Options)) Summary {
	h.t.Helper()
	summary, err := h.run(change)
	if err != nil {
		h.t.Fatalf("%v\n%s", err, h.log)
	}
	return summary
}

// publish puts some ids of a symbol on the tape, as the stream would.
func (h *harness) publish(symbol string, ids ...idset.Range) {
	h.t.Helper()
	var trades []tape.Trade
	for _, row := range h.rows[symbol] {
		for _, r := range ids {
			if row.ID >= r.First && row.ID <= r.Last {
				trades = append(trades, h.trade(row))
			}
		}
	}
	if _, err := h.dir.Publish(h.t.Context(), trades, tape.Origin{Source: tape.FromStream}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) trade(row exchange.MemoryRow) tape.Trade {
	price, _, err := tape.ParseDecimal([]byte(row.Price))
	if err != nil {
		h.t.Fatal(err)
	}
	qty, _, err := tape.ParseDecimal([]byte(row.Qty))
	if err != nil {
		h.t.Fatal(err)
	}
	return tape.Trade{Symbol: row.Symbol, ID: row.ID, Price: price, Qty: qty, FirstTradeID: row.FirstTradeID,
		LastTradeID: row.LastTradeID, TradedAt: row.TradedAt, IsBuyerMaker: row.BuyerMaker}
}

// readTape returns all trades by symbol.
func (h *harness) readTape() map[string][]tape.Trade {
	h.t.Helper()
	segments, broken, err := h.dir.Segments(tape.Trades, "", "")
	if err != nil || len(broken) > 0 {
		h.t.Fatal(err, broken)
	}
	out := map[string][]tape.Trade{}
	for _, segment := range segments {
		trades, err := h.dir.ReadTrades(segment.Path)
		if err != nil {
			h.t.Fatal(err)
		}
		for _, trade := range trades {
			out[trade.Symbol] = append(out[trade.Symbol], trade)
			if tape.DateOf(trade.TradedAt) != segment.Date {
				h.t.Errorf("%s has a trade of %s", segment.Path, tape.DateOf(trade.TradedAt))
			}
		}
	}
	return out
}

// checkTape checks that the tape has the exchange's rows with the ids in ranges, and no others.
func (h *harness) checkTape(symbol string, ranges ...idset.Range) {
	h.t.Helper()
	got := map[int64]tape.Trade{}
	for _, trade := range h.readTape()[symbol] {
		if _, twice := got[trade.ID]; twice {
			h.t.Errorf("%s %d is on the tape twice", symbol, trade.ID)
		}
		got[trade.ID] = trade
	}
	want := map[int64]tape.Trade{}
	for _, row := range h.rows[symbol] {
		for _, r := range ranges {
			if row.ID >= r.First && row.ID <= r.Last {
				want[row.ID] = h.trade(row)
			}
		}
	}
	if maps.Equal(want, got) { // cmp takes seconds for so many rows
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		if len(diff) > 3000 {
			diff = diff[:3000]
		}
		h.t.Errorf("%s (-want +got):\n%s\n%s", symbol, diff, h.log)
	}
}
