package detect

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"tapedeck/analytics"
	"tapedeck/internal/symbol"
)

// CheckDetectors returns an error if one of the detectors does not exist or its query is invalid. dir
// is the directory with the user's own queries, or "".
func CheckDetectors(dir string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	_, _, err := selectDetectors(Options{QueriesDir: dir, Detectors: names})
	return err
}

// selectDetectors loads the detectors and checks the names and thresholds of the options. A file that is
// not a detector is a problem, and an error if the options name it.
func selectDetectors(opt Options) (selected []analytics.Query, problems []error, err error) {
	loaded, problems := analytics.Load(opt.QueriesDir, analytics.Detect)
	byName := map[string]analytics.Query{}
	for _, query := range loaded {
		byName[query.Name] = query
		if len(opt.Detectors) == 0 || slices.Contains(opt.Detectors, query.Name) {
			selected = append(selected, query)
		}
	}
	known := strings.Join(slices.Sorted(maps.Keys(byName)), ", ")
	for _, name := range opt.Detectors {
		if _, ok := byName[name]; ok {
			continue
		}
		if problem := analytics.ProblemOf(problems, name); problem != nil {
			return nil, problems, problem
		}
		return nil, problems, usageError("unknown detector %q; the detectors are %s", name, known)
	}
	check := func(name string, values map[string]any) error {
		query, ok := byName[name]
		if !ok {
			return usageError("thresholds for an unknown detector %q; the detectors are %s", name, known)
		}
		for _, param := range slices.Sorted(maps.Keys(values)) {
			if param == "window_start" || param == "window_end" {
				return usageError("%s of %s is not a threshold", param, name)
			}
			if err := query.CheckArgument(param, values[param]); err != nil {
				return usageError("%v", err)
			}
		}
		return nil
	}
	for name, values := range opt.Thresholds {
		if err := check(name, values); err != nil {
			return nil, problems, err
		}
	}
	for name, symbols := range opt.SymbolThresholds {
		for pattern, values := range symbols {
			if _, err := symbol.ParsePattern(pattern); err != nil {
				return nil, problems, usageError("thresholds of %s: %v", name, err)
			}
			if err := check(name, values); err != nil {
				return nil, problems, err
			}
		}
	}
	return selected, problems, nil
}

// unmatched describes the thresholds for symbols or patterns that match none of the symbols.
func (o Options) unmatched(symbols []string) (out []string) {
	for _, detector := range slices.Sorted(maps.Keys(o.SymbolThresholds)) {
		if len(o.Detectors) > 0 && !slices.Contains(o.Detectors, detector) {
			continue
		}
		for _, pattern := range slices.Sorted(maps.Keys(o.SymbolThresholds[detector])) {
			matches := func(symbol string) bool {
				ok, err := path.Match(pattern, symbol)
				return ok && err == nil || pattern == symbol
			}
			if !slices.ContainsFunc(symbols, matches) {
				out = append(out, fmt.Sprintf("thresholds of %s for %s match no symbol on the tape", detector, pattern))
			}
		}
	}
	return out
}

// symbolPattern returns the pattern of SymbolThresholds whose values apply to a symbol, or "".
func (o Options) symbolPattern(detector, symbol string) string {
	best := ""
	for pattern := range o.SymbolThresholds[detector] {
		if pattern == symbol {
			return pattern
		}
		isBetter := len(pattern) > len(best) || len(pattern) == len(best) && pattern < best
		if matches, err := path.Match(pattern, symbol); err == nil && matches && isBetter {
			best = pattern
		}
	}
	return best
}

// threshold returns the value of a numeric parameter.
func (r *run) threshold(query analytics.Query, param analytics.Param) float64 {
	return toFloat(r.opt.Thresholds[query.Name][param.Name], toFloat(param.Default, 0))
}

// toFloat returns a threshold as a number, or otherwise if it is none.
func toFloat(value any, otherwise float64) float64 {
	switch v := value.(type) {
	case float64:
		return v
	case int:
		return float64(v)
	case int64:
		return float64(v)
	}
	return otherwise
}
