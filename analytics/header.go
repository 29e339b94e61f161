package analytics

import (
	"regexp"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"

	"tapedeck/internal/wording"
)

var (
	headerKeys = []string{"title", "reads", "param", "column", "key", "severity", "cooldown", "threshold", "needs"}
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

// headerParser parses a header. It goes on after an error, and keeps what it can of a wrong line, so that
// one run names all errors and no consequences of them.
type headerParser struct {
	*Query
	line       int
	summaries  []string // that exist besides the embedded ones
	doc        *string  // the description that an indented comment line continues
	isKeyWrong bool
	errors     []error
}

func (p *headerParser) fail(format string, args ...any) error {
	return p.errorAt(p.line, format, args...)
}

// note adds an error, if there is one.
func (p *headerParser) note(err error) {
	if err != nil {
		p.errors = append(p.errors, err)
	}
}

func (p *headerParser) parse() []error {
	if !identifier.MatchString(p.Name) {
		p.note(p.fail("the file name %q is not lower_snake_case.sql", p.Name))
	}
	if !slices.Contains(kinds, p.Kind) {
		p.note(p.fail("a query must be in a directory detect, report, check, cookbook or summary, not %q", string(p.Kind)))
		return p.errors
	}
	var prose []string
	for i, line := range strings.Split(p.Text, "\n") {
		line = strings.TrimRight(line, " \t\r")
		if !strings.HasPrefix(line, "--") {
			break
		}
		p.line = i + 1
		rest := strings.TrimPrefix(line, "--")
		if match := headerLine.FindStringSubmatch(line); match != nil {
			if slices.Contains(headerKeys, match[1]) {
				p.note(p.parseLine(match[1], strings.TrimSpace(match[2])))
				continue
			}
			if key := misspelledKey(match[1]); key != "" {
				p.note(p.fail("unknown header line %q; did you mean %q?", match[1]+":", key+":"))
				_ = p.parseLine(key, strings.TrimSpace(match[2])) // its own errors follow once the key is right
				continue
			}
		}
		if p.doc != nil && strings.HasPrefix(rest, "   ") {
			*p.doc = strings.TrimSpace(*p.doc + " " + strings.TrimSpace(rest))
			continue
		}
		p.doc = nil
		prose = append(prose, strings.TrimPrefix(rest, " "))
	}
	p.Doc = strings.TrimSpace(strings.Join(prose, "\n"))
	if p.Title == "" && p.Name != "" {
		title := strings.ReplaceAll(p.Name, "_", " ")
		p.Title = strings.ToUpper(title[:1]) + title[1:]
	}
	p.checkHeader()
	return p.errors
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
	p.doc = nil
	if rest == "" {
		return p.fail("%s: is empty", key)
	}
	switch key {
	case "title":
		p.Title = rest
	case "reads":
		return p.parseReads(rest)
	case "param":
		return p.parseParam(rest)
	case "column":
		return p.parseColumn(rest)
	case "key":
		if p.Key != nil {
			return p.fail("key: appears twice")
		}
		for _, name := range strings.Split(rest, ",") {
			name = strings.TrimSpace(name)
			if !p.hasColumn(name) {
				p.isKeyWrong = true
				return p.fail("key column %q is not among the columns above", name)
			}
			p.Key = append(p.Key, name)
		}
	case "severity":
		if p.Kind != Check {
			return p.fail("severity: is only for checks; a detector returns a column severity")
		}
		p.Severity = rest
		if rest != "fail" && rest != "warn" {
			return p.fail("severity %q is neither fail nor warn", rest)
		}
	case "cooldown":
		if p.Kind != Detect {
			return p.fail("cooldown: is only for detectors")
		}
		duration, err := parseInterval(rest)
		if err != nil || duration <= 0 {
			return p.fail("cooldown %q is not a duration such as 30 minutes", rest)
		}
		p.Cooldown = duration
	case "threshold":
		if p.Kind != Detect {
			return p.fail("threshold: is only for detectors")
		}
		if param, ok := p.Param(rest); !ok || param.Type != "DOUBLE" && param.Type != "" {
			return p.fail("threshold %q is not among the DOUBLE parameters above", rest)
		}
		p.Threshold = rest
	case "needs":
		return p.parseNeeds(rest)
	}
	return nil
}

// parseReads parses "trades  from 1 hour before window_start", "trades  from window_start" or
// "coverage  whole".
func (p *headerParser) parseReads(rest string) error {
	relation, doc, _ := strings.Cut(rest, " ")
	doc = strings.TrimSpace(doc)
	if p.ReadsRelation(relation) {
		return p.fail("reads %q appears twice", relation)
	}
	p.Reads = append(p.Reads, Read{Relation: relation, Doc: doc})
	if !slices.Contains(relationNames[:], relation) && !isSummary(relation, p.summaries) {
		return p.fail("reads %q: the relations are %s, and the summaries %s", relation,
			strings.Join(relationNames[:], ", "), strings.Join(slices.Concat(embeddedSummaryNames[:], p.summaries), ", "))
	}
	if !strings.HasPrefix(doc, "from ") {
		return nil
	}
	read := &p.Reads[len(p.Reads)-1]
	match := readsPattern.FindStringSubmatch(doc)
	if match == nil {
		read.Anchor = "window_start"
		return p.fail("reads %q: write \"from 24 hours before window_start\" or \"from window_start\"", doc)
	}
	read.Anchor = match[2]
	if match[1] != "" {
		before, err := parseInterval(match[1])
		if err != nil {
			return p.fail("reads %q: %v", doc, err)
		}
		read.Before = before
	}
	return nil
}

func (p *headerParser) parseParam(rest string) error {
	name, typ, doc := splitFields(rest)
	if !identifier.MatchString(name) {
		return p.fail("param %q is not a lower_snake_case name", name)
	}
	if _, ok := p.Param(name); ok {
		return p.fail("param %q appears twice", name)
	}
	if !slices.Contains(paramTypes, typ) {
		p.Params = append(p.Params, Param{Name: name})
		return p.fail("param %q has the type %q; the types are %s", name, typ, strings.Join(paramTypes, ", "))
	}
	param := Param{Name: name, Type: typ, Doc: doc}
	if match := defaultPattern.FindStringSubmatchIndex(doc); match != nil {
		text := strings.TrimSpace(doc[match[2]:match[3]])
		value, err := parseDefault(typ, text)
		if err != nil {
			p.Params = append(p.Params, param)
			return p.fail("default of param %q: %v", name, err)
		}
		param.Doc, param.Default, param.HasDefault = strings.TrimSpace(doc[:match[0]]), value, true
	}
	p.Params = append(p.Params, param)
	if !param.HasDefault {
		p.doc = &p.Params[len(p.Params)-1].Doc
	}
	return nil
}

func (p *headerParser) hasColumn(name string) bool {
	return slices.ContainsFunc(p.Columns, func(c Column) bool { return c.Name == name })
}

func (p *headerParser) parseColumn(rest string) error {
	name, typ, doc := splitFields(rest)
	if !identifier.MatchString(name) {
		return p.fail("column %q is not a lower_snake_case name", name)
	}
	if p.hasColumn(name) {
		return p.fail("column %q appears twice", name)
	}
	if len(p.Columns) == 0 {
		p.columnsLine = p.line
	}
	if !columnType.MatchString(typ) {
		p.Columns = append(p.Columns, Column{Name: name})
		return p.fail("column %q has no type: write name, TYPE, meaning with unit", name)
	}
	p.Columns = append(p.Columns, Column{name, typ, doc})
	p.doc = &p.Columns[len(p.Columns)-1].Doc
	return nil
}

// checkHeader checks that the header is complete and consistent.
func (p *headerParser) checkHeader() {
	if p.Doc == "" {
		p.note(p.errorAt(1, "the header does not describe what a row is"))
		if len(p.Columns)+len(p.Params)+len(p.Reads) == 0 {
			return // there is no header
		}
	}
	if len(p.Columns) == 0 {
		p.note(p.fail("the header has no column: lines"))
	}
	if len(p.Key) == 0 && !p.isKeyWrong {
		p.note(p.fail("the header has no key: line"))
	}
	if len(p.Reads) == 0 {
		p.note(p.fail("the header has no reads: line"))
	}
	for _, read := range p.Reads {
		if read.Anchor == "" {
			continue
		}
		if param, ok := p.Param(read.Anchor); !ok || param.Type != "TIMESTAMP" && param.Type != "" {
			p.note(p.fail("reads: %s counts from %q, which is not a TIMESTAMP parameter of this query", read.Relation, read.Anchor))
		}
	}
	switch p.Kind {
	case Check:
		if p.Severity == "" {
			p.note(p.fail("the header of a check needs a line severity: fail or severity: warn"))
		}
	case Detect:
		p.checkDetector()
	case Summary:
		p.checkSummary()
	}
}

// checkSummary checks what the header of a summary must have.
func (p *headerParser) checkSummary() {
	if len(p.Params) > 0 {
		p.note(p.fail("a summary has no parameters: whoever reads it gives the window"))
	}
	for _, read := range p.Reads {
		if read.Relation != "trades" && read.Relation != "gaps" {
			p.note(p.fail("a summary reads trades, and gaps if it needs them, but not %s", read.Relation))
		}
	}
	isHour := func(c Column) bool { return c.Name == "hour" && (c.Type == "TIMESTAMP" || c.Type == "") }
	if !slices.ContainsFunc(p.Columns, isHour) {
		p.note(p.fail("a summary must return a column hour of type TIMESTAMP: the start of the UTC hour of its trades"))
	}
	if len(p.Key) > 0 && (len(p.Key) < 2 || p.Key[0] != "symbol" || p.Key[1] != "hour") {
		p.note(p.fail("the key of a summary must begin with symbol, hour"))
	}
}

// checkDetector checks what the header of a detector must have, and sets its defaults.
func (p *headerParser) checkDetector() {
	if p.Cooldown == 0 {
		p.Cooldown = DefaultCooldown
	}
	if p.Needs == nil {
		p.Needs = p.defaultNeeds()
	}
	for _, name := range []string{"window_start", "window_end"} {
		if param, ok := p.Param(name); !ok || param.Type != "TIMESTAMP" && param.Type != "" || param.HasDefault {
			p.note(p.fail("a detector needs a parameter %s of type TIMESTAMP without a default", name))
		}
	}
	var missing []string
	for _, required := range detectorColumns {
		isRequired := func(c Column) bool { return c.Name == required.Name && (c.Type == required.Type || c.Type == "") }
		if !slices.ContainsFunc(p.Columns, isRequired) {
			missing = append(missing, required.Name+" of type "+required.Type)
		}
	}
	if len(missing) == 1 {
		p.note(p.fail("a detector must return a column %s", missing[0]))
	} else if len(missing) > 1 {
		p.note(p.fail("a detector must return the columns %s", strings.Join(missing, ", ")))
	}
	if !slices.Equal(p.Key, []string{"symbol", "at"}) && len(p.Key) > 0 && !p.isKeyWrong {
		p.note(p.fail("the key of a detector must be symbol, at"))
	}
	for _, read := range p.Reads {
		_, isParam := p.Param(read.Anchor) // otherwise it is an error already
		if (read.Relation == "trades" || read.Relation == "minutes") && read.Anchor != "window_start" && (isParam || read.Anchor == "") {
			p.note(p.fail("a detector must read %s from a finite time before window_start, stated under reads:", read.Relation))
		}
	}
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
