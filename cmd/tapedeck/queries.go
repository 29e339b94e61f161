package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/strictyaml"
)

type queriesCmd struct {
	Names  []string `arg:"" optional:"" name:"name" help:"Say all there is to say about these queries."`
	Format string   `placeholder:"FORMAT" enum:"table,json,sql" default:"table" help:"table, json, or sql: the text of the queries as it stands."`
	queriesFlags
}

func (*queriesCmd) manual() manual {
	return manual{
		about: `Lists the detectors, report sections and checks: tapedeck's own and those in --sql-dir, as detect and report take them. Of a query that is
named it shows what it reads, its parameters with units and defaults, and its columns. A file of your own that breaks the contract is named: its SQL is held to its header, against empty tables.

A parameter of a detector is a threshold, and config.yaml may set it, also for some symbols only. A parameter of a section is set there, too:
  detectors:
    whale_order:
      min_ratio: 5
      symbols: {"*BTC": {min_ratio: 3}}
  sections:
    movers: {top: 5}`,
		examples: []string{
			"tapedeck queries",
			"tapedeck queries flash_crash",
			"tapedeck queries --format sql flash_crash > sql/detect/my_crash.sql",
		},
		exits: []string{"0  done", "1  failed", "3  done, but a file in --sql-dir is not a query; it is named"},
	}
}

func (c *queriesCmd) Run(ctx context.Context, a *app) error {
	settings, err := a.querySettings(c.SQLDir)
	if err != nil {
		return err
	}
	queries, problems := analytics.Load(c.SQLDir)
	if c.SQLDir != "" {
		more, err := c.held(ctx, queries)
		if err != nil {
			return err
		}
		problems = append(problems, more...)
	}
	chosen := queries
	if len(c.Names) > 0 || c.Format == "sql" {
		if chosen, err = named(queries, c.Names); err != nil {
			return err
		}
	}
	switch {
	case c.Format == "json":
		err = writeQueriesJSON(a.stdout, chosen, settings)
	case c.Format == "sql":
		for _, query := range chosen {
			if _, err = io.WriteString(a.stdout, query.Text); err != nil {
				break
			}
		}
	case len(c.Names) > 0:
		_, err = io.WriteString(a.stdout, queryPages(chosen, settings))
	default:
		_, err = io.WriteString(a.stdout, queryList(chosen))
	}
	if err != nil {
		return err
	}
	for _, problem := range problems {
		a.say("%v", problem)
	}
	if len(problems) > 0 {
		return partial("%s would be left out", counted(len(problems), "file"))
	}
	return nil
}

// held holds the user's own queries to their headers, against relations that are empty.
func (c *queriesCmd) held(ctx context.Context, queries []analytics.Query) (problems []error, err error) {
	session, err := analytics.OpenEmpty(ctx, analytics.Options{})
	if err != nil {
		return nil, err
	}
	defer session.Close()
	for _, query := range queries {
		if !strings.HasPrefix(query.Path, filepath.Clean(c.SQLDir)+string(filepath.Separator)) {
			continue
		}
		if err := session.Check(ctx, query); err != nil {
			problems = append(problems, err)
		}
	}
	return problems, ctx.Err()
}

// named are the queries of those names, in that order.
func named(queries []analytics.Query, names []string) ([]analytics.Query, error) {
	if len(names) == 0 {
		return nil, misuse("--format sql wants the names of the queries to print")
	}
	var chosen []analytics.Query
	for _, name := range names {
		found := len(chosen)
		known := []string{}
		for _, query := range queries {
			known = append(known, query.Name)
			if query.Name == name {
				chosen = append(chosen, query)
			}
		}
		if len(chosen) == found {
			return nil, withHint(misuse("no query is named %q%s", name, strictyaml.DidYouMean(name, known)), "tapedeck queries lists them")
		}
	}
	return chosen, nil
}

// kindTitle is the heading of the queries of a kind.
func kindTitle(kind analytics.Kind) string {
	return map[analytics.Kind]string{
		analytics.Detect:   "Detectors: a row is an alert",
		analytics.Report:   "Sections of the report",
		analytics.Check:    "Checks: a row is something wrong",
		analytics.Cookbook: "The cookbook: what people ask of a tape; tapedeck queries --format sql NAME | tapedeck query",
	}[kind]
}

// queryList is one line or two a query.
func queryList(queries []analytics.Query) string {
	var page strings.Builder
	for _, kind := range []analytics.Kind{analytics.Detect, analytics.Report, analytics.Check, analytics.Cookbook} {
		rows := [][2]string{}
		for _, query := range queries {
			if query.Kind == kind {
				rows = append(rows, [2]string{query.Name, summaryOf(query)})
			}
		}
		if len(rows) > 0 {
			fmt.Fprintf(&page, "%s\n", kindTitle(kind))
			columns(&page, rows)
			page.WriteString("\n")
		}
	}
	page.WriteString("tapedeck queries NAME says more about one.\n")
	return page.String()
}

// summaryOf is the first sentence of a query's prose, without the name that it begins with.
func summaryOf(query analytics.Query) string {
	first, _, _ := strings.Cut(query.Doc, "\n\n")
	sentence, _, _ := strings.Cut(strings.Join(strings.Fields(first), " ")+" ", ". ")
	return strings.TrimSuffix(strings.TrimSpace(strings.TrimPrefix(sentence, query.Name+" ")), ".")
}

