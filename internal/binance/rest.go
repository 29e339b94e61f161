package binance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	gobinance "github.com/adshao/go-binance/v2"
)

const (
	// PageLimit is how many rows a page may have.
	PageLimit = 1000

	weightAggTrades  = 4
	weightHistorical = 25

	// attempts bounds how often one request is made, firewallAttempts how often if the firewall refuses it: over eight minutes.
	attempts         = 10
	firewallAttempts = 6
	backoffFirst     = 250 * time.Millisecond
	backoffMost      = 30 * time.Second
)

// REST asks the exchange's REST endpoints of public market data. Every request waits for its place in the budget; one that
// fails for a reason that passes (the network, a limit, the server, a damaged answer) is made again, up to ten times.
// Its methods may be called from many goroutines.
type REST struct {
	client *gobinance.Client
	budget *Budget
	sleep  func(context.Context, time.Duration) error
	logger *slog.Logger
	close  func()
}

// RESTOptions are a client's settings; the zero value is the default.
type RESTOptions struct {
	// Transport makes the requests; nil means one with timeouts that uses the environment's proxy.
	Transport http.RoundTripper
	// Sleep waits between attempts; nil means a timer.
	Sleep func(context.Context, time.Duration) error
	// Logger hears of requests that are made again; nil means silence.
	Logger *slog.Logger
}

