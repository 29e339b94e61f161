package exchange

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// query is a request's parameters, each of which has to be read.
type query struct {
	values url.Values
	read   int
	micro  bool // times are wanted in microseconds
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

var digits = regexp.MustCompile(`^[0-9]{1,20}$`)

// isSymbol says whether a symbol could have this name: 1 to 50 letters, since 2025-12-02 of any script, none of them small, and digits. As an expression it would cost
// every command of the program 4 ms at its start.
func isSymbol(name string) bool {
	n := 0
	for _, r := range name {
		if r >= 'a' && r <= 'z' || r == utf8.RuneError || !unicode.In(r, unicode.L, unicode.M, unicode.N) && !strings.ContainsRune("_.-", r) {
			return false
		}
		n++
	}
	return n >= 1 && n <= 50
}

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
	if !isSymbol(name) {
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
