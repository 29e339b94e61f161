package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// config is what config.yaml says, checked: every key is known, every value is of its kind.
type config struct {
	path   string // empty where there is no file
	values map[string]configValue
	// detectors holds the thresholds: detector name, then parameter name.
	detectors map[string]detectorConfig
}

// configValue is one setting as the command line would spell it, and where it stands.
type configValue struct {
	text string
	line int
}

// detectorConfig is what config.yaml says about one detector.
type detectorConfig struct {
	line   int
	params map[string]configParam
}

type configParam struct {
	value any // bool, int, float64 or string
	line  int
}

// place is how errors name a line of the file: config.yaml:12.
func (c *config) place(line int) string { return fmt.Sprintf("%s:%d", c.path, line) }

// configKeys are the keys of config.yaml with the check of each value. All but detectors have a flag and an environment
// variable of the same name.
func configKeys() map[string]func(*yaml.Node) (string, error) {
	return map[string]func(*yaml.Node) (string, error){
		"symbols":        symbolList,
		"feed":           oneOf("aggTrade", "trade"),
		"data_dir":       plainText,
		"flush_interval": lengthText,
		"flush_rows":     countText,
		"stream_url":     urlText("ws", "wss"),
		"rest_url":       urlText("http", "https"),
		"archive_url":    urlText("http", "https"),
		"sql_dir":        plainText,
		"crontab":        plainText,
		"detectors":      nil,
	}
}

// loadConfig reads the file at path. Where required is false a file that is not there is an empty configuration.
func loadConfig(path string, required bool) (*config, error) {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !required:
		return &config{}, nil
	case err != nil:
		return nil, &statusError{exitMisuse, fmt.Errorf("read the configuration: %w", err)}
	}
	c, err := parseConfig(path, text)
	if err != nil {
		return nil, &statusError{exitMisuse, err}
	}
	return c, nil
}

// parseConfig checks text and returns the first thing that is wrong with it as FILE:LINE: what.
func parseConfig(path string, text []byte) (*config, error) {
	c := &config{path: path, values: map[string]configValue{}, detectors: map[string]detectorConfig{}}
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	var document yaml.Node
	if err := decoder.Decode(&document); err != nil {
		if errors.Is(err, io.EOF) {
			return c, nil
		}
		return nil, yamlError(path, err)
	}
	var more yaml.Node
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one YAML document; only one is read", path)
	}
	root := document.Content[0]
	if isNull(root) {
		return c, nil
	}
	keys := configKeys()
	err := eachKey(path, root, "the configuration", func(key string, at int, value *yaml.Node) error {
		check, known := keys[key]
		switch {
		case !known:
			return fmt.Errorf("%s: unknown key %q%s", c.place(at), cut(key), didYouMean(key, sortedKeys(keys)))
		case isNull(value):
			return nil // `symbols:` with nothing behind it is the default
		case key == "detectors":
			return c.parseDetectors(value)
		}
		spelt, err := check(resolve(value))
		if err != nil {
			return fmt.Errorf("%s: %s: %w", c.place(value.Line), key, err)
		}
		c.values[key] = configValue{spelt, value.Line}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (c *config) parseDetectors(node *yaml.Node) error {
	return eachKey(c.path, node, "detectors", func(name string, at int, value *yaml.Node) error {
		detector := detectorConfig{line: at, params: map[string]configParam{}}
		if !isNull(value) {
			err := eachKey(c.path, value, "detectors: "+name, func(param string, at int, value *yaml.Node) error {
				var decoded any
				value = resolve(value)
				if value.Kind != yaml.ScalarNode {
					return fmt.Errorf("%s: %s: %s: one value is wanted here", c.place(value.Line), name, param)
				}
				if err := value.Decode(&decoded); err != nil {
					return yamlError(c.path, err)
				}
				if when, ok := decoded.(time.Time); ok {
					decoded = when.UTC().Format(time.RFC3339Nano)
				}
				detector.params[param] = configParam{decoded, at}
				return nil
			})
			if err != nil {
				return err
			}
		}
		c.detectors[name] = detector
		return nil
	})
}

// eachKey calls visit for each pair of a mapping, in the order of the file.
func eachKey(path string, node *yaml.Node, what string, visit func(key string, line int, value *yaml.Node) error) error {
	node = resolve(node)
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
			return fmt.Errorf("%s:%d: %q stands here for the second time; the first is on line %d", path, key.Line, cut(key.Value), first)
		}
		seen[key.Value] = key.Line
		if err := visit(key.Value, key.Line, node.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// resolve follows an alias to what it stands for.
func resolve(node *yaml.Node) *yaml.Node {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return node
}

func isNull(node *yaml.Node) bool {
	return node.Kind == 0 || node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null"
}

// yamlError turns the parser's "yaml: line 3: …" into FILE:3: ….
func yamlError(path string, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	text = strings.TrimPrefix(strings.ReplaceAll(text, "\n", " "), "unmarshal errors:  ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if line, what, ok := strings.Cut(rest, ": "); ok {
			return fmt.Errorf("%s:%s: %s", path, line, what)
		}
	}
	return fmt.Errorf("%s: %s", path, text)
}

func scalar(node *yaml.Node) (string, error) {
	if node.Kind != yaml.ScalarNode {
		return "", errors.New("one value is wanted here, not a list or a mapping")
	}
	return strings.TrimSpace(node.Value), nil
}

func plainText(node *yaml.Node) (string, error) {
	text, err := scalar(node)
	if err == nil && text == "" {
		err = errors.New("the value is empty")
	}
	return text, err
}

func symbolList(node *yaml.Node) (string, error) {
	if node.Kind != yaml.SequenceNode {
		return plainText(node)
	}
	var symbols []string
	for _, item := range node.Content {
		symbol, err := plainText(resolve(item))
		if err != nil {
			return "", err
		}
		symbols = append(symbols, symbol)
	}
	return strings.Join(symbols, ","), nil
}

func lengthText(node *yaml.Node) (string, error) {
	text, err := scalar(node)
	if err != nil {
		return "", err
	}
	_, err = parseLength(text)
	return text, err
}

func countText(node *yaml.Node) (string, error) {
	text, err := scalar(node)
	if err != nil {
		return "", err
	}
	text = strings.ReplaceAll(text, "_", "")
	if value, err := strconv.ParseInt(text, 10, 64); err != nil || value < 1 {
		return "", fmt.Errorf("%q is not a whole number above 0", cut(text))
	}
	return text, nil
}

func oneOf(choices ...string) func(*yaml.Node) (string, error) {
	return func(node *yaml.Node) (string, error) {
		text, err := scalar(node)
		if err == nil && !slices.Contains(choices, text) {
			err = fmt.Errorf("%q is not one of %s", cut(text), strings.Join(choices, ", "))
		}
		return text, err
	}
}

func urlText(schemes ...string) func(*yaml.Node) (string, error) {
	return func(node *yaml.Node) (string, error) {
		text, err := scalar(node)
		if err != nil {
			return "", err
		}
		return text, checkURL(text, schemes...)
	}
}

// checkURL says whether text can be the place that paths are appended to.
func checkURL(text string, schemes ...string) error {
	parsed, err := url.Parse(text)
	if err != nil || !slices.Contains(schemes, parsed.Scheme) || parsed.Host == "" {
		return fmt.Errorf("%q is not a URL that starts with %s://", cut(text), strings.Join(schemes, ":// or "))
	}
	return nil
}
