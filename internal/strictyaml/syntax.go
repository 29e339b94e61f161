package strictyaml

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxSearchedLines bounds the file in which the line of a mistake is searched for: each of its lines
// costs a parse.
const maxSearchedLines = 2000

// syntaxError returns the error about text that the parser does not accept, as FILE:LINE: problem.
// The parser often names the line where the block with the mistake begins, or none. The mistake is
// on the line from which on no beginning of the file can be parsed.
func syntaxError(path, text string, err error) error {
	lines := strings.Split(text, "\n")
	if len(lines) > maxSearchedLines {
		return withLine(path, err)
	}
	good := len(lines) - 1
	for good > 0 && !parses(strings.Join(lines[:good], "\n")+"\n") {
		good--
	}
	number := good + 1
	if number > len(lines) || strings.TrimSpace(lines[good]) == "" {
		return withLine(path, err)
	}
	if problem, at := explain(lines, good, err); problem != "" {
		return fmt.Errorf("%s:%d: %s", path, at+1, problem)
	}
	_, problem, _ := strings.Cut(strings.TrimPrefix(withLine(path, err).Error(), path+":"), " ")
	return fmt.Errorf("%s:%d: %s", path, number, problem)
}

// parses reports whether text is YAML.
func parses(text string) (ok bool) {
	defer func() { // the parser has panicked before
		if recover() != nil {
			ok = false
		}
	}()
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for {
		var document yaml.Node
		switch err := decoder.Decode(&document); {
		case errors.Is(err, io.EOF):
			return true
		case err != nil:
			return false
		}
	}
}

// explain says what is wrong with the line of an index, for the mistakes that people make. at is the
// index of the line that they should look at. The problem is empty if it is none of these.
func explain(lines []string, i int, err error) (problem string, at int) {
	line := strings.TrimRight(lines[i], " \r")
	content := strings.TrimLeft(line, " ")
	key, value, hasValue := strings.Cut(strings.TrimPrefix(content, "- "), ": ")
	value = strings.TrimSpace(value)
	text := err.Error()
	switch {
	case strings.HasPrefix(content, "\t"):
		return "the line is indented with a tab; YAML needs spaces", i
	case hasValue && value != "" && strings.ContainsRune("*&!%@`", rune(value[0])) && !strings.Contains(text, "anchor"):
		return fmt.Sprintf("a value that starts with %c needs quotes: \"%s\"", value[0], Shorten(value)), i
	case hasValue && value != "" && strings.ContainsRune(`"'`, rune(value[0])) && strings.Count(value, value[:1])%2 == 1:
		return "the quote that starts here is not closed", i
	case hasValue && value != "" && strings.ContainsRune("[{", rune(value[0])) && strings.Contains(text, "did not find expected ',' or"):
		return fmt.Sprintf("the %c that starts here is not closed", value[0]), i
	}
	above, blocks := blocksAbove(lines[:i])
	indent := len(line) - len(content)
	if previous := strings.TrimLeft(lines[max(above, 0)], " "); above >= 0 && strings.HasPrefix(previous, "-") &&
		!strings.HasPrefix(previous, "- ") && strings.TrimSpace(previous) != "-" && indent > len(lines[above])-len(previous) {
		return "write a space after the dash", above
	}
	isItem := strings.HasPrefix(content, "- ") || content == "-"
	at = slices.IndexFunc(blocks, func(b block) bool { return b.indent == indent })
	deepest := block{}
	if len(blocks) > 0 {
		deepest = blocks[len(blocks)-1]
	}
	switch {
	case len(blocks) > 0 && indent > deepest.indent && (isItem || hasValue && strings.HasSuffix(text, "mapping values are not allowed in this context")):
		return fmt.Sprintf("the line is indented by %s, more than the line above (%d), which has a value already",
			spaces(indent), deepest.indent), i
	case len(blocks) > 0 && indent < blocks[0].indent:
		first := slices.IndexFunc(lines, func(line string) bool {
			content := strings.TrimSpace(line)
			return content != "" && content[0] != '#'
		})
		return fmt.Sprintf("the first line is indented by %s, and line %d by %d", spaces(blocks[0].indent), i+1, indent), first
	case len(blocks) > 0 && at < 0:
		return fmt.Sprintf("the line is indented by %s, and the lines above that it can follow by %s",
			spaces(indent), indentsOf(blocks)), i
	case at >= 0 && !isItem && blocks[at].isList && at+1 < len(blocks):
		return fmt.Sprintf("the line is indented like a dash of the list above; its keys are indented by %s",
			spaces(blocks[at+1].indent)), i
	case at > 0 && !isItem && blocks[at].isList:
		return fmt.Sprintf("the line is indented like a dash of the list above; the key of that list is indented by %s",
			spaces(blocks[at-1].indent)), i
	case at >= 0 && isItem && !blocks[at].isList && listBelow(blocks, at) > 0:
		return fmt.Sprintf("the dash is indented by %s, those of the list above by %d", spaces(indent), listBelow(blocks, at)), i
	case at > 0 && isItem && !blocks[at].isList && blocks[at-1].isList:
		return fmt.Sprintf("the dash is indented like a key of the entry above; the dash of that entry is indented by %s",
			spaces(blocks[at-1].indent)), i
	case at >= 0 && isItem && !blocks[at].isList:
		return "a dash cannot follow here: those of a list are indented at least as far as the key of the list", i
	case !isItem && !strings.Contains(content, ":"):
		return fmt.Sprintf("%q has no colon: a line has the form \"key: value\"", Shorten(content)), i
	case !isItem && !hasValue && !strings.HasSuffix(content, ":"):
		return fmt.Sprintf("%q needs a space after the colon", Shorten(content)), i
	case hasValue && strings.Contains(value, ": ") && !strings.ContainsAny(key, `"'`):
		return fmt.Sprintf("a value with a colon needs quotes: \"%s\"", Shorten(value)), i
	}
	return "", i
}

