-- by_quote_asset(symbol, btc, eth, bnb, other) returns the value for the quote asset of a symbol.
CREATE MACRO by_quote_asset(symbol, btc, eth, bnb, other) AS
CASE
    WHEN symbol LIKE '%BTC' THEN btc
    WHEN symbol LIKE '%ETH' THEN eth
    WHEN symbol LIKE '%BNB' THEN bnb
    ELSE other
END;
