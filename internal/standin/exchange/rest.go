package exchange

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The market data endpoints of rest-api.md, with the weights of 2026: aggTrades 4, trades and historicalTrades 25,
// exchangeInfo 20, ticker/24hr 2 to 80, ping and time 1.

// failure is an error that REST answers with.
type failure struct {
	status, code int
	message      string
}

func (f *failure) Error() string { return f.message }

func bad(code int, format string, args ...any) *failure {
	return &failure{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
}

func writeError(w http.ResponseWriter, status, code int, message string) {
	body := append([]byte(nil), `{"code":`...)
	body = strconv.AppendInt(body, int64(code), 10)
	body = append(body, `,"msg":`...)
	body = appendString(body, message)
	body = append(body, '}')
	writeJSON(w, status, body)
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

type endpoint struct {
	weight func(q url.Values) int64
	answer func(s *Server, q *query) ([]byte, *failure)
}

func fixed(weight int64) func(url.Values) int64 { return func(url.Values) int64 { return weight } }

func endpoints(path string) (endpoint, bool) {
	switch path {
	case "/api/v3/ping":
		return endpoint{fixed(1), (*Server).ping}, true
	case "/api/v3/time":
		return endpoint{fixed(1), (*Server).time}, true
	case "/api/v3/exchangeInfo":
		return endpoint{fixed(20), (*Server).exchangeInfo}, true
	case "/api/v3/aggTrades":
		return endpoint{fixed(4), (*Server).aggTrades}, true
	case "/api/v3/historicalTrades":
		return endpoint{fixed(25), (*Server).historicalTrades}, true
	case "/api/v3/trades":
		return endpoint{fixed(25), (*Server).recentTrades}, true
	case "/api/v3/ticker/24hr":
		return endpoint{tickerWeight, (*Server).ticker24h}, true
	}
	return endpoint{}, false
}

func (s *Server) serveREST(w http.ResponseWriter, r *http.Request) {
	if s.opt.Latency > 0 && !s.pause(r, s.opt.Latency) {
		return
	}
	e, ok := endpoints(r.URL.Path)
	if !ok { // among them all of /api/v1, which is gone since 2026-03-25
		s.ledger.offence(UnknownEndpoint)
		s.ledger.request(r.URL.Path, 0)
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte("<html><body><h2>404 Not found</h2></body></html>"))
		return
	}
	if r.Method != http.MethodGet {
		s.ledger.offence(BadRequest)
		w.Header().Set("Allow", http.MethodGet)
		writeError(w, http.StatusMethodNotAllowed, -1000, "Request method '"+r.Method+"' is not supported.")
		return
	}
	values, parseErr := url.ParseQuery(r.URL.RawQuery)
	weight := e.weight(values)
	s.ledger.request(r.URL.Path, weight)
	used, refused := s.limits.spend(address(r), weight)
	w.Header().Set("X-MBX-USED-WEIGHT", strconv.FormatInt(used, 10))
	w.Header().Set("X-MBX-USED-WEIGHT-1M", strconv.FormatInt(used, 10))
	if refused.status != 0 {
		refused.write(w)
		return
	}
	fault, faulty := s.faults.take(restFaults, r.URL.RequestURI(), r.URL.Path, true)
	if faulty && s.breakREST(w, r, fault) {
		return
	}
	q := &query{values: values}
	body, fail := []byte(nil), (*failure)(nil)
	switch unit := strings.ToUpper(r.Header.Get("X-MBX-TIME-UNIT")); {
	case parseErr != nil:
		fail = bad(-1101, "Malformed query.")
	case unit != "" && unit != "MICROSECOND" && unit != "MILLISECOND":
		fail = bad(-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")
	default:
		q.micro = unit == "MICROSECOND"
		if fail = q.once(); fail == nil {
			body, fail = e.answer(s, q)
		}
	}
	if fail != nil {
		s.ledger.offence(BadRequest)
		writeError(w, fail.status, fail.code, fail.message)
		return
	}
	if faulty {
		body = s.breakBody(w, fault, body, q.values.Has("fromId"))
		if body == nil {
			return
		}
	}
	writeJSON(w, http.StatusOK, body)
}

// pause waits, unless the client or the server goes first.
func (s *Server) pause(r *http.Request, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
	case <-s.ctx.Done():
	}
	return false
}

func (s *Server) ping(q *query) ([]byte, *failure) { return []byte("{}"), q.done() }

func (s *Server) time(q *query) ([]byte, *failure) {
	if fail := q.done(); fail != nil {
		return nil, fail
	}
	return append(appendTime([]byte(`{"serverTime":`), s.now.Load(), q.micro), '}'), nil
}

// aggTrades: fromId is the first id wanted; startTime and endTime include their bounds; with a start the oldest rows
// from it, with an end alone the newest up to it, with neither the newest.
func (s *Server) aggTrades(q *query) ([]byte, *failure) {
	symbol, fail := q.symbol(s)
	if fail != nil {
		return nil, fail
	}
	fromID, hasID, fail := q.number("fromId")
	if fail != nil {
		return nil, fail
	}
	start, _, hasStart, fail := q.instant("startTime")
	if fail != nil {
		return nil, fail
	}
	end, unit, hasEnd, fail := q.instant("endTime")
	if fail != nil {
		return nil, fail
	}
	limit, fail := q.limit()
	if fail != nil {
		return nil, fail
	}
	if fail := q.done(); fail != nil {
		return nil, fail
	}
	end += max(unit-1, 0) // a millisecond includes its microseconds
	var rows []Row
	switch {
	case hasID && (hasStart || hasEnd):
		return nil, bad(-1128, "Combination of optional parameters invalid.")
	case hasStart && hasEnd && start > end:
		return nil, bad(-1023, "Start time is greater than end time.")
	case hasID:
		rows = s.page(symbol, AggTrade, fromID, limit)
	case hasStart:
		if first, ok := s.source.FirstAt(symbol, AggTrade, start); ok {
			rows = s.page(symbol, AggTrade, first, limit)
		}
		if hasEnd {
			rows = slices.DeleteFunc(rows, func(r Row) bool { return r.TradedAt > end })
		}
	case hasEnd:
		if last, ok := s.source.LastBefore(symbol, AggTrade, end+1); ok {
			rows = s.newest(symbol, AggTrade, last, limit)
		}
	default:
		rows = s.newest(symbol, AggTrade, Endless, limit)
	}
	return appendRows(rows, appendAggRow, q.micro), nil
}

func (s *Server) historicalTrades(q *query) ([]byte, *failure) {
	symbol, fail := q.symbol(s)
	if fail != nil {
		return nil, fail
	}
	fromID, hasID, fail := q.number("fromId")
	if fail != nil {
		return nil, fail
	}
	limit, fail := q.limit()
	if fail != nil {
		return nil, fail
	}
	if fail := q.done(); fail != nil {
		return nil, fail
	}
	if hasID {
		return appendRows(s.page(symbol, Trade, fromID, limit), appendTradeRow, q.micro), nil
	}
	return appendRows(s.newest(symbol, Trade, Endless, limit), appendTradeRow, q.micro), nil
}

func (s *Server) recentTrades(q *query) ([]byte, *failure) {
	symbol, fail := q.symbol(s)
	if fail != nil {
		return nil, fail
	}
	limit, fail := q.limit()
	if fail != nil {
		return nil, fail
	}
	if fail := q.done(); fail != nil {
		return nil, fail
	}
	return appendRows(s.newest(symbol, Trade, Endless, limit), appendTradeRow, q.micro), nil
}

// page is the released rows from an id on.
func (s *Server) page(symbol string, kind Kind, fromID int64, limit int) []Row {
	last, ok := s.source.LastReleased(symbol, kind, s.now.Load())
	if !ok {
		return nil
	}
	rows := s.source.Rows(nil, symbol, kind, fromID, limit)
	for len(rows) > 0 && rows[len(rows)-1].ID > last {
		rows = rows[:len(rows)-1]
	}
	return rows
}

// newest is the last released rows up to an id, in ascending order.
func (s *Server) newest(symbol string, kind Kind, upTo int64, limit int) []Row {
	last, ok := s.source.LastReleased(symbol, kind, s.now.Load())
	if !ok {
		return nil
	}
	last = min(last, upTo)
	// Ids may have holes: look further and further back.
	for back := int64(limit); ; back *= 4 {
		from := max(last-back+1, 0)
		rows := s.source.Rows(nil, symbol, kind, from, int(min(back, last-from+1)))
		for len(rows) > 0 && rows[len(rows)-1].ID > last {
			rows = rows[:len(rows)-1]
		}
		if len(rows) >= limit {
			return rows[len(rows)-limit:]
		}
		if from == 0 || back > 1<<40 {
			return rows
		}
	}
}

func appendRows(rows []Row, appendRow func([]byte, *Row, bool) []byte, micro bool) []byte {
	body := make([]byte, 0, 2+len(rows)*160)
	body = append(body, '[')
	for i := range rows {
		if i > 0 {
			body = append(body, ',')
		}
		body = appendRow(body, &rows[i], micro)
	}
	return append(body, ']')
}
