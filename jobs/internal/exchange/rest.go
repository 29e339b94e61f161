package exchange

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
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

// query is a request's parameters, each of which has to be read.
type query struct {
	values url.Values
	read   int
	micro  bool // times are wanted in microseconds
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

// breakREST serves the faults that come instead of an answer. It says whether the request is done with.
func (s *Server) breakREST(w http.ResponseWriter, r *http.Request, f Fault) bool {
	wait := f.RetryAfter
	switch f.Kind {
	case REST429:
		if wait == 0 {
			wait = time.Second
		}
		s.limits.block(address(r), wait).write(w)
	case REST418:
		if wait == 0 {
			wait = 2 * time.Second
		}
		s.limits.impose(address(r), wait).write(w)
	case REST5xx:
		status := f.Code
		if status == 0 {
			status = []int{500, 502, 503, 504}[s.faults.turn("5xx")%4]
		}
		switch status {
		case 500:
			writeError(w, status, -1000, "An unknown error occurred while processing the request.")
		case 503:
			writeError(w, status, -1008, "Server is currently overloaded with other requests. Please try again in a few minutes.")
		case 504:
			writeError(w, status, -1007, "Timeout waiting for response from backend server. Send status unknown; execution status unknown.")
		default:
			http.Error(w, "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n</html>", status)
		}
	case RESTSlow:
		s.ledger.fault(f.Kind)
		if f.For == 0 {
			f.For = time.Second
		}
		return !s.pause(r, f.For)
	default:
		return false
	}
	s.ledger.fault(f.Kind)
	return true
}

// breakBody serves the faults of an answer's body; page says that it is rows asked for by fromId. It returns nil where nothing more is to be sent.
func (s *Server) breakBody(w http.ResponseWriter, f Fault, body []byte, page bool) []byte {
	switch f.Kind {
	case RESTReset:
		s.ledger.fault(f.Kind)
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return body
		}
		_, _ = fmt.Fprintf(rw, "HTTP/1.1 200 OK\r\nContent-Type: application/json;charset=UTF-8\r\nContent-Length: %d\r\n\r\n", len(body))
		_, _ = rw.Write(body[:len(body)/2])
		_ = rw.Flush()
		cutConn(conn)
		return nil
	case RESTTruncated:
		s.ledger.fault(f.Kind)
		return body[:len(body)/2]
	case RESTLater:
		if rows := strings.Count(string(body), "},{") + 1; rows > 1 && page {
			s.ledger.fault(f.Kind)
			cut := body
			for range max(rows/3, 1) {
				_, after, _ := strings.Cut(string(cut), "},{")
				cut = append([]byte(`[{`), after...)
			}
			return cut
		}
	}
	return body
}

// once refuses parameters that are there twice.
func (q *query) once() *failure {
	for name, values := range q.values {
		if len(values) > 1 {
			return bad(-1101, "Duplicate values for parameter '%s'.", name)
		}
	}
	return nil
}

// get reads a parameter; present is false where it was not sent.
func (q *query) get(name string) (value string, present bool, fail *failure) {
	values, ok := q.values[name]
	if !ok {
		return "", false, nil
	}
	q.read++
	if values[0] == "" {
		return "", true, bad(-1105, "Parameter '%s' was empty.", name)
	}
	return values[0], true, nil
}

// done refuses parameters that were not read.
func (q *query) done() *failure {
	if len(q.values) > q.read {
		return bad(-1104, "Not all sent parameters were read; read '%d' parameter(s) but was sent '%d'.", q.read, len(q.values))
	}
	return nil
}

var (
	digits = regexp.MustCompile(`^[0-9]{1,20}$`)
	// A symbol may have letters of any script since 2025-12-02, none of them small.
	symbolName = regexp.MustCompile(`^[\p{L}\p{M}\p{N}_.-]{1,50}$`)
)

func (q *query) number(name string) (n int64, present bool, fail *failure) {
	text, present, fail := q.get(name)
	if fail != nil || !present {
		return 0, present, fail
	}
	if !digits.MatchString(text) {
		return 0, true, bad(-1100, "Illegal characters found in parameter '%s'; legal range is '^[0-9]{1,20}$'.", name)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, true, bad(-1108, "Parameter '%s' overflowed.", name)
	}
	return n, true, nil
}

// microsFrom is the least number that is taken as microseconds and not as milliseconds: the year 5138 in the latter.
const microsFrom = 100_000_000_000_000

// instant reads a time in milliseconds or microseconds and returns microseconds; unit is 1000 for milliseconds.
func (q *query) instant(name string) (at, unit int64, present bool, fail *failure) {
	n, present, fail := q.number(name)
	switch {
	case fail != nil || !present:
		return 0, 0, present, fail
	case n >= microsFrom:
		return n, 1, true, nil
	default:
		return n * 1000, 1000, true, nil
	}
}

// limit is 500 by default and 1000 at most.
func (q *query) limit() (int, *failure) {
	n, present, fail := q.number("limit")
	switch {
	case fail != nil:
		return 0, fail
	case !present:
		return 500, nil
	case n == 0:
		return 0, bad(-1130, "Data sent for parameter 'limit' is not valid.")
	}
	return int(min(n, 1000)), nil
}

// symbol reads a symbol that is listed.
func (q *query) symbol(s *Server) (string, *failure) {
	name, present, fail := q.get("symbol")
	if fail != nil || !present {
		return "", bad(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
	}
	if fail := checkSymbol(name); fail != nil {
		return "", fail
	}
	if !s.isListed(name) {
		return "", bad(-1121, "Invalid symbol.")
	}
	return name, nil
}

func checkSymbol(name string) *failure {
	if !symbolName.MatchString(name) || strings.ContainsFunc(name, func(r rune) bool { return r >= 'a' && r <= 'z' }) {
		return bad(-1100, "Illegal characters found in parameter 'symbol'; legal range is '^[\\w\\-._&&[^a-z]]{1,50}$'.")
	}
	return nil
}

func (s *Server) isListed(name string) bool {
	i, ok := s.hub.byName[lower(name)]
	if !ok {
		return false
	}
	symbol := s.hub.listed[i]
	return symbol.Name == name && symbol.ListedAt <= s.now.Load()
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
