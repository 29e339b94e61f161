package backfill

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"tapedeck/internal/binance"
)

// ErrNoSymbols says that no symbols were named and the tape has none.
var ErrNoSymbols = errors.New("no symbols were named and there are none on the tape yet")

// UnknownSymbolError is a symbol that neither the exchange nor the tape knows.
type UnknownSymbolError struct {
	Symbol  string
	Nearest string // the name that is most like it; empty where none is
}

func (e *UnknownSymbolError) Error() string {
	if e.Nearest == "" {
		return fmt.Sprintf("the exchange lists no symbol %q", e.Symbol)
	}
	return fmt.Sprintf("the exchange lists no symbol %q; did you mean %q?", e.Symbol, e.Nearest)
}

// resolve gives the symbols that names and patterns mean, in any letter case; a word with a leading ! takes symbols away, and one such as *USDT>1000000 means
// those with at least so much volume, and those on the tape. The exchange
// is asked for its list where a name is not on the tape, and once a day for its limits.
func resolve(ctx context.Context, rest *binance.REST, names, onTape []string, asked *binance.Cost) ([]string, error) {
	if len(names) == 0 {
		names = onTape
	}
	if len(names) == 0 {
		return nil, ErrNoSymbols
	}
	state, err := rest.Budget().State()
	if err != nil {
		return nil, err
	}
	var wanted, without []string
	known := true
	for _, name := range names {
		if rest, ok := strings.CutPrefix(name, "!"); ok {
			without = append(without, strings.ToUpper(rest))
			continue
		}
		if upper := strings.ToUpper(name); !slices.Contains(onTape, name) && slices.Contains(onTape, upper) {
			name = upper
		}
		known = known && slices.Contains(onTape, name)
		wanted = append(wanted, name)
	}
	if known && state.LimitsFresh {
		return less(wanted, without)
	}
	info, cost, err := rest.ExchangeInfo(ctx)
	*asked = asked.Plus(cost)
	if err != nil {
		return nil, err
	}
	var volumes map[string]float64
	if slices.ContainsFunc(wanted, func(name string) bool { return strings.Contains(name, ">") }) {
		tickers, err := rest.Tickers(ctx)
		if err != nil {
			return nil, err
		}
		volumes = binance.QuoteVolumes(tickers)
	}
	listed := map[string]bool{}
	for _, symbol := range info.Symbols {
		listed[symbol.Name] = true
	}
	var out []string
	for _, name := range wanted {
		if strings.ContainsAny(name, "*?[>") {
			pattern, least, err := binance.LeastVolume(name)
			if err != nil {
				return nil, err
			}
			enough := slices.DeleteFunc(slices.Clone(info.Symbols), func(s binance.Symbol) bool { return least > 0 && volumes[s.Name] < least })
			matched, err := match(strings.ToUpper(pattern), enough, onTape)
			if err != nil {
				return nil, err
			}
			out = append(out, matched...)
			continue
		}
		if upper := strings.ToUpper(name); !listed[name] && listed[upper] {
			name = upper
		}
		if !listed[name] && !slices.Contains(onTape, name) {
			return nil, &UnknownSymbolError{Symbol: name, Nearest: nearest(name, info.Symbols)}
		}
		out = append(out, name)
	}
	return less(out, without)
}

// less sorts names and takes those away that a pattern fits.
func less(names, without []string) ([]string, error) {
	var out []string
	for _, name := range unique(names) {
		taken := false
		for _, pattern := range without {
			fits, err := path.Match(pattern, name)
			if err != nil {
				return nil, fmt.Errorf("symbol pattern %q: %w", "!"+pattern, err)
			}
			taken = taken || fits
		}
		if !taken {
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no symbol is left: words with a leading ! take each one away")
	}
	return out, nil
}

// match lists the symbols that trade, or are on the tape, and fit a pattern.
func match(pattern string, symbols []binance.Symbol, onTape []string) ([]string, error) {
	var out []string
	fits := func(name string) error {
		ok, err := path.Match(pattern, name)
		if ok {
			out = append(out, name)
		}
		return err
	}
	for _, symbol := range symbols {
		if symbol.Status != "TRADING" {
			continue
		}
		if err := fits(symbol.Name); err != nil {
			return nil, fmt.Errorf("symbol pattern %q: %w", pattern, err)
		}
	}
	for _, name := range onTape {
		if err := fits(name); err != nil {
			return nil, fmt.Errorf("symbol pattern %q: %w", pattern, err)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no symbol that trades matches %q", pattern)
	}
	return out, nil
}

func unique(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}

// nearest gives the listed name with the fewest changes to what was written, if they are few; letter case and separators do not count.
func nearest(name string, symbols []binance.Symbol) string {
	plain := strings.ToUpper(strings.NewReplacer("-", "", "/", "", "_", "", " ", "").Replace(name))
	best, changes := "", max(utf8.RuneCountInString(plain)/3, 1)+1
	for _, symbol := range symbols {
		if n := distance(plain, symbol.Name, changes); n < changes {
			best, changes = symbol.Name, n
		}
	}
	return best
}

// distance is the number of letters to insert, delete or replace, or most if it is not under that.
func distance(a, b string, most int) int {
	x, y := []rune(a), []rune(b)
	if len(x)-len(y) >= most || len(y)-len(x) >= most {
		return most
	}
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := range x {
		diagonal := row[0]
		row[0] = i + 1
		for j := range y {
			cost := diagonal
			if x[i] != y[j] {
				cost = min(diagonal, row[j], row[j+1]) + 1
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return min(row[len(y)], most)
}
