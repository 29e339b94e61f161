// Package strictyaml reads the YAML files that people write: config.yaml and crontab.yaml. It owns
// how such a file is parsed and how its mistakes are reported: nothing is ignored, and every error
// is one line that starts with the file and, if it is known, the line number. The format is YAML
// 1.2 as gopkg.in/yaml.v3 reads it; docs/CONFIGURATION.md specifies the files.
package strictyaml

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"tapedeck/internal/wording"
)

// Document parses text, which holds at most one document, and returns its root, or nil if it is
// empty. path is only used in errors.
func Document(path string, text []byte) (root *yaml.Node, err error) {
	defer func() {
		// The parser has panicked on malformed input before, and a file that a person edits must
		// not stop a service.
		if fault := recover(); fault != nil {
			root, err = nil, fmt.Errorf("%s: not YAML: %v", path, fault)
		}
	}()
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	var document, next yaml.Node
	if err := decoder.Decode(&document); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, syntaxError(path, string(text), err)
	}
	switch err := decoder.Decode(&next); {
	case err == nil:
		return nil, fmt.Errorf("%s: more than one YAML document; write only one", path)
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(path, string(text), err)
	}
	if len(document.Content) == 0 || IsNull(document.Content[0]) {
		return nil, nil
	}
	return document.Content[0], nil
}

// Each calls visit for each pair of the mapping node, in the order of the file, with aliases
// resolved. A duplicate key is an error, and so is one that is not in known, unless known is nil; the
// keys after it are visited all the same. what names the mapping in errors.
func Each(path string, node *yaml.Node, what string, known []string, visit func(key string, line int, value *yaml.Node) error) error {
	node = Resolve(node)
	if node.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: %s needs lines of the form \"key: value\"", path, node.Line, what)
	}
	lines := map[string]int{}
	var problems []error
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		if key.Kind != yaml.ScalarNode {
			return fmt.Errorf("%s:%d: a key must be a plain word", path, key.Line)
		}
		if first, found := lines[key.Value]; found {
			problems = append(problems, fmt.Errorf("%s:%d: duplicate key %q; the first is on line %d", path, key.Line, Shorten(key.Value), first))
			continue
		}
		lines[key.Value] = key.Line
		if known != nil && !slices.Contains(known, key.Value) {
			problems = append(problems, fmt.Errorf("%s:%d: unknown key %q%s", path, key.Line, Shorten(key.Value), DidYouMean(key.Value, known)))
			continue
		}
		if err := visit(key.Value, key.Line, Resolve(node.Content[i+1])); err != nil {
			return errors.Join(append(problems, err)...)
		}
	}
	return errors.Join(problems...)
}

// Resolve returns the node that an alias refers to, and any other node as it is.
func Resolve(node *yaml.Node) *yaml.Node {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return node
}

// IsNull reports whether a key has no value, or null.
func IsNull(node *yaml.Node) bool {
	return node == nil || node.Kind == 0 || node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null"
}

// Text returns a scalar as text without surrounding spaces. A list, a mapping and an empty text are
// errors.
func Text(node *yaml.Node) (string, error) {
	if node.Kind != yaml.ScalarNode {
		return "", errors.New("needs one value, not a list or a mapping")
	}
	text := strings.TrimSpace(node.Value)
	if text == "" {
		return "", errors.New("the value is empty")
	}
	return text, nil
}

// withLine turns the parser's "yaml: line 3: …" into "FILE:3: …".
func withLine(path string, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	text = strings.TrimPrefix(strings.Join(strings.Fields(text), " "), "unmarshal errors: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if line, problem, ok := strings.Cut(rest, ": "); ok {
			return fmt.Errorf("%s:%s: %s", path, line, problem)
		}
	}
	if strings.HasPrefix(text, "did not find ") { // the parser omits the number of the first line
		return fmt.Errorf("%s:1: %s", path, text)
	}
	return fmt.Errorf("%s: %s", path, text)
}

// Shorten truncates text that is quoted in an error to what fits on a line.
func Shorten(text string) string {
	const most = 60
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// mostListed is how many words an error lists; more are not read.
const mostListed = 20

// DidYouMean returns the end of an error about a word that is not in known: the most similar one,
// or all if none is similar and they are few.
func DidYouMean(word string, known []string) string {
	if nearest := wording.Nearest(word, known); nearest != "" {
		return fmt.Sprintf("; did you mean %q?", nearest)
	}
	if len(known) == 0 {
		return ""
	}
	if len(known) > mostListed {
		return ""
	}
	return "; choose one of " + strings.Join(wording.Names(known), ", ")
}
