package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/strictyaml"
	"tapedeck/internal/wording"
)

type queriesCmd struct {
	Names  []string `arg:"" optional:"" name:"name" help:"Describe these queries completely."`
	Format string   `placeholder:"FORMAT" enum:"table,json,sql" default:"table" help:"table, json or sql, which is the text of the queries."`
	New    string   `placeholder:"KIND" enum:"detect,report,check," default:"" help:"Write a query to start from: detect, report or check. It goes into --sql-dir and has the name that you give."`
	queriesFlags
}

func (*queriesCmd) noNow() string { return "it does not use the time" }

func (c *queriesCmd) Run(ctx context.Context, a *app) error {
	if c.New != "" {
		return c.create(a)
	}
	settings, err := a.querySettings(c.SQLDir)
	if err != nil {
		return err
	}
	queries, problems := analytics.Load(c.SQLDir)
	for _, problem := range problems {
		var file *analytics.FileError
		if !errors.As(problem, &file) {
			return misuse("%w", problem)
		}
	}
	if c.SQLDir != "" {
		more, err := c.checkOwn(ctx, queries)
		if err != nil {
			return err
		}
		problems = append(problems, more...)
	}
	chosen := queries
	if len(c.Names) > 0 || c.Format == "sql" {
		if chosen, err = queriesNamed(queries, problems, c.Names); err != nil {
			return err
		}
	}
	var page strings.Builder
	switch {
	case c.Format == "json":
		err = writeQueriesJSON(&page, chosen, settings)
	case c.Format == "sql":
		for _, query := range chosen {
			page.WriteString(query.Text)
		}
	case len(c.Names) > 0:
		writeQueryPages(&page, chosen, settings)
	default:
		writeQueryList(&page, chosen)
	}
	if err != nil {
		return err
	}
	if _, err := io.WriteString(a.results(), page.String()); err != nil {
		return err
	}
	for _, problem := range problems {
		a.say("%v", problem)
	}
	if len(problems) > 0 {
		return partial("%s would be left out", wording.Count(len(problems), "file"))
	}
	return nil
}