// block is a list or a mapping that a line can continue.
type block struct {
	indent int
	isList bool
}

// listBelow returns the indentation of the first list in the block of an index, or 0.
func listBelow(blocks []block, at int) int {
	for _, b := range blocks[at+1:] {
		if b.isList {
			return b.indent
		}
	}
	return 0
}

// blocksAbove returns the blocks that are open after lines, from the outermost on, and the index of
// the last line that is neither empty nor a comment, or -1.
func blocksAbove(lines []string) (last int, blocks []block) {
	last = -1
	for i, line := range lines {
		content := strings.TrimLeft(line, " ")
		if strings.TrimSpace(content) == "" || content[0] == '#' {
			continue
		}
		last = i
		indent := len(line) - len(content)
		blocks = slices.DeleteFunc(blocks, func(b block) bool { return b.indent > indent })
		push := func(isList bool) {
			if n := len(blocks); n == 0 || blocks[n-1].indent < indent {
				blocks = append(blocks, block{indent, isList})
			}
		}
		for strings.HasPrefix(content, "- ") {
			push(true)
			rest := strings.TrimLeft(content[2:], " ")
			indent += len(content) - len(rest)
			content = rest
		}
		if content = strings.TrimSpace(content); content == "-" || strings.Contains(content, ": ") || strings.HasSuffix(content, ":") {
			push(content == "-")
		}
	}
	return last, blocks
}

func spaces(n int) string {
	if n == 1 {
		return "1 space"
	}
	return fmt.Sprintf("%d spaces", n)
}

// indentsOf lists the indentations of blocks: "2 or 4".
func indentsOf(blocks []block) string {
	var out []string
	for _, b := range blocks {
		out = append(out, fmt.Sprint(b.indent))
	}
	if n := len(out); n > 1 {
		return strings.Join(out[:n-1], ", ") + " or " + out[n-1]
	}
	return out[0]
}
