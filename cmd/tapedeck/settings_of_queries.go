package main

import (
	"path/filepath"
	"slices"
	"strings"

	"tapedeck/analytics"
	"tapedeck/internal/strictyaml"
)

// querySettings are the values that config.yaml gives to parameters, by kind and name of the query, held to the queries' headers.
type querySettings struct {
	detectors, sections map[string]map[string]any
	// symbols are those of detectors for some symbols only, by detector and symbol or pattern.
	symbols map[string]map[string]map[string]any
}

// of gives the values of one query.
func (s querySettings) of(query analytics.Query) map[string]any {
	switch query.Kind {
	case analytics.Detect:
		return s.detectors[query.Name]
	case analytics.Report:
		return s.sections[query.Name]
	}
	return nil
}

// symbolsOf gives the values of one query for some symbols only.
func (s querySettings) symbolsOf(query analytics.Query) map[string]map[string]any {
	if query.Kind != analytics.Detect {
		return nil
	}
	return s.symbols[query.Name]
}

// querySettings reads those of config.yaml. A name or value that does not fit is an error with file and line.
func (a *app) querySettings(sqlDir string) (querySettings, error) {
	out := querySettings{map[string]map[string]any{}, map[string]map[string]any{}, map[string]map[string]map[string]any{}}
	if len(a.config.detectors)+len(a.config.sections) == 0 {
		return out, nil
	}
	queries, problems := analytics.Load(sqlDir)
	for _, part := range []struct {
		kind   analytics.Kind
		word   string
		wanted map[string]queryConfig
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
		for _, name := range sortedKeys(part.wanted) {
			wanted := part.wanted[name]
			query, ok := known[name]
			if !ok {
				if slices.ContainsFunc(problems, isAbout(part.kind, name)) {
					continue // it is there and cannot be read, which whoever runs it says
				}
				return out, misuse("%s: no %s is named %q%s", a.config.position(wanted.line), part.word, name, strictyaml.DidYouMean(name, sortedKeys(known)))
			}
			var err error
			if part.into[name], err = a.heldTo(query, wanted.params); err != nil {
				return out, err
			}
			for symbol, params := range wanted.symbols {
				values, err := a.heldTo(query, params)
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

// isAbout says whether a problem is that of the file of a query.
func isAbout(kind analytics.Kind, name string) func(error) bool {
	return func(problem error) bool {
		return strings.Contains(problem.Error(), filepath.Join(string(kind), name+".sql"))
	}
}

// heldTo gives the values for a query's parameters, if they are that.
func (a *app) heldTo(query analytics.Query, params map[string]configParam) (map[string]any, error) {
	values := map[string]any{}
	settable := settableParams(query)
	for _, param := range sortedKeys(params) {
		set := params[param]
		if !slices.Contains(settable, param) {
			if len(settable) == 0 {
				return nil, misuse("%s: %s has nothing to set", a.config.position(set.line), query.Name)
			}
			return nil, misuse("%s: %s has no parameter %q to set%s", a.config.position(set.line), query.Name, param, strictyaml.DidYouMean(param, settable))
		}
		if err := query.CheckArgument(param, set.value); err != nil {
			return nil, misuse("%s: %w", a.config.position(set.line), err)
		}
		values[param] = set.value
	}
	return values, nil
}

// settableParams are the parameters of a query that are not given by the run: by its window, and by report --symbols.
func settableParams(query analytics.Query) (names []string) {
	for _, param := range query.Params {
		given := param.Name == "window_start" || param.Name == "window_end" || query.Kind == analytics.Report && param.Name == "symbols"
		if !given {
			names = append(names, param.Name)
		}
	}
	return names
}
