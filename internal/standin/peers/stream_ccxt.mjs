// Counts the trades of the symbols $PEER_SYMBOLS with ccxt.pro until $PEER_EXPECTED arrived or none for
// $PEER_IDLE seconds, and prints what it received by symbol: the first id, the last one and how many.
import ccxt from 'ccxt';

const rest = process.env.STANDIN_REST + '/api/v3';
const expected = Number(process.env.PEER_EXPECTED), idle = 1000 * Number(process.env.PEER_IDLE);
const exchange = new ccxt.pro.binance({
  newUpdates: true,
  urls: { api: { public: rest, private: rest, ws: { spot: process.env.STANDIN_STREAMS + '/ws' } } },
  options: { defaultType: 'spot', fetchMarkets: { types: ['spot'] }, watchTradesForSymbols: { name: 'aggTrade' }, tradesLimit: 100000 },
});
await exchange.loadHttpProxyAgent();
await exchange.loadMarkets();
const symbols = process.env.PEER_SYMBOLS.split(',').map((s) => s.slice(0, -4) + '/USDT');
const received = {};
let total = 0;
let end = Date.now() + idle + 30000; // the first trade may take long
while (total < expected && Date.now() < end) {
  let timer;
  const timeout = new Promise((resolve) => { timer = setTimeout(() => resolve([]), Math.max(0, end - Date.now())); });
  let trades;
  try {
    trades = await Promise.race([exchange.watchTradesForSymbols(symbols), timeout]);
  } catch (error) { // the connection was lost: call again, as ccxt's manual says
    trades = [];
  }
  clearTimeout(timer);
  if (trades.length > 0) end = Date.now() + idle;
  for (const t of trades) {
    const id = Number(t.id), symbol = exchange.market(t.symbol).id;
    total++;
    if (received[symbol]) { received[symbol][1] = id; received[symbol][2]++; } else received[symbol] = [id, id, 1];
  }
}
// To a pipe, Node writes in the background: exit when it is done.
process.stdout.write(JSON.stringify(received) + "\n", () => process.exit(0));
