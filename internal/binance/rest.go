package binance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	gobinance "github.com/adshao/go-binance/v2"

	"tapedeck/internal/outbound"
	"tapedeck/internal/symbol"
)

const (
	// PageLimit is how many rows a page may have.
	PageLimit = 1000

	// AggTradesWeight and HistoricalTradesWeight are the weights of one page (docs/BINANCE.md).
	AggTradesWeight        = 4
	HistoricalTradesWeight = 25

	// attempts bounds how often one request is sent; firewallAttempts does if the firewall refuses
	// it, which takes over eight minutes.
	attempts         = 10
	firewallAttempts = 6
	backoffFirst     = 250 * time.Millisecond
	backoffMost      = 30 * time.Second
)

// REST is a client of the exchange's REST endpoints for public market data. Each request waits
// until the budget allows it. A request that fails temporarily (the network, a limit, the server, a
// damaged response) is retried, up to ten times in all. It is safe for concurrent use.
type REST struct {
	client    *gobinance.Client
	transport *transport
	budget    *Budget
	opt       ClientOptions

	mu     sync.Mutex
	warned bool // of listed names that are not symbols
}

// NewREST returns a client of the exchange at baseURL (https://data-api.binance.vision). The caller
// closes it.
func NewREST(baseURL string, budget *Budget, opt ClientOptions) *REST {
	opt = opt.withDefaults()
	c := &REST{
		client: gobinance.NewClient("", ""), budget: budget, opt: opt,
		transport: &transport{base: outbound.Guard(opt.Transport), budget: budget, failFast: opt.FailFast},
	}
	c.client.BaseURL = strings.TrimRight(baseURL, "/")
	c.client.HTTPClient = outbound.ClientOver(c.transport)
	return c
}

// Close closes idle connections.
func (c *REST) Close() { c.client.HTTPClient.CloseIdleConnections() }

// URL returns the address of the exchange.
func (c *REST) URL() string { return c.client.BaseURL }

// Sleep waits, as between two attempts.
func (c *REST) Sleep(ctx context.Context, d time.Duration) error { return c.opt.Sleep(ctx, d) }

// Budget returns the budget of the client's requests.
func (c *REST) Budget() *Budget { return c.budget }

// Cost counts the requests that a result took, including failed attempts.
type Cost struct{ Requests, Weight int64 }

// Plus returns the sum of two costs.
func (c Cost) Plus(other Cost) Cost {
	return Cost{c.Requests + other.Requests, c.Weight + other.Weight}
}

// Page is a page of trades. Each row of the response has all fields of its kind: a response with a row
// that lacks one is damaged, and an error.
type Page struct {
	Rows []Row // by id, each once
	// Voided are the ids that the exchange itself has voided: price and quantity are 0, and there
	// are no raw trades. They are not in Rows.
	Voided []int64
	Cost   Cost
}

// AggTrades gets at most limit aggregate trades of a symbol with ids from fromID on.
func (c *REST) AggTrades(ctx context.Context, name symbol.Name, fromID int64, limit int) (Page, error) {
	what := fmt.Sprintf("get the aggTrades of %q from id %d", name, fromID)
	return c.getPage(ctx, what, fromID, limit, aggRowFields, func(ctx context.Context) error {
		_, err := c.client.NewAggTradesService().Symbol(name.String()).FromID(fromID).Limit(limit).Do(ctx)
		return err
	})
}

// FirstAggTrade gets the first aggregate trade of a symbol at or after a time. The page is empty if
// there is none.
func (c *REST) FirstAggTrade(ctx context.Context, name symbol.Name, from time.Time) (Page, error) {
	what := fmt.Sprintf("get the first aggTrade of %q from %s", name, from.UTC().Format(time.RFC3339Nano))
	return c.getPage(ctx, what, 0, 1, aggRowFields, func(ctx context.Context) error {
		_, err := c.client.NewAggTradesService().Symbol(name.String()).StartTime(from.UnixMicro()).Limit(1).Do(ctx)
		return err
	})
}

// LastAggTrade gets the last aggregate trade of a symbol before a time. The page is empty if there
// is none.
func (c *REST) LastAggTrade(ctx context.Context, name symbol.Name, before time.Time) (Page, error) {
	what := fmt.Sprintf("get the last aggTrade of %q before %s", name, before.UTC().Format(time.RFC3339Nano))
	return c.getPage(ctx, what, 0, 1, aggRowFields, func(ctx context.Context) error {
		_, err := c.client.NewAggTradesService().Symbol(name.String()).EndTime(before.UnixMicro() - 1).Limit(1).Do(ctx)
		return err
	})
}

