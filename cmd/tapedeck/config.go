package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"tapedeck/internal/durable"
	"tapedeck/internal/lake/request"
	"tapedeck/internal/redact"
	"tapedeck/internal/strictyaml"
	"tapedeck/internal/symbol"
	"tapedeck/jobs/notify"
)

// config is the content of config.yaml. Every key is known, and every value has the right form.
type config struct {
	path   string // empty if there is no file
	values map[string]configValue
	// detectors and sections hold the values of parameters, by the name of the query.
	detectors map[string]queryConfig
	sections  map[string]queryConfig
	// telegram is the mapping of that name, or nil; package notify defines its keys.
	telegram *yaml.Node
	lake     request.Lake
}

// configValue is one setting as on the command line, and its line.
type configValue struct {
	text string
	line int
}

// queryConfig holds the parameters of one detector or section.
type queryConfig struct {
	line   int
	params map[string]configParam
	// symbols holds the parameters for some symbols only, by symbol or pattern; sections have none.
	symbols map[string]map[string]configParam
}

type configParam struct {
	value any // nil, bool, int, float64, string, time.Time in UTC, or []any of strings
	line  int
}

// position returns a line of the file as errors name it: config.yaml:12.
func (c *config) position(line int) string { return fmt.Sprintf("%s:%d", c.path, line) }

// configKeys returns the keys of config.yaml. All except detectors, lake, sections and telegram have a flag
// and an environment variable of the same name.
func configKeys() []string {
	return []string{
		"archive_url", "connections", "crontab", "data_dir", "detectors", "feed", "flush_interval", "flush_rows",
		"give_up_after", "lake", "memory", "metrics_addr", "rest_url", "sections", "sql_dir", "stream_url", "symbols", "telegram",
		"telegram_url", "threads",
	}
}

// maxConfig is the most bytes of a configuration, and of a statement in a file.
const maxConfig = 4 << 20

// loadConfig reads the file at path. A missing file is an empty configuration, unless it is
// required.
func loadConfig(path string, required bool) (*config, error) {
	text, err := durable.ReadFile(path, maxConfig)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !required:
		return &config{}, nil
	case err != nil:
		return nil, misuse("read the configuration: %w", err)
	}
	c, err := parseConfig(path, text)
	if err != nil {
		return nil, &statusError{exitMisuse, err}
	}
	return c, nil
}

