package backfill

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

func between(start, end time.Time) window.Window { return window.Window{Start: start, End: end} }

// The exchange's clock is now, and BTCUSDT has ids from 1000, so that older ones may exist. NEWUSDT
// begins with id 0. Both trade in the first and in the last hour of [day0, now).
func TestSummaryClaimsOnlyWhatTheExchangeAnswered(t *testing.T) {
	hour := time.Hour
	rows := slices.Concat(
		market("BTCUSDT", 1000, 100, day0.Add(hour/2), day0.Add(hour)), market("BTCUSDT", 1100, 100, now.Add(-hour), now),
		market("NEWUSDT", 0, 100, day0.Add(hour/2), day0.Add(hour)),
	)
	for _, tc := range []struct {
		name       string
		symbol     string
		now        time.Time // of this machine
		window     window.Window
		fetched    int64
		want       string
		unanswered []string
		requests   int64     // for trades
		covered    time.Time // zero: the window's end
	}{
		{
			name: "the exchange's clock is two hours behind", symbol: "BTCUSDT", now: now.Add(2 * hour), window: between(now.Add(-hour), now.Add(2*hour)),
			fetched: 100, want: "0 still missing from 2026-01-15 11:00:00 to 2026-01-15 12:00:00 UTC", requests: 3,
			unanswered: []string{"no answer from 2026-01-15 12:00:00 to 2026-01-15 14:00:00 UTC: the exchange's clock is at 2026-01-15 12:00:00 UTC"},
			covered:    now,
		}, {
			name: "the window is in the exchange's future", symbol: "BTCUSDT", now: now.Add(2 * hour), window: between(now.Add(hour), now.Add(2*hour)),
			want:       "no answer from 2026-01-15 13:00:00 to 2026-01-15 14:00:00 UTC",
			unanswered: []string{"no answer from 2026-01-15 13:00:00 to 2026-01-15 14:00:00 UTC: the exchange's clock is at 2026-01-15 12:00:00 UTC"},
			covered:    now.Add(hour),
		}, {
			name: "the exchange's clock is two hours ahead", symbol: "BTCUSDT", now: now.Add(-2 * hour), window: between(now.Add(-4*hour), now.Add(-2*hour)),
			want: "nothing was missing from 2026-01-15 08:00:00 to 2026-01-15 10:00:00 UTC", requests: 2,
		}, {
			name: "out of reach", symbol: "BTCUSDT", now: now, window: between(day0.Add(-48*hour), day0.Add(-24*hour)),
			want:       "no answer from 2026-01-11 00:00:00 to 2026-01-12 00:00:00 UTC",
			unanswered: []string{"BTCUSDT: no answer from 2026-01-11 00:00:00 to 2026-01-12 00:00:00 UTC: the exchange shows nothing before 2026-01-13 00:30:00 UTC (id 1000)"}, requests: 3,
		}, {
			name: "partly out of reach", symbol: "BTCUSDT", now: now, window: between(day0, day0.Add(hour)), fetched: 100,
			want:       "0 still missing from 2026-01-13 00:30:00 to 2026-01-13 01:00:00 UTC",
			unanswered: []string{"BTCUSDT: no answer from 2026-01-13 00:00:00 to 2026-01-13 00:30:00 UTC: the exchange shows nothing before 2026-01-13 00:30:00 UTC (id 1000)"}, requests: 4,
			covered: day0, // the archive may have it later
		}, {
			name: "before the first trade", symbol: "NEWUSDT", now: now, window: between(day0.Add(-hour), day0),
			want: "nothing was missing from 2026-01-12 23:00:00 to 2026-01-13 00:00:00 UTC", requests: 3,
		}, {
			name: "begins before the first trade", symbol: "NEWUSDT", now: now, window: between(day0.Add(-hour), day0.Add(hour)), fetched: 100,
			want: "0 still missing from 2026-01-12 23:00:00 to 2026-01-13 01:00:00 UTC", requests: 4,
		}, {
			name: "nothing traded", symbol: "BTCUSDT", now: now, window: between(day0.Add(2*hour), day0.Add(3*hour)),
			want: "nothing was missing from 2026-01-13 02:00:00 to 2026-01-13 03:00:00 UTC", requests: 2,
		}, {
			name: "nothing traded since", symbol: "NEWUSDT", now: now, window: between(now.Add(-hour), now),
			want: "nothing was missing from 2026-01-15 11:00:00 to 2026-01-15 12:00:00 UTC", requests: 2,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHarness(t, tape.AggTrade, rows)
			summary := h.mustBackfill(func(opt *Options) {
				opt.Now, opt.Window, opt.Symbols, opt.Source = tc.now, tc.window, symbolsOf(tc.symbol), RESTOnly
			})
			if got := summary.String(); !strings.HasSuffix(got, tc.want) || summary.Total().Fetched != tc.fetched {
				t.Errorf("summary: %q, want %q", got, tc.want)
			}
			if diff := cmp.Diff(tc.unanswered, summary.Unanswered()); diff != "" {
				t.Errorf("unanswered (-want +got):\n%s", diff)
			}
			covered := tc.covered
			if covered.IsZero() {
				covered = tc.window.End
			}
			if got := summary.CoveredUntil(); !got.Equal(covered) {
				t.Errorf("covered until %v, want %v", got, covered)
			}
			if got := h.requests(aggTradesPath); got != tc.requests {
				t.Errorf("%d requests for trades, want %d", got, tc.requests)
			}
			skewed := strings.Contains(h.log.String(), "this machine's clock differs from the exchange's")
			if skewed != (tc.now != now) {
				t.Errorf("warned of the clocks: %v\n%s", skewed, h.log)
			}
		})
	}
}

