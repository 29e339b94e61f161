package notify

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"tapedeck/internal/strictyaml"
	"tapedeck/internal/symbol"
)

// The defaults of Config.
const (
	DefaultCooldown    = 30 * time.Minute
	DefaultDigestAbove = 3
)

// Config is the configuration of the outbox. With the zero value, messages are only logged.
type Config struct {
	Chats []Chat
	// Cooldown is how long after an alert a chat does not receive another one of the same detector
	// and symbol, unless it is more severe. 0 means DefaultCooldown, a negative value none.
	Cooldown time.Duration
	// DigestAbove is the most alerts of one run that a chat receives one by one. More are combined
	// into one message. 0 means DefaultDigestAbove.
	DigestAbove int
}

// Chat is one chat and what it receives.
type Chat struct {
	// ID is a number, negative for groups and channels, or the @name of a public channel.
	ID string
	// Name is used in logs. It may be empty.
	Name string
	// Severity is the lowest severity of alerts that are sent: low, medium or high; empty means
	// low.
	Severity string
	// Symbols are names or patterns such as *USDT, in any letter case; empty means all.
	Symbols []string
	// Detectors are names; empty means all.
	Detectors []string
	// Send lists the kinds of messages that are sent; empty means all.
	Send []Kind
	// Silent messages arrive without a sound, except for problems and alerts of high severity.
	Silent bool
	// Line is the chat's line in the configuration, or 0.
	Line int
}

// Kind is a kind of message.
type Kind string

const (
	AlertKind  Kind = "alert"
	ReportKind Kind = "report"
	NoticeKind Kind = "notice"
)

// kindNames are the names of the kinds in the configuration: the kinds in the plural.
var kindNames = []string{"alerts", "reports", "notices"}

var severities = []string{"low", "medium", "high"}

func severityRank(severity string) int { return slices.Index(severities, severity) }

// label returns the name of the chat for logs.
func (c Chat) label() string { return cmp.Or(c.Name, c.ID) }

func (c Chat) accepts(kind Kind) bool { return len(c.Send) == 0 || slices.Contains(c.Send, kind) }

func (c Chat) acceptsAlert(a alert) bool {
	return (len(c.Detectors) == 0 || slices.Contains(c.Detectors, a.Detector)) &&
		(a.Recovered || severityRank(a.Severity) >= severityRank(c.Severity)) &&
		(len(c.Symbols) == 0 || slices.ContainsFunc(c.Symbols, func(pattern string) bool {
			return matchesSymbol(pattern, a.Symbol)
		}))
}

func matchesSymbol(pattern, name string) bool {
	p, err := symbol.ParsePattern(pattern)
	return err == nil && p.Matches(name)
}

// FiltersSymbols reports whether a chat receives the alerts of some symbols only.
func (c Config) FiltersSymbols() bool {
	return slices.ContainsFunc(c.Chats, func(chat Chat) bool { return len(chat.Symbols) > 0 })
}

// UnmatchedFilters describes the filters of chats that select nothing, one line each: detectors that
// are none of detectors, and symbols that match none of symbols. Without symbols, because the tape is
// empty, those are not checked.
func (c Config) UnmatchedFilters(detectors, symbols []string) (out []string) {
	for _, chat := range c.Chats {
		where := fmt.Sprintf("line %d: chat %s", chat.Line, chat.label())
		for _, name := range chat.Detectors {
			if !slices.Contains(detectors, name) {
				out = append(out, fmt.Sprintf("%s receives no alerts of %q: no detector has that name%s", where,
					strictyaml.Shorten(name), strictyaml.DidYouMean(name, detectors)))
			}
		}
		for _, pattern := range chat.Symbols {
			matches := func(symbol string) bool { return matchesSymbol(pattern, symbol) }
			if len(symbols) > 0 && !slices.ContainsFunc(symbols, matches) {
				out = append(out, fmt.Sprintf("%s receives no alerts of %q: no symbol on the tape matches", where,
					strictyaml.Shorten(pattern)))
			}
		}
	}
	return out
}

var chatPattern = regexp.MustCompile(`^(?:-?[1-9][0-9]{0,18}|@[A-Za-z][A-Za-z0-9_]{3,31})$`)

// checkChatID checks that text can be the id of a chat.
func checkChatID(text string) error {
	if !chatPattern.MatchString(text) {
		return fmt.Errorf("%q is not a chat: use a number, negative for a group, or the @name of a channel",
			strictyaml.Shorten(text))
	}
	if text[0] != '@' {
		if _, err := strconv.ParseInt(text, 10, 64); err != nil {
			return fmt.Errorf("%q is not a chat: the number is too large", strictyaml.Shorten(text))
		}
	}
	return nil
}

// check checks the ids of the chats.
func (c Config) check() error {
	ids := map[string]bool{}
	for _, chat := range c.Chats {
		if err := checkChatID(chat.ID); err != nil {
			return err
		}
		if ids[chat.ID] {
			return fmt.Errorf("chat %s is listed twice", chat.ID)
		}
		ids[chat.ID] = true
	}
	return nil
}

