package analytics

import (
	"database/sql"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"tapedeck/internal/wording"
)

// textCheck compares the SQL of a query with its header.
type textCheck struct {
	*Query
	tokens    []token
	params    map[string]bool // used
	relations map[string]bool // read
	ctes      []string        // names of common table expressions so far
	summaries []string        // that exist besides the embedded ones
}

// checkText checks that the SQL is one SELECT that only reads relations, that it has the parameters of the header, each cast to its
// type where it is used, and that it reads the relations of the header.
func (q *Query) checkText(summaries []string) []error {
	tokens, err := scan(q.Text)
	if err != nil {
		err.Path = q.Path
		return []error{err}
	}
	c := textCheck{Query: q, params: map[string]bool{}, relations: map[string]bool{}, summaries: summaries}
	if len(tokens) == 0 {
		return one(c.errorAt(1+strings.Count(strings.TrimRight(q.Text, "\n"), "\n"), "there is no SELECT below the header"))
	}
	for len(tokens) > 0 && tokens[len(tokens)-1].text == ";" {
		tokens = tokens[:len(tokens)-1]
	}
	if len(tokens) == 0 || tokens[0].kind != word || tokens[0].text != "select" && tokens[0].text != "with" {
		return one(c.errorAt(1, "a query must be one SELECT, which may begin with WITH"))
	}
	if line, reason := refusedCall(tokens, true); line > 0 {
		return one(c.errorAt(line, "%s", reason))
	}
	c.tokens = tokens
	var errs []error
	for i, t := range tokens {
		var err error
		switch {
		case t.isSymbol(";"):
			return one(c.errorAt(t.line, "a second statement follows this semicolon; a query must be one SELECT"))
		case t.isSymbol("?"):
			err = c.errorAt(t.line, "write a parameter as $name, not ?")
		case t.kind == parameter:
			err = c.checkParameter(i)
		case c.definesCTE(i):
			c.ctes = append(c.ctes, t.text)
		default:
			err = c.checkRelations(i)
		}
		if err != nil && !slices.ContainsFunc(errs, func(e error) bool { return e.Error() == err.Error() }) {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return errs // what is wrong may also count as unused
	}
	return one(c.checkUnused())
}

// one returns a list of err, or an empty list if err is nil.
func one(err error) []error {
	if err == nil {
		return nil
	}
	return []error{err}
}

// checkParameter checks the parameter that is the i-th token.
func (c *textCheck) checkParameter(i int) error {
	t := c.tokens[i]
	param, ok := c.Param(t.text)
	switch {
	case c.Kind == Cookbook:
		return c.errorAt(t.line, "a query of the cookbook has variables instead of parameters: coalesce(getvariable('%s')::%s, …)",
			t.text, param.Type)
	case !ok:
		if near := wording.Nearest(t.text, c.paramNames()); near != "" {
			return c.errorAt(t.line, "$%s is not in the header; did you mean $%s?", t.text, near)
		}
		return c.errorAt(t.line, "$%s is not in the header: add a line param:", t.text)
	case i+2 >= len(c.tokens) || c.tokens[i+1].text != "::" || !isType(c.tokens[i+2:], param.Type):
		return c.errorAt(t.line, "cast the parameter where it is used: $%s::%s", t.text, param.Type)
	}
	c.params[t.text] = true
	return nil
}

// definesCTE reports whether the i-th token is the name of a common table expression.
func (c *textCheck) definesCTE(i int) bool {
	if c.tokens[i].kind != word || i == 0 || i+2 >= len(c.tokens) || c.tokens[i+1].text != "as" {
		return false
	}
	return slices.Contains([]string{"with", "recursive", ","}, c.tokens[i-1].text) &&
		slices.Contains([]string{"(", "materialized", "not"}, c.tokens[i+2].text)
}

// checkRelations checks the relations that the i-th token reads.
func (c *textCheck) checkRelations(i int) error {
	for _, name := range relationsRead(c.tokens, i, c.summaries) {
		if slices.Contains(c.ctes, name) {
			continue
		}
		c.relations[name] = true
		if !slices.ContainsFunc(c.Reads, func(r Read) bool { return r.Relation == name }) {
			return c.errorAt(c.tokens[i].line, "the query reads %s, but the header has no line reads: %s", name, name)
		}
	}
	return nil
}

// relationsRead returns the relations that the i-th token reads if it follows FROM or JOIN: the one that
// it names, the summary whose macro it calls, or those of the shared macro or the macro of market.duckdb that it calls. A CTE
// may have the name of a relation.
func relationsRead(tokens []token, i int, summaries []string) []string {
	t := tokens[i]
	if t.kind != word || i == 0 || tokens[i-1].kind != word || tokens[i-1].text != "from" && tokens[i-1].text != "join" {
		return nil
	}
	next := ""
	if i+1 < len(tokens) {
		next = tokens[i+1].text
	}
	switch {
	case next == "(" && isSummary(t.text, summaries):
		return []string{t.text}
	case next == "(" && macroSummaries[t.text] != nil:
		return append([]string{"trades"}, macroSummaries[t.text]...)
	case next == "(" && slices.Contains(sharedMacros[:], t.text):
		return macroReads(t.text)
	case next != "(" && next != "." && slices.Contains(relationNames[:], t.text):
		return []string{t.text}
	}
	return nil
}

// macroReads returns the relations that a shared macro reads, by itself or through another macro.
func macroReads(name string) (out []string) {
	tokens, _ := scan(embeddedSQL("macro/" + name + ".sql")) // tests run every embedded macro
	for i := range tokens {
		out = append(out, relationsRead(tokens, i, nil)...)
	}
	return out
}

// syntaxError returns what DuckDB's parser says about the text, if it is no SQL. Then it is the reason
// why something seems to be unused.
func (c *textCheck) syntaxError() error {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return nil // the query is checked again when it runs
	}
	defer db.Close()
	var answer string
	if db.QueryRow("SELECT json_serialize_sql(?::VARCHAR)::VARCHAR", c.Text).Scan(&answer) != nil {
		return nil
	}
	var parsed struct {
		Error    bool   `json:"error"`
		Type     string `json:"error_type"`
		Message  string `json:"error_message"`
		Position string `json:"position"`
	}
	if json.Unmarshal([]byte(answer), &parsed) != nil || !parsed.Error || parsed.Type != "parser" {
		return nil
	}
	line := 0
	if at, err := strconv.Atoi(parsed.Position); err == nil && at >= 0 && at <= len(c.Text) {
		line = 1 + strings.Count(c.Text[:at], "\n")
	}
	return c.errorAt(line, "%s", strings.Join(strings.Fields(parsed.Message), " "))
}

