package exchange

import (
	"cmp"
	"slices"
	"strconv"
)

// exchangeInfo answers as Binance does, except that fields about orders only are left out.
func (s *Server) exchangeInfo(q *query) ([]byte, *failure) {
	one, hasOne := q.text("symbol")
	names, hasNames := q.symbols("symbols")
	status, hasStatus := q.text("symbolStatus")
	q.text("permissions")
	q.text("showPermissionSets")
	if fail := q.end(); fail != nil {
		return nil, fail
	}
	if hasOne && hasNames || hasStatus && (hasOne || hasNames) {
		return nil, badRequest(-1128, "Combination of optional parameters invalid.")
	}
	statuses := []string{
		"TRADING", "HALT", "BREAK", "CANCEL_ONLY", "PRE_TRADING", "POST_TRADING", "END_OF_DAY", "AUCTION_MATCH",
	}
	if hasStatus && !slices.Contains(statuses, status) {
		return nil, badRequest(-1122, "Invalid symbolStatus.")
	}
	if hasOne {
		if q.checkListed(one); q.fail != nil {
			return nil, q.fail
		}
		names = []string{one}
	}
	now := s.now.Load()
	var symbols []Symbol
	for _, name := range names {
		if !s.isListed(name) {
			return nil, badRequest(-1121, "Invalid symbol.")
		}
		symbols = append(symbols, s.hub.symbols[s.hub.byName[lower(name)]])
	}
	if !hasOne && !hasNames {
		for _, symbol := range s.hub.symbols {
			if symbol.ListedAt <= now && (!hasStatus || symbol.statusAt(now) == status) {
				symbols = append(symbols, symbol)
			}
		}
	}
	body := []byte(`{"timezone":"UTC","serverTime":`)
	body = appendTime(body, now, q.micro)
	body = append(body, `,"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":`...)
	body = strconv.AppendInt(body, s.opt.WeightLimit, 10)
	body = append(body, `},{"rateLimitType":"ORDERS","interval":"SECOND","intervalNum":10,"limit":100},`+
		`{"rateLimitType":"ORDERS","interval":"DAY","intervalNum":1,"limit":200000},`+
		`{"rateLimitType":"RAW_REQUESTS","interval":"MINUTE","intervalNum":5,"limit":300000}],"exchangeFilters":[],"symbols":[`...)
	for i, symbol := range symbols {
		if i > 0 {
			body = append(body, ',')
		}
		body = symbol.append(body, now)
	}
	return append(body, `]}`...), nil
}

func (s *Symbol) statusAt(now int64) string {
	if s.DelistedAt != 0 && now >= s.DelistedAt {
		return "BREAK"
	}
	return cmp.Or(s.Status, "TRADING")
}

func (s *Symbol) append(dst []byte, now int64) []byte {
	text := func(key, value string) {
		dst = append(dst, key...)
		dst = appendString(dst, value)
	}
	tick, step := cmp.Or(s.TickSize, "0.00000001"), cmp.Or(s.StepSize, "0.00000001")
	text(`{"symbol":`, s.Name)
	text(`,"status":`, s.statusAt(now))
	text(`,"baseAsset":`, s.Base)
	dst = append(dst, `,"baseAssetPrecision":8`...)
	text(`,"quoteAsset":`, s.Quote)
	dst = append(dst, `,"quotePrecision":8,"quoteAssetPrecision":8,"baseCommissionPrecision":8,"quoteCommissionPrecision":8,`+
		`"orderTypes":["LIMIT","LIMIT_MAKER","MARKET","STOP_LOSS_LIMIT","TAKE_PROFIT_LIMIT"],"icebergAllowed":true,"ocoAllowed":true,`+
		`"otoAllowed":true,"quoteOrderQtyMarketAllowed":true,"allowTrailingStop":true,"cancelReplaceAllowed":true,`+
		`"isSpotTradingAllowed":`...)
	dst = strconv.AppendBool(dst, s.statusAt(now) == "TRADING")
	dst = append(dst, `,"isMarginTradingAllowed":false,"filters":[`...)
	text(`{"filterType":"PRICE_FILTER","minPrice":`, tick)
	text(`,"maxPrice":"10000000.00000000","tickSize":`, tick)
	text(`},{"filterType":"LOT_SIZE","minQty":`, step)
	text(`,"maxQty":"9000000000.00000000","stepSize":`, step)
	text(`},{"filterType":"NOTIONAL","minNotional":`, cmp.Or(s.MinNotional, "5.00000000"))
	dst = append(dst, `,"applyMinToMarket":true,"maxNotional":"9000000.00000000","applyMaxToMarket":false,"avgPriceMins":5}],`+
		`"permissions":[],"permissionSets":[["SPOT"]],"defaultSelfTradePreventionMode":"EXPIRE_MAKER",`+
		`"allowedSelfTradePreventionModes":["NONE","EXPIRE_TAKER","EXPIRE_MAKER","EXPIRE_BOTH"]}`...)
	return dst
}
