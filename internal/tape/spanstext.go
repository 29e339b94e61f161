package tape

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// What a segment holds stands in its footer as JSON: {"BTCUSDT":[[1,90,1754000000000000,1754000060000000]]}, by symbol the runs of ids as their first and
// last id and the traded_at of both, in microseconds. A run of detect over a year's tape reads a hundred thousand of them, which by reflection was a third of
// its time; BenchmarkSpansText measures both.

// symbolSpans are runs of ids by symbol.
type symbolSpans map[string][]timedSpan

// MarshalJSON gives the runs of ids as they stand in a footer.
func (spans symbolSpans) MarshalJSON() ([]byte, error) {
	out := make([]byte, 0, 64*len(spans))
	out = append(out, '{')
	for i, symbol := range slices.Sorted(maps.Keys(spans)) {
		if i > 0 {
			out = append(out, ',')
		}
		name, err := json.Marshal(symbol)
		if err != nil {
			return nil, err
		}
		out = append(append(out, name...), ':', '[')
		for j, span := range spans[symbol] {
			if j > 0 {
				out = append(out, ',')
			}
			for k, number := range [...]int64{span.first, span.last, span.firstAt, span.lastAt} {
				out = strconv.AppendInt(append(out, "[,,,"[k]), number, 10)
			}
			out = append(out, ']')
		}
		out = append(out, ']')
	}
	return append(out, '}'), nil
}

// UnmarshalJSON reads what MarshalJSON wrote, and any other JSON of that shape.
func (spans *symbolSpans) UnmarshalJSON(text []byte) (err error) {
	*spans, err = parseSpans(string(text))
	return err
}

func parseSpans(text string) (symbolSpans, error) {
	if spans, ok := parsePlainSpans(text); ok {
		return spans, nil
	}
	var numbers map[string][][4]int64
	if err := json.Unmarshal([]byte(text), &numbers); err != nil {
		return nil, fmt.Errorf("read its metadata: %w", err)
	}
	spans := make(symbolSpans, len(numbers))
	for symbol, runs := range numbers {
		spans[symbol] = make([]timedSpan, 0, len(runs))
		for _, v := range runs {
			spans[symbol] = append(spans[symbol], timedSpan{v[0], v[1], v[2], v[3]})
		}
	}
	return spans, nil
}

// parsePlainSpans reads runs of ids from JSON without spaces and escapes; false where it is something else.
func parsePlainSpans(text string) (symbolSpans, bool) {
	runs := strings.Count(text, "],[") + strings.Count(text, "[[")
	spans, all := make(symbolSpans, strings.Count(text, ":")), make([]timedSpan, 0, runs)
	p := plain(text)
	if !p.skip('{') {
		return nil, false
	}
	if p.skip('}') {
		return spans, p == ""
	}
	for {
		symbol, ok := p.name()
		if !ok || !p.skip(':') || !p.skip('[') {
			return nil, false
		}
		begin := len(all)
		for {
			var v [4]int64
			for i := range v {
				if !p.skip("[,,,"[i]) {
					return nil, false
				}
				if v[i], ok = p.number(); !ok {
					return nil, false
				}
			}
			if !p.skip(']') {
				return nil, false
			}
			all = append(all, timedSpan{v[0], v[1], v[2], v[3]})
			if !p.skip(',') {
				break
			}
		}
		if _, twice := spans[symbol]; twice || !p.skip(']') {
			return nil, false
		}
		spans[symbol] = all[begin:len(all):len(all)]
		if !p.skip(',') {
			return spans, p.skip('}') && p == ""
		}
	}
}

// plain is what is left of a text to parse.
type plain string

func (p *plain) skip(c byte) bool {
	if *p == "" || (*p)[0] != c {
		return false
	}
	*p = (*p)[1:]
	return true
}

func (p *plain) name() (string, bool) {
	if !p.skip('"') {
		return "", false
	}
	end := strings.IndexByte(string(*p), '"')
	if end < 0 {
		return "", false
	}
	name := string((*p)[:end])
	*p = (*p)[end+1:]
	for i := range len(name) {
		if c := name[i]; c < ' ' || c > '~' || c == '\\' {
			return "", false
		}
	}
	return name, true
}

// number reads a number of at most 18 digits, which no int64 is too small for.
func (p *plain) number() (n int64, ok bool) {
	negative := p.skip('-')
	i := 0
	for i < len(*p) && '0' <= (*p)[i] && (*p)[i] <= '9' {
		n = 10*n + int64((*p)[i]-'0')
		i++
	}
	if i == 0 || i > 18 || i > 1 && (*p)[0] == '0' {
		return 0, false
	}
	*p = (*p)[i:]
	if negative {
		n = -n
	}
	return n, true
}
