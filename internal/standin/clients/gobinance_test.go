package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/adshao/go-binance/v2"
	"github.com/adshao/go-binance/v2/common"
)

// runGoBinance uses the services and the streams of go-binance.
func runGoBinance(w *world) (*result, error) {
	r := &result{Client: "go-binance", began: time.Now().UnixMilli(), Seen: map[string]int{}, Tickers: map[string]ticker{}, Books: map[string]book{}}
	client := binance.NewClient("", "")
	client.BaseURL, client.HTTPClient = w.rest, &http.Client{Timeout: time.Minute}
	for _, symbol := range []string{"BTCUSDT", "ETHUSDT"} {
		if err := fetchGoBinance(w.t.Context(), client, symbol, r); err != nil {
			return nil, err
		}
	}
	_, err := client.NewKlinesService().Symbol("NOSUCHPAIR").Interval("1m").Do(w.t.Context())
	if refused := new(common.APIError); errors.As(err, &refused) {
		r.Refused = &refusal{Code: int(refused.Code), Message: refused.Message}
	}
	return r, streamGoBinance(w, r)
}

func fetchGoBinance(ctx context.Context, client *binance.Client, symbol string, r *result) error {
	var err error
	// do runs a request and reports the first failure.
	do := func(what string, request func() error) {
		if failed := request(); failed != nil && err == nil {
			err = fmt.Errorf("go-binance: %s: %w", what, failed)
		}
	}
	do("ping", func() error { return client.NewPingService().Do(ctx) })
	do("time", func() error { _, err := client.NewServerTimeService().Do(ctx); return err })
	do("exchangeInfo", func() error {
		info, err := client.NewExchangeInfoService().Symbol(symbol).Do(ctx)
		if err == nil && (info.Symbols[0].LotSizeFilter() == nil || info.Symbols[0].PriceFilter() == nil || info.Symbols[0].NotionalFilter() == nil) {
			err = errors.New("a filter is missing")
		}
		return err
	})
	do("aggTrades", func() error {
		list, err := client.NewAggTradesService().Symbol(symbol).Limit(100).Do(ctx)
		got := rows{From: "NewAggTradesService", Symbol: symbol, Kind: "aggTrade"}
		for _, t := range list {
			got.Rows = append(got.Rows, row{t.AggTradeID, json.Number(t.Price), json.Number(t.Quantity), t.Timestamp, t.IsBuyerMaker})
		}
		r.Rows = append(r.Rows, got)
		return err
	})
	do("historicalTrades", func() error {
		list, err := client.NewHistoricalTradesService().Symbol(symbol).Limit(100).Do(ctx)
		got := rows{From: "NewHistoricalTradesService", Symbol: symbol, Kind: "trade"}
		for _, t := range list {
			got.Rows = append(got.Rows, row{t.ID, json.Number(t.Price), json.Number(t.Quantity), t.Time, t.IsBuyerMaker})
		}
		r.Rows = append(r.Rows, got)
		return err
	})
	since := r.began - 2*time.Hour.Milliseconds()
	for _, interval := range []string{"1m", "5m", "1h"} {
		do("klines", func() error {
			list, err := client.NewKlinesService().Symbol(symbol).Interval(interval).StartTime(since).Do(ctx)
			got := klines{From: "NewKlinesService", Symbol: symbol, Interval: interval}
			for _, k := range list {
				got.Rows = append(got.Rows, [6]float64{float64(k.OpenTime), number(k.Open), number(k.High), number(k.Low), number(k.Close), number(k.Volume)})
			}
			r.Klines = append(r.Klines, got)
			return err
		})
		do("uiKlines", func() error {
			list, err := client.NewUiKlinesService().Symbol(symbol).Interval(interval).StartTime(uint64(since)).Do(ctx)
			if err == nil && len(list) == 0 {
				err = errors.New("no klines")
			}
			return err
		})
	}
	do("depth", func() error {
		answer, err := client.NewDepthService().Symbol(symbol).Limit(10).Do(ctx)
		if err == nil {
			r.Books[symbol] = book{answer.LastUpdateID, number(answer.Bids[0].Price), number(answer.Asks[0].Price)}
		}
		return err
	})
	do("ticker/24hr", func() error {
		list, err := client.NewListPriceChangeStatsService().Symbol(symbol).Do(ctx)
		if err == nil {
			r.Tickers[symbol] = ticker{number(list[0].LastPrice), number(list[0].HighPrice), number(list[0].LowPrice), list[0].CloseTime}
		}
		return err
	})
	do("ticker", func() error {
		_, err := client.NewListSymbolTickerService().Symbol(symbol).WindowSize("1h").Do(ctx)
		return err
	})
	do("ticker/tradingDay", func() error { _, err := client.NewTradingDayTickerService().Symbol(symbol).Do(ctx); return err })
	do("ticker/price", func() error { _, err := client.NewListPricesService().Symbol(symbol).Do(ctx); return err })
	do("ticker/bookTicker", func() error { _, err := client.NewListBookTickersService().Symbol(symbol).Do(ctx); return err })
	do("avgPrice", func() error { _, err := client.NewAveragePriceService().Symbol(symbol).Do(ctx); return err })
	return err
}