// HistoricalTrades gets at most limit trades of a symbol with ids from fromID on. Only
// api.binance.com has them, not data-api.binance.vision.
func (c *REST) HistoricalTrades(ctx context.Context, name symbol.Name, fromID int64, limit int) (Page, error) {
	what := fmt.Sprintf("get the trades of %q from id %d", name, fromID)
	return c.getPage(ctx, what, fromID, limit, tradeRowFields, func(ctx context.Context) error {
		_, err := c.client.NewHistoricalTradesService().Symbol(name.String()).FromID(fromID).Limit(limit).Do(ctx)
		return err
	})
}

// getPage requests trades and checks each row and their order. The rows are read from the response
// itself, because go-binance's types do not tell a field that is missing from one that is zero.
func (c *REST) getPage(
	ctx context.Context, what string, fromID int64, limit int, fields rowFields, request func(context.Context) error,
) (Page, error) {
	var page Page
	cost, err := c.do(ctx, what, '[', func(ctx context.Context) error {
		if err := request(ctx); err != nil {
			return err
		}
		rows, err := readPage(ctx.Value(callKey{}).(*call).body, fields, limit)
		if err != nil {
			return err
		}
		page = Page{Rows: make([]Row, 0, len(rows))}
		last := fromID - 1
		for _, read := range rows {
			row, voided, reason := checkRow(read)
			switch {
			case reason != "":
				return damaged(fmt.Sprintf("row with id %d: %s", row.ID, reason))
			case row.ID <= last:
				return damaged(fmt.Sprintf("id %d follows id %d", row.ID, last))
			case voided:
				page.Voided = append(page.Voided, row.ID)
			default:
				page.Rows = append(page.Rows, row)
			}
			last = row.ID
		}
		if len(rows) > limit {
			return damaged(fmt.Sprintf("%d rows, requested were at most %d", len(rows), limit))
		}
		return nil
	})
	if err != nil {
		page = Page{}
	}
	page.Cost = cost
	return page, err
}

// checkRow returns the row with its time in microseconds, whether the exchange has voided it, and
// what is wrong with it, or "".
func checkRow(row Row) (out Row, voided bool, reason string) {
	if row.ID < 0 {
		return row, false, "a negative id"
	}
	if !isDecimal(row.Price) || !isDecimal(row.Qty) {
		return row, false, "the price or the quantity is not a decimal"
	}
	zeroPrice, zeroQty := isZero(row.Price), isZero(row.Qty)
	if row.FirstTradeID == -1 && row.LastTradeID == -1 || zeroPrice && zeroQty {
		return row, true, ""
	}
	if zeroPrice || zeroQty {
		return row, false, "the price or the quantity is zero"
	}
	if row.FirstTradeID < 0 || row.LastTradeID < row.FirstTradeID {
		return row, false, fmt.Sprintf("raw trades %d to %d", row.FirstTradeID, row.LastTradeID)
	}
	var ok bool
	if row.Time, ok = toMicros(row.Time); !ok {
		return row, false, "the time is neither milliseconds nor microseconds since 1970"
	}
	return row, false, ""
}

// ServerTime gets the exchange's clock. took bounds how long ago, at the return, the clock showed
// that time; the waits for the budget and the retries are included.
func (c *REST) ServerTime(ctx context.Context) (at time.Time, took time.Duration, cost Cost, err error) {
	began := c.budget.now()
	cost, err = c.do(ctx, "get the exchange's time", '{', func(ctx context.Context) error {
		stamp, err := c.client.NewServerTimeService().Do(ctx)
		if err != nil {
			return err
		}
		micros, ok := toMicros(stamp)
		if !ok {
			return damaged("no server time")
		}
		at = time.UnixMicro(micros).UTC()
		return nil
	})
	return at, c.budget.now().Sub(began), cost, err
}

// Symbol is a trading pair that the exchange lists.
type Symbol struct {
	Name       symbol.Name
	Status     string // TRADING, HALT, BREAK, CANCEL_ONLY, …
	BaseAsset  string
	QuoteAsset string
}

// ExchangeInfo describes the exchange.
type ExchangeInfo struct {
	ServerTime time.Time
	Limits     []RateLimit
	Symbols    []Symbol
	// LeftOut are the listed names that no symbol can have. They are not in Symbols.
	LeftOut []string
}

// ExchangeInfo gets the exchange's symbols and limits. It sets the budget's limits.
func (c *REST) ExchangeInfo(ctx context.Context) (ExchangeInfo, Cost, error) {
	var info ExchangeInfo
	cost, err := c.do(ctx, "get the exchange's symbols and limits", '{', func(ctx context.Context) error {
		got, err := c.client.NewExchangeInfoService().Do(ctx)
		if err != nil {
			return err
		}
		at, ok := toMicros(got.ServerTime)
		if !ok || len(got.Symbols) == 0 {
			return damaged("no server time or no symbols")
		}
		info = ExchangeInfo{ServerTime: time.UnixMicro(at).UTC()}
		for _, limit := range got.RateLimits {
			info.Limits = append(info.Limits, RateLimit{
				Kind: limit.RateLimitType, Interval: limit.Interval, Num: limit.IntervalNum, Limit: limit.Limit,
			})
		}
		for _, listed := range got.Symbols {
			name, err := symbol.Parse(listed.Symbol)
			if err != nil {
				info.LeftOut = append(info.LeftOut, listed.Symbol)
				continue
			}
			info.Symbols = append(info.Symbols, Symbol{
				Name: name, Status: listed.Status, BaseAsset: listed.BaseAsset, QuoteAsset: listed.QuoteAsset,
			})
		}
		return nil
	})
	c.warnLeftOut(info.LeftOut)
	if err == nil {
		err = c.budget.SetLimits(info.Limits)
	}
	return info, cost, err
}

