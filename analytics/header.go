package analytics

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"

	"tapedeck/internal/wording"
)

var (
	headerKeys = []string{"title", "reads", "param", "column", "key", "severity", "cooldown", "threshold"}
	paramTypes = []string{"BOOLEAN", "BIGINT", "DOUBLE", "VARCHAR", "VARCHAR[]", "TIMESTAMP", "DATE", "INTERVAL"}
)

// detectorColumns are the columns that a detector must return. It may return more.
var detectorColumns = []Column{
	{"symbol", "VARCHAR", ""}, {"at", "TIMESTAMP", ""}, {"score", "DOUBLE", ""}, {"severity", "VARCHAR", ""},
	{"message", "VARCHAR", ""}, {"first_id", "BIGINT", ""}, {"last_id", "BIGINT", ""},
}

var (
	headerLine     = regexp.MustCompile(`^--\s+([a-z_]+):(?:\s+(.*))?$`)
	identifier     = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	columnType     = regexp.MustCompile(`^[A-Z][A-Z0-9_]*(\([0-9A-Z_, ]*\))?(\[\])*$`)
	defaultPattern = regexp.MustCompile(`(?:^|[;,]\s*)default\s+(.+)$`)
	readsPattern   = regexp.MustCompile(`^from\s+(?:(\d+\s+[a-z]+)\s+before\s+)?([a-z][a-z0-9_]*)(?:\s*[,;]\s*(.*))?$`)
)

type headerParser struct {
	q    *Query
	line int
	doc  *string // the description that an indented comment line continues
}

func (p *headerParser) fail(format string, args ...any) error {
	return &SyntaxError{p.q.Path, max(p.line, 1), fmt.Sprintf(format, args...)}
}

func (p *headerParser) parse() error {
	q := p.q
	if !identifier.MatchString(q.Name) {
		return p.fail("the file name %q is not lower_snake_case.sql", q.Name)
	}
	switch q.Kind {
	case Detect, Report, Check, Cookbook:
	default:
		return p.fail("a query must be in a directory detect, report, check or cookbook, not %q", string(q.Kind))
	}
	var prose []string
	for i, line := range strings.Split(q.Text, "\n") {
		line = strings.TrimRight(line, " \t\r")
		if !strings.HasPrefix(line, "--") {
			break
		}
		p.line = i + 1
		rest := strings.TrimPrefix(line, "--")
		if match := headerLine.FindStringSubmatch(line); match != nil {
			if slices.Contains(headerKeys, match[1]) {
				if err := p.parseLine(match[1], strings.TrimSpace(match[2])); err != nil {
					return err
				}
				continue
			}
			if key := misspelledKey(match[1]); key != "" {
				return p.fail("unknown header line %q; did you mean %q?", match[1]+":", key+":")
			}
		}
		if p.doc != nil && strings.HasPrefix(rest, "   ") {
			*p.doc = strings.TrimSpace(*p.doc + " " + strings.TrimSpace(rest))
			continue
		}
		p.doc = nil
		prose = append(prose, strings.TrimPrefix(rest, " "))
	}
	q.Doc = strings.TrimSpace(strings.Join(prose, "\n"))
	if q.Title == "" {
		title := strings.ReplaceAll(q.Name, "_", " ")
		q.Title = strings.ToUpper(title[:1]) + title[1:]
	}
	return p.checkHeader()
}

// misspelledKey returns the key of which word is a misspelling, or "". It is stricter than
// wording.Nearest, because prose may contain a word with a colon.
func misspelledKey(word string) string {
	key := wording.Nearest(word, headerKeys)
	if edits := levenshtein.ComputeDistance(word, key); edits > 2 || edits*2 >= len(key) {
		return ""
	}
	return key
}

// parseLine parses a header line.
func (p *headerParser) parseLine(key, rest string) error {
	q := p.q
	p.doc = nil
	if rest == "" {
		return p.fail("%s: is empty", key)
	}
	switch key {
	case "title":
		q.Title = rest
	case "reads":
		return p.parseReads(rest)
	case "param":
		return p.parseParam(rest)
	case "column":
		return p.parseColumn(rest)
	case "key":
		if q.Key != nil {
			return p.fail("key: appears twice")
		}
		for _, name := range strings.Split(rest, ",") {
			name = strings.TrimSpace(name)
			if !slices.ContainsFunc(q.Columns, func(c Column) bool { return c.Name == name }) {
				return p.fail("key column %q is not among the columns above", name)
			}
			q.Key = append(q.Key, name)
		}
	case "severity":
		if q.Kind != Check {
			return p.fail("severity: is only for checks; a detector returns a column severity")
		}
		if rest != "fail" && rest != "warn" {
			return p.fail("severity %q is neither fail nor warn", rest)
		}
		q.Severity = rest
	case "cooldown":
		if q.Kind != Detect {
			return p.fail("cooldown: is only for detectors")
		}
		duration, err := parseInterval(rest)
		if err != nil || duration <= 0 {
			return p.fail("cooldown %q is not a duration such as 30 minutes", rest)
		}
		q.Cooldown = duration
	case "threshold":
		if q.Kind != Detect {
			return p.fail("threshold: is only for detectors")
		}
		if param, ok := q.Param(rest); !ok || param.Type != "DOUBLE" {
			return p.fail("threshold %q is not among the DOUBLE parameters above", rest)
		}
		q.Threshold = rest
	}
	return nil
}

