package tape

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"tapedeck/internal/idset"
)

// IDRun is a run of consecutive ids of one symbol, with the traded_at of its first and last id in
// microseconds since the epoch, UTC.
type IDRun struct {
	idset.Range
	FirstAt, LastAt int64
}

// Overlaps reports whether the run begins before end and ends at or after start.
func (r IDRun) Overlaps(start, end time.Time) bool {
	return timeOf(r.FirstAt).Before(end) && !timeOf(r.LastAt).Before(start)
}

// idsOf returns the ids of runs, which are in ascending order, disjoint and not adjacent.
func idsOf(runs []IDRun) idset.Set {
	out := make(idset.Set, len(runs))
	for i, run := range runs {
		out[i] = run.Range
	}
	return out
}

// countCommon returns the number of ids that two lists of runs, each in order and disjoint, have in
// common.
func countCommon(a, b []IDRun) int64 {
	var n int64
	for len(a) > 0 && len(b) > 0 {
		n += max(0, min(a[0].Last, b[0].Last)-max(a[0].First, b[0].First)+1)
		if a[0].Last < b[0].Last {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return n
}

// runSet is a set of ids as runs in ascending order, disjoint and not adjacent.
type runSet struct {
	runs   []IDRun
	shared bool // runs belongs to somebody else and must be copied before it is changed
}

// add adds runs, and reports whether the set had any of their ids.
func (s *runSet) add(added []IDRun) (overlaps bool) {
	if len(s.runs) == 0 && disjoint(added) { // most sets come from one segment
		s.runs, s.shared = slices.Clip(added), true
		return false
	}
	if s.shared {
		s.runs, s.shared = slices.Clone(s.runs), false
	}
	for _, run := range added {
		// Most runs follow all that the set holds.
		if n := len(s.runs); n == 0 || s.runs[n-1].Last+1 < run.First {
			s.runs = append(s.runs, run)
			continue
		}
		i := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].Last+1 >= run.First })
		j := i
		for j < len(s.runs) && s.runs[j].First <= run.Last+1 {
			overlaps = overlaps || s.runs[j].First <= run.Last && s.runs[j].Last >= run.First
			if s.runs[j].First < run.First {
				run.First, run.FirstAt = s.runs[j].First, s.runs[j].FirstAt
			}
			if s.runs[j].Last > run.Last {
				run.Last, run.LastAt = s.runs[j].Last, s.runs[j].LastAt
			}
			j++
		}
		s.runs = slices.Replace(s.runs, i, j, run)
	}
	return overlaps
}

// disjoint reports whether runs are in order and at least one id is missing between any two.
func disjoint(runs []IDRun) bool {
	for i := 1; i < len(runs); i++ {
		if runs[i].First <= runs[i-1].Last+1 {
			return false
		}
	}
	return true
}

// symbolRuns holds the runs of ids of each symbol, in order. A segment's footer contains it as
// JSON: {"BTCUSDT":[[1,90,1754000000000000,1754000060000000]]}. The numbers are the first id, the
// last id and the traded_at of both.
type symbolRuns map[string][]IDRun

// runsOf returns the runs of ids in trades, which are sorted by (symbol, id).
func runsOf(trades []Trade) symbolRuns {
	out := symbolRuns{}
	out.add(trades)
	return out
}

// add adds the ids of trades, which are sorted by (symbol, id) and follow those added before.
func (s symbolRuns) add(trades []Trade) {
	for start := 0; start < len(trades); {
		end := start + 1
		for end < len(trades) && trades[end].Symbol == trades[start].Symbol && trades[end].ID == trades[end-1].ID+1 {
			end++
		}
		first, last := trades[start], trades[end-1]
		runs := s[first.Symbol]
		if n := len(runs); n > 0 && runs[n-1].Last+1 == first.ID {
			runs[n-1].Last, runs[n-1].LastAt = last.ID, last.TradedAt
		} else {
			runs = append(runs, IDRun{idset.Range{First: first.ID, Last: last.ID}, first.TradedAt, last.TradedAt})
		}
		s[first.Symbol] = runs
		start = end
	}
}

