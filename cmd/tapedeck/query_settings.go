package main

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"tapedeck/analytics"
	"tapedeck/internal/strictyaml"
)

// querySettings are the parameters in config.yaml, checked against the headers of the queries. They are by
// name of the query and of the parameter.
type querySettings struct {
	detectors, sections map[string]map[string]any
	// symbols are those of detectors for some symbols, by detector and by symbol or pattern.
	symbols map[string]map[string]map[string]any
}

// of returns the values of one query.
func (s querySettings) of(query analytics.Query) map[string]any {
	switch query.Kind {
	case analytics.Detect:
		return s.detectors[query.Name]
	case analytics.Report:
		return s.sections[query.Name]
	}
	return nil
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
	out := querySettings{map[string]map[string]any{}, map[string]map[string]any{}, map[string]map[string]map[string]any{}}
	if len(a.config.detectors)+len(a.config.sections) == 0 {
		return out, nil
	}
	queries, problems := analytics.Load(sqlDir)
	for _, part := range []struct {
		kind   analytics.Kind
		noun   string
		config map[string]queryConfig
		into   map[string]map[string]any
	}{
		{analytics.Detect, "detector", a.config.detectors, out.detectors},
		{analytics.Report, "section", a.config.sections, out.sections},
	} {
		known := map[string]analytics.Query{}
		for _, query := range queries {
			if query.Kind == part.kind {
				known[query.Name] = query
			}
		}
		for _, name := range slices.Sorted(maps.Keys(part.config)) {
			config := part.config[name]
			query, ok := known[name]
			if !ok {
				if slices.ContainsFunc(problems, isProblemOf(part.kind, name)) {
					continue // the command reports the wrong file
				}
				suggestion := strictyaml.DidYouMean(name, slices.Sorted(maps.Keys(known)))
				return out, misuse("%s: no %s is named %q%s", a.config.position(config.line), part.noun, name, suggestion)
			}
			var err error
			if part.into[name], err = a.checkParams(query, config.params); err != nil {
				return out, err
			}
			for symbol, params := range config.symbols {
				values, err := a.checkParams(query, params)
				if err != nil {
					return out, err
				}
				if out.symbols[name] == nil {
					out.symbols[name] = map[string]map[string]any{}
				}
				out.symbols[name][symbol] = values
			}
		}
	}
	return out, nil
}

// isProblemOf returns a function that reports whether a problem is about the file of a query.
func isProblemOf(kind analytics.Kind, name string) func(error) bool {
	return func(problem error) bool {
		return strings.Contains(problem.Error(), filepath.Join(string(kind), name+".sql"))
	}
}

// checkParams returns the values of parameters, after checking them against the header of the query.
func (a *app) checkParams(query analytics.Query, params map[string]configParam) (map[string]any, error) {
	values := map[string]any{}
	settable := settableParams(query)
	for _, param := range slices.Sorted(maps.Keys(params)) {
		set := params[param]
		if !slices.Contains(settable, param) {
			if len(settable) == 0 {
				return nil, misuse("%s: %s has no parameter that can be set", a.config.position(set.line), query.Name)
			}
			return nil, misuse("%s: %s has no parameter %q%s", a.config.position(set.line), query.Name, param, strictyaml.DidYouMean(param, settable))
		}
		if err := query.CheckArgument(param, set.value); err != nil {
			return nil, misuse("%s: %w", a.config.position(set.line), err)
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