// warnLeftOut warns once of names that no symbol can have.
func (c *REST) warnLeftOut(names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(names) == 0 || c.warned {
		return
	}
	c.warned = true
	c.opt.Logger.Warn("the exchange lists names that are not symbols, they are left out", "count", len(names),
		"first", symbol.Quote(names[0]))
}

// Ticker summarizes a symbol's last 24 hours.
type Ticker struct {
	Symbol              symbol.Name
	Volume, QuoteVolume float64 // in base and in quote asset
	Trades              int64
}

// Tickers gets the tickers of all symbols. Names that no symbol can have are left out.
func (c *REST) Tickers(ctx context.Context) ([]Ticker, error) {
	var tickers []Ticker
	_, err := c.do(ctx, "get the 24 h tickers", '[', func(ctx context.Context) error {
		got, err := c.client.NewListPriceChangeStatsService().Do(ctx)
		if err != nil {
			return err
		}
		tickers = make([]Ticker, 0, len(got))
		for _, stats := range got {
			name, err := symbol.Parse(stats.Symbol)
			if err != nil {
				continue
			}
			volume, err := strconv.ParseFloat(stats.Volume, 64)
			if err != nil {
				return damaged("a volume is not a number")
			}
			quote, err := strconv.ParseFloat(stats.QuoteVolume, 64)
			if err != nil {
				return damaged("a quote volume is not a number")
			}
			tickers = append(tickers, Ticker{Symbol: name, Volume: volume, QuoteVolume: quote, Trades: stats.Count})
		}
		return nil
	})
	return tickers, err
}

// damaged is what is wrong with a response, in words of this package.
type damaged string

func (d damaged) Error() string { return string(d) }

// do calls request until it succeeds or fails permanently. first is the first character of the
// expected JSON.
func (c *REST) do(ctx context.Context, what string, first byte, request func(context.Context) error) (Cost, error) {
	record := &call{}
	ctx = context.WithValue(ctx, callKey{}, record)
	backoff := backoffFirst
	for attempt := 1; ; attempt++ {
		record.body = nil
		err := outbound.WithoutURL(request(ctx))
		if err == nil && !startsWith(record.body, first) {
			err = damaged("unexpected JSON")
		}
		if err != nil && record.body != nil {
			reason := damaged("it is not the expected JSON") // the parser's errors quote it
			errors.As(err, &reason)
			err = &DamagedError{Reason: string(reason), Bytes: len(record.body)}
		}
		cost := Cost{record.requests, record.weight}
		if err == nil {
			return cost, nil
		}
		wait, retry := c.retryAfter(err, attempt, backoff)
		var network *networkError
		if errors.As(err, &network) && c.transport.reaching() {
			if record.unreached += wait; record.unreached >= connectWithin {
				retry, err = false, &UnreachableError{URL: c.URL(), err: network}
			}
		}
		if ctx.Err() != nil || !retry {
			return cost, fmt.Errorf("%s: %w", what, err)
		}
		c.opt.Logger.Warn("request failed, trying again",
			"request", what, "attempt", attempt, "wait_ms", wait.Milliseconds(), "error", err)
		if wait > 0 {
			if err := c.opt.Sleep(ctx, wait); err != nil {
				return cost, fmt.Errorf("%s: %w", what, err)
			}
		}
		backoff = min(2*backoff, backoffMost)
	}
}

// retryAfter reports whether a failed request is retried, and after which wait. The budget itself
// waits after a 429, a ban or a refusal by the firewall.
func (c *REST) retryAfter(err error, attempt int, backoff time.Duration) (time.Duration, bool) {
	var limited *RateLimitedError
	var banned *BannedError
	var firewall *FirewallError
	switch {
	case !Temporary(err) || attempt >= attempts:
		return 0, false
	case errors.As(err, &limited):
		return 0, limited.Until.Sub(c.budget.now()) <= c.budget.maxWait
	case errors.As(err, &banned):
		return 0, banned.Until.Sub(c.budget.now()) <= c.budget.maxWait
	case errors.As(err, &firewall):
		return 0, attempt < firewallAttempts
	}
	return backoff, true
}

// startsWith reports whether JSON starts with a character.
func startsWith(body []byte, first byte) bool {
	body = bytes.TrimLeft(body, " \t\r\n")
	return len(body) > 0 && body[0] == first
}
