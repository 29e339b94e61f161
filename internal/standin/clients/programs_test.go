package clients

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// client is a program that uses the exchange.
type client struct {
	name    string
	refuses bool // it asks for a symbol that does not exist
	run     func(*world) (*result, error)
}

var clients = []client{
	{name: "ccxt", run: runCCXT},
	{name: "python-binance", run: python("python-binance", "with_python_binance.py")},
	{name: "binance-connector", refuses: true, run: python("binance-connector", "with_binance_connector.py")},
	{name: "cryptofeed", run: python("cryptofeed", "with_cryptofeed.py")},
	{name: "freqtrade", run: runFreqtrade},
	{name: "go-binance", refuses: true, run: runGoBinance},
}

// python runs a script in the environment of a client.
func python(name, script string) func(*world) (*result, error) {
	return func(w *world) (*result, error) {
		began := time.Now().UnixMilli()
		out, err := w.execute(w.dir, filepath.Join(*installed, name, "bin", "python"), filepath.Join(w.source, script))
		return decode(out, began, err)
	}
}

// runCCXT copies the script to where node finds the package.
func runCCXT(w *world) (*result, error) {
	const name = "with_ccxt.mjs"
	text, err := os.ReadFile(filepath.Join(w.source, name))
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(*installed, "ccxt")
	if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
		return nil, err
	}
	began := time.Now().UnixMilli()
	out, err := w.execute(dir, "node", name)
	return decode(out, began, err)
}

func decode(out []byte, began int64, err error) (*result, error) {
	if err != nil {
		return nil, err
	}
	r := &result{began: began}
	if err := json.Unmarshal(out, r); err != nil {
		return nil, fmt.Errorf("%w in %.300q", err, out)
	}
	return r, nil
}

// runFreqtrade downloads candles and trades with freqtrade's command, as its users do, and reads its files.
func runFreqtrade(w *world) (*result, error) {
	dir := filepath.Join(w.dir, "freqtrade")
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o755); err != nil {
		return nil, err
	}
	config := fmt.Sprintf(`{
		"stake_currency": "USDT", "stake_amount": 10, "dry_run": true, "trading_mode": "spot", "max_open_trades": 1, "timeframe": "5m",
		"entry_pricing": {"price_side": "same", "use_order_book": true, "order_book_top": 1},
		"exit_pricing": {"price_side": "same", "use_order_book": true, "order_book_top": 1},
		"exchange": {"name": "binance", "only_from_ccxt": true, "enable_ws": false, "pair_whitelist": ["BTC/USDT", "ETH/USDT"],
			"ccxt_config": {"urls": {"api": {"public": "%[1]s/api/v3", "private": "%[1]s/api/v3"}}, "options": {"fetchMarkets": {"types": ["spot"]}}}},
		"pairlists": [{"method": "StaticPairList"}]}`, w.rest)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o644); err != nil {
		return nil, err
	}
	program := filepath.Join(*installed, "freqtrade", "bin", "freqtrade")
	began := time.Now().UnixMilli()
	since := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(-d).Unix(), 10) + "-" }
	common := []string{"download-data", "-c", "config.json", "--userdir", ".", "--pairs", "BTC/USDT", "ETH/USDT", "--timeframes", "5m", "1h"}
	if _, err := w.execute(dir, program, append(common, "--timerange", since(150*time.Minute), "--data-format-ohlcv", "json")...); err != nil {
		return nil, err
	}
	r := &result{Client: "freqtrade", began: began}
	for _, pair := range []string{"BTC_USDT", "ETH_USDT"} {
		for _, interval := range []string{"5m", "1h"} {
			list := klines{From: "download-data", Symbol: strings.ReplaceAll(pair, "_", ""), Interval: interval}
			if err := readJSON(filepath.Join(dir, "data", "binance", pair+"-"+interval+".json"), &list.Rows); err != nil {
				return nil, err
			}
			r.Klines = append(r.Klines, list)
		}
	}
	if _, err := w.execute(dir, program, append(common, "--dl-trades", "--timerange", since(10*time.Minute), "--data-format-trades", "json")...); err != nil {
		return nil, err
	}
	for _, pair := range []string{"BTC_USDT", "ETH_USDT"} {
		list := rows{From: "download-data --dl-trades", Symbol: strings.ReplaceAll(pair, "_", ""), Kind: "aggTrade"}
		var trades [][]any // time, id, type, side, price, amount, cost
		if err := readJSON(filepath.Join(dir, "data", "binance", pair+"-trades.json"), &trades); err != nil {
			return nil, err
		}
		for _, t := range trades {
			id, err := strconv.ParseInt(fmt.Sprint(t[1]), 10, 64)
			if err != nil || len(t) != 7 {
				return nil, fmt.Errorf("freqtrade's trade %v", t)
			}
			number := func(v any) json.Number { return json.Number(strconv.FormatFloat(v.(float64), 'f', -1, 64)) }
			list.Rows = append(list.Rows, row{ID: id, Price: number(t[4]), Qty: number(t[5]), At: int64(t[0].(float64)), Sell: t[3] == "sell"})
		}
		r.Rows = append(r.Rows, list)
	}
	return r, nil
}

func readJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}
