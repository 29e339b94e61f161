package exchange

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// failure is an error that a request is answered with.
type failure struct {
	code    int
	message string
}

// append appends a failure as a JSON object without its closing brace.
func (f *failure) append(dst []byte) []byte {
	return appendString(fmt.Appendf(dst, `{"code":%d,"msg":`, f.code), f.message)
}

func writeError(w http.ResponseWriter, status, code int, message string) {
	writeJSON(w, status, append((&failure{code, message}).append(nil), '}'))
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// unknownREST answers for all other paths, such as those of /api/v1, which was removed on 2026-03-25.
func (s *Server) unknownREST(w http.ResponseWriter, r *http.Request) {
	s.counters.offence(UnknownEndpoint)
	s.counters.request(r.URL.Path, 0)
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(http.StatusNotFound)
	_, _ = w.Write([]byte("<html><body><h2>404 Not found</h2></body></html>"))
}

// serveREST returns the handler of a market data endpoint of rest-api.md.
func (s *Server) serveREST(weigh weigher, answer func(*query) []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			s.counters.offence(BadRequest)
			w.Header().Set("Allow", http.MethodGet)
			writeError(w, http.StatusMethodNotAllowed, -1000, "Request method '"+r.Method+"' is not supported.")
			return
		}
		q := s.newQuery(r)
		weight := weigh(q.values)
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
		q.alters = fault.Kind == RESTConflict
		var body []byte
		if q.fail == nil {
			body = answer(q)
		}
		if r.Context().Err() != nil {
			return // the client has left, and the answer may not be whole
		}
		if q.fail != nil {
			if fault.Kind != RESTSlow { // which has happened
				s.faults.putBack(fault)
			}
			s.counters.offence(BadRequest)
			writeError(w, http.StatusBadRequest, q.fail.code, q.fail.message)
			return
		}
		if q.alters { // there was no row to alter
			s.faults.putBack(fault)
		}
		if faulty {
			if body = s.alterBody(w, fault, body, q.values.Has("fromId")); body == nil {
				return
			}
		}
		writeJSON(w, http.StatusOK, body)
	}
}

// pause waits. It returns false if the client disconnects or the server closes first.
func (s *Server) pause(r *http.Request, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-r.Context().Done():
	case <-s.ctx.Done():
	}
	return false
}

func (s *Server) ping(q *query) []byte {
	q.end()
	return []byte("{}")
}

func (s *Server) time(q *query) []byte {
	q.end()
	return append(appendTime([]byte(`{"serverTime":`), s.now.Load(), q.micro), '}')
}

// aggTrades: fromId is the first id; startTime and endTime are inclusive. With a start it returns the
// oldest rows from it, with only an end the newest up to it, with neither the newest.
func (s *Server) aggTrades(q *query) []byte {
	symbol := q.symbol()
	fromID, hasID := q.number("fromId")
	start, _, hasStart := q.instant("startTime")
	end, unit, hasEnd := q.instant("endTime")
	limit := q.limit()
	if !q.end() {
		return nil
	}
	end += max(unit-1, 0) // a millisecond includes its microseconds
	var rows []Row
	switch {
	case hasID && (hasStart || hasEnd):
		return q.rejectCombination()
	case hasStart && hasEnd && start > end:
		return q.reject(-1023, "Start time is greater than end time.")
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
	q.alterRows(symbol, AggTrade, rows)
	return appendRows(rows, appendAggRow, q.micro)
}

func (s *Server) historicalTrades(q *query) []byte {
	symbol := q.symbol()
	fromID, hasID := q.number("fromId")
	limit := q.limit()
	if !q.end() {
		return nil
	}
	rows := s.newest(symbol, Trade, Endless, limit)
	if hasID {
		rows = s.page(symbol, Trade, fromID, limit)
	}
	q.alterRows(symbol, Trade, rows)
	return appendRows(rows, appendTradeRow, q.micro)
}

func (s *Server) recentTrades(q *query) []byte {
	symbol, limit := q.symbol(), q.limit()
	if !q.end() {
		return nil
	}
	return appendRows(s.newest(symbol, Trade, Endless, limit), appendTradeRow, q.micro)
}

// blockTrades answers that there are none.
func (s *Server) blockTrades(q *query) []byte {
	q.symbol()
	if _, present := q.number("fromId"); !present {
		q.reject(-1102, "Mandatory parameter 'fromId' was not sent, was empty/null, or malformed.")
	}
	q.limit()
	q.end()
	return []byte("[]")
}

// referencePrice answers that the symbol has none, as most do at Binance.
func (s *Server) referencePrice(q *query) []byte {
	q.symbol()
	if q.end() {
		q.reject(-2043, "This symbol doesn't have a reference price.")
	}
	return nil
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
	return appendList(make([]byte, 0, 2+len(rows)*160), rows, func(dst []byte, r *Row) []byte { return appendRow(dst, r, micro) })
}