// NewREST makes a client of the exchange at baseURL (https://data-api.binance.vision). Close it when done.
func NewREST(baseURL string, budget *Budget, opt RESTOptions) *REST {
	base := opt.Transport
	release := func() {}
	if base == nil {
		own := newHTTPTransport()
		base, release = own, own.CloseIdleConnections
	}
	c := &REST{client: gobinance.NewClient("", ""), budget: budget, sleep: opt.Sleep, logger: opt.Logger, close: release}
	if c.sleep == nil {
		c.sleep = sleep
	}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	c.client.BaseURL = strings.TrimRight(baseURL, "/")
	c.client.HTTPClient = &http.Client{
		Transport:     &transport{base: base, budget: budget},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// Close closes the idle connections.
func (c *REST) Close() { c.close() }

// Budget is what the client's requests are held to.
func (c *REST) Budget() *Budget { return c.budget }

// Cost is what was asked of the exchange to get something, attempts that failed included.
type Cost struct{ Requests, Weight int64 }

// Plus adds two costs.
func (c Cost) Plus(other Cost) Cost {
	return Cost{c.Requests + other.Requests, c.Weight + other.Weight}
}

// Page is a page of trades: in ascending order of ids, each id once.
type Page struct {
	Rows []Row
	// Voided are ids that the exchange gave with price and quantity 0 and no trades in them: it has neutralised them,
	// and they are not in Rows.
	Voided []int64
	Cost   Cost
}

// AggTrades gets at most limit aggregate trades of a symbol with ids of at least fromID.
func (c *REST) AggTrades(ctx context.Context, symbol string, fromID int64, limit int) (Page, error) {
	what := fmt.Sprintf("get the aggTrades of %q from id %d", symbol, fromID)
	return c.aggTrades(ctx, what, fromID, limit, func(ctx context.Context) ([]*gobinance.AggTrade, error) {
		return c.client.NewAggTradesService().Symbol(symbol).FromID(fromID).Limit(limit).Do(ctx)
	})
}

// FirstAggTrade gets the first aggregate trade of a symbol that traded at or after a time, if there is one.
func (c *REST) FirstAggTrade(ctx context.Context, symbol string, from time.Time) (Page, error) {
	what := fmt.Sprintf("get the first aggTrade of %q from %s", symbol, from.UTC().Format(time.RFC3339Nano))
	return c.aggTrades(ctx, what, 0, 1, func(ctx context.Context) ([]*gobinance.AggTrade, error) {
		return c.client.NewAggTradesService().Symbol(symbol).StartTime(from.UnixMicro()).Limit(1).Do(ctx)
	})
}

// LastAggTrade gets the last aggregate trade of a symbol that traded before a time, if there is one.
func (c *REST) LastAggTrade(ctx context.Context, symbol string, before time.Time) (Page, error) {
	what := fmt.Sprintf("get the last aggTrade of %q before %s", symbol, before.UTC().Format(time.RFC3339Nano))
	return c.aggTrades(ctx, what, 0, 1, func(ctx context.Context) ([]*gobinance.AggTrade, error) {
		return c.client.NewAggTradesService().Symbol(symbol).EndTime(before.UnixMicro() - 1).Limit(1).Do(ctx)
	})
}

func (c *REST) aggTrades(ctx context.Context, what string, fromID int64, limit int, get func(context.Context) ([]*gobinance.AggTrade, error)) (Page, error) {
	var page Page
	cost, err := c.do(ctx, what, '[', func(ctx context.Context) error {
		trades, err := get(ctx)
		if err != nil {
			return err
		}
		page = Page{Rows: make([]Row, 0, len(trades))}
		last := fromID - 1
		for _, trade := range trades {
			if trade == nil {
				return errors.New("a row is null")
			}
			row, voided, reason := checkRow(Row{
				ID: trade.AggTradeID, Price: []byte(trade.Price), Qty: []byte(trade.Quantity), FirstTradeID: trade.FirstTradeID,
				LastTradeID: trade.LastTradeID, Time: trade.Timestamp, IsBuyerMaker: trade.IsBuyerMaker,
			})
			if last, err = page.take(row, voided, reason, last); err != nil {
				return err
			}
		}
		return checkLength(len(trades), limit)
	})
	page.Cost = cost
	return page, err
}

// HistoricalTrades gets at most limit trades of a symbol with ids of at least fromID. The exchange has it at
// api.binance.com and not at data-api.binance.vision.
func (c *REST) HistoricalTrades(ctx context.Context, symbol string, fromID int64, limit int) (Page, error) {
	var page Page
	what := fmt.Sprintf("get the trades of %q from id %d", symbol, fromID)
	cost, err := c.do(ctx, what, '[', func(ctx context.Context) error {
		trades, err := c.client.NewHistoricalTradesService().Symbol(symbol).FromID(fromID).Limit(limit).Do(ctx)
		if err != nil {
			return err
		}
		page = Page{Rows: make([]Row, 0, len(trades))}
		last := fromID - 1
		for _, trade := range trades {
			if trade == nil {
				return errors.New("a row is null")
			}
			row, voided, reason := checkRow(Row{
				ID: trade.ID, Price: []byte(trade.Price), Qty: []byte(trade.Quantity), FirstTradeID: trade.ID,
				LastTradeID: trade.ID, Time: trade.Time, IsBuyerMaker: trade.IsBuyerMaker,
			})
			if last, err = page.take(row, voided, reason, last); err != nil {
				return err
			}
		}
		return checkLength(len(trades), limit)
	})
	page.Cost = cost
	return page, err
}

// take puts a checked row into the page and gives its id.
func (p *Page) take(row Row, voided bool, reason string, last int64) (int64, error) {
	switch {
	case reason != "":
		return 0, fmt.Errorf("the row of id %d: %s", row.ID, reason)
	case row.ID <= last:
		return 0, fmt.Errorf("id %d stands after id %d", row.ID, last)
	case voided:
		p.Voided = append(p.Voided, row.ID)
	default:
		p.Rows = append(p.Rows, row)
	}
	return row.ID, nil
}

func checkLength(rows, limit int) error {
	if rows > limit {
		return fmt.Errorf("%d rows where at most %d were asked for", rows, limit)
	}
	return nil
}

// checkRow says what is wrong with a row, if anything, and whether the exchange has voided it; its time becomes
// microseconds.
func checkRow(row Row) (out Row, voided bool, reason string) {
	if row.ID < 0 {
		return row, false, "a negative id"
	}
	if !isDecimal(row.Price) || !isDecimal(row.Qty) {
		return row, false, fmt.Sprintf("price %q, quantity %q", cut(row.Price), cut(row.Qty))
	}
	zeroPrice, zeroQty := isZero(row.Price), isZero(row.Qty)
	if row.FirstTradeID == -1 && row.LastTradeID == -1 || zeroPrice && zeroQty {
		return row, true, ""
	}
	if zeroPrice || zeroQty {
		return row, false, "the price or the quantity is zero"
	}
	if row.FirstTradeID < 0 || row.LastTradeID < row.FirstTradeID {
		return row, false, fmt.Sprintf("trades %d to %d", row.FirstTradeID, row.LastTradeID)
	}
	var ok bool
	if row.Time, ok = toMicros(row.Time); !ok {
		return row, false, "its time is not in milliseconds or microseconds since 1970"
	}
	return row, false, ""
}

// Symbol is a pair that the exchange lists.
type Symbol struct {
	Name       string // as the exchange spells it
	Status     string // TRADING, HALT, BREAK, CANCEL_ONLY, …
	BaseAsset  string
	QuoteAsset string
}

// ExchangeInfo is what the exchange says of itself.
type ExchangeInfo struct {
	ServerTime time.Time
	Limits     []RateLimit
	Symbols    []Symbol
}

// ExchangeInfo gets the exchange's symbols and limits, and puts the limits into the budget.
func (c *REST) ExchangeInfo(ctx context.Context) (ExchangeInfo, Cost, error) {
	var info ExchangeInfo
	cost, err := c.do(ctx, "get the exchange's symbols and limits", '{', func(ctx context.Context) error {
		got, err := c.client.NewExchangeInfoService().Do(ctx)
		if err != nil {
			return err
		}
		at, ok := toMicros(got.ServerTime)
		if !ok || len(got.Symbols) == 0 {
			return errors.New("no server time or no symbols")
		}
		info = ExchangeInfo{ServerTime: time.UnixMicro(at).UTC()}
		for _, limit := range got.RateLimits {
			info.Limits = append(info.Limits, RateLimit{Kind: limit.RateLimitType, Interval: limit.Interval, Num: limit.IntervalNum, Limit: limit.Limit})
		}
		for _, symbol := range got.Symbols {
			info.Symbols = append(info.Symbols, Symbol{Name: symbol.Symbol, Status: symbol.Status, BaseAsset: symbol.BaseAsset, QuoteAsset: symbol.QuoteAsset})
		}
		return nil
	})
	if err == nil {
		err = c.budget.SetLimits(info.Limits)
	}
	return info, cost, err
}

// Ticker is a symbol's last 24 hours.
type Ticker struct {
	Symbol              string
	Volume, QuoteVolume float64 // in base and in quote asset
	Trades              int64
}

// Tickers gets the last 24 hours of all symbols.
func (c *REST) Tickers(ctx context.Context) ([]Ticker, error) {
	var tickers []Ticker
	_, err := c.do(ctx, "get the 24 h tickers", '[', func(ctx context.Context) error {
		got, err := c.client.NewListPriceChangeStatsService().Do(ctx)
		if err != nil {
			return err
		}
		tickers = make([]Ticker, 0, len(got))
		for _, stats := range got {
			volume, err := strconv.ParseFloat(stats.Volume, 64)
			if err != nil {
				return fmt.Errorf("volume of %q: %w", stats.Symbol, err)
			}
			quote, err := strconv.ParseFloat(stats.QuoteVolume, 64)
			if err != nil {
				return fmt.Errorf("quote volume of %q: %w", stats.Symbol, err)
			}
			tickers = append(tickers, Ticker{Symbol: stats.Symbol, Volume: volume, QuoteVolume: quote, Trades: stats.Count})
		}
		return nil
	})
	return tickers, err
}

// do makes a request until it succeeds or fails for good. begins is the first character of the JSON it answers with.
func (c *REST) do(ctx context.Context, what string, begins byte, ask func(context.Context) error) (Cost, error) {
	record := &call{}
	ctx = context.WithValue(ctx, callKey{}, record)
	backoff := backoffFirst
	for attempt := 1; ; attempt++ {
		record.body = nil
		err := plainError(ask(ctx))
		if err == nil && !startsWith(record.body, begins) {
			err = errors.New("not the JSON that was asked for")
		}
		if err != nil && record.body != nil {
			err = &DamagedError{Reason: cut([]byte(err.Error())), Body: cut(record.body)}
		}
		cost := Cost{record.requests, record.weight}
		if err == nil {
			return cost, nil
		}
		wait, again := c.again(err, attempt, backoff)
		if ctx.Err() != nil || !again {
			return cost, fmt.Errorf("%s: %w", what, err)
		}
		c.logger.Warn("request is made again", "request", what, "attempt", attempt, "wait_ms", wait.Milliseconds(), "error", err)
		if wait > 0 {
			if err := c.sleep(ctx, wait); err != nil {
				return cost, fmt.Errorf("%s: %w", what, err)
			}
		}
		backoff = min(2*backoff, backoffMost)
	}
}

// again says whether and after what wait a request that failed is made again. The wait of a 429, a ban or the firewall is the budget's.
func (c *REST) again(err error, attempt int, backoff time.Duration) (time.Duration, bool) {
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

func startsWith(body []byte, begins byte) bool {
	for _, char := range body {
		if char != ' ' && char != '\t' && char != '\r' && char != '\n' {
			return char == begins
		}
	}
	return false
}