// checkIDs returns an error that names an id above MaxID, if there is one. Versions before that limit could
// write some, as other programs can.
func (s symbolRuns) checkIDs() error {
	for _, symbol := range slices.Sorted(maps.Keys(s)) {
		if runs := s[symbol]; len(runs) > 0 && runs[len(runs)-1].Last > MaxID {
			return fmt.Errorf("the row of %q with the id %d is no trade: the id has more than 18 digits", symbol, runs[len(runs)-1].Last)
		}
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (s symbolRuns) MarshalJSON() ([]byte, error) {
	numbers := make(map[string][][4]int64, len(s))
	for symbol, runs := range s {
		list := make([][4]int64, len(runs))
		for i, run := range runs {
			list[i] = [...]int64{run.First, run.Last, run.FirstAt, run.LastAt}
		}
		numbers[runsKeyOf(symbol)] = list
	}
	return json.Marshal(numbers)
}

// hexKey begins the JSON key of a text that JSON would change, which no symbol is. It follows in hex.
const hexKey = "\x00"

// runsKeyOf returns the JSON key of a text in the column symbol.
func runsKeyOf(text string) string {
	if utf8.ValidString(text) && !strings.HasPrefix(text, hexKey) {
		return text
	}
	return hexKey + hex.EncodeToString([]byte(text))
}

// runsTextOf is the inverse of runsKeyOf.
func runsTextOf(key string) string {
	if encoded, ok := strings.CutPrefix(key, hexKey); ok {
		if text, err := hex.DecodeString(encoded); err == nil {
			return string(text)
		}
	}
	return key
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *symbolRuns) UnmarshalJSON(text []byte) (err error) {
	*s, err = parseRuns(string(text))
	return err
}

// parseRuns parses the JSON of symbolRuns.
func parseRuns(text string) (symbolRuns, error) {
	if runs, ok := parseCompactRuns(text); ok {
		return runs, nil
	}
	var numbers map[string][][4]int64
	if err := json.Unmarshal([]byte(text), &numbers); err != nil {
		return nil, fmt.Errorf("read its metadata: %w", err)
	}
	out := make(symbolRuns, len(numbers))
	for key, runs := range numbers {
		symbol := runsTextOf(key)
		out[symbol] = make([]IDRun, 0, len(runs))
		for _, v := range runs {
			out[symbol] = append(out[symbol], IDRun{idset.Range{First: v[0], Last: v[1]}, v[2], v[3]})
		}
	}
	return out, nil
}

// parseCompactRuns parses the JSON of symbolRuns as MarshalJSON writes it for ASCII symbols:
// without spaces and escapes. ok is false for any other text. It exists for speed: detect reads a
// hundred thousand footers of a year's tape, and encoding/json took a third of its time
// (BenchmarkParseRuns).
func parseCompactRuns(text string) (out symbolRuns, ok bool) {
	runs := make([]IDRun, 0, strings.Count(text, "],[")+strings.Count(text, "[["))
	out = make(symbolRuns, strings.Count(text, ":"))
	p := compactJSON(text)
	if !p.skip('{') {
		return nil, false
	}
	if p.skip('}') {
		return out, p == ""
	}
	for {
		symbol, ok := p.name()
		if !ok || !p.skip(':') || !p.skip('[') {
			return nil, false
		}
		start := len(runs)
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
			runs = append(runs, IDRun{idset.Range{First: v[0], Last: v[1]}, v[2], v[3]})
			if !p.skip(',') {
				break
			}
		}
		if _, duplicate := out[symbol]; duplicate || !p.skip(']') {
			return nil, false
		}
		out[symbol] = runs[start:len(runs):len(runs)]
		if !p.skip(',') {
			return out, p.skip('}') && p == ""
		}
	}
}

// compactJSON is the rest of a text to parse.
type compactJSON string

func (p *compactJSON) skip(c byte) bool {
	if *p == "" || (*p)[0] != c {
		return false
	}
	*p = (*p)[1:]
	return true
}

func (p *compactJSON) name() (string, bool) {
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

// number parses an integer of at most 18 digits, which always fits into an int64.
func (p *compactJSON) number() (n int64, ok bool) {
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
