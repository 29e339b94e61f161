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

// failure is an error that REST answers with.
type failure struct {
	status, code int
	message      string
}

func (f *failure) Error() string { return f.message }

func badRequest(code int, format string, args ...any) *failure {
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

// endpointOf returns a market data endpoint of rest-api.md, with the weights of 2026.
func endpointOf(path string) (endpoint, bool) {
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
	e, ok := endpointOf(r.URL.Path)
	if !ok { // such as all of /api/v1, which was removed on 2026-03-25
		s.counters.offence(UnknownEndpoint)
		s.counters.request(r.URL.Path, 0)
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte("<html><body><h2>404 Not found</h2></body></html>"))
		return
	}
	if r.Method != http.MethodGet {
		s.counters.offence(BadRequest)
		w.Header().Set("Allow", http.MethodGet)
		writeError(w, http.StatusMethodNotAllowed, -1000, "Request method '"+r.Method+"' is not supported.")
		return
	}
	values, parseErr := url.ParseQuery(r.URL.RawQuery)
	weight := e.weight(values)
	s.counters.request(r.URL.Path, weight)
	used, refused := s.limits.spend(address(r), weight)
	w.Header().Set("X-MBX-USED-WEIGHT", strconv.FormatInt(used, 10))
	w.Header().Set("X-MBX-USED-WEIGHT-1M", strconv.FormatInt(used, 10))
	if refused.status != 0 {
		refused.write(w)
		return
	}
	fault, faulty := s.faults.take(restFaults, r.URL.RequestURI(), r.URL.Path, true)
	if faulty && s.replaceAnswer(w, r, fault) {
		return
	}
	body, fail := s.answer(e, values, parseErr, r.Header.Get("X-MBX-TIME-UNIT"))
	if fail != nil {
		if fault.Kind != RESTSlow { // which has happened
			s.faults.putBack(fault)
		}
		s.counters.offence(BadRequest)
		writeError(w, fail.status, fail.code, fail.message)
		return
	}
	if faulty {
		if body = s.alterBody(w, fault, body, values.Has("fromId")); body == nil {
			return
		}
	}
	writeJSON(w, http.StatusOK, body)
}

func (s *Server) answer(e endpoint, values url.Values, parseErr error, timeUnit string) ([]byte, *failure) {
	q := &query{values: values, server: s}
	switch strings.ToUpper(timeUnit) {
	case "MICROSECOND":
		q.micro = true
	case "", "MILLISECOND":
	default:
		q.reject(-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")
	}
	if parseErr != nil {
		q.fail = badRequest(-1101, "Malformed query.")
	}
	if q.rejectDuplicates(); q.fail != nil {
		return nil, q.fail
	}
	return e.answer(s, q)
}

// pause waits. It returns false if the client disconnects or the server closes first.
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

func (s *Server) ping(q *query) ([]byte, *failure) { return []byte("{}"), q.end() }

func (s *Server) time(q *query) ([]byte, *failure) {
	return append(appendTime([]byte(`{"serverTime":`), s.now.Load(), q.micro), '}'), q.end()
}

// aggTrades: fromId is the first id; startTime and endTime are inclusive. With a start it returns the
// oldest rows from it, with only an end the newest up to it, with neither the newest.
func (s *Server) aggTrades(q *query) ([]byte, *failure) {
	symbol := q.symbol()
	fromID, hasID := q.number("fromId")
	start, _, hasStart := q.instant("startTime")
	end, unit, hasEnd := q.instant("endTime")
	limit := q.limit()
	if fail := q.end(); fail != nil {
		return nil, fail
	}
	end += max(unit-1, 0) // a millisecond includes its microseconds
	var rows []Row
	switch {
	case hasID && (hasStart || hasEnd):
		return nil, badRequest(-1128, "Combination of optional parameters invalid.")
	case hasStart && hasEnd && start > end:
		return nil, badRequest(-1023, "Start time is greater than end time.")
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
	symbol := q.symbol()
	fromID, hasID := q.number("fromId")
	limit := q.limit()
	if fail := q.end(); fail != nil {
		return nil, fail
	}
	if hasID {
		return appendRows(s.page(symbol, Trade, fromID, limit), appendTradeRow, q.micro), nil
	}
	return appendRows(s.newest(symbol, Trade, Endless, limit), appendTradeRow, q.micro), nil
}

func (s *Server) recentTrades(q *query) ([]byte, *failure) {
	symbol, limit := q.symbol(), q.limit()
	if fail := q.end(); fail != nil {
		return nil, fail
	}
	return appendRows(s.newest(symbol, Trade, Endless, limit), appendTradeRow, q.micro), nil
}

// page returns the released rows from an id on.
func (s *Server) page(symbol string, kind Kind, fromID int64, limit int) []Row {
	last, ok := s.source.LastReleased(symbol, kind, s.now.Load())
	if !ok {
		return nil
	}
	return upTo(last, s.source.Rows(nil, symbol, kind, fromID, limit))
}

// newest returns the last released rows up to an id, in ascending order.
func (s *Server) newest(symbol string, kind Kind, lastID int64, limit int) []Row {
	last, ok := s.source.LastReleased(symbol, kind, s.now.Load())
	if !ok {
		return nil
	}
	last = min(last, lastID)
	// Ids may have gaps, so look further back until there are enough rows.
	for back := int64(limit); ; back *= 4 {
		from := max(last-back+1, 0)
		rows := upTo(last, s.source.Rows(nil, symbol, kind, from, int(min(back, last-from+1))))
		if len(rows) >= limit {
			return rows[len(rows)-limit:]
		}
		if from == 0 || back > 1<<40 {
			return rows
		}
	}
}

// upTo cuts off the rows after an id.
func upTo(last int64, rows []Row) []Row {
	for len(rows) > 0 && rows[len(rows)-1].ID > last {
		rows = rows[:len(rows)-1]
	}
	return rows
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
