"""Runs binance-connector against the exchange at $STANDIN_REST and $STANDIN_STREAMS for $STANDIN_SECONDS
seconds, and prints what it got in the form that clients_test.go reads."""

import json
import os
import time
from importlib.metadata import version

from binance.error import ClientError
from binance.spot import Spot
from binance.websocket.spot.websocket_stream import SpotWebsocketStreamClient

SECONDS = float(os.environ["STANDIN_SECONDS"])
SYMBOLS = ["BTCUSDT", "ETHUSDT"]

result = {"client": "binance-connector " + version("binance-connector"), "rows": [], "klines": [], "tickers": {}, "books": {}, "seen": {}}


def agg_trade(t):
    return {"id": t["a"], "price": t["p"], "qty": t["q"], "at": t["T"], "sell": t["m"]}


def trade(t):
    return {"id": t["id"], "price": t["price"], "qty": t["qty"], "at": t["time"], "sell": t["isBuyerMaker"]}


def streamed_trade(t):
    return {"id": t["t"], "price": t["p"], "qty": t["q"], "at": t["T"], "sell": t["m"]}


def candles(rows):
    return [[k[0], *map(float, k[1:6])] for k in rows]


def fetch():
    client = Spot(base_url=os.environ["STANDIN_REST"])
    client.ping()
    client.time()
    client.exchange_info(symbols=SYMBOLS)
    for symbol in SYMBOLS:
        result["rows"] += [
            {"from": "agg_trades", "symbol": symbol, "kind": "aggTrade", "rows": [agg_trade(t) for t in client.agg_trades(symbol, limit=100)]},
            {"from": "trades", "symbol": symbol, "kind": "trade", "rows": [trade(t) for t in client.trades(symbol, limit=100)]},
        ]
        since = int(time.time() * 1000) - 7200_000
        for interval in ["1m", "5m", "1h"]:
            for call in [client.klines, client.ui_klines]:
                result["klines"].append({"from": call.__name__, "symbol": symbol, "interval": interval,
                                         "rows": candles(call(symbol, interval, startTime=since))})
        ticker = client.ticker_24hr(symbol)
        result["tickers"][symbol] = {"last": float(ticker["lastPrice"]), "high": float(ticker["highPrice"]),
                                     "low": float(ticker["lowPrice"]), "at": ticker["closeTime"]}
        book = client.depth(symbol)
        result["books"][symbol] = {"id": book["lastUpdateId"], "bid": float(book["bids"][0][0]), "ask": float(book["asks"][0][0])}
        client.avg_price(symbol)
        client.rolling_window_ticker(symbol, windowSize="1h")
        client.trading_day_ticker(symbol)
    client.ticker_price(symbols=SYMBOLS)
    client.book_ticker(symbols=SYMBOLS)
    try:
        client.klines("NOSUCHPAIR", "1m")
    except ClientError as error:
        result["refused"] = {"status": error.status_code, "code": error.error_code, "message": error.error_message}


def stream():
    raw = {s: {"from": "trade", "symbol": s, "kind": "trade", "rows": []} for s in SYMBOLS}
    agg = {s: {"from": "agg_trade", "symbol": s, "kind": "aggTrade", "rows": []} for s in SYMBOLS}
    result["rows"] += [*raw.values(), *agg.values()]
    seen = result["seen"]
    errors = []

    def take(_, text):
        message = json.loads(text)
        if "stream" not in message:
            return  # the answer to a subscription
        data, kind = message["data"], message["stream"].split("@")[1]
        if kind == "trade":
            raw[data["s"]]["rows"].append(streamed_trade(data))
        elif kind == "aggTrade":
            agg[data["s"]]["rows"].append(agg_trade(data))
        else:
            seen[kind] = seen.get(kind, 0) + 1

    client = SpotWebsocketStreamClient(stream_url=os.environ["STANDIN_STREAMS"], on_message=take, is_combined=True,
                                       on_error=lambda _, error: errors.append(str(error)))
    pause = 0.3  # at most 5 messages a second
    for symbol in SYMBOLS:
        for subscribe in [client.trade, client.agg_trade]:
            subscribe(symbol=symbol)
            time.sleep(pause)
    for subscribe in [lambda: client.kline(symbol="BTCUSDT", interval="1m"), lambda: client.mini_ticker(symbol="BTCUSDT"),
                      lambda: client.ticker(symbol="BTCUSDT"), lambda: client.book_ticker(symbol="BTCUSDT"),
                      lambda: client.partial_book_depth(symbol="BTCUSDT", level=5, speed=1000), lambda: client.diff_book_depth(symbol="BTCUSDT", speed=100),
                      lambda: client.rolling_window_ticker(symbol="BTCUSDT", windowSize="1h")]:
        subscribe()
        time.sleep(pause)
    time.sleep(SECONDS)
    client.stop()
    if errors:
        raise SystemExit("errors of the stream: " + "; ".join(errors))


fetch()
stream()
print(json.dumps(result))
