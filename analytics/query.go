package analytics

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Kind is what a query is for.
type Kind string

// The kinds of queries; each has a directory of that name.
const (
	Detect   Kind = "detect"
	Report   Kind = "report"
	Check    Kind = "check"
	Cookbook Kind = "cookbook" // for a person to run; its parameters are the session's variables
)

// Column is one column of a result. Type is DuckDB's own name for it, as in TIMESTAMP or DECIMAL(18,3).
type Column struct {
	Name, Type, Doc string
}

// Param is one parameter of a query. Its type is BOOLEAN, BIGINT, DOUBLE, VARCHAR, VARCHAR[], TIMESTAMP, DATE or INTERVAL.
type Param struct {
	Name, Type, Doc string
	// Default is the value taken where none is given, if HasDefault; nil is NULL.
	Default    any
	HasDefault bool
}

// Read says what a query reads of a relation.
type Read struct {
	// Relation is one of trades, alerts, runs, coverage, gaps, bounds, minutes, incidents.
	Relation string
	// Anchor is the parameter from which the look-back counts, empty where the whole relation is read.
	Anchor string
	// Before is the look-back: the query reads from that long before the anchor.
	Before time.Duration
	Doc    string
}

// Query is one .sql file: a SELECT and the header that it is held to.
type Query struct {
	// Name is the file's, without .sql.
	Name string
	Kind Kind
	// Path is where the text is from, for messages.
	Path string
	// Text is the whole file.
	Text string
	// Doc is the prose of the header; Title a heading for a reader, from the header or made from the name.
	Doc, Title string
	Reads      []Read
	Params     []Param
	Columns    []Column
	// Key names the columns that identify a row and order the result.
	Key []string
	// Severity is of a check: fail or warn.
	Severity string
	// Cooldown is of a detector: for a symbol, a row that follows another within less than this is the same event.
	Cooldown time.Duration
	// Threshold is of a detector: the parameter that the score must reach, empty where the header does not say.
	Threshold string

	columnsLine int
}

// DefaultCooldown is how long a symbol must have been quiet before a detector's next row counts as another event: the
// pause between alarms of La Morgia et al. 2020.
const DefaultCooldown = 30 * time.Minute

// Param gives a parameter by name.
func (q Query) Param(name string) (Param, bool) {
	i := slices.IndexFunc(q.Params, func(p Param) bool { return p.Name == name })
	if i < 0 {
		return Param{}, false
	}
	return q.Params[i], true
}

// LookBack is the longest look-back before the given parameter, over those relations named with a finite one; over all where none is named.
func (q Query) LookBack(anchor string, relations ...string) time.Duration {
	var longest time.Duration
	for _, read := range q.Reads {
		if read.Anchor == anchor && (len(relations) == 0 || slices.Contains(relations, read.Relation)) {
			longest = max(longest, read.Before)
		}
	}
	return longest
}

