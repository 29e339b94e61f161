// Runs ccxt and ccxt.pro against the exchange at $STANDIN_REST and $STANDIN_STREAMS for $STANDIN_SECONDS
// seconds, and prints what they got in the form that clients_test.go reads.
import ccxt from 'ccxt';

const rest = process.env.STANDIN_REST + '/api/v3', streams = process.env.STANDIN_STREAMS;
const seconds = Number(process.env.STANDIN_SECONDS);
const symbols = ['BTC/USDT', 'ETH/USDT'];
const exchange = new ccxt.pro.binance({
  urls: { api: { public: rest, private: rest, v1: rest, ws: { spot: streams + '/ws' } } },
  options: { defaultType: 'spot', fetchMarkets: { types: ['spot'] } },
});

const name = (symbol) => exchange.market(symbol).id;
const trade = (t) => ({
  id: Number(t.id), price: t.info.p ?? t.info.price, qty: t.info.q ?? t.info.qty, at: t.timestamp, sell: t.side === 'sell',
});

const result = { client: 'ccxt ' + ccxt.version, rows: [], klines: [], tickers: {}, books: {} };
await exchange.loadHttpProxyAgent(); // ccxt wants this before it opens a stream without TLS
await exchange.loadMarkets();
const end = Date.now() + seconds * 1000;

// The last trades as fetched, then as watched until the end.
for (const symbol of symbols) {
  const fetched = await exchange.fetchTrades(symbol, undefined, 100);
  result.rows.push({ from: 'fetchTrades', symbol: name(symbol), kind: 'aggTrade', rows: fetched.map(trade) });
  for (const timeframe of ['1m', '5m', '1h']) {
    const rows = await exchange.fetchOHLCV(symbol, timeframe, Date.now() - 2 * 3600 * 1000, 100);
    result.klines.push({ from: 'fetchOHLCV', symbol: name(symbol), interval: timeframe, rows });
  }
  const ticker = await exchange.fetchTicker(symbol);
  result.tickers[name(symbol)] = { last: ticker.last, high: ticker.high, low: ticker.low, at: ticker.timestamp };
  const book = await exchange.fetchOrderBook(symbol);
  result.books[name(symbol)] = { id: book.nonce, bid: book.bids[0][0], ask: book.asks[0][0] };
}

// watchTrades returns the trades since the last call.
exchange.newUpdates = true;
async function watch(what, each) {
  while (Date.now() < end) {
    const timeout = new Promise((resolve) => setTimeout(resolve, Math.max(0, end - Date.now())));
    const update = await Promise.race([exchange[what](...each.args), timeout]);
    if (update !== undefined) each.take(update);
  }
}
const jobs = [];
for (const symbol of symbols) {
  const watched = { from: 'watchTrades', symbol: name(symbol), kind: 'trade', rows: [] };
  result.rows.push(watched);
  jobs.push(watch('watchTrades', { args: [symbol], take: (trades) => watched.rows.push(...trades.map(trade)) }));
}
const seen = { watchTicker: 0, watchOHLCV: 0, watchOrderBook: 0, watchBidsAsks: 0 };
jobs.push(watch('watchTicker', { args: ['BTC/USDT'], take: (t) => { if (t.last > 0) seen.watchTicker++; } }));
jobs.push(watch('watchOHLCV', { args: ['BTC/USDT', '1m'], take: (rows) => { seen.watchOHLCV += rows.length; } }));
jobs.push(watch('watchOrderBook', { args: ['BTC/USDT'], take: (b) => { if (b.bids.length === 1 && b.asks.length === 1) seen.watchOrderBook++; } }));
jobs.push(watch('watchBidsAsks', { args: [['BTC/USDT']], take: (b) => { if (b['BTC/USDT'].bid < b['BTC/USDT'].ask) seen.watchBidsAsks++; } }));
await Promise.all(jobs);
result.seen = seen;
await exchange.close();
// To a pipe, Node writes in the background: exit when it is done.
process.stdout.write(JSON.stringify(result) + "\n", () => process.exit(0));
