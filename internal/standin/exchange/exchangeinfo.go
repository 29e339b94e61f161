package exchange

import (
	"cmp"
	"fmt"
	"strings"
)

// exchangeInfo answers as Binance does, except that fields about orders only are left out.
func (s *Server) exchangeInfo(q *query) []byte {
	one, several := q.symbols()
	status := q.status()
	permissions, hasPermissions := q.text("permissions")
	sets, _ := q.text("showPermissionSets")
	if !q.end() {
		return nil
	}
	if (status != "" || hasPermissions) && (one != "" || several != nil) {
		return q.rejectCombination()
	}
	now := s.now.Load()
	symbols := q.withStatus(q.listed(one, several), status, false)
	if hasPermissions && !strings.Contains(permissions, "SPOT") { // all that a symbol has
		symbols = nil
	}
	body := appendTime([]byte(`{"timezone":"UTC","serverTime":`), now, q.micro)
	body = fmt.Appendf(body, `,"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":%d},`+
		`{"rateLimitType":"ORDERS","interval":"SECOND","intervalNum":10,"limit":100},`+
		`{"rateLimitType":"ORDERS","interval":"DAY","intervalNum":1,"limit":200000},`+
		`{"rateLimitType":"RAW_REQUESTS","interval":"MINUTE","intervalNum":5,"limit":300000}],"exchangeFilters":[],"symbols":`, s.opt.WeightLimit)
	permissionSets := `["SPOT"]`
	if sets == "false" {
		permissionSets = ""
	}
	body = appendList(body, symbols, func(dst []byte, symbol *Symbol) []byte { return symbol.append(dst, now, permissionSets) })
	return append(body, '}')
}

func (s *Symbol) statusAt(now int64) string {
	if s.DelistedAt != 0 && now >= s.DelistedAt {
		return "BREAK"
	}
	return cmp.Or(s.Status, "TRADING")
}

func (s *Symbol) append(dst []byte, now int64, permissionSets string) []byte {
	tick, step := cmp.Or(s.TickSize, "0.00000001"), cmp.Or(s.StepSize, "0.00000001")
	status := s.statusAt(now)
	dst = appendString(append(dst, `{"symbol":`...), s.Name)
	dst = appendString(append(dst, `,"status":`...), status)
	dst = appendString(append(dst, `,"baseAsset":`...), s.Base)
	dst = appendString(append(dst, `,"baseAssetPrecision":8,"quoteAsset":`...), s.Quote)
	dst = fmt.Appendf(dst, `,"quotePrecision":8,"quoteAssetPrecision":8,"baseCommissionPrecision":8,"quoteCommissionPrecision":8,`+
		`"orderTypes":["LIMIT","LIMIT_MAKER","MARKET","STOP_LOSS","STOP_LOSS_LIMIT","TAKE_PROFIT","TAKE_PROFIT_LIMIT"],"icebergAllowed":true,`+
		`"ocoAllowed":true,"otoAllowed":true,"opoAllowed":true,"quoteOrderQtyMarketAllowed":true,"allowTrailingStop":true,`+
		`"cancelReplaceAllowed":true,"amendAllowed":true,"pegInstructionsAllowed":true,`+
		`"isSpotTradingAllowed":%t,"isMarginTradingAllowed":false,"filters":[`, status == "TRADING")
	dst = appendTexts(dst, `{"filterType":"PRICE_FILTER","minPrice":"`, tick, `","maxPrice":"10000000.00000000","tickSize":"`, tick, `"},`,
		`{"filterType":"LOT_SIZE","minQty":"`, step, `","maxQty":"9000000000.00000000","stepSize":"`, step, `"},`,
		`{"filterType":"ICEBERG_PARTS","limit":100},`,
		`{"filterType":"MARKET_LOT_SIZE","minQty":"0.00000000","maxQty":"9000000000.00000000","stepSize":"0.00000000"},`,
		`{"filterType":"TRAILING_DELTA","minTrailingAboveDelta":10,"maxTrailingAboveDelta":2000,"minTrailingBelowDelta":10,"maxTrailingBelowDelta":2000},`,
		`{"filterType":"PERCENT_PRICE_BY_SIDE","bidMultiplierUp":"5","bidMultiplierDown":"0.2","askMultiplierUp":"5","askMultiplierDown":"0.2","avgPriceMins":5},`,
		`{"filterType":"NOTIONAL","minNotional":"`, cmp.Or(s.MinNotional, "5.00000000"), `","applyMinToMarket":true,`,
		`"maxNotional":"9000000.00000000","applyMaxToMarket":false,"avgPriceMins":5},`,
		`{"filterType":"MAX_NUM_ORDERS","maxNumOrders":200},{"filterType":"MAX_NUM_ALGO_ORDERS","maxNumAlgoOrders":5}],`,
		`"permissions":[],"permissionSets":[`, permissionSets, `],"defaultSelfTradePreventionMode":"EXPIRE_MAKER",`,
		`"allowedSelfTradePreventionModes":["NONE","EXPIRE_TAKER","EXPIRE_MAKER","EXPIRE_BOTH"]}`)
	return dst
}
