package analytics

import (
	"fmt"
	"slices"
	"strings"
)

// token is one piece of SQL text that is neither space nor comment.
type token struct {
	kind tokenKind
	text string // of a word: lower case; of a parameter: without the dollar
	line int    // from 1
	from int    // offset in the text
}

type tokenKind int

const (
	word tokenKind = iota
	parameter
	literal // a quoted string or name, a number
	symbol
)

// scan splits SQL into tokens the way DuckDB's own scanner does, as far as telling names, parameters and statements apart needs.
func scan(text string) ([]token, error) {
	var out []token
	line := 1
	for i := 0; i < len(text); {
		start, at := i, line
		c := text[i]
		switch {
		case c == '\n':
			line++
			i++
			continue
		case c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v':
			i++
			continue
		case strings.HasPrefix(text[i:], "--"):
			for i < len(text) && text[i] != '\n' {
				i++
			}
			continue
		case strings.HasPrefix(text[i:], "/*"):
			depth := 0
			for i < len(text) {
				if strings.HasPrefix(text[i:], "/*") {
					depth++
					i += 2
				} else if strings.HasPrefix(text[i:], "*/") {
					depth--
					i += 2
					if depth == 0 {
						break
					}
				} else {
					i++
				}
			}
			if depth != 0 {
				return nil, &SyntaxError{Line: at, Text: "a comment /* is not closed"}
			}
			line += strings.Count(text[start:i], "\n")
			continue
		case c == '\'' || c == '"' || (c == 'e' || c == 'E') && i+1 < len(text) && text[i+1] == '\'':
			escapes := c == 'e' || c == 'E'
			if escapes {
				i++
			}
			end := closing(text, i, escapes)
			if end < 0 {
				return nil, &SyntaxError{Line: at, Text: fmt.Sprintf("a quote %c is not closed", text[i])}
			}
			i = end
			line += strings.Count(text[start:i], "\n")
			out = append(out, token{literal, text[start:i], at, start})
			continue
		case c == '$':
			name := i + 1
			for name < len(text) && wordByte(text[name]) {
				name++
			}
			if name < len(text) && text[name] == '$' && (name == i+1 || !digit(text[i+1])) {
				tag := text[i : name+1]
				end := strings.Index(text[name+1:], tag)
				if end < 0 {
					return nil, &SyntaxError{Line: at, Text: "a quote " + tag + " is not closed"}
				}
				i = name + 1 + end + len(tag)
				line += strings.Count(text[start:i], "\n")
				out = append(out, token{literal, text[start:i], at, start})
				continue
			}
			i = name
			out = append(out, token{parameter, text[start+1 : i], at, start})
			continue
		case digit(c):
			for i < len(text) && (wordByte(text[i]) || text[i] == '.') {
				i++
			}
			out = append(out, token{literal, text[start:i], at, start})
			continue
		case wordByte(c):
			for i < len(text) && (wordByte(text[i]) || text[i] == '$') {
				i++
			}
			out = append(out, token{word, strings.ToLower(text[start:i]), at, start})
			continue
		case strings.HasPrefix(text[i:], "::"):
			i += 2
		default:
			i++
		}
		out = append(out, token{symbol, text[start:i], at, start})
	}
	return out, nil
}

// closing gives the index after the quoted text that starts at i, or -1.
func closing(text string, i int, escapes bool) int {
	quote := text[i]
	for i++; i < len(text); i++ {
		switch {
		case escapes && text[i] == '\\':
			i++
		case text[i] == quote:
			if i+1 < len(text) && text[i+1] == quote {
				i++
				continue
			}
			return i + 1
		}
	}
	return -1
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func wordByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || digit(c) || c >= 0x80
}

