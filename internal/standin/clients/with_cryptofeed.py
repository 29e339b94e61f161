"""Runs cryptofeed against the exchange at $STANDIN_REST and $STANDIN_STREAMS for $STANDIN_SECONDS seconds,
and prints what it got in the form that clients_test.go reads."""

import asyncio
import json
import os
from importlib.metadata import version

import cryptofeed.feed
from cryptofeed import FeedHandler
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint, WSAsyncConn
from cryptofeed.defines import CANDLES, L2_BOOK, TICKER, TRADES
from cryptofeed.exchanges import Binance

SECONDS = float(os.environ["STANDIN_SECONDS"])
SYMBOLS = {"BTC-USDT": "BTCUSDT", "ETH-USDT": "ETHUSDT"}

Binance.websocket_endpoints = [WebsocketEndpoint(os.environ["STANDIN_STREAMS"])]
Binance.rest_endpoints = [RestEndpoint(os.environ["STANDIN_REST"], routes=Routes("/api/v3/exchangeInfo", l2book="/api/v3/depth?symbol={}&limit={}"))]


class PlainConn(WSAsyncConn):
    """A connection without TLS, which WSAsyncConn refuses."""

    def __init__(self, address, *args, **kwargs):
        super().__init__(address.replace("ws://", "wss://", 1), *args, **kwargs)
        self.address = address


cryptofeed.feed.WSAsyncConn = PlainConn

rows = {name: {"from": "TRADES", "symbol": name, "kind": "aggTrade", "rows": []} for name in SYMBOLS.values()}
seen = {"TICKER": 0, "L2_BOOK": 0, "CANDLES": 0}


async def trade(t, _):
    rows[SYMBOLS[t.symbol]]["rows"].append(
        {"id": int(t.id), "price": str(t.price), "qty": str(t.amount), "at": round(t.timestamp * 1000), "sell": t.side == "sell"})


def count(name):
    async def one(*_):
        seen[name] += 1
    return one


handler = FeedHandler({"log": {"disabled": True}, "uvloop": False})
handler.add_feed(Binance(
    symbols=list(SYMBOLS), channels=[TRADES, TICKER, L2_BOOK, CANDLES], candle_closed_only=False, candle_interval="1m", max_depth=5,
    callbacks={TRADES: trade, TICKER: count("TICKER"), L2_BOOK: count("L2_BOOK"), CANDLES: count("CANDLES")}))
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
handler.run(start_loop=False, install_signal_handlers=False)
loop.run_until_complete(asyncio.sleep(SECONDS))
print(json.dumps({"client": "cryptofeed " + version("cryptofeed"), "rows": list(rows.values()), "klines": [], "tickers": {}, "books": {}, "seen": seen}), flush=True)
os._exit(0)  # its shutdown waits for connections
