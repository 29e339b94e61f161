package detect

import (
	"maps"
	"slices"
	"strings"

	"tapedeck/analytics"
)

// legsOf returns a symbol, and with a detector that compares three pairs, also those with which the symbol
// forms triangles: X/Q, X/U and Q/U.
func (r *run) legsOf(query analytics.Query, symbol string) []string {
	legs := []string{symbol}
	param, ok := query.Param(query.Needs.Quotes)
	if !ok {
		return legs
	}
	if r.partners[query.Name] == nil {
		quotes, isText := r.opt.Thresholds[query.Name][param.Name].(string)
		if !isText {
			quotes, _ = param.Default.(string)
		}
		r.partners[query.Name] = triangles(r.index.Symbols(), strings.Split(quotes, ","))
	}
	return append(legs, r.partners[query.Name][symbol]...)
}

// triangles returns the partners of each symbol.
func triangles(symbols, quotes []string) map[string][]string {
	type pair struct{ base, quote string }
	pairs := map[pair]string{}
	for _, symbol := range symbols {
		longest := ""
		for _, quote := range quotes {
			if strings.HasSuffix(symbol, quote) && len(quote) > len(longest) {
				longest = quote
			}
		}
		if longest != "" {
			pairs[pair{strings.TrimSuffix(symbol, longest), longest}] = symbol
		}
	}
	found := map[string]map[string]bool{}
	for direct, first := range pairs {
		for _, quote := range quotes {
			second, ok := pairs[pair{direct.base, quote}]
			third, bridged := pairs[pair{direct.quote, quote}]
			if !ok || !bridged || quote == direct.quote {
				continue
			}
			legs := []string{first, second, third}
			for _, leg := range legs {
				if found[leg] == nil {
					found[leg] = map[string]bool{}
				}
				for _, other := range legs {
					if other != leg {
						found[leg][other] = true
					}
				}
			}
		}
	}
	out := map[string][]string{}
	for leg, others := range found {
		out[leg] = slices.Sorted(maps.Keys(others))
	}
	return out
}