// SyntaxError is a query file that breaks the contract.
type SyntaxError struct {
	Path string
	Line int // from 1
	Text string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s:%d: %s", e.Path, e.Line, e.Text) }

var headerKeys = []string{"title", "reads", "param", "column", "key", "severity", "cooldown", "threshold"}

// Relations are the names of what a query may read.
var relationNames = [...]string{"trades", "alerts", "runs", "coverage", "gaps", "bounds", "minutes", "incidents"}

var paramTypes = [...]string{"BOOLEAN", "BIGINT", "DOUBLE", "VARCHAR", "VARCHAR[]", "TIMESTAMP", "DATE", "INTERVAL"}

// detectorColumns are what a detector must return, besides whatever else it likes.
var detectorColumns = [...]Column{
	{"symbol", "VARCHAR", ""}, {"at", "TIMESTAMP", ""}, {"score", "DOUBLE", ""}, {"severity", "VARCHAR", ""},
	{"message", "VARCHAR", ""}, {"first_id", "BIGINT", ""}, {"last_id", "BIGINT", ""},
}

var (
	headerLine  = regexp.MustCompile(`^--\s+([a-z_]+):(?:\s+(.*))?$`)
	identifier  = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	columnType  = regexp.MustCompile(`^[A-Z][A-Z0-9_]*(\([0-9A-Z_, ]*\))?(\[\])*$`)
	defaultPart = regexp.MustCompile(`(?:^|[;,]\s*)default\s+(.+)$`)
)

// ParseQuery reads a query file and holds its text to its header, as far as that can be seen without a database. The file
// lies in a directory named for its kind. Errors are *SyntaxError and name the line.
func ParseQuery(file, text string) (Query, error) {
	base := path.Base(path.Clean(strings.ReplaceAll(file, `\`, "/")))
	q := Query{
		Name: strings.TrimSuffix(base, ".sql"),
		Kind: Kind(path.Base(path.Dir(strings.ReplaceAll(file, `\`, "/")))),
		Path: file, Text: text,
	}
	p := headerParser{q: &q}
	if err := p.parse(); err != nil {
		return Query{}, err
	}
	if err := q.checkText(); err != nil {
		return Query{}, err
	}
	return q, nil
}

type headerParser struct {
	q    *Query
	line int
	doc  *string // of the entry that an indented comment line continues
}

func (p *headerParser) fail(format string, args ...any) error {
	return &SyntaxError{p.q.Path, max(p.line, 1), fmt.Sprintf(format, args...)}
}

func (p *headerParser) parse() error {
	q := p.q
	if !identifier.MatchString(q.Name) {
		return p.fail("the file's name %q is not a query's: lower_snake_case.sql", q.Name)
	}
	switch q.Kind {
	case Detect, Report, Check, Cookbook:
	default:
		return p.fail("a query lies in a directory detect, report, check or cookbook, not %q", string(q.Kind))
	}
	var prose []string
	lines := strings.Split(q.Text, "\n")
	for i, line := range lines {
		line = strings.TrimRight(line, " \t\r")
		if !strings.HasPrefix(line, "--") {
			break
		}
		p.line = i + 1
		rest := strings.TrimPrefix(line, "--")
		match := headerLine.FindStringSubmatch(line)
		if match != nil && slices.Contains(headerKeys, match[1]) {
			if err := p.entry(match[1], strings.TrimSpace(match[2])); err != nil {
				return err
			}
			continue
		}
		if match != nil {
			if near := nearest(match[1], headerKeys[:]); near != "" {
				return p.fail("unknown header line %q: is it %q?", match[1]+":", near+":")
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
		words := strings.ReplaceAll(q.Name, "_", " ")
		q.Title = strings.ToUpper(words[:1]) + words[1:]
	}
	return p.whole()
}

// entry takes one line of the header.
func (p *headerParser) entry(key, rest string) error {
	q := p.q
	p.doc = nil
	if rest == "" {
		return p.fail("%s: says nothing", key)
	}
	switch key {
	case "title":
		q.Title = rest
	case "reads":
		return p.read(rest)
	case "param":
		return p.param(rest)
	case "column":
		name, typ, doc := fields(rest)
		if !identifier.MatchString(name) {
			return p.fail("column %q is not a lower_snake_case name", name)
		}
		if !columnType.MatchString(typ) {
			return p.fail("column %q has no type: write name, TYPE, meaning with unit", name)
		}
		if slices.ContainsFunc(q.Columns, func(c Column) bool { return c.Name == name }) {
			return p.fail("column %q stands twice", name)
		}
		if len(q.Columns) == 0 {
			q.columnsLine = p.line
		}
		q.Columns = append(q.Columns, Column{name, typ, doc})
		p.doc = &q.Columns[len(q.Columns)-1].Doc
	case "key":
		if q.Key != nil {
			return p.fail("key: stands twice")
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
			return p.fail("severity: is for checks; a detector returns it as a column")
		}
		if rest != "fail" && rest != "warn" {
			return p.fail("severity %q is neither fail nor warn", rest)
		}
		q.Severity = rest
	case "cooldown":
		if q.Kind != Detect {
			return p.fail("cooldown: is for detectors")
		}
		duration, err := parseInterval(rest)
		if err != nil || duration <= 0 {
			return p.fail("cooldown %q is not a length of time like 30 minutes", rest)
		}
		q.Cooldown = duration
	case "threshold":
		if q.Kind != Detect {
			return p.fail("threshold: is for detectors")
		}
		if param, ok := q.Param(rest); !ok || param.Type != "DOUBLE" {
			return p.fail("threshold %q is not among the DOUBLE parameters above", rest)
		}
		q.Threshold = rest
	}
	return nil
}

var readsForm = regexp.MustCompile(`^from\s+(?:(\d+\s+[a-z]+)\s+before\s+)?([a-z][a-z0-9_]*)(?:\s*[,;]\s*(.*))?$`)

// read takes "trades  from 1 hour before window_start", "trades  from window_start" or "coverage  whole".
func (p *headerParser) read(rest string) error {
	relation, how, _ := strings.Cut(rest, " ")
	how = strings.TrimSpace(how)
	if !slices.Contains(relationNames[:], relation) {
		return p.fail("reads %q: there are %s", relation, strings.Join(relationNames[:], ", "))
	}
	if slices.ContainsFunc(p.q.Reads, func(r Read) bool { return r.Relation == relation }) {
		return p.fail("reads %q stands twice", relation)
	}
	read := Read{Relation: relation, Doc: how}
	if strings.HasPrefix(how, "from ") {
		match := readsForm.FindStringSubmatch(how)
		if match == nil {
			return p.fail("reads %q: write \"from 24 hours before window_start\" or \"from window_start\"", how)
		}
		if match[1] != "" {
			before, err := parseInterval(match[1])
			if err != nil {
				return p.fail("reads %q: %v", how, err)
			}
			read.Before = before
		}
		read.Anchor = match[2]
	}
	p.q.Reads = append(p.q.Reads, read)
	return nil
}

func (p *headerParser) param(rest string) error {
	q := p.q
	name, typ, doc := fields(rest)
	if !identifier.MatchString(name) {
		return p.fail("param %q is not a lower_snake_case name", name)
	}
	if !slices.Contains(paramTypes[:], typ) {
		return p.fail("param %q has the type %q: a parameter is %s", name, typ, strings.Join(paramTypes[:], ", "))
	}
	if _, ok := q.Param(name); ok {
		return p.fail("param %q stands twice", name)
	}
	param := Param{Name: name, Type: typ, Doc: doc}
	if match := defaultPart.FindStringSubmatchIndex(doc); match != nil {
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

// whole checks what can only be said once the header has been read.
func (p *headerParser) whole() error {
	q := p.q
	if q.Doc == "" {
		p.line = 1
		return p.fail("the header does not say what a row is")
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
			return p.fail("a check's header has a line severity: fail, or severity: warn")
		}
	case Detect:
		if q.Cooldown == 0 {
			q.Cooldown = DefaultCooldown
		}
		for _, name := range []string{"window_start", "window_end"} {
			if param, ok := q.Param(name); !ok || param.Type != "TIMESTAMP" || param.HasDefault {
				return p.fail("a detector has a parameter %s of type TIMESTAMP without a default", name)
			}
		}
		for _, want := range detectorColumns {
			if !slices.ContainsFunc(q.Columns, func(c Column) bool { return c.Name == want.Name && c.Type == want.Type }) {
				return p.fail("a detector returns a column %s of type %s", want.Name, want.Type)
			}
		}
		if !slices.Equal(q.Key, []string{"symbol", "at"}) {
			return p.fail("a detector's key is symbol, at")
		}
		for _, read := range q.Reads {
			if (read.Relation == "trades" || read.Relation == "minutes") && read.Anchor != "window_start" {
				return p.fail("a detector reads %s from a finite time before window_start: say so under reads:", read.Relation)
			}
		}
	}
	return nil
}

// fields splits "name TYPE rest"; a type may hold spaces inside parentheses.
func fields(text string) (name, typ, doc string) {
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
