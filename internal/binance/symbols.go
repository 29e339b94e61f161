package binance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"tapedeck/internal/wording"
)

// UnknownSymbolError is a symbol that the exchange does not list, or a pattern that no symbol
// matches. The exchange itself accepts a subscription to any name and then sends nothing, so names
// have to be checked.
type UnknownSymbolError struct {
	Symbol  string // the name or the pattern, as written
	Nearest string // the listed name that was probably meant; empty if none is similar
}

func (e *UnknownSymbolError) Error() string {
	switch {
	case isPattern(e.Symbol):
		return fmt.Sprintf("no trading symbol matches %q", e.Symbol)
	case e.Nearest != "":
		return fmt.Sprintf("the exchange lists no symbol %q; did you mean %q?", e.Symbol, e.Nearest)
	}
	return fmt.Sprintf("the exchange lists no symbol %q", e.Symbol)
}

// Pattern selects symbols by their name and, if it has a condition, by their volume.
type Pattern struct {
	text      string  // as written
	glob      string  // in upper case; path.Match accepts it
	minVolume float64 // of the last 24 hours in quote asset; 0 for no condition
}

// isPattern reports whether a word has to be read by ParsePattern. A word that is not a pattern is
// a name.
func isPattern(word string) bool { return strings.ContainsAny(word, "*?[>") }

// ParsePattern reads a pattern: a glob in any letter case, optionally with the least volume of the
// last 24 hours in quote asset, for example *USDT or *USDT>1000000.
func ParsePattern(text string) (Pattern, error) {
	glob, amount, conditional := strings.Cut(text, ">")
	p := Pattern{text: text, glob: strings.ToUpper(strings.TrimSpace(glob))}
	if conditional {
		var err error
		p.minVolume, err = strconv.ParseFloat(strings.ReplaceAll(strings.TrimPrefix(amount, "="), "_", ""), 64)
		if err != nil || !(p.minVolume > 0) || glob == "" {
			return Pattern{}, fmt.Errorf(`symbol pattern %q: ">" needs the least volume of 24 hours in quote asset, `+
				"for example *USDT>1000000", text)
		}
	}
	if _, err := path.Match(p.glob, ""); err != nil {
		return Pattern{}, fmt.Errorf("symbol pattern %q: %w", text, err)
	}
	return p, nil
}

func (p Pattern) matches(name string) bool {
	matched, _ := path.Match(p.glob, name) // ParsePattern has checked the glob
	return matched
}

// SymbolList is what a person wrote to choose symbols: names, patterns, and patterns that exclude.
type SymbolList struct {
	names              []string
	patterns, excluded []Pattern
}

// ParseSymbolList reads words. A word with a leading ! excludes the symbols that match the rest of
// it; any other word is a name or a pattern.
func ParseSymbolList(words []string) (SymbolList, error) {
	var list SymbolList
	for _, word := range words {
		if glob, excludes := strings.CutPrefix(word, "!"); excludes {
			p := Pattern{text: word, glob: strings.ToUpper(glob)}
			if strings.Contains(glob, ">") || glob == "" {
				return list, fmt.Errorf("symbol pattern %q: ! excludes by name only, for example !*DOWNUSDT", word)
			}
			if _, err := path.Match(p.glob, ""); err != nil {
				return list, fmt.Errorf("symbol pattern %q: %w", word, err)
			}
			list.excluded = append(list.excluded, p)
			continue
		}
		if !isPattern(word) {
			list.names = append(list.names, word)
			continue
		}
		p, err := ParsePattern(word)
		if err != nil {
			return list, err
		}
		list.patterns = append(list.patterns, p)
	}
	return list, nil
}

// ResolveOptions are the settings of Resolve; the zero value is the default.
type ResolveOptions struct {
	// OnTape are symbols that exist whether or not the exchange lists them. Patterns match them
	// regardless of their status and volume.
	OnTape []string
	// Recorded are symbols that an earlier call returned. They keep matching a pattern until their
	// volume falls below half of the pattern's, so that they do not come and go.
	Recorded []string
	// UncheckedAfter, if not 0, is how long to wait for the exchange if the list consists of names
	// only. Then they are returned unchecked, with a warning in the log.
	UncheckedAfter time.Duration
}