// parseReads parses "trades  from 1 hour before window_start", "trades  from window_start" or
// "coverage  whole".
func (p *headerParser) parseReads(rest string) error {
	relation, doc, _ := strings.Cut(rest, " ")
	doc = strings.TrimSpace(doc)
	if !slices.Contains(relationNames[:], relation) {
		return p.fail("reads %q: the relations are %s", relation, strings.Join(relationNames[:], ", "))
	}
	if p.q.ReadsRelation(relation) {
		return p.fail("reads %q appears twice", relation)
	}
	read := Read{Relation: relation, Doc: doc}
	if strings.HasPrefix(doc, "from ") {
		match := readsPattern.FindStringSubmatch(doc)
		if match == nil {
			return p.fail("reads %q: write \"from 24 hours before window_start\" or \"from window_start\"", doc)
		}
		if match[1] != "" {
			before, err := parseInterval(match[1])
			if err != nil {
				return p.fail("reads %q: %v", doc, err)
			}
			read.Before = before
		}
		read.Anchor = match[2]
	}
	p.q.Reads = append(p.q.Reads, read)
	return nil
}

func (p *headerParser) parseParam(rest string) error {
	q := p.q
	name, typ, doc := splitFields(rest)
	if !identifier.MatchString(name) {
		return p.fail("param %q is not a lower_snake_case name", name)
	}
	if !slices.Contains(paramTypes, typ) {
		return p.fail("param %q has the type %q; the types are %s", name, typ, strings.Join(paramTypes, ", "))
	}
	if _, ok := q.Param(name); ok {
		return p.fail("param %q appears twice", name)
	}
	param := Param{Name: name, Type: typ, Doc: doc}
	if match := defaultPattern.FindStringSubmatchIndex(doc); match != nil {
		text := strings.TrimSpace(doc[match[2]:match[3]])
		value, err := parseDefault(typ, text)
		if err != nil {
			return p.fail("default of param %q: %v", name, err)
		}
		param.Doc, param.Default, param.HasDefault = strings.TrimSpace(doc[:match[0]]), value, true
	}
	q.Params = append(q.Params, param)
	if !param.HasDefault {
		p.doc = &q.Params[len(q.Params)-1].Doc
	}
	return nil
}

func (p *headerParser) parseColumn(rest string) error {
	q := p.q
	name, typ, doc := splitFields(rest)
	if !identifier.MatchString(name) {
		return p.fail("column %q is not a lower_snake_case name", name)
	}
	if !columnType.MatchString(typ) {
		return p.fail("column %q has no type: write name, TYPE, meaning with unit", name)
	}
	if slices.ContainsFunc(q.Columns, func(c Column) bool { return c.Name == name }) {
		return p.fail("column %q appears twice", name)
	}
	if len(q.Columns) == 0 {
		q.columnsLine = p.line
	}
	q.Columns = append(q.Columns, Column{name, typ, doc})
	p.doc = &q.Columns[len(q.Columns)-1].Doc
	return nil
}

// checkHeader checks that the header is complete and consistent.
func (p *headerParser) checkHeader() error {
	q := p.q
	if q.Doc == "" {
		p.line = 1
		return p.fail("the header does not describe what a row is")
	}
	if len(q.Columns) == 0 {
		return p.fail("the header has no column: lines")
	}
	if len(q.Key) == 0 {
		return p.fail("the header has no key: line")
	}
	if len(q.Reads) == 0 {
		return p.fail("the header has no reads: line")
	}
	for _, read := range q.Reads {
		if read.Anchor == "" {
			continue
		}
		if param, ok := q.Param(read.Anchor); !ok || param.Type != "TIMESTAMP" {
			return p.fail("reads: %s counts from %q, which is not a TIMESTAMP parameter of this query", read.Relation, read.Anchor)
		}
	}
	switch q.Kind {
	case Check:
		if q.Severity == "" {
			return p.fail("the header of a check needs a line severity: fail or severity: warn")
		}
	case Detect:
		return p.checkDetector()
	}
	return nil
}

// checkDetector checks what the header of a detector must have, and sets the default cooldown.
func (p *headerParser) checkDetector() error {
	q := p.q
	if q.Cooldown == 0 {
		q.Cooldown = DefaultCooldown
	}
	for _, name := range []string{"window_start", "window_end"} {
		if param, ok := q.Param(name); !ok || param.Type != "TIMESTAMP" || param.HasDefault {
			return p.fail("a detector needs a parameter %s of type TIMESTAMP without a default", name)
		}
	}
	for _, required := range detectorColumns {
		if !slices.ContainsFunc(q.Columns, func(c Column) bool { return c.Name == required.Name && c.Type == required.Type }) {
			return p.fail("a detector must return a column %s of type %s", required.Name, required.Type)
		}
	}
	if !slices.Equal(q.Key, []string{"symbol", "at"}) {
		return p.fail("the key of a detector must be symbol, at")
	}
	for _, read := range q.Reads {
		if (read.Relation == "trades" || read.Relation == "minutes") && read.Anchor != "window_start" {
			return p.fail("a detector must read %s from a finite time before window_start, stated under reads:", read.Relation)
		}
	}
	return nil
}

// splitFields splits "name TYPE rest". The type may contain spaces in parentheses.
func splitFields(text string) (name, typ, doc string) {
	name, rest, _ := strings.Cut(text, " ")
	rest = strings.TrimSpace(rest)
	depth, end := 0, len(rest)
	for i, r := range rest {
		if r == '(' {
			depth++
		} else if r == ')' {
			depth--
		} else if (r == ' ' || r == '\t') && depth == 0 {
			end = i
			break
		}
	}
	return name, rest[:end], strings.TrimSpace(rest[end:])
}
