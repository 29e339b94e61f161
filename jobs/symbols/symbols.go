// Package symbols says which symbols a list of names and patterns means. It guarantees that a name which the exchange
// does not list is an error, with the nearest one that it does, for the exchange itself accepts any name in a
// subscription and then is silent for ever. The list is GET /api/v3/exchangeInfo of
// https://developers.binance.com/docs/binance-spot-api-docs/rest-api.
package symbols

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/strictyaml"
)

// DefaultURL serves public market data without a key.
const DefaultURL = "https://data-api.binance.vision"

// patience is how long plain names wait to be checked: recording must not wait for long because REST is down.
const patience = 15 * time.Second

// Options say where to ask. URL and BudgetPath are required.
type Options struct {
	URL string
	// BudgetPath is the file of the request budget that all processes on a data directory share.
	BudgetPath string
	// Recorded are the symbols that were found before. One of them stays while it has half of the least volume that its word asks for, so
	// that it does not come and go.
	Recorded []string
	// Logger hears when names could not be checked; nil means silence.
	Logger *slog.Logger
}

// UnknownError names what the exchange does not list.
type UnknownError struct {
	Word    string // the name or pattern
	Nearest string // a listed symbol that may have been meant; empty where none is near
}

func (e *UnknownError) Error() string {
	switch {
	case IsPattern(e.Word):
		return fmt.Sprintf("no symbol that trades matches %q", e.Word)
	case e.Nearest != "":
		return fmt.Sprintf("the exchange lists no symbol %q; did you mean %q?", e.Word, e.Nearest)
	}
	return fmt.Sprintf("the exchange lists no symbol %q", e.Word)
}

// IsPattern reports whether a word stands for several symbols: it has a * or a ?, or a condition as in *USDT>1000000, or takes some away with a leading !.
func IsPattern(word string) bool {
	return strings.ContainsAny(word, "*?[>") || strings.HasPrefix(word, "!")
}

// Find asks the exchange for its symbols and returns those that words mean, sorted, each once. It waits for its place in the
// request budget. Where all words are plain names and the exchange cannot be asked within seconds, they are returned
// unchecked, with a warning in the log; patterns cannot do without an answer.
func Find(ctx context.Context, words []string, options Options) ([]string, error) {
	logger := options.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	plain := !slices.ContainsFunc(words, IsPattern)
	asking := ctx
	if plain {
		limited, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		asking = limited
	}
	client := binance.NewREST(options.URL, binance.OpenBudget(options.BudgetPath, binance.BudgetOptions{}), binance.RESTOptions{Logger: logger})
	defer client.Close()
	info, _, err := client.ExchangeInfo(asking)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil && plain:
		logger.Warn("symbols not checked", "error", err)
		names := slices.Clone(words)
		slices.Sort(names)
		return slices.Compact(names), nil
	case err != nil:
		return nil, err
	}
	var volumes map[string]float64
	if slices.ContainsFunc(words, func(word string) bool { return strings.Contains(word, ">") }) {
		tickers, err := client.Tickers(ctx)
		if err != nil {
			return nil, err
		}
		volumes = binance.QuoteVolumes(tickers)
		for _, name := range options.Recorded {
			volumes[name] *= 2
		}
	}
	return choose(words, info.Symbols, volumes)
}

// choose picks from what is listed. A name takes a symbol in any state, a pattern only those that trade.
func choose(words []string, listed []binance.Symbol, volumes map[string]float64) ([]string, error) {
	chosen := map[string]bool{}
	names := make([]string, 0, len(listed))
	trading := make([]string, 0, len(listed))
	for _, symbol := range listed {
		names = append(names, symbol.Name)
		if symbol.Status == "TRADING" {
			trading = append(trading, symbol.Name)
		}
	}
	var without []string
	for _, word := range words {
		if rest, ok := strings.CutPrefix(word, "!"); ok {
			without = append(without, rest)
			continue
		}
		pattern, least, err := binance.LeastVolume(word)
		if err != nil {
			return nil, err
		}
		of := trading
		if least > 0 {
			of = slices.DeleteFunc(slices.Clone(trading), func(name string) bool { return volumes[name] < least })
		}
		found, err := match(word, pattern, names, of)
		if err != nil {
			return nil, err
		}
		for _, name := range found {
			chosen[name] = true
		}
	}
	for _, word := range without {
		for name := range chosen {
			if matched, err := path.Match(strings.ToUpper(word), name); err != nil {
				return nil, fmt.Errorf("pattern %q: %w", "!"+word, err)
			} else if matched {
				delete(chosen, name)
			}
		}
	}
	out := make([]string, 0, len(chosen))
	for name := range chosen {
		out = append(out, name)
	}
	if len(out) == 0 {
		return nil, errors.New("no symbol is left: words with a leading ! take each one away")
	}
	slices.Sort(out)
	return out, nil
}

func match(word, pattern string, names, trading []string) ([]string, error) {
	upper := strings.ToUpper(pattern)
	if !IsPattern(word) {
		for _, spelt := range []string{word, upper} {
			if slices.Contains(names, spelt) {
				return []string{spelt}, nil
			}
		}
		return nil, &UnknownError{Word: word, Nearest: strictyaml.Nearest(upper, names)}
	}
	var found []string
	for _, name := range trading {
		matched, err := path.Match(upper, name)
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", word, err)
		}
		if matched {
			found = append(found, name)
		}
	}
	if len(found) == 0 {
		return nil, &UnknownError{Word: word}
	}
	return found, nil
}
