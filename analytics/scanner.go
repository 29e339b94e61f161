package analytics

import (
	"fmt"
	"regexp"
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

// tokenPatterns are tried in this order.
var tokenPatterns = []struct {
	kind    tokenKind
	pattern *regexp.Regexp
}{
	{space, regexp.MustCompile(`^(?:[ \t\r\n\f\v]+|--[^\n]*)`)},
	{literal, regexp.MustCompile(`^(?:'(?:[^']|'')*'|"(?:[^"]|"")*"|(?s:[eE]'(?:[^'\\]|''|\\.)*'))`)},
	{literal, regexp.MustCompile(`^[0-9][0-9A-Za-z_.\x{80}-\x{10FFFF}]*`)},
	{unclosed, regexp.MustCompile(`^(?:'|"|[eE]')`)},
	{parameter, regexp.MustCompile(`^\$[0-9A-Za-z_\x{80}-\x{10FFFF}]*`)},
	{word, regexp.MustCompile(`^[A-Za-z_\x{80}-\x{10FFFF}][0-9A-Za-z_$\x{80}-\x{10FFFF}]*`)},
	{symbol, regexp.MustCompile(`^(?s:::|.)`)},
}

var dollarTag = regexp.MustCompile(`^\$(?:[A-Za-z_\x{80}-\x{10FFFF}][0-9A-Za-z_\x{80}-\x{10FFFF}]*)?\$`)

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
	if strings.HasPrefix(sql, "/*") {
		return blockComment(sql)
	}
	if tag := dollarTag.FindString(sql); tag != "" {
		end := strings.Index(sql[len(tag):], tag)
		if end < 0 {
			return unclosed, len(tag)
		}
		return literal, end + 2*len(tag)
	}
	for _, p := range tokenPatterns {
		text := p.pattern.FindString(sql)
		if text == "" || endsInsideQuote(text, sql[len(text):]) {
			continue
		}
		return p.kind, len(text)
	}
	return symbol, 1
}

// endsInsideQuote reports whether text ends with the first half of a doubled quote. The pattern of a quoted
// string matches that much of an unclosed one.
func endsInsideQuote(text, rest string) bool {
	last := text[len(text)-1:]
	return len(text) > 1 && (last == "'" || last == `"`) && strings.HasPrefix(rest, last)
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
