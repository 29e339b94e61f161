package notify

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"tapedeck/internal/strictyaml"
)

func parse(t *testing.T, text string) (Config, error) {
	t.Helper()
	root, err := strictyaml.Document("config.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var config Config
	err = strictyaml.Each("config.yaml", root, "the configuration", nil, func(_ string, _ int, value *yaml.Node) (err error) {
		config, err = ParseConfig("config.yaml", value)
		return err
	})
	return config, err
}

func TestParseConfig(t *testing.T) {
	got, err := parse(t, `telegram:
  cooldown: 45m
  digest_above: 5
  chats:
    - id: -1001234567890
      name: traders
      severity: medium
      symbols: [BTCUSDT, "*BTC"]
      detectors: whale_order
      send: [alerts, reports]
      silent: true
    - id: "@channel"
`)
	want := Config{
		Cooldown: 45 * time.Minute, DigestAbove: 5,
		Chats: []Chat{
			{ID: "-1001234567890", Name: "traders", Severity: "medium", Symbols: []string{"BTCUSDT", "*BTC"}, Detectors: []string{"whale_order"}, Send: []Kind{AlertKind, ReportKind}, Silent: true, Line: 5},
			{ID: "@channel", Line: 12},
		},
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err := parse(t, "telegram:\n"); err != nil || len(got.Chats) != 0 {
		t.Errorf("empty key: %+v, %v", got, err)
	}
	if got, err := parse(t, "telegram: {cooldown: 0s}\n"); err != nil || got.Cooldown >= 0 {
		t.Errorf("no cooldown: %+v, %v", got, err)
	}
}

func TestParseConfigErrors(t *testing.T) {
	for text, want := range map[string]string{
		"telegram: chats":                                         `config.yaml:1: telegram needs lines of the form "key: value"`,
		"telegram:\n  chat: 5":                                    `config.yaml:2: unknown key "chat"; did you mean "chats"?`,
		"telegram:\n  token: 123:abc":                             `config.yaml:2: unknown key "token"; choose one of chats, cooldown, digest_above`,
		"telegram:\n  cooldown: soon":                             `config.yaml:2: cooldown: "soon" is not a duration such as 90s, 30m or 1h30m`,
		"telegram:\n  digest_above: 0":                            `config.yaml:2: digest_above: "0" is not a whole number above 0`,
		"telegram:\n  chats: 5":                                   `config.yaml:2: chats: expected a list: lines that start with "- id:"`,
		"telegram:\n  chats:\n    - 5":                            `config.yaml:3: a chat needs lines of the form "key: value"`,
		"telegram:\n  chats:\n    - name: x":                      `config.yaml:3: the chat has no id`,
		"telegram:\n  chats:\n    - id: traders":                  `config.yaml:3: id: "traders" is not a chat: use a number, negative for a group, or the @name of a channel`,
		"telegram:\n  chats:\n    - id: 9999999999999999999":      `config.yaml:3: id: "9999999999999999999" is not a chat: the number is too large`,
		"telegram:\n  chats:\n    - id: 5\n    - id: 5":           `config.yaml:4: chat 5 is listed twice; the first time is on line 3`,
		"telegram:\n  chats:\n    - id: 5\n      severity: hi":    `config.yaml:4: severity: "hi" is not known; choose one of low, medium, high`,
		"telegram:\n  chats:\n    - id: 5\n      severty: high":   `config.yaml:4: unknown key "severty"; did you mean "severity"?`,
		"telegram:\n  chats:\n    - id: 5\n      symbols: []":     `config.yaml:4: symbols: the list is empty; omit the key to select all`,
		"telegram:\n  chats:\n    - id: 5\n      symbols: ['[A']": `config.yaml:4: symbols: "[A" is neither a symbol nor a pattern, such as *USDT: besides * and ? it can have letters, digits, "_", "-" and "."`,
		"telegram:\n  chats:\n    - id: 5\n      send: [alert]":   `config.yaml:4: send: "alert" is not known; did you mean "alerts"?`,
		"telegram:\n  chats:\n    - id: 5\n      silent: 1":       `config.yaml:4: silent: "1" is not known; choose one of true, false`,
	} {
		_, err := parse(t, text)
		if err == nil || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestUnmatchedFiltersAreNamed(t *testing.T) {
	config, err := parse(t, `telegram:
  chats:
    - id: 5
      name: traders
      symbols: [btcusdt, " eth* ", doge*]
      detectors: [whale_orders, mine]
    - id: 6
`)
	if err != nil {
		t.Fatal(err)
	}
	detectors := []string{"whale_order", "mine"}
	want := []string{
		`line 3: chat traders receives no alerts of "whale_orders": no detector has that name; did you mean "whale_order"?`,
		`line 3: chat traders receives no alerts of "doge*": no symbol on the tape matches`,
	}
	if diff := cmp.Diff(want, config.UnmatchedFilters(detectors, []string{"BTCUSDT", "ETHBTC"})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want[:1], config.UnmatchedFilters(detectors, nil)); diff != "" {
		t.Errorf("of an empty tape: %s", diff)
	}
	if !config.FiltersSymbols() || (Config{Chats: config.Chats[1:]}).FiltersSymbols() {
		t.Error("FiltersSymbols is wrong")
	}
	for symbol, accepted := range map[string]bool{"BTCUSDT": true, "ETHUSDT": true, "LTCUSDT": false} {
		a := alert{sentAlert: sentAlert{Detector: "mine", Symbol: symbol, Severity: "low"}}
		if config.Chats[0].acceptsAlert(a) != accepted {
			t.Errorf("%s is accepted: %v", symbol, !accepted)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add("telegram:\n  chats:\n    - id: 5\n      symbols: [A]\n")
	f.Add("telegram: {chats: [{id: '@abcd', send: reports}], cooldown: 5s}")
	f.Fuzz(func(t *testing.T, text string) {
		root, err := strictyaml.Document("c", []byte(text))
		if err != nil || root == nil {
			return
		}
		config, err := ParseConfig("c", root)
		if err == nil {
			err = config.check()
		}
		if err == nil {
			return
		}
		for _, line := range strings.Split(err.Error(), "\n") { // one for each problem
			if !strings.HasPrefix(line, "c:") && !strings.HasPrefix(line, "c,") {
				t.Errorf("the line %q names no file: %q", line, err)
			}
		}
	})
}
