package exchange

import (
	"cmp"
	"fmt"
	"slices"
)

// exchangeInfo answers as Binance does, except that fields about orders only are left out.
func (s *Server) exchangeInfo(q *query) []byte {
	one, several := q.symbols()
	status, hasStatus := q.text("symbolStatus")
	q.text("permissions")
	q.text("showPermissionSets")
	if !q.end() {
		return nil
	}
	if hasStatus && (one != "" || several != nil) {
		return q.rejectCombination()
	}
	statuses := []string{
		"TRADING", "HALT", "BREAK", "CANCEL_ONLY", "PRE_TRADING", "POST_TRADING", "END_OF_DAY", "AUCTION_MATCH",
	}
	if hasStatus && !slices.Contains(statuses, status) {
		return q.reject(-1122, "Invalid symbolStatus.")
	}
	now := s.now.Load()
	symbols := slices.DeleteFunc(q.listed(one, several), func(symbol Symbol) bool {
		return hasStatus && symbol.statusAt(now) != status
	})
	body := appendTime([]byte(`{"timezone":"UTC","serverTime":`), now, q.micro)
	body = fmt.Appendf(body, `,"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":%d},`+
		`{"rateLimitType":"ORDERS","interval":"SECOND","intervalNum":10,"limit":100},`+
		`{"rateLimitType":"ORDERS","interval":"DAY","intervalNum":1,"limit":200000},`+
		`{"rateLimitType":"RAW_REQUESTS","interval":"MINUTE","intervalNum":5,"limit":300000}],"exchangeFilters":[],"symbols":`, s.opt.WeightLimit)
	body = appendList(body, symbols, func(dst []byte, symbol *Symbol) []byte { return symbol.append(dst, now) })
	return append(body, '}')
}

func (s *Symbol) statusAt(now int64) string {
	if s.DelistedAt != 0 && now >= s.DelistedAt {
		return "BREAK"
	}
	return cmp.Or(s.Status, "TRADING")
}

func (s *Symbol) append(dst []byte, now int64) []byte {
	quote := func(text string) []byte { return appendString(nil, text) }
	tick, step := quote(cmp.Or(s.TickSize, "0.00000001")), quote(cmp.Or(s.StepSize, "0.00000001"))
	status := s.statusAt(now)
	return fmt.Appendf(dst, `{"symbol":%s,"status":%s,"baseAsset":%s,"baseAssetPrecision":8,"quoteAsset":%s,`+
		`"quotePrecision":8,"quoteAssetPrecision":8,"baseCommissionPrecision":8,"quoteCommissionPrecision":8,`+
		`"orderTypes":["LIMIT","LIMIT_MAKER","MARKET","STOP_LOSS_LIMIT","TAKE_PROFIT_LIMIT"],"icebergAllowed":true,"ocoAllowed":true,`+
		`"otoAllowed":true,"quoteOrderQtyMarketAllowed":true,"allowTrailingStop":true,"cancelReplaceAllowed":true,`+
		`"isSpotTradingAllowed":%t,"isMarginTradingAllowed":false,"filters":[`+
		`{"filterType":"PRICE_FILTER","minPrice":%s,"maxPrice":"10000000.00000000","tickSize":%[6]s},`+
		`{"filterType":"LOT_SIZE","minQty":%s,"maxQty":"9000000000.00000000","stepSize":%[7]s},`+
		`{"filterType":"NOTIONAL","minNotional":%s,"applyMinToMarket":true,"maxNotional":"9000000.00000000","applyMaxToMarket":false,`+
		`"avgPriceMins":5}],"permissions":[],"permissionSets":[["SPOT"]],"defaultSelfTradePreventionMode":"EXPIRE_MAKER",`+
		`"allowedSelfTradePreventionModes":["NONE","EXPIRE_TAKER","EXPIRE_MAKER","EXPIRE_BOTH"]}`,
		quote(s.Name), quote(status), quote(s.Base), quote(s.Quote), status == "TRADING", tick, step, quote(cmp.Or(s.MinNotional, "5.00000000")))
}
