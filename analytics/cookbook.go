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

// A query of the cookbook is pasted into whatever shell there is, so its parameters are variables of the session with their defaults in the text:
//
//	coalesce(getvariable('symbol')::VARCHAR, 'BTCUSDT')
//
// which holds with nothing set, and after SET VARIABLE symbol = 'ETHUSDT'.

// asked finds where a query's text asks for a variable, up to the default's end.
var asked = regexp.MustCompile(`coalesce\(getvariable\('([a-z][a-z0-9_]*)'\)::([A-Z]+), (?:(?:TIMESTAMP|DATE|INTERVAL) )?('(?:[^']|'')*'|[-+.0-9a-z]+)\)`)

// checkVariables holds the variables that a text asks for to its header, with their types and defaults.
func (q *Query) checkVariables() error {
	fail := func(at int, format string, args ...any) error {
		return &SyntaxError{q.Path, 1 + strings.Count(q.Text[:at], "\n"), fmt.Sprintf(format, args...)}
	}
	used := map[string]bool{}
	for _, at := range asked.FindAllStringSubmatchIndex(q.Text, -1) {
		name, typ, literal := q.Text[at[2]:at[3]], q.Text[at[4]:at[5]], q.Text[at[6]:at[7]]
		param, ok := q.Param(name)
		if !ok {
			return fail(at[0], "the variable %s is not in the header: add a line param:", name)
		}
		if typ != param.Type {
			return fail(at[0], "the variable %s is a %s in the header, and cast to %s here", name, param.Type, typ)
		}
		if typ != "VARCHAR" {
			literal = strings.Trim(literal, "'")
		}
		if value, err := parseDefault(typ, literal); err != nil || !param.HasDefault || value != param.Default {
			return fail(at[0], "the variable %s has the default %s here, and another in the header", name, literal)
		}
		used[name] = true
	}
	all := asked.FindAllStringIndex(q.Text, -1)
	for _, at := range regexp.MustCompile(`(?i)getvariable`).FindAllStringIndex(q.Text, -1) {
		if !slices.ContainsFunc(all, func(whole []int) bool { return whole[0] <= at[0] && at[1] <= whole[1] }) {
			return fail(at[0], "ask for a variable like this: coalesce(getvariable('symbol')::VARCHAR, 'BTCUSDT')")
		}
	}
	for _, param := range q.Params {
		if !used[param.Name] {
			return &SyntaxError{q.Path, q.headerLineOf("param", param.Name), fmt.Sprintf("the variable %s is in the header, but the query does not ask for it", param.Name)}
		}
	}
	return nil
}

// setVariables makes the arguments of a query of the cookbook variables of a connection; the others are not set.
func setVariables(ctx context.Context, conn *sql.Conn, q Query, args map[string]any) error {
	for _, param := range q.Params {
		statement := "RESET VARIABLE " + param.Name
		if value, ok := args[param.Name]; ok && value != nil {
			if at, ok := value.(time.Time); ok {
				value = at.UTC().Format("2006-01-02 15:04:05.999999")
			}
			statement = setVariable(param.Name, fmt.Sprint(value))
		}
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

func setVariable(name, value string) string {
	return fmt.Sprintf("SET VARIABLE %s = %s", name, quote(value))
}

// variableStatements set a session's variables, in the order of their names.
func variableStatements(variables map[string]string) (out []string, err error) {
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		if !identifier.MatchString(name) {
			return nil, fmt.Errorf("%q is not the name of a variable: lower_snake_case", name)
		}
		out = append(out, setVariable(name, variables[name]))
	}
	return out, nil
}