// queryPages is all there is to say about some queries.
func queryPages(queries []analytics.Query, settings querySettings) string {
	var page strings.Builder
	for i, query := range queries {
		if i > 0 {
			page.WriteString("\n")
		}
		fmt.Fprintf(&page, "%s: %s\n\n", query.Path, query.Title)
		paragraphs(&page, "", query.Doc)
		page.WriteString("\nReads:\n")
		rows := [][2]string{}
		for _, read := range query.Reads {
			rows = append(rows, [2]string{read.Relation, read.Doc})
		}
		columns(&page, rows)
		if len(query.Params) > 0 {
			page.WriteString("\nParameters:\n")
			rows = rows[:0]
			for _, param := range query.Params {
				rows = append(rows, [2]string{param.Name, param.Type + ", " + param.Doc + defaultText(query, param, settings)})
			}
			columns(&page, rows)
		}
		page.WriteString("\nColumns:\n")
		rows = rows[:0]
		for _, column := range query.Columns {
			rows = append(rows, [2]string{column.Name, column.Type + ", " + column.Doc})
		}
		columns(&page, rows)
		fmt.Fprintf(&page, "\nKey: %s\n", strings.Join(query.Key, ", "))
		if query.Cooldown > 0 {
			fmt.Fprintf(&page, "Cooldown: %s; rows of a symbol that follow within it are the same event\n", length(query.Cooldown))
		}
		if query.Severity != "" {
			fmt.Fprintf(&page, "Severity: %s\n", query.Severity)
		}
	}
	return page.String()
}

// defaultText says what a parameter is where nobody gives it.
func defaultText(query analytics.Query, param analytics.Param, settings querySettings) string {
	if !param.HasDefault {
		return ""
	}
	text := "default " + valueText(param.Default)
	if set, ok := settings.of(query)[param.Name]; ok {
		text += "; the configuration says " + valueText(set)
	}
	for _, symbol := range sortedKeys(settings.symbolsOf(query)) {
		if set, ok := settings.symbolsOf(query)[symbol][param.Name]; ok {
			text += "; for " + symbol + " " + valueText(set)
		}
	}
	return " (" + text + ")"
}

// valueText is a parameter's value as a header spells it.
func valueText(value any) string {
	switch value := value.(type) {
	case nil:
		return "NULL"
	case string:
		return "'" + strings.ReplaceAll(value, "'", "''") + "'"
	case float64:
		return strconv.FormatFloat(value, 'f', -1, 64)
	case time.Duration:
		return length(value).String()
	case time.Time:
		return value.UTC().Format(time.RFC3339)
	}
	return fmt.Sprint(value)
}

// queryJSON is a query as JSON; lengths of time are in seconds.
type queryJSON struct {
	Kind     analytics.Kind `json:"kind"`
	Name     string         `json:"name"`
	Title    string         `json:"title"`
	Path     string         `json:"path"`
	Doc      string         `json:"doc"`
	Reads    []readJSON     `json:"reads"`
	Params   []paramJSON    `json:"params"`
	Columns  []columnJSON   `json:"columns"`
	Key      []string       `json:"key"`
	Severity string         `json:"severity,omitempty"`
	Cooldown float64        `json:"cooldown_s,omitempty"`
}

type readJSON struct {
	Relation string  `json:"relation"`
	Anchor   string  `json:"anchor,omitempty"`
	Before   float64 `json:"before_s,omitempty"`
}

type paramJSON struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Doc     string `json:"doc"`
	Default string `json:"default,omitempty"`
	// Set and SetFor, by symbol or pattern, are the configuration's.
	Set    string            `json:"set,omitempty"`
	SetFor map[string]string `json:"set_for,omitempty"`
}

type columnJSON struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Doc  string `json:"doc"`
}

func writeQueriesJSON(w io.Writer, queries []analytics.Query, settings querySettings) error {
	out := []queryJSON{}
	for _, query := range queries {
		one := queryJSON{
			Kind: query.Kind, Name: query.Name, Title: query.Title, Path: query.Path, Doc: query.Doc, Params: []paramJSON{},
			Key: query.Key, Severity: query.Severity, Cooldown: query.Cooldown.Seconds(),
		}
		for _, read := range query.Reads {
			one.Reads = append(one.Reads, readJSON{read.Relation, read.Anchor, read.Before.Seconds()})
		}
		for _, param := range query.Params {
			p := paramJSON{Name: param.Name, Type: param.Type, Doc: param.Doc}
			if param.HasDefault {
				p.Default = valueText(param.Default)
			}
			if set, ok := settings.of(query)[param.Name]; ok {
				p.Set = valueText(set)
			}
			for symbol, values := range settings.symbolsOf(query) {
				if set, ok := values[param.Name]; ok {
					if p.SetFor == nil {
						p.SetFor = map[string]string{}
					}
					p.SetFor[symbol] = valueText(set)
				}
			}
			one.Params = append(one.Params, p)
		}
		for _, column := range query.Columns {
			one.Columns = append(one.Columns, columnJSON(column))
		}
		out = append(out, one)
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(out)
}
