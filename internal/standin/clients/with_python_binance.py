"""Runs python-binance against the exchange at $STANDIN_REST and $STANDIN_STREAMS for $STANDIN_SECONDS
seconds, and prints what it got in the form that clients_test.go reads."""

import asyncio
import json
import os
from importlib.metadata import version

from binance import AsyncClient, BinanceSocketManager, DepthCacheManager

AsyncClient.API_URL = os.environ["STANDIN_REST"] + "/api"
BinanceSocketManager.STREAM_URL = os.environ["STANDIN_STREAMS"] + "/"
SECONDS = float(os.environ["STANDIN_SECONDS"])
SYMBOLS = ["BTCUSDT", "ETHUSDT"]

result = {"client": "python-binance " + version("python-binance"), "rows": [], "klines": [], "tickers": {}, "books": {}, "seen": {}}


def agg_trade(t):
    return {"id": t["a"], "price": t["p"], "qty": t["q"], "at": t["T"], "sell": t["m"]}


def trade(t):
    return {"id": t["id"], "price": t["price"], "qty": t["qty"], "at": t["time"], "sell": t["isBuyerMaker"]}


def streamed_trade(t):
    return {"id": t["t"], "price": t["p"], "qty": t["q"], "at": t["T"], "sell": t["m"]}


async def fetch(client):
    for symbol in SYMBOLS:
        got = result["rows"]
        got.append({"from": "get_aggregate_trades", "symbol": symbol, "kind": "aggTrade",
                    "rows": [agg_trade(t) for t in await client.get_aggregate_trades(symbol=symbol, limit=100)]})
        got.append({"from": "get_recent_trades", "symbol": symbol, "kind": "trade",
                    "rows": [trade(t) for t in await client.get_recent_trades(symbol=symbol, limit=100)]})
        for interval in ["1m", "5m", "1h"]:
            rows = await client.get_historical_klines(symbol, interval, "2 hours ago UTC")
            result["klines"].append({"from": "get_historical_klines", "symbol": symbol, "interval": interval,
                                     "rows": [[k[0], *map(float, k[1:6])] for k in rows]})
        ticker = await client.get_ticker(symbol=symbol)
        result["tickers"][symbol] = {"last": float(ticker["lastPrice"]), "high": float(ticker["highPrice"]),
                                     "low": float(ticker["lowPrice"]), "at": ticker["closeTime"]}
        book = await client.get_order_book(symbol=symbol)
        result["books"][symbol] = {"id": book["lastUpdateId"], "bid": float(book["bids"][0][0]), "ask": float(book["asks"][0][0])}
        for call in [client.get_avg_price, client.get_orderbook_ticker, client.get_symbol_ticker, client.get_symbol_info]:
            await call(symbol=symbol)
    await client.get_all_tickers()
    await client.get_orderbook_tickers()


async def collect(socket, take):
    end = asyncio.get_running_loop().time() + SECONDS
    async with socket as stream:
        while (left := end - asyncio.get_running_loop().time()) > 0:
            try:
                take(await asyncio.wait_for(stream.recv(), left))
            except asyncio.TimeoutError:
                return


def count(name):
    result["seen"][name] = 0

    def one(_):
        result["seen"][name] += 1
    return one


async def main():
    client = await AsyncClient.create()
    await fetch(client)
    manager = BinanceSocketManager(client)
    jobs = []
    for symbol in SYMBOLS:
        raw = {"from": "trade_socket", "symbol": symbol, "kind": "trade", "rows": []}
        agg = {"from": "aggtrade_socket", "symbol": symbol, "kind": "aggTrade", "rows": []}
        result["rows"] += [raw, agg]
        jobs.append(collect(manager.trade_socket(symbol), lambda t, raw=raw: raw["rows"].append(streamed_trade(t))))
        jobs.append(collect(manager.aggtrade_socket(symbol), lambda t, agg=agg: agg["rows"].append(agg_trade(t))))
    jobs.append(collect(manager.kline_socket("BTCUSDT", "1m"), count("kline_socket")))
    jobs.append(collect(manager.symbol_ticker_socket("BTCUSDT"), count("symbol_ticker_socket")))
    jobs.append(collect(manager.miniticker_socket(), count("miniticker_socket")))
    jobs.append(collect(manager.depth_socket("BTCUSDT", depth="5"), count("depth_socket")))
    jobs.append(collect(manager.multiplex_socket(["btcusdt@bookTicker", "ethusdt@bookTicker"]), count("multiplex_socket")))
    jobs.append(collect(DepthCacheManager(client, symbol="BTCUSDT"), count("DepthCacheManager")))
    await asyncio.gather(*jobs)
    await client.close_connection()
    print(json.dumps(result))


asyncio.run(main())