// checkUnused checks that the query uses everything in its header.
func (c *textCheck) checkUnused() error {
	if c.Kind == Cookbook {
		if err := c.checkVariables(); err != nil {
			return err
		}
	}
	for _, param := range c.Params {
		if !c.params[param.Name] && c.Kind != Cookbook {
			if err := c.syntaxError(); err != nil {
				return err
			}
			return c.errorAt(c.headerLineOf("param", param.Name),
				"the parameter %s is in the header, but the query does not use it", param.Name)
		}
	}
	for _, read := range c.Reads {
		if !c.relations[read.Relation] {
			if err := c.syntaxError(); err != nil {
				return err
			}
			return c.errorAt(c.headerLineOf("reads", read.Relation),
				"the relation %s is in the header, but the query does not read it", read.Relation)
		}
	}
	return nil
}

// isType reports whether the tokens begin with the type.
func isType(tokens []token, typ string) bool {
	base, isList := strings.CutSuffix(strings.ToLower(typ), "[]")
	if tokens[0].kind != word || tokens[0].text != base {
		return false
	}
	hasBrackets := len(tokens) > 2 && tokens[1].text == "[" && tokens[2].text == "]"
	return hasBrackets == isList
}

// headerLineOf returns the number of the header line with the key and the name, or 1.
func (q *Query) headerLineOf(key, name string) int {
	for i, line := range strings.Split(q.Text, "\n") {
		if match := headerLine.FindStringSubmatch(strings.TrimRight(line, " \t\r")); match != nil && match[1] == key {
			if first, _, _ := strings.Cut(match[2], " "); first == name {
				return i + 1
			}
		}
	}
	return 1
}