// ParseConfig parses the key telegram of config.yaml:
//
//	telegram:
//	  cooldown: 30m
//	  digest_above: 3
//	  chats:
//	    - id: -1001234567890
//	      name: traders
//	      severity: medium
//	      symbols: [BTCUSDT, "*BTC"]
//	      detectors: [whale_order]
//	      send: [alerts, reports, notices]
//	      silent: true
//
// Errors are one line that starts with FILE:LINE. Whether detectors and symbols exist is not checked;
// see [Config.UnmatchedFilters].
func ParseConfig(file string, node *yaml.Node) (Config, error) {
	var c Config
	if strictyaml.IsNull(node) {
		return c, nil
	}
	keys := []string{"chats", "cooldown", "digest_above"}
	err := strictyaml.Each(file, node, "telegram", keys, func(key string, _ int, value *yaml.Node) error {
		if strictyaml.IsNull(value) {
			return nil
		}
		var text string
		var err error
		switch {
		case key != "chats":
			text, err = strictyaml.Text(value)
		case value.Kind != yaml.SequenceNode:
			err = errors.New(`expected a list: lines that start with "- id:"`)
		}
		switch {
		case err != nil:
		case key == "cooldown":
			if c.Cooldown, err = time.ParseDuration(text); err != nil || c.Cooldown < 0 {
				err = fmt.Errorf("%q is not a duration such as 90s, 30m or 1h30m", strictyaml.Shorten(text))
			} else if c.Cooldown == 0 {
				c.Cooldown = -1
			}
		case key == "digest_above":
			if c.DigestAbove, err = strconv.Atoi(text); err != nil || c.DigestAbove < 1 {
				err = fmt.Errorf("%q is not a whole number above 0", strictyaml.Shorten(text))
			}
		default:
			for _, item := range value.Content {
				chat, err := parseChat(file, strictyaml.Resolve(item))
				if err != nil {
					return err
				}
				if i := slices.IndexFunc(c.Chats, func(other Chat) bool { return other.ID == chat.ID }); i >= 0 {
					return fmt.Errorf("%s:%d: chat %s is listed twice; the first time is on line %d", file,
						chat.Line, chat.ID, c.Chats[i].Line)
				}
				c.Chats = append(c.Chats, chat)
			}
		}
		return withPosition(err, file, value, key)
	})
	return c, err
}

func withPosition(err error, file string, node *yaml.Node, key string) error {
	if err != nil {
		err = fmt.Errorf("%s:%d: %s: %w", file, node.Line, key, err)
	}
	return err
}

func parseChat(file string, node *yaml.Node) (Chat, error) {
	chat := Chat{Line: node.Line}
	keys := []string{"id", "name", "severity", "symbols", "detectors", "send", "silent"}
	err := strictyaml.Each(file, node, "a chat", keys, func(key string, _ int, value *yaml.Node) error {
		if strictyaml.IsNull(value) {
			return nil
		}
		var err error
		switch key {
		case "id":
			if chat.ID, err = strictyaml.Text(value); err == nil {
				err = checkChatID(chat.ID)
			}
		case "name":
			chat.Name, err = strictyaml.Text(value)
		case "severity":
			if chat.Severity, err = strictyaml.Text(value); err == nil {
				err = among(chat.Severity, severities)
			}
		case "symbols":
			chat.Symbols, err = list(value, func(pattern string) error {
				_, err := symbol.ParsePattern(pattern)
				return err
			})
		case "detectors":
			chat.Detectors, err = list(value, func(string) error { return nil })
		case "send":
			_, err = list(value, func(name string) error {
				chat.Send = append(chat.Send, Kind(strings.TrimSuffix(name, "s")))
				return among(name, kindNames)
			})
		case "silent":
			var text string
			if text, err = strictyaml.Text(value); err == nil {
				err = among(text, []string{"true", "false"})
				chat.Silent = text == "true"
			}
		}
		return withPosition(err, file, value, key)
	})
	if err == nil && chat.ID == "" {
		err = fmt.Errorf("%s:%d: the chat has no id", file, chat.Line)
	}
	return chat, err
}

// among checks that word is one of the known words.
func among(word string, known []string) error {
	if !slices.Contains(known, word) {
		return fmt.Errorf("%q is not known%s", strictyaml.Shorten(word), strictyaml.DidYouMean(word, known))
	}
	return nil
}

// list reads one value or a list of values. An empty list is an error, because it could mean none
// or all.
func list(node *yaml.Node, check func(string) error) ([]string, error) {
	items := []*yaml.Node{node}
	if node.Kind == yaml.SequenceNode {
		items = node.Content
	}
	var out []string
	for _, item := range items {
		text, err := strictyaml.Text(strictyaml.Resolve(item))
		text = strings.TrimSpace(text)
		if err == nil {
			err = check(text)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	if len(out) == 0 {
		return nil, errors.New("the list is empty; omit the key to select all")
	}
	return out, nil
}
