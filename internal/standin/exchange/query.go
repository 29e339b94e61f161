package exchange

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// query reads a request's parameters. Its methods keep the first failure in fail and return zero
// values from then on, so that an endpoint reads all of its parameters and then calls end once.
type query struct {
	ctx    context.Context // of the request
	values url.Values
	server *Server
	micro  bool // times are sent in microseconds
	read   int
	fail   *failure
	alters bool // RESTConflict happens to the rows
}

// newQuery reads the query of a request and the unit of its times. It rejects a parameter that was sent
// twice.
func (s *Server) newQuery(r *http.Request) *query {
	values, err := url.ParseQuery(r.URL.RawQuery)
	q := &query{ctx: r.Context(), values: values, server: s}
	if err != nil {
		q.reject(-1101, "Malformed query.")
	}
	switch strings.ToUpper(r.Header.Get("X-MBX-TIME-UNIT")) {
	case "MICROSECOND":
		q.micro = true
	case "", "MILLISECOND":
	default:
		q.reject(-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")
	}
	for name, sent := range values {
		if len(sent) > 1 {
			q.reject(-1101, "Duplicate values for parameter '%s'.", name)
		}
	}
	return q
}

// reject sets the failure if there is none yet. It returns nil, the body of a failed request.
func (q *query) reject(code int, format string, args ...any) []byte {
	if q.fail == nil {
		q.fail = &failure{code, fmt.Sprintf(format, args...)}
	}
	return nil
}

func (q *query) rejectCombination() []byte {
	return q.reject(-1128, "Combination of optional parameters invalid.")
}

// end rejects parameters that were not read. It returns false if the request has failed.
func (q *query) end() bool {
	if len(q.values) > q.read {
		q.reject(-1104, "Not all sent parameters were read; read '%d' parameter(s) but was sent '%d'.", q.read, len(q.values))
	}
	return q.fail == nil
}

// text reads a parameter; present is false if it was not sent.
func (q *query) text(name string) (value string, present bool) {
	values, ok := q.values[name]
	if !ok || q.fail != nil {
		return "", false
	}
	q.read++
	if values[0] == "" {
		q.reject(-1105, "Parameter '%s' was empty.", name)
	}
	return values[0], true
}

var digits = regexp.MustCompile(`^[0-9]{1,20}$`)

func (q *query) number(name string) (n int64, present bool) {
	text, present := q.text(name)
	if !present || q.fail != nil {
		return 0, present
	}
	if !digits.MatchString(text) {
		q.reject(-1100, "Illegal characters found in parameter '%s'; legal range is '^[0-9]{1,20}$'.", name)
		return 0, true
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		q.reject(-1108, "Parameter '%s' overflowed.", name)
	}
	return n, true
}

// microsFrom is the least number that is read as microseconds. As milliseconds it is in the year 5138.
const microsFrom = 100_000_000_000_000

// instant reads a time in milliseconds or microseconds and returns microseconds; unit is 1000 for
// milliseconds and 1 for microseconds.
func (q *query) instant(name string) (at, unit int64, present bool) {
	n, present := q.number(name)
	switch {
	case !present:
		return 0, 0, false
	case n >= microsFrom:
		return n, 1, true
	}
	return n * 1000, 1000, true
}

// limit reads the number of rows: 500 by default and 1000 at most.
func (q *query) limit() int {
	n, present := q.number("limit")
	switch {
	case !present:
		return 500
	case n == 0:
		q.reject(-1130, "Data sent for parameter 'limit' is not valid.")
	}
	return int(min(n, 1000))
}

// symbol reads a symbol that is listed.
func (q *query) symbol() string {
	name, present := q.text("symbol")
	if q.fail != nil || !present {
		q.fail = &failure{-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."}
		return ""
	}
	q.listed(name, nil)
	return name
}

// symbols reads the parameters symbol, and symbols, a JSON array. one is empty and several is nil if
// they were not sent.
func (q *query) symbols() (one string, several []string) {
	const name = "symbols"
	one, _ = q.text("symbol")
	text, present := q.text(name)
	if !present || q.fail != nil {
		return one, nil
	}
	if err := json.Unmarshal([]byte(text), &several); err != nil || len(several) == 0 {
		q.reject(-1100, "Illegal characters found in parameter '%s'; legal range is '^\\[(\"[\\w\\-._&&[^a-z]]{1,50}\"(,\"[\\w\\-._&&[^a-z]]{1,50}\"){0,}){0,1}\\]$'.", name)
		return one, nil
	}
	if sorted := slices.Sorted(slices.Values(several)); len(slices.Compact(sorted)) < len(several) {
		q.reject(-1151, "Symbol is present multiple times in the list.")
	}
	for _, n := range several {
		q.checkSymbol(name, n)
	}
	return one, several
}

// listed returns the symbols that were asked for, by one name or several, or else all that are listed.
// It rejects those that are not.
func (q *query) listed(one string, several []string) (symbols []Symbol) {
	s := q.server
	if one != "" {
		if several != nil {
			q.rejectCombination()
		}
		q.checkSymbol("symbol", one)
		several = []string{one}
	}
	for _, name := range several {
		symbol, ok := s.hub.byName[name]
		if !ok || symbol.ListedAt > s.now.Load() {
			q.reject(-1121, "Invalid symbol.")
		}
		symbols = append(symbols, symbol)
	}
	if several == nil {
		symbols = slices.DeleteFunc(slices.Clone(s.source.Symbols()), func(symbol Symbol) bool {
			return symbol.ListedAt > s.now.Load()
		})
	}
	return symbols
}

func (q *query) checkSymbol(parameter, name string) {
	if !isSymbol(name) {
		q.reject(-1100, "Illegal characters found in parameter '%s'; legal range is '^[\\w\\-._&&[^a-z]]{1,50}$'.", parameter)
	}
}

// isSymbol reports whether a symbol could have this name: 1 to 50 letters, digits and "_.-", since
// 2025-12-02 of any script, but no small ASCII letters. It is not a regular expression, because
// compiling one would cost every command of the program 4 ms at its start.
func isSymbol(name string) bool {
	n := 0
	for _, r := range name {
		allowed := unicode.In(r, unicode.L, unicode.M, unicode.N) || strings.ContainsRune("_.-", r)
		if !allowed || r >= 'a' && r <= 'z' || r == utf8.RuneError {
			return false
		}
		n++
	}
	return n >= 1 && n <= 50
}
