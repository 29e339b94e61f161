package analytics

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// Kind is the purpose of a query.
type Kind string

// The kinds of queries. The files of each are in a directory of the same name.
const (
	Detect   Kind = "detect"
	Report   Kind = "report"
	Check    Kind = "check"
	Cookbook Kind = "cookbook" // run by people; its parameters are variables of the session
	Summary  Kind = "summary"  // of each UTC hour of trades; other queries read it
)

// Column is one column of a result. Type is in DuckDB's notation, for example DECIMAL(18,3).
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Doc  string `json:"doc"`
}

// Param is one parameter of a query. Its type is BOOLEAN, BIGINT, DOUBLE, VARCHAR, VARCHAR[], TIMESTAMP,
// DATE or INTERVAL.
type Param struct {
	Name, Type, Doc string
	// Default is used if no value is given, provided HasDefault is set. Nil is NULL.
	Default    any
	HasDefault bool
}

// Read is what a query reads of one relation.
type Read struct {
	// Relation is one of the relations in docs/SQL.md, such as trades.
	Relation string
	// Anchor is the parameter from which Before counts. It is empty if the whole relation is read.
	Anchor string
	// Before is the look-back: how long before the anchor the query reads.
	Before time.Duration
	Doc    string
}

// Query is one .sql file: a SELECT and the header that it is checked against. docs/SQL.md specifies the
// header.
type Query struct {
	// Name is the name of the file without .sql.
	Name string
	Kind Kind
	// Path names the file in messages.
	Path string
	// Text is the whole file.
	Text string
	// Doc is the prose of the header. Title is a heading, made from the name if the header has none.
	Doc, Title string
	Reads      []Read
	Params     []Param
	Columns    []Column
	// Key names the columns that identify a row and order the result.
	Key []string
	// Severity of a check is fail or warn.
	Severity string
	// Cooldown of a detector: a row of a symbol that follows another within less than this belongs to
	// the same event.
	Cooldown time.Duration
	// Threshold of a detector is the parameter that the score must reach, or empty if the header does
	// not say.
	Threshold string
	// Needs of a detector says which minutes it can judge.
	Needs *Needs

	columnsLine int // of the first column in the header
}

// DefaultCooldown is the cooldown of a detector whose header has none. It is the pause between alerts in
// La Morgia et al. 2020.
const DefaultCooldown = 30 * time.Minute

// Param returns the parameter of that name.
func (q Query) Param(name string) (Param, bool) {
	i := slices.IndexFunc(q.Params, func(p Param) bool { return p.Name == name })
	if i < 0 {
		return Param{}, false
	}
	return q.Params[i], true
}

func (q Query) paramNames() []string {
	names := make([]string, len(q.Params))
	for i, param := range q.Params {
		names[i] = param.Name
	}
	return names
}

// ReadsRelation reports whether the query reads the relation.
func (q Query) ReadsRelation(relation string) bool {
	return slices.ContainsFunc(q.Reads, func(read Read) bool { return read.Relation == relation })
}

// LookBack returns the longest look-back from window_start over the relations.
func (q Query) LookBack(relations ...string) time.Duration {
	var longest time.Duration
	for _, read := range q.Reads {
		if read.Anchor == "window_start" && slices.Contains(relations, read.Relation) {
			longest = max(longest, read.Before)
		}
	}
	return longest
}

// SyntaxError is returned for a query file that breaks the contract.
type SyntaxError struct {
	Path string
	Line int // from 1
	Text string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s:%d: %s", e.Path, e.Line, e.Text) }

// errorAt returns a *SyntaxError for a line of the query, or for its first line if line is 0.
func (q *Query) errorAt(line int, format string, args ...any) error {
	return &SyntaxError{q.Path, max(line, 1), fmt.Sprintf(format, args...)}
}

// ParseQuery parses a query file and checks its text against its header, as far as that is possible
// without a database. file is the path, whose directory is named for the kind. The error names all
// errors of the header, or all of the text, each of them a *SyntaxError on a line of its own.
func ParseQuery(file, text string) (Query, error) { return parseQuery(file, text, nil) }

// parseQuery is ParseQuery for a query that can also read the given summaries.
func parseQuery(file, text string, summaries []string) (Query, error) {
	slashed := strings.ReplaceAll(file, `\`, "/")
	q := Query{
		Name: strings.TrimSuffix(path.Base(path.Clean(slashed)), ".sql"),
		Kind: Kind(path.Base(path.Dir(slashed))),
		Path: file, Text: text,
	}
	p := headerParser{Query: &q, summaries: summaries}
	errs := p.parse()
	if len(errs) == 0 {
		errs = q.checkText(summaries)
	}
	if len(errs) > 0 {
		return Query{}, errors.Join(errs...)
	}
	return q, nil
}