// checkOwn checks the queries in --sql-dir against their headers, over empty relations.
func (c *queriesCmd) checkOwn(ctx context.Context, queries []analytics.Query) (problems []error, err error) {
	summaries, _ := analytics.Load(c.SQLDir, analytics.Summary) // what is wrong with them is named with the others
	session, err := analytics.OpenEmpty(ctx, analytics.Options{Summaries: summaries, Macros: true})
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

// queriesNamed returns the queries of those names, in that order.
func queriesNamed(queries []analytics.Query, problems []error, names []string) ([]analytics.Query, error) {
	if len(names) == 0 {
		return nil, misuse("--format sql needs the names of the queries to print")
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
		if problem := analytics.ProblemOf(problems, name); problem != nil && len(chosen) == found {
			return nil, problem
		}
		if len(chosen) == found {
			return nil, withHint(misuse("no query is named %q%s", name, strictyaml.DidYouMean(name, known)), "tapedeck queries lists them")
		}
	}
	return chosen, nil
}

// writeQueryList writes the list of queries.
func writeQueryList(page *strings.Builder, queries []analytics.Query) {
	for _, section := range []struct {
		kind  analytics.Kind
		title string
	}{
		{analytics.Detect, "Detectors: a row is an alert"},
		{analytics.Report, "Sections of the report"},
		{analytics.Check, "Checks: a row is something that is wrong; tapedeck check runs them"},
		{analytics.Cookbook, "The cookbook: run one with tapedeck queries --format sql NAME | tapedeck query"},
		{analytics.Summary, "Summaries of hours, which other queries read: FROM hours(since, until)"},
	} {
		rows := [][2]string{}
		for _, query := range queries {
			if query.Kind == section.kind {
				summary := summaryOf(query)
				if query.Severity != "" {
					summary = query.Severity + ": " + summary
				}
				rows = append(rows, [2]string{query.Name, summary})
			}
		}
		if len(rows) > 0 {
			fmt.Fprintln(page, section.title)
			columns(page, rows)
			page.WriteString("\n")
		}
	}
	page.WriteString("tapedeck queries NAME describes one of them.\n")
}

// summaryOf returns the first sentence of the description, without the name at its beginning.
func summaryOf(query analytics.Query) string {
	first, _, _ := strings.Cut(query.Doc, "\n\n")
	sentence, _, _ := strings.Cut(strings.Join(strings.Fields(first), " ")+" ", ". ")
	return strings.TrimSuffix(strings.TrimSpace(strings.TrimPrefix(sentence, query.Name+" ")), ".")
}

// writeQueryPages writes the complete description of queries.
func writeQueryPages(page *strings.Builder, queries []analytics.Query, settings querySettings) {
	for i, query := range queries {
		if i > 0 {
			page.WriteString("\n")
		}
		fmt.Fprintf(page, "%s: %s\n\n", wording.Visible(query.Path), wording.Visible(query.Title))
		paragraphs(page, "", query.Doc)
		page.WriteString("\nReads:\n")
		rows := [][2]string{}
		for _, read := range query.Reads {
			rows = append(rows, [2]string{read.Relation, read.Doc})
		}
		columns(page, rows)
		if len(query.Params) > 0 {
			page.WriteString("\nParameters:\n")
			rows = rows[:0]
			for _, param := range query.Params {
				rows = append(rows, [2]string{param.Name, param.Type + ", " + param.Doc + defaultText(query, param, settings)})
			}
			columns(page, rows)
		}
		page.WriteString("\nColumns:\n")
		rows = rows[:0]
		for _, column := range query.Columns {
			rows = append(rows, [2]string{column.Name, column.Type + ", " + column.Doc})
		}
		columns(page, rows)
		fmt.Fprintf(page, "\nKey: %s\n", wording.Visible(strings.Join(query.Key, ", ")))
		if query.Cooldown > 0 {
			fmt.Fprintf(page, "Cooldown: %s; a row of a symbol within this time after another belongs to the same event\n", length(query.Cooldown))
		}
		if query.Needs != nil && len(query.Needs.Lines) > 0 {
			fmt.Fprintf(page, "Needs: %s\n", wording.Visible(strings.Join(query.Needs.Lines, "; ")))
		}
		if query.Severity != "" {
			fmt.Fprintf(page, "Severity: %s\n", wording.Visible(query.Severity))
		}
	}
}

// defaultText returns the default of a parameter and what the configuration sets.
func defaultText(query analytics.Query, param analytics.Param, settings querySettings) string {
	if !param.HasDefault {
		return ""
	}
	text := "default " + valueText(param.Default)
	if set, ok := settings.of(query)[param.Name]; ok {
		text += "; set to " + valueText(set) + " in the configuration"
	}
	for _, symbol := range slices.Sorted(maps.Keys(settings.symbolsOf(query))) {
		if set, ok := settings.symbolsOf(query)[symbol][param.Name]; ok {
			text += "; " + valueText(set) + " for " + symbol
		}
	}
	return " (" + text + ")"
}

// valueText returns a value in the notation of a header.
func valueText(value any) string {
	switch value := value.(type) {
	case nil:
		return "NULL"
	case string:
		return "'" + strings.ReplaceAll(value, "'", "''") + "'"
	case float64:
		return numberText(value)
	case time.Duration:
		return length(value).String()
	case time.Time:
		return value.UTC().Format(time.RFC3339)
	}
	return fmt.Sprint(value)
}

// queryJSON is one query of --format json. Durations are in seconds.
type queryJSON struct {
	Kind     analytics.Kind     `json:"kind"`
	Name     string             `json:"name"`
	Title    string             `json:"title"`
	Path     string             `json:"path"`
	Doc      string             `json:"doc"`
	Reads    []readJSON         `json:"reads"`
	Params   []paramJSON        `json:"params"`
	Columns  []analytics.Column `json:"columns"`
	Key      []string           `json:"key"`
	Severity string             `json:"severity,omitempty"`
	Cooldown float64            `json:"cooldown_s,omitempty"`
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
	// Set is the value in the configuration, and SetFor are those of symbols and patterns.
	Set    string            `json:"set,omitempty"`
	SetFor map[string]string `json:"set_for,omitempty"`
}

func writeQueriesJSON(w io.Writer, queries []analytics.Query, settings querySettings) error {
	out := []queryJSON{}
	for _, query := range queries {
		one := queryJSON{
			Kind: query.Kind, Name: query.Name, Title: query.Title, Path: query.Path, Doc: query.Doc, Params: []paramJSON{}, Columns: query.Columns,
			Key: query.Key, Severity: query.Severity, Cooldown: query.Cooldown.Seconds(),
		}
		for _, read := range query.Reads {
			one.Reads = append(one.Reads, readJSON{read.Relation, read.Anchor, read.Before.Seconds()})
		}
		for _, param := range query.Params {
			p := paramJSON{Name: param.Name, Type: param.Type, Doc: param.Doc, SetFor: map[string]string{}}
			if param.HasDefault {
				p.Default = valueText(param.Default)
			}
			if set, ok := settings.of(query)[param.Name]; ok {
				p.Set = valueText(set)
			}
			for symbol, values := range settings.symbolsOf(query) {
				if set, ok := values[param.Name]; ok {
					p.SetFor[symbol] = valueText(set)
				}
			}
			one.Params = append(one.Params, p)
		}
		out = append(out, one)
	}
	encoder := json.NewEncoder(wording.JSON(w))
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(out)
}
