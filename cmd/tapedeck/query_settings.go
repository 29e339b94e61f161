package main

import (
	"maps"
	"slices"
	"strings"

	"tapedeck/analytics"
	"tapedeck/internal/strictyaml"
)

// querySettings are the parameters in config.yaml, checked against the headers of the queries.
type querySettings struct {
	// values are by kind and name of the query and by parameter.
	values map[analytics.Kind]map[string]map[string]any
	// symbols are those of detectors for some symbols, by detector, by symbol or pattern, and by parameter.
	symbols map[string]map[string]map[string]any
}

// of returns the values of one query.
func (s querySettings) of(query analytics.Query) map[string]any {
	return s.values[query.Kind][query.Name]
}

// symbolsOf returns the values of one query for some symbols, by symbol or pattern.
func (s querySettings) symbolsOf(query analytics.Query) map[string]map[string]any {
	if query.Kind != analytics.Detect {
		return nil
	}
	return s.symbols[query.Name]
}

// querySettings returns the parameters in config.yaml. The error for a wrong name or value has file and line.
func (a *app) querySettings(sqlDir string) (querySettings, error) {
	out := querySettings{map[analytics.Kind]map[string]map[string]any{}, map[string]map[string]map[string]any{}}
	if len(a.config.detectors)+len(a.config.sections) == 0 {
		return out, nil
	}
	queries, problems := analytics.Load(sqlDir)
	for _, part := range []struct {
		kind   analytics.Kind
		noun   string
		config map[string]queryConfig
	}{
		{analytics.Detect, "detector", a.config.detectors},
		{analytics.Report, "section", a.config.sections},
	} {
		known, values := map[string]analytics.Query{}, map[string]map[string]any{}
		out.values[part.kind] = values
		for _, query := range queries {
			if query.Kind == part.kind {
				known[query.Name] = query
			}
		}
		for _, name := range slices.Sorted(maps.Keys(part.config)) {
			config := part.config[name]
			query, ok := known[name]
			if !ok {
				if analytics.ProblemOf(problems, name, part.kind) != nil {
					continue // the command reports the wrong file
				}
				suggestion := strictyaml.DidYouMean(name, slices.Sorted(maps.Keys(known)))
				return out, misuse("%s: no %s is named %q%s", a.config.position(config.line), part.noun, name, suggestion)
			}
			var err error
			if values[name], err = a.checkParams(query, config.params); err != nil {
				return out, err
			}
			symbols := map[string]map[string]any{}
			for symbol, params := range config.symbols {
				// Symbols are upper case on the exchange; what is typed need not be.
				if symbols[strings.ToUpper(symbol)], err = a.checkParams(query, params); err != nil {
					return out, err
				}
			}
			if part.kind == analytics.Detect {
				out.symbols[name] = symbols
			}
		}
	}
	return out, nil
}

// checkParams returns the values of parameters, after checking them against the header of the query.
func (a *app) checkParams(query analytics.Query, params map[string]configParam) (map[string]any, error) {
	values := map[string]any{}
	settable := settableParams(query)
	for _, param := range slices.Sorted(maps.Keys(params)) {
		set := params[param]
		position := a.config.position(set.line)
		switch {
		case len(settable) == 0:
			return nil, misuse("%s: %s has no parameter that can be set", position, query.Name)
		case !slices.Contains(settable, param):
			return nil, misuse("%s: %s has no parameter %q%s", position, query.Name, param, strictyaml.DidYouMean(param, settable))
		}
		if err := query.CheckArgument(param, set.value); err != nil {
			return nil, misuse("%s: %w", position, err)
		}
		values[param] = set.value
	}
	return values, nil
}

// settableParams returns the parameters that the command does not set itself, as it does for the window and for
// report --symbols.
func settableParams(query analytics.Query) (names []string) {
	for _, param := range query.Params {
		isSet := param.Name == "window_start" || param.Name == "window_end" || query.Kind == analytics.Report && param.Name == "symbols"
		if !isSet {
			names = append(names, param.Name)
		}
	}
	return names
}
