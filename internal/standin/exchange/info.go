package exchange

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// exchangeInfo is the answer of a real server with the parts that tapedeck could look at; what is about orders only
// is left out.
func (s *Server) exchangeInfo(q *query) ([]byte, *failure) {
	one, hasOne, fail := q.get("symbol")
	if fail != nil {
		return nil, fail
	}
	many, hasMany, fail := q.names("symbols")
	if fail != nil {
		return nil, fail
	}
	status, hasStatus, fail := q.get("symbolStatus")
	if fail != nil {
		return nil, fail
	}
	for _, ignored := range []string{"permissions", "showPermissionSets"} {
		if _, _, fail := q.get(ignored); fail != nil {
			return nil, fail
		}
	}
	if fail := q.done(); fail != nil {
		return nil, fail
	}
	if hasOne && hasMany || hasStatus && (hasOne || hasMany) {
		return nil, bad(-1128, "Combination of optional parameters invalid.")
	}
	if hasStatus && !slices.Contains([]string{"TRADING", "HALT", "BREAK", "CANCEL_ONLY", "PRE_TRADING", "POST_TRADING", "END_OF_DAY", "AUCTION_MATCH"}, status) {
		return nil, bad(-1122, "Invalid symbolStatus.")
	}
	if hasOne {
		if fail := checkSymbol(one); fail != nil {
			return nil, fail
		}
		many = []string{one}
	}
	now := s.now.Load()
	var wanted []Symbol
	if hasOne || hasMany {
		for _, name := range many {
			if !s.isListed(name) {
				return nil, bad(-1121, "Invalid symbol.")
			}
			wanted = append(wanted, s.hub.listed[s.hub.byName[lower(name)]])
		}
	} else {
		for _, symbol := range s.hub.listed {
			if symbol.ListedAt <= now && (!hasStatus || symbol.statusAt(now) == status) {
				wanted = append(wanted, symbol)
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
	for i, symbol := range wanted {
		if i > 0 {
			body = append(body, ',')
		}
		body = symbol.append(body, now)
	}
	return append(body, `]}`...), nil
}

func (s *Symbol) statusAt(now int64) string {
	switch {
	case s.DelistedAt != 0 && now >= s.DelistedAt:
		return "BREAK"
	case s.Status == "":
		return "TRADING"
	}
	return s.Status
}

func (s *Symbol) append(dst []byte, now int64) []byte {
	or := func(value, otherwise string) string {
		if value == "" {
			return otherwise
		}
		return value
	}
	text := func(key, value string) {
		dst = append(dst, key...)
		dst = appendString(dst, value)
	}
	tick, step := or(s.TickSize, "0.00000001"), or(s.StepSize, "0.00000001")
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
	text(`},{"filterType":"NOTIONAL","minNotional":`, or(s.MinNotional, "5.00000000"))
	dst = append(dst, `,"applyMinToMarket":true,"maxNotional":"9000000.00000000","applyMaxToMarket":false,"avgPriceMins":5}],`+
		`"permissions":[],"permissionSets":[["SPOT"]],"defaultSelfTradePreventionMode":"EXPIRE_MAKER",`+
		`"allowedSelfTradePreventionModes":["NONE","EXPIRE_TAKER","EXPIRE_MAKER","EXPIRE_BOTH"]}`...)
	return dst
}

// names reads a JSON array of symbols.
func (q *query) names(name string) (names []string, present bool, fail *failure) {
	text, present, fail := q.get(name)
	if fail != nil || !present {
		return nil, present, fail
	}
	if err := json.Unmarshal([]byte(text), &names); err != nil || len(names) == 0 {
		return nil, true, bad(-1100, "Illegal characters found in parameter '%s'; legal range is '^\\[(\"[\\w\\-._&&[^a-z]]{1,50}\"(,\"[\\w\\-._&&[^a-z]]{1,50}\"){0,}){0,1}\\]$'.", name)
	}
	sorted := slices.Sorted(slices.Values(names))
	if len(slices.Compact(sorted)) < len(names) {
		return nil, true, &failure{http.StatusBadRequest, -1151, "Symbol is present multiple times in the list."}
	}
	for _, n := range names {
		if fail := checkSymbol(n); fail != nil {
			fail.message = strings.Replace(fail.message, "'symbol'", "'"+name+"'", 1)
			return nil, true, fail
		}
	}
	return names, true, nil
}
