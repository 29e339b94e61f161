// Package strictyaml reads the YAML files that people write, config.yaml and crontab.yaml. It owns how such a file is
// taken apart and how its mistakes are told: nothing is ignored, and every error is one line that begins with FILE:LINE.
// The format is YAML 1.2 as gopkg.in/yaml.v3 reads it.
package strictyaml

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Document is the root of the one document in text, or nil where there is none. path is only for errors.
func Document(path string, text []byte) (root *yaml.Node, err error) {
	defer func() {
		// The parser has panicked on malformed input before; a file that a person edits must not take a service down.
		if fault := recover(); fault != nil {
			root, err = nil, fmt.Errorf("%s: not YAML: %v", path, fault)
		}
	}()
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	var document, more yaml.Node
	if err := decoder.Decode(&document); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, Error(path, err)
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one YAML document; only one is read", path)
	}
	if len(document.Content) == 0 || IsNull(document.Content[0]) {
		return nil, nil
	}
	return document.Content[0], nil
}

// Each calls visit for each pair of the mapping node, in the order of the file, with aliases resolved. A key that stands
// twice is an error, and so is one that is not among known; nil known lets every key pass. what names the mapping in errors.
func Each(path string, node *yaml.Node, what string, known []string, visit func(key string, line int, value *yaml.Node) error) error {
	node = Resolve(node)
	if node.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: %s wants lines of the form \"key: value\"", path, node.Line, what)
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		if key.Kind != yaml.ScalarNode {
			return fmt.Errorf("%s:%d: a key is a plain word", path, key.Line)
		}
		if first, twice := seen[key.Value]; twice {
			return fmt.Errorf("%s:%d: %q stands here for the second time; the first is on line %d", path, key.Line, Cut(key.Value), first)
		}
		seen[key.Value] = key.Line
		if known != nil && !slices.Contains(known, key.Value) {
			return fmt.Errorf("%s:%d: unknown key %q%s", path, key.Line, Cut(key.Value), DidYouMean(key.Value, known))
		}
		if err := visit(key.Value, key.Line, Resolve(node.Content[i+1])); err != nil {
			return err
		}
	}
	return nil
}

// Resolve follows an alias to what it stands for.
func Resolve(node *yaml.Node) *yaml.Node {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return node
}

// IsNull reports whether nothing stands there.
func IsNull(node *yaml.Node) bool {
	return node == nil || node.Kind == 0 || node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null"
}

// Text is the text of a single value that is not empty, without spaces around it.
func Text(node *yaml.Node) (string, error) {
	if node.Kind != yaml.ScalarNode {
		return "", errors.New("one value is wanted here, not a list or a mapping")
	}
	text := strings.TrimSpace(node.Value)
	if text == "" {
		return "", errors.New("the value is empty")
	}
	return text, nil
}

// Error turns the parser's "yaml: line 3: …" into FILE:3: ….
func Error(path string, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	text = strings.TrimPrefix(strings.Join(strings.Fields(text), " "), "unmarshal errors: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if line, what, ok := strings.Cut(rest, ": "); ok {
			return fmt.Errorf("%s:%s: %s", path, line, what)
		}
	}
	if strings.HasPrefix(text, "did not find ") { // the parser leaves out the first line's number
		return fmt.Errorf("%s:1: %s", path, text)
	}
	return fmt.Errorf("%s: %s", path, text)
}

// Cut shortens text that is quoted in an error to what fits on a line.
func Cut(text string) string {
	const most = 60
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// DidYouMean is the tail of an error about a word that is not among known: the nearest one, or all where none is near.
func DidYouMean(word string, known []string) string {
	if nearest := Nearest(word, known); nearest != "" {
		return fmt.Sprintf("; did you mean %q?", nearest)
	}
	if len(known) == 0 {
		return ""
	}
	return "; known are " + strings.Join(known, ", ")
}

// Nearest is the one of known that word may have been meant for, or empty where none is near.
func Nearest(word string, known []string) string {
	best, distance := "", len(Cut(word))/3+2
	for _, candidate := range known {
		if d := editDistance(normalise(word), normalise(candidate)); d < distance {
			best, distance = candidate, d
		}
	}
	return best
}

func normalise(word string) string {
	return strings.ToLower(strings.NewReplacer("-", "_", " ", "_").Replace(Cut(word)))
}

// editDistance counts the insertions, deletions and replacements between two words.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
