package analytics

import (
	"fmt"
	"strings"
)

// token is a piece of SQL that is neither space nor comment.
type token struct {
	kind   tokenKind
	text   string // of a word in lower case, of a parameter without the dollar sign
	line   int    // from 1
	offset int    // in bytes
}

func (t token) isSymbol(text string) bool { return t.kind == symbol && t.text == text }

type tokenKind int

const (
	space tokenKind = iota // or a comment
	word
	parameter
	literal // a quoted string, a quoted name or a number
	symbol
	unclosed // a comment or a quote
)

// scan splits SQL into tokens. It follows DuckDB's own scanner as far as names, parameters and the ends
// of statements require. The error has no path.
func scan(sql string) (tokens []token, err *SyntaxError) {
	line := 1
	for offset := 0; offset < len(sql); {
		kind, length := firstToken(sql[offset:])
		text := sql[offset : offset+length]
		t := token{kind, text, line, offset}
		switch kind {
		case word:
			t.text = strings.ToLower(text)
		case parameter:
			t.text = text[1:]
		case unclosed:
			if text == "/*" {
				return nil, &SyntaxError{Line: line, Text: "a comment /* is not closed"}
			}
			return nil, &SyntaxError{Line: line, Text: fmt.Sprintf("a quote %s is not closed", strings.TrimLeft(text, "eE"))}
		}
		if kind != space {
			tokens = append(tokens, t)
		}
		line += strings.Count(text, "\n")
		offset += length
	}
	return tokens, nil
}

// firstToken returns the kind and the length in bytes of the first token, comment or space.
func firstToken(sql string) (tokenKind, int) {
	isSpace := func(c byte) bool { return strings.IndexByte(" \t\r\n\f\v", c) >= 0 }
	switch c := sql[0]; {
	case isSpace(c):
		return space, prefix(sql, isSpace)
	case strings.HasPrefix(sql, "--"):
		return space, prefix(sql, func(c byte) bool { return c != '\n' })
	case strings.HasPrefix(sql, "/*"):
		return blockComment(sql)
	case c == '\'' || c == '"':
		return quoted(sql, 0)
	case (c == 'e' || c == 'E') && strings.HasPrefix(sql[1:], "'"):
		return quoted(sql, 1)
	case c == '$':
		return dollar(sql)
	case isDigit(c):
		return literal, prefix(sql, func(c byte) bool { return isWordByte(c) || c == '.' })
	case isWordByte(c):
		return word, prefix(sql, func(c byte) bool { return isWordByte(c) || c == '$' })
	case strings.HasPrefix(sql, "::"):
		return symbol, 2
	}
	return symbol, 1
}

// prefix returns how many of the first bytes of text have a property.
func prefix(text string, has func(byte) bool) int {
	n := 0
	for n < len(text) && has(text[n]) {
		n++
	}
	return n
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// isWordByte reports whether a byte can be in a name. All bytes of non-ASCII letters can.
func isWordByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || c >= 0x80
}

// quoted measures a string or a name in quotes. start is 1 for an escape string, e'…', in which a
// backslash escapes the next byte. A doubled quote is a quote.
func quoted(sql string, start int) (tokenKind, int) {
	quote := sql[start]
	for i := start + 1; i < len(sql); i++ {
		switch {
		case sql[i] == '\\' && start > 0:
			i++
		case sql[i] == quote && strings.HasPrefix(sql[i+1:], sql[i:i+1]):
			i++
		case sql[i] == quote:
			return literal, i + 1
		}
	}
	return unclosed, start + 1
}

// dollar measures a parameter, $name, or a string in dollar quotes, $tag$…$tag$.
func dollar(sql string) (tokenKind, int) {
	name := 1 + prefix(sql[1:], isWordByte)
	if !strings.HasPrefix(sql[name:], "$") || name > 1 && isDigit(sql[1]) {
		return parameter, name
	}
	tag := sql[:name+1]
	end := strings.Index(sql[len(tag):], tag)
	if end < 0 {
		return unclosed, len(tag)
	}
	return literal, end + 2*len(tag)
}

// blockComment measures a comment; such comments nest.
func blockComment(sql string) (tokenKind, int) {
	depth := 0
	for i := 0; i < len(sql); i++ {
		switch {
		case strings.HasPrefix(sql[i:], "/*"):
			depth++
			i++
		case strings.HasPrefix(sql[i:], "*/"):
			depth--
			i++
			if depth == 0 {
				return space, i + 1
			}
		}
	}
	return unclosed, len("/*")
}

// usesBareAt reports whether the keyword AT is used on its own, as by someone who means the column of
// alerts.
func usesBareAt(text string) bool {
	tokens, err := scan(text)
	for i, t := range tokens {
		if t.kind == word && t.text == "at" && (i == 0 || tokens[i-1].text != "." && tokens[i-1].text != "as") {
			return err == nil
		}
	}
	return false
}
