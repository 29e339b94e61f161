package backfill

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/tape"
)

// hostileExchange lists every name, answers every request and has an archive file for every name.
func hostileExchange(t *testing.T, names []string) (address string, requests func() []string) {
	t.Helper()
	var mu sync.Mutex
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		uri, _ := url.QueryUnescape(r.RequestURI)
		seen = append(seen, uri)
		mu.Unlock()
		switch {
		case strings.HasSuffix(r.URL.Path, "/exchangeInfo"):
			var listed []string
			for _, name := range names {
				listed = append(listed, fmt.Sprintf(`{"symbol":%q,"status":"TRADING"}`, name))
			}
			fmt.Fprintf(w, `{"serverTime":%d,"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":6000}],"symbols":[%s]}`,
				now.UnixMilli(), strings.Join(listed, ","))
		case strings.HasSuffix(r.URL.Path, "/time"):
			fmt.Fprintf(w, `{"serverTime":%d}`, now.UnixMilli())
		case strings.HasSuffix(r.URL.Path, "/aggTrades"):
			var rows []string
			for id := int64(1); id <= 5; id++ {
				at := day0.Add(time.Duration(id) * time.Second).UnixMicro()
				rows = append(rows, fmt.Sprintf(`{"a":%d,"p":"1.5","q":"1.0","f":%d,"l":%d,"T":%d,"m":true,"M":true}`, id, id, id, at))
			}
			from, limit := 1, 500
			fmt.Sscan(r.URL.Query().Get("fromId"), &from)
			fmt.Sscan(r.URL.Query().Get("limit"), &limit)
			rows = rows[min(max(from-1, 0), len(rows)):]
			fmt.Fprintf(w, "[%s]", strings.Join(rows[:min(limit, len(rows))], ","))
		default:
			content := zipOf("owned\n")
			if name, ok := strings.CutSuffix(uri[strings.LastIndex(uri, "/")+1:], ".CHECKSUM"); ok {
				fmt.Fprintf(w, "%x  %s\n", sha256.Sum256(content), name)
				return
			}
			w.Write(content)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return seen
	}
}

func zipOf(text string) []byte {
	var out bytes.Buffer
	packed := zip.NewWriter(&out)
	file, _ := packed.Create("rows.csv")
	io.WriteString(file, text)
	packed.Close()
	return out.Bytes()
}

// A name on the tape that no symbol can have is used neither as a path nor as a pattern, however
// the exchange and the archive play along.
func TestNamesOnTheTapeAreNeitherPathsNorPatterns(t *testing.T) {
	names := []string{"../../tape.json", "../../../outside/file", "!BTC*", "*", "BTCUSDT"}
	address, requests := hostileExchange(t, names)
	root := t.TempDir()
	dir, err := tape.Create(filepath.Join(root, "data"), tape.AggTrade, day0)
	if err != nil {
		t.Fatal(err)
	}
	precious := []string{filepath.Join(root, "data", "tape.json"), filepath.Join(root, "outside", "file")}
	for _, suffix := range []string{"-aggTrades-2026-01-13.zip.part", "-aggTrades-2026-01-14.zip.part"} {
		precious = append(precious, filepath.Join(root, "outside", "file"+suffix))
	}
	if err := os.Mkdir(filepath.Join(root, "outside"), 0o755); err != nil {
		t.Fatal(err)
	}
	before := map[string]string{}
	for i, path := range precious {
		if i > 0 {
			if err := os.WriteFile(path, fmt.Appendf(nil, "precious %d", i), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		before[path] = read(t, path)
	}
	plant(t, dir, names)

	for _, source := range []Source{ArchiveOnly, Auto, RESTOnly} {
		c := &clock{at: now}
		budget := binance.OpenBudget(filepath.Join(root, "budget.json"), binance.BudgetOptions{Now: c.now, Sleep: c.sleep})
		clients := Clients{
			REST:    binance.NewREST(address, budget, binance.ClientOptions{Sleep: c.sleep}),
			Archive: binance.NewArchive(address, binance.ClientOptions{Sleep: c.sleep}),
		}
		opt := Options{Now: now, Run: "run-1", Source: source}
		summary, err := Run(t.Context(), dir, clients, opt)
		clients.Close()
		if err != nil {
			t.Errorf("%s: %v", source, err)
		}
		if n := len(summary.Plan.Symbols); n != 1 {
			t.Errorf("%s: %d symbols in the plan, want BTCUSDT alone", source, n)
		}
	}
	for _, path := range precious {
		if got := read(t, path); got != before[path] {
			t.Errorf("%s: %q, want %q", path, got, before[path])
		}
	}
	for _, request := range requests() {
		if strings.Contains(request, "..") || strings.Contains(request, "!") || strings.Contains(request, "*") {
			t.Errorf("requested %s", request)
		}
	}
	var ids int64
	index := dir.Index()
	if err := index.Refresh(t.Context()); err == nil {
		ids = index.IDs("BTCUSDT").Count()
	}
	if ids != 5 {
		t.Errorf("BTCUSDT has %d ids, want 5", ids)
	}
}

// plant puts a file with the ids 1 and 5 of each name on the tape, as another program could.
func plant(t *testing.T, dir *tape.Dir, names []string) {
	t.Helper()
	var rows []tape.Trade
	for _, name := range names {
		for _, id := range []int64{1, 5} {
			rows = append(rows, tape.Trade{
				Symbol: name, ID: id, Price: 1.5, Qty: 1, FirstTradeID: id, LastTradeID: id,
				TradedAt: day0.Add(time.Duration(id) * time.Second).UnixMicro(), IsBuyerMaker: true,
			})
		}
	}
	path := filepath.Join(dir.Path(), "trades", "date="+day0.Format(time.DateOnly))
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := parquet.WriteFile(filepath.Join(path, "planted.parquet"), rows); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return string(content)
}

// The ends of a gap are what a server or a file says. A plan for more ids than any symbol has had would take
// all memory; other symbols are fetched all the same.
func TestImpossibleGapIsNotPlanned(t *testing.T) {
	h := newHarness(t, tape.AggTrade, slices.Concat(market("BTCUSDT", 0, 100, now.Add(-time.Hour), now), market("ETHUSDT", 0, 100, now.Add(-time.Hour), now)))
	far := h.trade(h.rows["BTCUSDT"][99])
	far.ID, far.FirstTradeID, far.LastTradeID = tape.MaxID, tape.MaxID, tape.MaxID
	if _, err := h.dir.Publish(t.Context(), []tape.Trade{h.trade(h.rows["BTCUSDT"][0]), far}, tape.Origin{Source: tape.FromFile}); err != nil {
		t.Fatal(err)
	}
	h.publish("ETHUSDT", idset.Range{First: 0, Last: 10}, idset.Range{First: 20, Last: 99})
	summary := h.mustBackfill(nil)
	h.checkTape("ETHUSDT", idset.Range{First: 0, Last: 99})
	for _, symbol := range summary.Symbols {
		switch problem := fmt.Sprint(symbol.Problem); {
		case symbol.Symbol.String() == "ETHUSDT" && (symbol.Problem != nil || len(symbol.StillMissing) > 0):
			t.Errorf("ETHUSDT: %+v", symbol)
		case symbol.Symbol.String() == "BTCUSDT" && (!strings.Contains(problem, "more than any symbol has had") || symbol.StillMissing.Count() != tape.MaxID-1):
			t.Errorf("BTCUSDT: %s, %d missing", problem, symbol.StillMissing.Count())
		}
	}
}