// checkText holds the SQL to the header: one SELECT, the same parameters, each cast to its type where it is used, and the
// same relations.
func (q *Query) checkText() error {
	tokens, err := scan(q.Text)
	if err != nil {
		wrong := err.(*SyntaxError)
		wrong.Path = q.Path
		return wrong
	}
	fail := func(line int, format string, args ...any) error {
		return &SyntaxError{q.Path, line, fmt.Sprintf(format, args...)}
	}
	if len(tokens) == 0 {
		return fail(1+strings.Count(strings.TrimRight(q.Text, "\n"), "\n"), "there is no SELECT under the header")
	}
	for len(tokens) > 0 && tokens[len(tokens)-1].text == ";" {
		tokens = tokens[:len(tokens)-1]
	}
	if len(tokens) == 0 || tokens[0].kind != word || tokens[0].text != "select" && tokens[0].text != "with" {
		return fail(1, "a query is one SELECT, with or without WITH before it")
	}
	used := map[string]bool{}
	relations := map[string]bool{}
	var made []string
	for i, t := range tokens {
		switch {
		case t.kind == symbol && t.text == ";":
			return fail(t.line, "a second statement begins after this semicolon: a query is one SELECT")
		case t.kind == symbol && t.text == "?":
			return fail(t.line, "parameters have names: $name, not ?")
		case t.kind == parameter:
			param, ok := q.Param(t.text)
			if q.Kind == Cookbook {
				return fail(t.line, "a query of the cookbook has variables, not parameters: coalesce(getvariable('%s')::%s, …)", t.text, param.Type)
			}
			if !ok {
				names := make([]string, len(q.Params))
				for i, p := range q.Params {
					names[i] = p.Name
				}
				if near := nearest(t.text, names); near != "" {
					return fail(t.line, "$%s is not in the header: is it $%s?", t.text, near)
				}
				return fail(t.line, "$%s is not in the header: add a line param:", t.text)
			}
			used[t.text] = true
			if i+2 >= len(tokens) || tokens[i+1].text != "::" || !castTo(tokens[i+2:], param.Type) {
				return fail(t.line, "cast the parameter where it is used: $%s::%s", t.text, param.Type)
			}
		case t.kind == word && i+2 < len(tokens) && (tokens[i+1].text == "as" && (tokens[i+2].text == "(" || tokens[i+2].text == "materialized" || tokens[i+2].text == "not")) && i > 0 && (tokens[i-1].text == "with" || tokens[i-1].text == "recursive" || tokens[i-1].text == ","):
			made = append(made, t.text)
		case t.kind == word && i > 0 && (tokens[i-1].text == "from" || tokens[i-1].text == "join") && tokens[i-1].kind == word:
			if slices.Contains(relationNames[:], t.text) && !slices.Contains(made, t.text) && (i+1 >= len(tokens) || tokens[i+1].text != "(" && tokens[i+1].text != ".") {
				relations[t.text] = true
				if !slices.ContainsFunc(q.Reads, func(r Read) bool { return r.Relation == t.text }) {
					return fail(t.line, "%s is read, but the header has no line reads: %s", t.text, t.text)
				}
			}
		}
	}
	if q.Kind == Cookbook {
		if err := q.checkVariables(); err != nil {
			return err
		}
	}
	for _, param := range q.Params {
		if !used[param.Name] && q.Kind != Cookbook {
			return fail(q.headerLineOf("param", param.Name), "the parameter %s is in the header, but the query does not use it", param.Name)
		}
	}
	for _, read := range q.Reads {
		if !relations[read.Relation] {
			return fail(q.headerLineOf("reads", read.Relation), "the header says that %s is read, but the query does not", read.Relation)
		}
	}
	return nil
}

// castTo says whether the tokens after :: spell the type.
func castTo(tokens []token, typ string) bool {
	base, list := strings.CutSuffix(strings.ToLower(typ), "[]")
	if tokens[0].kind != word || tokens[0].text != base {
		return false
	}
	bracketed := len(tokens) > 2 && tokens[1].text == "[" && tokens[2].text == "]"
	return bracketed == list
}

// headerLineOf gives the line on which the header speaks of name.
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