// Without a window, nothing is asked about the time after the tape, and the summary says so.
func TestSummaryWithoutAWindowIsAboutTheTape(t *testing.T) {
	h := newHarness(t, tape.AggTrade, append(market("BTCUSDT", 0, 100, day0, now), market("ETHUSDT", 0, 100, day0, now)...))
	h.publish("BTCUSDT", idset.Range{First: 10, Last: 49})
	before := h.exchange.Served().Endpoints
	summary := h.mustBackfill(nil)
	want := "no gaps inside the tape from 2026-01-13 06:00:00 to 2026-01-14 05:24:00 UTC; the time after was not asked"
	if got := summary.String(); got != want || len(summary.Unanswered()) > 0 {
		t.Errorf("%q, want %q", got, want)
	}
	if diff := cmp.Diff(before, h.exchange.Served().Endpoints); diff != "" {
		t.Errorf("asked although nothing was missing:\n%s", diff)
	}
	h.publish("ETHUSDT", idset.Range{First: 0, Last: 9}, idset.Range{First: 20, Last: 29})
	summary = h.mustBackfill(nil)
	want = "10 trades fetched, with 1 request (weight 4); 0 still missing inside the tape of 2 symbols, between the first and the last trade " +
		"of each; the time after was not asked (the earliest last trade is of 2026-01-13 17:24:00 UTC)"
	if got := summary.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A symbol of which the exchange shows no trade has no answer, and the summary does not say that nothing
// of it was missing.
func TestSummaryOfASymbolWithoutTradesClaimsNothing(t *testing.T) {
	h := newHarness(t, tape.AggTrade, append(market("BTCUSDT", 0, 100, day0, now), market("LATEUSDT", 0, 10, now.Add(time.Hour), now.Add(2*time.Hour))...))
	for _, tc := range []struct{ symbols, want string }{
		{"LATEUSDT", "no answer from 2026-01-15 11:00:00 to 2026-01-15 12:00:00 UTC"},
		{"BTCUSDT LATEUSDT", "; 0 still missing in what the exchange has answered"},
		{"BTCUSDT LATEUSDT", "nothing was missing in what the exchange has answered"},
	} {
		summary := h.mustBackfill(func(opt *Options) {
			opt.Window, opt.Symbols, opt.Source = between(now.Add(-time.Hour), now), symbolsOf(strings.Fields(tc.symbols)...), RESTOnly
		})
		if got := summary.String(); !strings.HasSuffix(got, tc.want) || strings.HasPrefix(tc.want, "no") && got != tc.want {
			t.Errorf("%s: %q, want %q", tc.symbols, got, tc.want)
		}
		want := []string{"LATEUSDT: no answer from 2026-01-15 11:00:00 to 2026-01-15 12:00:00 UTC: the exchange shows no trades of it"}
		if diff := cmp.Diff(want, summary.Unanswered()); diff != "" {
			t.Errorf("unanswered (-want +got):\n%s", diff)
		}
	}
}

// checkKnown checks what a later command knows about a symbol.
func (h *harness) checkKnown(symbol string, want tape.Known) {
	h.t.Helper()
	index := h.dir.Index()
	if err := index.Refresh(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	got, _ := index.Known(symbol)
	if diff := cmp.Diff(want, got); diff != "" {
		h.t.Errorf("known of %s (-want +got):\n%s", symbol, diff)
	}
}

// What the exchange answered is known from then on, and not asked again.
func TestAnswersAreRecorded(t *testing.T) {
	var rows []exchange.MemoryRow
	for _, row := range market("BTCUSDT", 0, 480, day0, day0.Add(48*time.Hour)) { // one every 6 minutes
		if row.ID != 100 && row.ID != 101 {
			rows = append(rows, row)
		}
	}
	h := newHarness(t, tape.AggTrade, rows)
	start, end := day0.Add(9*time.Hour+55*time.Minute), day0.Add(30*time.Hour+time.Minute) // ids 100 and 101 are absent
	opt := func(opt *Options) {
		opt.Window, opt.Symbols, opt.Source = between(start, end), symbolsOf("BTCUSDT"), RESTOnly
	}
	h.mustBackfill(opt)
	h.checkTape("BTCUSDT", idset.Range{First: 102, Last: 300})
	want := tape.Known{Since: start, SinceBy: tape.ByExchange, Until: end, UntilBy: tape.ByExchange}
	h.checkKnown("BTCUSDT", want)
	before := h.requests(aggTradesPath)
	if again := h.mustBackfill(opt); again.String() != "nothing was missing from 2026-01-13 09:55:00 to 2026-01-14 06:01:00 UTC" {
		t.Errorf("the second run: %v", again)
	}
	if asked := h.requests(aggTradesPath) - before; asked != 0 {
		t.Errorf("%d requests in the second run", asked)
	}
	// Nothing traded in the last hours.
	h.mustBackfill(func(opt *Options) { opt.Window = between(day0.Add(20*time.Hour), now) })
	want.Until = now
	h.checkKnown("BTCUSDT", want)
}

// shortHistory returns a client of an exchange whose REST endpoints have nothing before a time.
func (h *harness) shortHistory(since time.Time) *binance.REST {
	c := &clock{at: now}
	budget := binance.OpenBudget(h.dir.State().Path("budget.json"), binance.BudgetOptions{Now: c.now, Sleep: c.sleep})
	rest := binance.NewREST(h.exchange.URL(), budget, binance.ClientOptions{Sleep: c.sleep, Transport: shortHistory{since}})
	h.t.Cleanup(rest.Close)
	return rest
}

type shortHistory struct{ since time.Time }

func (s shortHistory) RoundTrip(request *http.Request) (*http.Response, error) {
	query := request.URL.Query()
	start, err := strconv.ParseInt(query.Get("startTime"), 10, 64)
	if since := s.since.UnixMicro(); err == nil && start < since {
		query.Set("startTime", strconv.FormatInt(since, 10))
	}
	request.URL.RawQuery = query.Encode()
	answer, err := http.DefaultTransport.RoundTrip(request)
	if err != nil || !strings.HasSuffix(request.URL.Path, aggTradesPath) {
		return answer, err
	}
	defer answer.Body.Close()
	var rows []map[string]any
	decoder := json.NewDecoder(answer.Body)
	decoder.UseNumber()
	if err := decoder.Decode(&rows); err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(row map[string]any) bool {
		at, err := row["T"].(json.Number).Int64()
		return err != nil || at < s.since.UnixMicro()
	})
	body, err := json.Marshal(append([]map[string]any{}, rows...))
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return answer, err
}

// Days before the first trade that REST shows are answered by the archive.
func TestArchiveAnswersWhatRESTOmits(t *testing.T) {
	rows := market("BTCUSDT", 1000, 4800, day0.AddDate(0, 0, -2), now)
	h := newHarness(t, tape.AggTrade, rows)
	h.clients.REST = h.shortHistory(day0.Add(time.Hour))
	from := day0.AddDate(0, 0, -1)
	summary := h.mustBackfill(func(opt *Options) {
		opt.Window, opt.Symbols = between(from.Add(time.Hour), day0.Add(2*time.Hour)), symbolsOf("BTCUSDT")
	})
	if lines := summary.Unanswered(); len(lines) > 0 || !strings.HasSuffix(summary.String(), "from 2026-01-12 01:00:00 to 2026-01-13 02:00:00 UTC") {
		t.Errorf("%v, %q", summary, lines)
	}
	trades := h.readTape()["BTCUSDT"]
	first, last := trades[0], trades[len(trades)-1]
	if first.TradedAt < from.Add(time.Hour).UnixMicro() || last.TradedAt >= day0.Add(2*time.Hour).UnixMicro() || !summary.Complete() {
		t.Errorf("fetched from %v to %v", first, last)
	}
	h.checkKnown("BTCUSDT", tape.Known{
		Since: from.Add(time.Hour), SinceBy: tape.ByExchange, Until: day0.Add(2 * time.Hour), UntilBy: tape.ByExchange,
	})
	// The day before is not in the archive.
	h.inject(exchange.Fault{Kind: exchange.ArchiveLate, Count: 10})
	summary = h.mustBackfill(func(opt *Options) {
		opt.Window, opt.Symbols = between(from.Add(-2*time.Hour), day0), symbolsOf("BTCUSDT")
	})
	want := []string{"BTCUSDT: no answer from 2026-01-11 22:00:00 to 2026-01-12 01:00:00 UTC: the exchange shows nothing before 2026-01-13 01:00:18 UTC (id 3178)"}
	if diff := cmp.Diff(want, summary.Unanswered()); diff != "" {
		t.Errorf("unanswered (-want +got):\n%s\n%v", diff, summary)
	}
}

// TestCoveredUntilStopsAtWhatIsMissing requires a window with ids that may still be had, or a symbol that
// could not be asked, not to count as covered; a symbol that the exchange does not know is.
func TestCoveredUntilStopsAtWhatIsMissing(t *testing.T) {
	asked := between(day0, now)
	for _, c := range []struct {
		want   time.Time
		symbol SymbolSummary
	}{
		{asked.End, SymbolSummary{}},
		{asked.Start, SymbolSummary{StillMissing: idset.Set{{First: 5, Last: 9}}}},
		{asked.Start, SymbolSummary{Problem: errors.New("no route to host")}},
		{asked.End, SymbolSummary{Problem: fmt.Errorf("ask: %w", binance.ErrUnknownSymbol), StillMissing: idset.Set{{First: 5, Last: 9}}}},
	} {
		of, want := c.symbol, c.want
		of.Symbol = symbol.Must("BTCUSDT")
		of.Answer.Window = asked
		summary := Summary{Plan: Plan{Window: asked, Answerable: asked, Symbols: []SymbolPlan{{Symbol: of.Symbol}}}, Symbols: []SymbolSummary{of}}
		if got := summary.CoveredUntil(); !got.Equal(want) {
			t.Errorf("%+v: covered until %v, want %v", of, got, want)
		}
	}
}
