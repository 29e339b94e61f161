package binance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"tapedeck/internal/symbol"
	"tapedeck/internal/wording"
)

// UnknownSymbolError is a symbol that the exchange does not list, or a pattern that no symbol
// matches. The exchange itself accepts a subscription to any name and then sends nothing, so names
// have to be checked.
type UnknownSymbolError struct {
	Symbol  string // the name or the pattern, as written
	Nearest string // the listed name that was probably meant; empty if none is similar
	pattern bool
}

func (e *UnknownSymbolError) Error() string {
	switch {
	case e.pattern:
		return fmt.Sprintf("no trading symbol matches %q", e.Symbol)
	case e.Nearest != "":
		return fmt.Sprintf("the exchange lists no symbol %q; did you mean %q?", e.Symbol, e.Nearest)
	}
	return fmt.Sprintf("the exchange lists no symbol %q", e.Symbol)
}

// volumePattern selects symbols by their name and, if it has a condition, by their volume.
type volumePattern struct {
	symbol.Pattern
	text      string  // as written
	minVolume float64 // of the last 24 hours in quote asset; 0 for no condition
}

// parseVolumePattern reads a pattern, optionally with the least volume of the last 24 hours in quote
// asset, for example *USDT or *USDT>1000000.
func parseVolumePattern(text string) (volumePattern, error) {
	glob, amount, conditional := strings.Cut(text, ">")
	p := volumePattern{text: text}
	var err error
	if conditional {
		p.minVolume, err = strconv.ParseFloat(strings.ReplaceAll(strings.TrimPrefix(amount, "="), "_", ""), 64)
		if err != nil || !(p.minVolume > 0) || glob == "" {
			return volumePattern{}, fmt.Errorf(`symbol pattern %s: ">" needs the least volume of 24 hours in quote asset, `+
				"for example *USDT>1000000", symbol.Quote(text))
		}
	}
	p.Pattern, err = symbol.ParsePattern(strings.TrimSpace(glob))
	return p, err
}

// SymbolList chooses symbols: names, patterns, and patterns that exclude.
type SymbolList struct {
	names    []symbol.Name
	patterns []volumePattern
	excluded []symbol.Pattern
}

// ParseSymbolList reads words that a person wrote. A word with a leading ! excludes the symbols that
// match the rest of it; any other word is a name or a pattern. Names from anywhere else go into a list
// with ListOf.
func ParseSymbolList(words []string) (SymbolList, error) {
	var list SymbolList
	for _, word := range words {
		if glob, excludes := strings.CutPrefix(word, "!"); excludes {
			if strings.Contains(glob, ">") || glob == "" {
				return list, fmt.Errorf("symbol pattern %s: ! excludes by name only, for example !*DOWNUSDT", symbol.Quote(word))
			}
			p, err := symbol.ParsePattern(glob)
			if err != nil {
				return list, err
			}
			list.excluded = append(list.excluded, p)
			continue
		}
		if symbol.IsPattern(word) || strings.Contains(word, ">") {
			p, err := parseVolumePattern(word)
			if err != nil {
				return list, err
			}
			list.patterns = append(list.patterns, p)
			continue
		}
		name, err := symbol.Parse(word)
		if err != nil {
			return list, err
		}
		list.names = append(list.names, name)
	}
	return list, nil
}

// ListOf returns a list of names.
func ListOf(names ...symbol.Name) SymbolList { return SymbolList{names: names} }

// IsEmpty reports whether the list chooses and excludes nothing.
func (l SymbolList) IsEmpty() bool { return len(l.names)+len(l.patterns)+len(l.excluded) == 0 }

// Without returns the list without a name.
func (l SymbolList) Without(name symbol.Name) SymbolList {
	l.names = slices.DeleteFunc(slices.Clone(l.names), func(other symbol.Name) bool { return other == name })
	return l
}

// ResolveOptions are the settings of Resolve; the zero value is the default.
type ResolveOptions struct {
	// OnTape are symbols that exist whether or not the exchange lists them. Patterns match them
	// regardless of their status and volume.
	OnTape []symbol.Name
	// Recorded are symbols that an earlier call returned. They keep matching a pattern until their
	// volume falls below half of the pattern's, so that they do not come and go.
	Recorded []symbol.Name
	// UncheckedAfter, if not 0, is how long to wait for the exchange if the list consists of names
	// only. Then they are returned unchecked, with a warning in the log.
	UncheckedAfter time.Duration
}

// Resolve returns the symbols that a list means, sorted and without duplicates. A name means a
// symbol in any state; a pattern means only symbols that are trading. The error is an
// *UnknownSymbolError for a name that does not exist and for a pattern that matches nothing.
// Resolve asks the exchange, and blocks until the request budget permits it, unless every name is
// on the tape and the exchange's limits are known.
func (c *REST) Resolve(ctx context.Context, list SymbolList, opt ResolveOptions) ([]symbol.Name, Cost, error) {
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
		return symbol.Sort(slices.Clone(list.names)), cost, nil
	case err != nil:
		return nil, cost, err
	}
	volumes := map[symbol.Name]float64{}
	if slices.ContainsFunc(list.patterns, func(p volumePattern) bool { return p.minVolume > 0 }) {
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
func (l SymbolList) onlyNamesOf(symbols []symbol.Name) bool {
	return len(l.patterns) == 0 && !slices.ContainsFunc(l.names, func(name symbol.Name) bool {
		return !slices.Contains(symbols, name) && !slices.Contains(symbols, name.Upper())
	})
}

// choose returns the symbols that the list means among those that are listed and those on the tape.
// volumes are in quote asset.
func (l SymbolList) choose(listed []Symbol, volumes map[symbol.Name]float64, onTape []symbol.Name) ([]symbol.Name, error) {
	names := make([]string, 0, len(listed))
	exists := map[symbol.Name]bool{}
	for _, s := range listed {
		names = append(names, s.Name.String())
		exists[s.Name] = true
	}
	for _, name := range onTape {
		exists[name] = true
	}
	chosen := map[symbol.Name]bool{}
	for _, name := range l.names {
		if upper := name.Upper(); !exists[name] && exists[upper] {
			name = upper
		}
		if !exists[name] {
			return nil, &UnknownSymbolError{Symbol: name.String(), Nearest: wording.Nearest(name.String(), names)}
		}
		chosen[name] = true
	}
	for _, p := range l.patterns {
		matched := false
		choose := func(name symbol.Name) {
			chosen[name] = true
			matched = true
		}
		for _, s := range listed {
			if s.Status == "TRADING" && volumes[s.Name] >= p.minVolume && p.Matches(s.Name.String()) {
				choose(s.Name)
			}
		}
		for _, name := range onTape {
			if p.Matches(name.String()) {
				choose(name)
			}
		}
		if !matched {
			return nil, &UnknownSymbolError{Symbol: p.text, pattern: true}
		}
	}
	maps.DeleteFunc(chosen, func(name symbol.Name, _ bool) bool {
		return slices.ContainsFunc(l.excluded, func(p symbol.Pattern) bool { return p.Matches(name.String()) })
	})
	if len(chosen) == 0 {
		return nil, errors.New("no symbol is left: the words with a leading ! exclude all of them")
	}
	return slices.SortedFunc(maps.Keys(chosen), symbol.Name.Compare), nil
}
