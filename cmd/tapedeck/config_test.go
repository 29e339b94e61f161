package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestConfigErrors(t *testing.T) {
	for text, want := range map[string]string{
		"symbols: [BTCUSDT]\nflush_intervall: 3s\n":      `config.yaml:2: unknown key "flush_intervall"; did you mean "flush_interval"?`,
		"flush_interval: banana\n":                       `config.yaml:1: flush_interval: "banana" is not a duration, such as 90m, 24h, 7d or 1h30m`,
		"flush_interval: 15\n":                           `config.yaml:1: flush_interval: "15" is not a duration, such as 90m, 24h, 7d or 1h30m`,
		"flush_rows: many\n":                             `config.yaml:1: flush_rows: "many" is not a whole number above 0`,
		"flush_rows: -1\n":                               `config.yaml:1: flush_rows: "-1" is not a whole number above 0`,
		"feed: trades\n":                                 `config.yaml:1: feed: "trades" is not one of aggTrade, trade`,
		"rest_url: data-api.binance.vision\n":            `config.yaml:1: rest_url: "data-api.binance.vision" is not a URL that starts with http:// or https://`,
		"stream_url: https://x\n":                        `config.yaml:1: stream_url: "https://x" is not a URL that starts with ws:// or wss://`,
		"data_dir: [a, b]\n":                             `config.yaml:1: data_dir: needs one value, not a list or a mapping`,
		"data_dir: ''\n":                                 `config.yaml:1: data_dir: the value is empty`,
		"symbols: {BTCUSDT: yes}\n":                      `config.yaml:1: symbols: needs one value, not a list or a mapping`,
		"symbols:\n  - [A]\n":                            `config.yaml:2: symbols: needs one value, not a list or a mapping`,
		"detectors: [a]\n":                               `config.yaml:1: detectors needs lines of the form "key: value"`,
		"detectors:\n  whale_order: 3\n":                 `config.yaml:2: detectors: whale_order needs lines of the form "key: value"`,
		"detectors:\n  a:\n    b: {c: 1}\n":              `config.yaml:3: a: b: needs one value or a list`,
		"detectors:\n  a:\n    symbols: {'[': {b: 1}}\n": `config.yaml:3: a: symbols: "[" is neither a symbol nor a pattern, such as *USDT: besides * and ? it can have letters, digits, "_", "-" and "."`,
		"detectors:\n  a:\n    symbols: {A: 1}\n":        `config.yaml:3: detectors: a: symbols: A needs lines of the form "key: value"`,
		"detectors:\n  a:\n    symbols: {A: {b: {}}}\n":  `config.yaml:3: a: b: needs one value or a list`,
		"sections: 3\n":                                  `config.yaml:1: sections needs lines of the form "key: value"`,
		"feed: trade\nfeed: trade\n":                     `config.yaml:2: duplicate key "feed"; the first is on line 1`,
	} {
		if _, err := parseConfig("config.yaml", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestConfigValues(t *testing.T) {
	c, err := parseConfig("config.yaml", []byte("symbols:\n  - BTCUSDT\n  - &e ETHUSDT\n  - *e\nflush_rows: 10_000\nfeed:\ndetectors:\n  whale_order: {min_ratio: 40, quiet: true, word: on it}\n  calm:\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.values["symbols"].text; got != "BTCUSDT,ETHUSDT,ETHUSDT" {
		t.Errorf("symbols %q", got)
	}
	if got := c.values["flush_rows"].text; got != "10000" {
		t.Errorf("flush_rows %q", got)
	}
	if _, set := c.values["feed"]; set {
		t.Error("a key without a value does not have its default")
	}
	params := c.detectors["whale_order"].params
	if params["min_ratio"].value != 40 || params["quiet"].value != true || params["word"].value != "on it" || params["word"].line != 8 {
		t.Errorf("detectors %+v", c.detectors)
	}
}

// TestShippedConfig checks that the repository's config.yaml is valid, also with all comments turned
// into settings, and that it shows every key.
func TestShippedConfig(t *testing.T) {
	text, err := os.ReadFile("../../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseConfig("config.yaml", text); err != nil {
		t.Error(err)
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "# "); ok && (strings.HasPrefix(rest, " ") || isSetting(rest)) {
			line = rest
		}
		all = append(all, line)
	}
	c, err := parseConfig("config.yaml", []byte(strings.Join(all, "")))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range configKeys() {
		if _, ok := c.values[key]; !ok && key != "detectors" && key != "lake" && key != "sections" && key != "telegram" {
			t.Errorf("config.yaml does not show the key %q", key)
		}
	}
	if len(c.detectors["whale_order"].symbols) == 0 || len(c.sections) == 0 {
		t.Error("config.yaml does not show detectors and sections")
	}
	if c.lake.Catalog == "" || c.lake.Warehouse == "" || c.lake.Namespace == "" {
		t.Error("config.yaml does not show the keys of lake")
	}
	if chats, err := (&app{config: c}).chatConfig(); err != nil || len(chats.Chats) != 1 {
		t.Error("config.yaml shows no chat", err)
	}
	if _, err := (&app{config: c}).querySettings(""); err != nil {
		t.Error(err)
	}
}

func TestSettingsAreCheckedAgainstQueries(t *testing.T) {
	for text, want := range map[string]string{
		"detectors:\n  whale_ordr: {min_ratio: 5}":                                    `c.yaml:2: no detector is named "whale_ordr"; did you mean "whale_order"?`,
		"detectors:\n  whale_order: {min_ration: 5}":                                  `c.yaml:2: whale_order has no parameter "min_ration"; did you mean "min_ratio"?`,
		"detectors:\n  whale_order: {min_ratio: high}":                                `c.yaml:2: parameter min_ratio of whale_order: "high" is not a DOUBLE`,
		"detectors:\n  whale_order: {window_start: 2026-01-15}":                       `c.yaml:2: whale_order has no parameter "window_start"`,
		"detectors:\n  whale_order:\n    symbols:\n      '*BTC': {min_ration: 5}":     `c.yaml:4: whale_order has no parameter "min_ration"; did you mean "min_ratio"?`,
		"detectors:\n  whale_order:\n    symbols:\n      '*BTC': {min_ratio: high}":   `c.yaml:4: parameter min_ratio of whale_order: "high" is not a DOUBLE`,
		"detectors:\n  whale_order:\n    symbols: [A]":                                `c.yaml:3: whale_order has no parameter "symbols"; choose one of min_ratio`,
		"sections:\n  mover: {top: 5}":                                                `c.yaml:2: no section is named "mover"; did you mean "movers"?`,
		"sections:\n  movers: {tops: 5}":                                              `c.yaml:2: movers has no parameter "tops"; did you mean "top"?`,
		"sections:\n  movers: {top: few}":                                             `c.yaml:2: parameter top of movers: "few" is not a BIGINT`,
		"sections:\n  movers: {symbols: BTCUSDT}":                                     `c.yaml:2: movers has no parameter "symbols"; choose one of top`,
		"sections:\n  overview: {top: 5}":                                             `c.yaml:2: overview has no parameter that can be set`,
		"sections:\n  whale_order: {min_ratio: 5}":                                    `c.yaml:2: no section is named "whale_order"`,
		"detectors:\n  whale_order: {min_ratio: 5, symbols: {ETHBTC: {min_move: 0}}}": "",
		"sections:\n  movers: {top: 5}\n  candles: {step_seconds: 60}":                "",
	} {
		c, err := parseConfig("c.yaml", []byte(text+"\n"))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		_, err = (&app{config: c}).querySettings("")
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func isSetting(line string) bool {
	key, _, ok := strings.Cut(line, ":")
	return ok && slices.Contains(configKeys(), key)
}

func FuzzConfig(f *testing.F) {
	for _, seed := range []string{"symbols: [A]\n", "detectors: {a: {b: 1}}\n", "detectors: &d\n  a: *d\n", "symbols: &s [*s]\n", "flush_rows: 1_0\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := parseConfig("c.yaml", []byte(text))
		if err == nil {
			return
		}
		for _, line := range strings.Split(err.Error(), "\n") { // one for each problem
			if !strings.HasPrefix(line, "c.yaml") {
				t.Errorf("the line %q names no file: %q", line, err)
			}
		}
	})
}