// streamGoBinance receives each stream of BTCUSDT that go-binance has a function for and Binance still sends.
func streamGoBinance(w *world, r *result) error {
	binance.BaseWsMainURL, binance.BaseCombinedMainURL = w.streams+"/ws", w.streams+"/stream?streams="
	var mu sync.Mutex
	var failed error
	fail := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		failed = errors.Join(failed, err)
	}
	const symbol = "BTCUSDT"
	trades, aggs := rows{From: "WsTradeServe", Symbol: symbol, Kind: "trade"}, rows{From: "WsAggTradeServe", Symbol: symbol, Kind: "aggTrade"}
	count := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		r.Seen[what]++
	}
	var stops []chan struct{}
	var ends []chan struct{}
	serve := func(what string, start func() (done, stop chan struct{}, err error)) {
		done, stop, err := start()
		if err != nil {
			fail(fmt.Errorf("go-binance: %s: %w", what, err))
			return
		}
		ends, stops = append(ends, done), append(stops, stop)
		if what != trades.From && what != aggs.From {
			mu.Lock()
			r.Seen[what] += 0
			mu.Unlock()
		}
	}
	serve(trades.From, func() (chan struct{}, chan struct{}, error) {
		return binance.WsTradeServe(symbol, func(e *binance.WsTradeEvent) {
			trades.Rows = append(trades.Rows, row{e.TradeID, json.Number(e.Price), json.Number(e.Quantity), e.TradeTime, e.IsBuyerMaker})
		}, fail)
	})
	serve(aggs.From, func() (chan struct{}, chan struct{}, error) {
		return binance.WsAggTradeServe(symbol, func(e *binance.WsAggTradeEvent) {
			aggs.Rows = append(aggs.Rows, row{e.AggTradeID, json.Number(e.Price), json.Number(e.Quantity), e.TradeTime, e.IsBuyerMaker})
		}, fail)
	})
	serve("WsKlineServe", func() (chan struct{}, chan struct{}, error) {
		return binance.WsKlineServe(symbol, "1m", func(*binance.WsKlineEvent) { count("WsKlineServe") }, fail)
	})
	serve("WsDepthServe", func() (chan struct{}, chan struct{}, error) {
		return binance.WsDepthServe(symbol, func(*binance.WsDepthEvent) { count("WsDepthServe") }, fail)
	})
	serve("WsPartialDepthServe", func() (chan struct{}, chan struct{}, error) {
		return binance.WsPartialDepthServe(symbol, "5", func(*binance.WsPartialDepthEvent) { count("WsPartialDepthServe") }, fail)
	})
	serve("WsBookTickerServe", func() (chan struct{}, chan struct{}, error) {
		return binance.WsBookTickerServe(symbol, func(*binance.WsBookTickerEvent) { count("WsBookTickerServe") }, fail)
	})
	serve("WsMarketStatServe", func() (chan struct{}, chan struct{}, error) {
		return binance.WsMarketStatServe(symbol, func(*binance.WsMarketStatEvent) { count("WsMarketStatServe") }, fail)
	})
	serve("WsAllMiniMarketsStatServe", func() (chan struct{}, chan struct{}, error) {
		return binance.WsAllMiniMarketsStatServe(func(binance.WsAllMiniMarketsStatEvent) { count("WsAllMiniMarketsStatServe") }, fail)
	})
	select {
	case <-time.After(seconds * time.Second):
	case <-w.t.Context().Done():
	}
	for i := range stops {
		close(stops[i])
		<-ends[i]
	}
	r.Rows = append(r.Rows, trades, aggs)
	return failed
}

func number(text string) float64 {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return math.NaN()
	}
	return n
}