// Resolve returns the symbols that a list means, sorted and without duplicates. A name means a
// symbol in any state; a pattern means only symbols that are trading. The error is an
// *UnknownSymbolError for a name that does not exist and for a pattern that matches nothing.
// Resolve asks the exchange, and blocks until the request budget permits it, unless every name is
// on the tape and the exchange's limits are known.
func (c *REST) Resolve(ctx context.Context, list SymbolList, opt ResolveOptions) ([]string, Cost, error) {
	if list.onlyNamesOf(opt.OnTape) {
		state, err := c.budget.State()
		if err != nil {
			return nil, Cost{}, err
		}
		if state.LimitsFresh {
			names, err := list.choose(nil, nil, opt.OnTape)
			return names, Cost{}, err
		}
	}
	onlyNames := len(list.patterns)+len(list.excluded) == 0
	asking := ctx
	if onlyNames && opt.UncheckedAfter > 0 {
		limited, cancel := context.WithTimeout(ctx, opt.UncheckedAfter)
		defer cancel()
		asking = limited
	}
	info, cost, err := c.ExchangeInfo(asking)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, cost, context.Cause(ctx)
	case err != nil && onlyNames && opt.UncheckedAfter > 0:
		c.opt.Logger.Warn("symbols not checked", "error", err)
		return slices.Compact(slices.Sorted(slices.Values(list.names))), cost, nil
	case err != nil:
		return nil, cost, err
	}
	volumes := map[string]float64{}
	if slices.ContainsFunc(list.patterns, func(p Pattern) bool { return p.minVolume > 0 }) {
		tickers, err := c.Tickers(ctx)
		if err != nil {
			return nil, cost, err
		}
		for _, ticker := range tickers {
			volumes[ticker.Symbol] = ticker.QuoteVolume
		}
		for _, name := range opt.Recorded {
			volumes[name] *= 2
		}
	}
	names, err := list.choose(info.Symbols, volumes, opt.OnTape)
	return names, cost, err
}

// onlyNamesOf reports whether the list has no pattern and each of its names is one of symbols.
func (l SymbolList) onlyNamesOf(symbols []string) bool {
	return len(l.patterns) == 0 && !slices.ContainsFunc(l.names, func(name string) bool {
		return !slices.Contains(symbols, name) && !slices.Contains(symbols, strings.ToUpper(name))
	})
}

// choose returns the symbols that the list means among those that are listed and those on the tape.
// volumes are in quote asset.
func (l SymbolList) choose(listed []Symbol, volumes map[string]float64, onTape []string) ([]string, error) {
	names := make([]string, 0, len(listed))
	exists := map[string]bool{}
	for _, symbol := range listed {
		names = append(names, symbol.Name)
		exists[symbol.Name] = true
	}
	for _, name := range onTape {
		exists[name] = true
	}
	chosen := map[string]bool{}
	for _, name := range l.names {
		if upper := strings.ToUpper(name); !exists[name] && exists[upper] {
			name = upper
		}
		if !exists[name] {
			return nil, &UnknownSymbolError{Symbol: name, Nearest: wording.Nearest(name, names)}
		}
		chosen[name] = true
	}
	for _, p := range l.patterns {
		matched := false
		choose := func(name string) {
			chosen[name] = true
			matched = true
		}
		for _, symbol := range listed {
			if symbol.Status == "TRADING" && volumes[symbol.Name] >= p.minVolume && p.matches(symbol.Name) {
				choose(symbol.Name)
			}
		}
		for _, name := range onTape {
			if p.matches(name) {
				choose(name)
			}
		}
		if !matched {
			return nil, &UnknownSymbolError{Symbol: p.text}
		}
	}
	maps.DeleteFunc(chosen, func(name string, _ bool) bool {
		return slices.ContainsFunc(l.excluded, func(p Pattern) bool { return p.matches(name) })
	})
	if len(chosen) == 0 {
		return nil, errors.New("no symbol is left: the words with a leading ! exclude all of them")
	}
	return slices.Sorted(maps.Keys(chosen)), nil
}
