"""Counts the trades of the symbols $PEER_SYMBOLS with cryptofeed until $PEER_EXPECTED arrived or none for
$PEER_IDLE seconds, and prints what it received by symbol: the first id, the last one and how many."""

import asyncio
import json
import os
import time

import cryptofeed.feed
from cryptofeed import FeedHandler
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint, WSAsyncConn
from cryptofeed.defines import TRADES
from cryptofeed.exchanges import Binance

expected, idle = int(os.environ["PEER_EXPECTED"]), float(os.environ["PEER_IDLE"])
symbols = {s[:-4] + "-USDT": s for s in os.environ["PEER_SYMBOLS"].split(",")}
Binance.websocket_endpoints = [WebsocketEndpoint(os.environ["STANDIN_STREAMS"])]
Binance.rest_endpoints = [RestEndpoint(os.environ["STANDIN_REST"], routes=Routes("/api/v3/exchangeInfo"))]


class PlainConn(WSAsyncConn):
    """A connection without TLS, which WSAsyncConn refuses."""

    def __init__(self, address, *args, **kwargs):
        super().__init__(address.replace("ws://", "wss://", 1), *args, **kwargs)
        self.address = address


cryptofeed.feed.WSAsyncConn = PlainConn
received, total = {}, 0


async def trade(t, _):
    global total
    total += 1
    n = int(t.id)
    if t.symbol in received:
        received[t.symbol][1] = n
        received[t.symbol][2] += 1
    else:
        received[t.symbol] = [n, n, 1]


async def wait():
    end, seen = time.monotonic() + idle + 30, 0  # the first trade may take long
    while total < expected and time.monotonic() < end:
        await asyncio.sleep(0.02)
        if total > seen:
            end, seen = time.monotonic() + idle, total

handler = FeedHandler({"log": {"disabled": True}, "uvloop": True})
handler.add_feed(Binance(symbols=list(symbols), channels=[TRADES], callbacks={TRADES: trade}))
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
handler.run(start_loop=False, install_signal_handlers=False)
loop.run_until_complete(wait())
print(json.dumps({symbols[s]: r for s, r in received.items()}), flush=True)
os._exit(0)
