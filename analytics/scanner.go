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
	word tokenKind = iota
	parameter
	literal // a quoted string, a quoted name or a number
	symbol
)

// scan splits SQL into tokens. It follows DuckDB's own scanner as far as names, parameters and the ends
// of statements require. The error has no path.
func scan(text string) ([]token, *SyntaxError) {
	s := scanner{text: text, line: 1}
	for s.pos < len(text) {
		if err := s.next(); err != nil {
			return nil, err
		}
	}
	return s.tokens, nil
}

type scanner struct {
	text   string
	pos    int
	line   int
	tokens []token
}

func (s *scanner) at(prefix string) bool { return strings.HasPrefix(s.text[s.pos:], prefix) }

func (s *scanner) fail(format string, args ...any) *SyntaxError {
	return &SyntaxError{Line: s.line, Text: fmt.Sprintf(format, args...)}
}

// next consumes one token, comment or space.
func (s *scanner) next() *SyntaxError {
	c := s.text[s.pos]
	switch {
	case strings.IndexByte(" \t\r\n\f\v", c) >= 0:
		s.skip(1)
	case s.at("--"):
		if end := strings.IndexByte(s.text[s.pos:], '\n'); end >= 0 {
			s.skip(end)
		} else {
			s.pos = len(s.text)
		}
	case s.at("/*"):
		return s.blockComment()
	case c == '\'' || c == '"' || (c == 'e' || c == 'E') && s.pos+1 < len(s.text) && s.text[s.pos+1] == '\'':
		return s.quoted()
	case c == '$':
		return s.dollar()
	case isDigit(c):
		s.take(literal, s.run(func(c byte) bool { return isWordByte(c) || c == '.' }))
	case isWordByte(c):
		s.take(word, s.run(func(c byte) bool { return isWordByte(c) || c == '$' }))
	case s.at("::"):
		s.take(symbol, 2)
	default:
		s.take(symbol, 1)
	}
	return nil
}

// take adds the next n bytes as a token.
func (s *scanner) take(kind tokenKind, n int) {
	text := s.text[s.pos : s.pos+n]
	switch kind {
	case word:
		text = strings.ToLower(text)
	case parameter:
		text = text[1:]
	}
	s.tokens = append(s.tokens, token{kind, text, s.line, s.pos})
	s.skip(n)
}

func (s *scanner) skip(n int) {
	s.line += strings.Count(s.text[s.pos:s.pos+n], "\n")
	s.pos += n
}

// run returns how many of the next bytes, but at least one, are accepted.
func (s *scanner) run(accept func(byte) bool) int {
	n := 1
	for s.pos+n < len(s.text) && accept(s.text[s.pos+n]) {
		n++
	}
	return n
}

// blockComment skips a comment; such comments nest.
func (s *scanner) blockComment() *SyntaxError {
	rest := s.text[s.pos:]
	for i, depth := 0, 0; i < len(rest); {
		switch {
		case strings.HasPrefix(rest[i:], "/*"):
			depth++
			i += 2
		case strings.HasPrefix(rest[i:], "*/"):
			depth--
			i += 2
			if depth == 0 {
				s.skip(i)
				return nil
			}
		default:
			i++
		}
	}
	return s.fail("a comment /* is not closed")
}

// quoted takes 'text', "text" or e'text'.
func (s *scanner) quoted() *SyntaxError {
	start := s.pos
	escapes := s.text[start] == 'e' || s.text[start] == 'E'
	if escapes {
		start++
	}
	end := closingQuote(s.text, start, escapes)
	if end < 0 {
		return s.fail("a quote %c is not closed", s.text[start])
	}
	s.take(literal, end-s.pos)
	return nil
}

// closingQuote returns the index after the quoted text that starts at i, or -1.
func closingQuote(text string, i int, escapes bool) int {
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

// dollar takes $name, $$text$$ or $tag$text$tag$.
func (s *scanner) dollar() *SyntaxError {
	n := s.run(isWordByte)
	end := s.pos + n
	if end == len(s.text) || s.text[end] != '$' || n > 1 && isDigit(s.text[s.pos+1]) {
		s.take(parameter, n)
		return nil
	}
	tag := s.text[s.pos : end+1]
	length := strings.Index(s.text[end+1:], tag)
	if length < 0 {
		return s.fail("a quote %s is not closed", tag)
	}
	s.take(literal, 2*len(tag)+length)
	return nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWordByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || c >= 0x80
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
