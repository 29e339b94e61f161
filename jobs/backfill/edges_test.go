package backfill

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// void makes a row one that the exchange has voided.
func void(row *exchange.MemoryRow) {
	row.Price, row.Qty, row.FirstTradeID, row.LastTradeID = "0", "0", -1, -1
}

// An id that the exchange has voided is an answer about the edges of a window: the trades around it are
// looked for. BTCUSDT has the ids 0 to 4999, one each second, of which some are voided.
func TestVoidedIDsAtTheEdgesHideNothing(t *testing.T) {
	at := func(id int64) time.Time { return day0.Add(time.Duration(id) * time.Second) }
	between := func(first, last int64) func(int64) bool {
		return func(id int64) bool { return first <= id && id <= last }
	}
	for i, tc := range []struct {
		name        string
		voided      func(id int64) bool
		first, last int64 // ids of the window
		onTape      idset.Set
		fetched     int64
		unanswered  bool
	}{
		{name: "the last", voided: between(4999, 4999), last: 4999, fetched: 4999},
		{name: "around the start", voided: between(3196, 3204), first: 3200, last: 3304, fetched: 100},
		{name: "around the end", voided: between(3196, 3204), first: 3096, last: 3200, fetched: 100},
		{name: "the first of all", voided: between(0, 8), last: 99, fetched: 91, unanswered: true},
		{name: "the last before the window", voided: between(3196, 3204), first: 3205, last: 3304, fetched: 100},
		{name: "the first in the window", voided: between(3196, 3204), first: 3196, last: 3304, fetched: 100},
		{name: "all of the window", voided: between(3196, 3204), first: 3198, last: 3200},
		{name: "each odd one", voided: func(id int64) bool { return id%2 == 1 }, first: 1000, last: 4999, fetched: 2000},
		{name: "more than a page at the start", voided: between(500, 2999), first: 1000, last: 3099, fetched: 100},
		{name: "more than a page at the end", voided: between(500, 4999), first: 400, last: 4999, fetched: 100},
		{name: "after the tape", voided: between(3300, 4999), first: 3100, last: 4999, onTape: idset.Set{{First: 3000, Last: 3199}}, fetched: 100},
		{name: "before the tape", voided: between(0, 2990), first: 100, last: 3199, onTape: idset.Set{{First: 3000, Last: 3199}}, fetched: 9, unanswered: true},
	} {
		for _, feed := range []tape.Feed{tape.AggTrade, tape.RawTrade} {
			t.Run(tc.name+" "+string(feed), func(t *testing.T) {
				if testing.Short() && (i >= 4 || feed == tape.RawTrade) {
					t.Skip("the first cases show it")
				}
				rows, fetched := market("BTCUSDT", 0, 5000, day0, at(5000)), tc.fetched
				if feed == tape.RawTrade {
					if tc.onTape != nil || fetched > 100 {
						t.Skip("aggregate trades alone show it")
					}
					for _, row := range rows {
						if !tc.voided(row.ID) {
							rows = append(rows, rawOf(row)...)
						}
					}
					fetched *= 2
				}
				for i := range rows {
					if rows[i].Kind == exchange.AggTrade && tc.voided(rows[i].ID) {
						void(&rows[i])
					}
				}
				h := newHarness(t, feed, rows)
				for _, ids := range tc.onTape {
					h.publish("BTCUSDT", ids)
				}
				options := func(opt *Options) {
					opt.Window, opt.Symbols, opt.Source = window.Window{Start: at(tc.first), End: at(tc.last + 1)}, symbolsOf("BTCUSDT"), RESTOnly
				}
				summary := h.mustBackfill(options)
				if got := summary.Total(); got.Fetched != fetched || got.StillMissing != nil {
					t.Errorf("%s", summary)
				}
				if nothing := strings.HasPrefix(summary.String(), "nothing was missing"); nothing && fetched > 0 {
					t.Errorf("%s", summary)
				}
				if got := summary.Unanswered(); (len(got) > 0) != tc.unanswered {
					t.Errorf("unanswered: %q", got)
				}
				if again := h.mustBackfill(options); again.Total().Fetched != 0 || again.Total().StillMissing != nil {
					t.Errorf("again: %s", again)
				}
			})
		}
	}
}

// rawOf returns the two raw trades of an aggregate trade. Their ids have gaps in between.
func rawOf(agg exchange.MemoryRow) []exchange.MemoryRow {
	raw := slices.Repeat([]exchange.MemoryRow{agg}, 2)
	for i := range raw {
		id := agg.FirstTradeID + int64(i)
		raw[i].Kind, raw[i].ID, raw[i].FirstTradeID, raw[i].LastTradeID = exchange.Trade, id, id, id
	}
	return raw
}

// An exchange that shows voided ids for ever, or does not show the trades before one, gives an error after
// a bounded number of requests.
func TestSearchBeyondVoidedIDsEnds(t *testing.T) {
	var requests int
	voided := func(id string) string {
		return fmt.Sprintf(`[{"a":%s,"p":"0","q":"0","f":-1,"l":-1,"T":%d,"m":true,"M":true}]`, id, day0.UnixMicro())
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		switch query := r.URL.Query(); {
		case !query.Has("fromId"):
			fmt.Fprint(w, voided("500000"))
		case query.Get("fromId") > "5": // ids from 500000 on
			fmt.Fprint(w, voided(query.Get("fromId")))
		default:
			fmt.Fprint(w, "[]")
		}
	}))
	defer server.Close()
	c := &clock{at: now}
	budget := binance.OpenBudget(filepath.Join(t.TempDir(), "budget.json"), binance.BudgetOptions{Now: c.now, Sleep: c.sleep})
	rest := binance.NewREST(server.URL, budget, binance.ClientOptions{Sleep: c.sleep})
	defer rest.Close()
	p := &planner{Clients: Clients{REST: rest}, SymbolPlan: SymbolPlan{Symbol: symbol.Must("BTCUSDT")}}
	for name, search := range map[string]func() (windowTrade, bool, error){
		"shows only ids that it has voided": func() (windowTrade, bool, error) { return p.firstAt(t.Context(), day0) },
		"shows no trade before id 500000":   func() (windowTrade, bool, error) { return p.lastBefore(t.Context(), now) },
	} {
		requests = 0
		if _, ok, err := search(); ok || err == nil || !strings.Contains(err.Error(), name) || requests != 1+voidedPages {
			t.Errorf("%s: %v, %v after %d requests", name, ok, err, requests)
		}
	}
}
