package analytics

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A query of the cookbook must run in any DuckDB shell. Its parameters are therefore variables of the
// session, and the text contains their defaults:
//
//	coalesce(getvariable('symbol')::VARCHAR, 'BTCUSDT')

// variableUse matches the use of a variable, up to the end of its default.
var variableUse = regexp.MustCompile(`coalesce\(getvariable\('([a-z][a-z0-9_]*)'\)::([A-Z]+), ` +
	`(?:(?:TIMESTAMP|DATE|INTERVAL) )?('(?:[^']|'')*'|[-+.0-9a-z]+)\)`)

var getvariable = regexp.MustCompile(`(?i)getvariable`)

// checkVariables checks that the variables of the text have the names, types and defaults of the header.
func (q *Query) checkVariables() error {
	fail := func(offset int, format string, args ...any) error {
		return q.errorAt(1+strings.Count(q.Text[:offset], "\n"), format, args...)
	}
	used := map[string]bool{}
	for _, at := range variableUse.FindAllStringSubmatchIndex(q.Text, -1) {
		name, typ, literal := q.Text[at[2]:at[3]], q.Text[at[4]:at[5]], q.Text[at[6]:at[7]]
		param, ok := q.Param(name)
		if !ok {
			return fail(at[0], "the variable %s is not in the header: add a line param:", name)
		}
		if typ != param.Type {
			return fail(at[0], "the variable %s is a %s in the header, but is cast to %s here", name, param.Type, typ)
		}
		if typ != "VARCHAR" {
			literal = strings.Trim(literal, "'")
		}
		if value, err := parseDefault(typ, literal); err != nil || !param.HasDefault || value != param.Default {
			return fail(at[0], "the variable %s has the default %s here, but another one in the header", name, literal)
		}
		used[name] = true
	}
	all := variableUse.FindAllStringIndex(q.Text, -1)
	for _, at := range getvariable.FindAllStringIndex(q.Text, -1) {
		if !slices.ContainsFunc(all, func(use []int) bool { return use[0] <= at[0] && at[1] <= use[1] }) {
			return fail(at[0], "write the use of a variable like this: coalesce(getvariable('symbol')::VARCHAR, 'BTCUSDT')")
		}
	}
	for _, param := range q.Params {
		if !used[param.Name] {
			return q.errorAt(q.headerLineOf("param", param.Name), "the variable %s is in the header, but the query does not use it", param.Name)
		}
	}
	return nil
}

// setVariables sets the variables of a query of the cookbook in a connection, and resets those without
// an argument.
func setVariables(ctx context.Context, conn *sql.Conn, q Query, args map[string]any) error {
	for _, param := range q.Params {
		statement := "RESET VARIABLE " + param.Name
		if value, ok := args[param.Name]; ok && value != nil {
			if at, ok := value.(time.Time); ok {
				value = at.UTC().Format("2006-01-02 15:04:05.999999")
			}
			statement = setVariable(param.Name, fmt.Sprint(value))
		}
		if err := exec(ctx, conn, statement); err != nil {
			return err
		}
	}
	return nil
}

func setVariable(name, value string) string {
	return fmt.Sprintf("SET VARIABLE %s = %s", name, Quote(value))
}

// variableStatements returns the statements that set variables, ordered by name.
func variableStatements(variables map[string]string) (out []string, err error) {
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		if !identifier.MatchString(name) {
			return nil, fmt.Errorf("%q is not the name of a variable: use lower_snake_case", name)
		}
		out = append(out, setVariable(name, variables[name]))
	}
	return out, nil
}