// parseConfig parses a configuration. Its error is the first problem, as FILE:LINE: problem.
func parseConfig(path string, text []byte) (*config, error) {
	c := &config{
		path: path, values: map[string]configValue{},
		detectors: map[string]queryConfig{}, sections: map[string]queryConfig{},
	}
	root, err := strictyaml.Document(path, text)
	if err != nil || root == nil {
		return c, err
	}
	err = strictyaml.Each(path, root, "the configuration", configKeys(), func(key string, _ int, value *yaml.Node) error {
		switch {
		case strictyaml.IsNull(value):
			return nil // a key without a value has its default
		case key == "detectors":
			return c.parseQueries(key, value, c.detectors)
		case key == "sections":
			return c.parseQueries(key, value, c.sections)
		case key == "telegram":
			c.telegram = value
			_, err := notify.ParseConfig(path, value)
			return err
		case key == "lake":
			return c.parseLake(value)
		}
		text, err := settingText(key, value)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", c.position(value.Line), key, err)
		}
		c.values[key] = configValue{text, value.Line}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// parseQueries parses the value of detectors or sections.
func (c *config) parseQueries(key string, node *yaml.Node, into map[string]queryConfig) error {
	return strictyaml.Each(c.path, node, key, nil, func(name string, line int, value *yaml.Node) error {
		query := queryConfig{line: line, params: map[string]configParam{}, symbols: map[string]map[string]configParam{}}
		into[name] = query
		what := key + ": " + name
		return c.eachIfAny(value, what, func(param string, line int, value *yaml.Node) error {
			if key != "detectors" || param != "symbols" || value.Kind != yaml.MappingNode {
				return c.parseParam(name, param, line, value, query.params)
			}
			return c.parseSymbols(name, what+": symbols", value, query.symbols)
		})
	})
}

// parseSymbols parses the parameters of a detector for some symbols only.
func (c *config) parseSymbols(query, what string, node *yaml.Node, into map[string]map[string]configParam) error {
	return strictyaml.Each(c.path, node, what, nil, func(text string, line int, value *yaml.Node) error {
		if _, err := symbol.ParsePattern(text); err != nil {
			return fmt.Errorf("%s: %s: symbols: %w", c.position(line), query, err)
		}
		params := map[string]configParam{}
		into[text] = params
		return c.eachIfAny(value, what+": "+text, func(param string, line int, value *yaml.Node) error {
			return c.parseParam(query, param, line, value, params)
		})
	})
}

// eachIfAny is strictyaml.Each for a mapping that may be empty.
func (c *config) eachIfAny(node *yaml.Node, what string, visit func(key string, line int, value *yaml.Node) error) error {
	if strictyaml.IsNull(node) {
		return nil
	}
	return strictyaml.Each(c.path, node, what, nil, visit)
}

func (c *config) parseParam(query, param string, line int, node *yaml.Node, into map[string]configParam) error {
	decoded, err := paramValue(node)
	if err != nil {
		return fmt.Errorf("%s: %s: %s: %w", c.position(node.Line), query, param, err)
	}
	into[param] = configParam{decoded, line}
	return nil
}

// paramValue returns the value of a parameter: a scalar or a list of texts.
func paramValue(node *yaml.Node) (any, error) {
	switch node.Kind {
	case yaml.SequenceNode:
		texts, err := textList(node)
		if err != nil {
			return nil, err
		}
		list := make([]any, len(texts))
		for i, text := range texts {
			list[i] = text
		}
		return list, nil
	case yaml.ScalarNode:
		var value any
		if err := node.Decode(&value); err != nil {
			return nil, fmt.Errorf("%q is not a value", strictyaml.Shorten(node.Value))
		}
		if at, ok := value.(time.Time); ok {
			return at.UTC(), nil
		}
		return value, nil
	}
	return nil, errors.New("needs one value or a list")
}

// settingText checks the value of a key and converts it to a flag's.
func settingText(key string, node *yaml.Node) (string, error) {
	if key == "symbols" && node.Kind == yaml.SequenceNode {
		symbols, err := textList(node)
		return strings.Join(symbols, ","), err
	}
	text, err := strictyaml.Text(node)
	if err != nil {
		return "", err
	}
	switch key {
	case "feed":
		if text != "aggTrade" && text != "trade" {
			err = fmt.Errorf("%q is not one of aggTrade, trade", strictyaml.Shorten(text))
		}
	case "flush_interval", "give_up_after":
		err = new(length).UnmarshalText([]byte(text))
	case "flush_rows", "connections", "threads":
		text = strings.ReplaceAll(text, "_", "")
		if value, parseErr := strconv.ParseInt(text, 10, 64); parseErr != nil || value < 1 {
			err = fmt.Errorf("%q is not a whole number above 0", strictyaml.Shorten(text))
		}
	case "stream_url":
		err = checkURL(text, "ws", "wss")
	case "rest_url", "archive_url", "telegram_url":
		err = checkURL(text, "http", "https")
	}
	return text, err
}

// textList returns the texts of a list.
func textList(node *yaml.Node) (texts []string, err error) {
	for _, item := range node.Content {
		text, err := strictyaml.Text(strictyaml.Resolve(item))
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// checkURL checks that text is a URL with one of the schemes, to which paths can be appended.
func checkURL(text string, schemes ...string) error {
	parsed, err := url.Parse(text)
	if err != nil || !slices.Contains(schemes, parsed.Scheme) || parsed.Host == "" {
		return fmt.Errorf("%q is not a URL that starts with %s://",
			strictyaml.Shorten(redact.Text(text)), strings.Join(schemes, ":// or "))
	}
	return nil
}
