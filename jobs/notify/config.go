package notify

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"tapedeck/internal/strictyaml"
)

// The defaults of Config.
const (
	DefaultCooldown    = 30 * time.Minute
	DefaultDigestAbove = 3
)

// Config says who is told what; the zero value tells only the log.
type Config struct {
	Chats []Chat
	// Cooldown is how long after an alert another of the same detector and symbol is not told to the same chat, unless it is more
	// severe. 0 is DefaultCooldown, less than 0 none.
	Cooldown time.Duration
	// DigestAbove is how many alerts of one run to one chat are told one by one; more become one message. 0 is DefaultDigestAbove.
	DigestAbove int
}

// Chat is one chat, and what it wants to hear.
type Chat struct {
	// ID is a number, negative for groups and channels, or @name of a public channel.
	ID string
	// Name is for logs, and may be empty.
	Name string
	// Severity is the least that is told: low, medium or high; empty is low.
	Severity string
	// Symbols are names or patterns as path.Match has them, such as *USDT; empty is all.
	Symbols []string
	// Detectors are names; empty is all.
	Detectors []string
	// Send lists the kinds of messages; empty is all.
	Send []Wanted
	// Silent arrives without a sound, unless it is of high severity or a failure.
	Silent bool
	// Line is where it stands in the configuration, 0 for nowhere.
	Line int
}

// Wanted is a kind of messages.
type Wanted string

// The kinds.
const (
	Alerts  Wanted = "alerts"
	Reports Wanted = "reports"
	Notices Wanted = "notices"
)

var severities = []string{"low", "medium", "high"}

// label is how logs name a chat.
func (c Chat) label() string {
	if c.Name != "" {
		return c.Name
	}
	return c.ID
}

func (c Chat) wants(kind Wanted) bool { return len(c.Send) == 0 || slices.Contains(c.Send, kind) }

func (c Chat) wantsSymbol(symbol string) bool {
	return len(c.Symbols) == 0 || slices.ContainsFunc(c.Symbols, func(pattern string) bool {
		ok, _ := path.Match(pattern, symbol)
		return ok
	})
}

func (c Chat) wantsDetector(name string) bool {
	return len(c.Detectors) == 0 || slices.Contains(c.Detectors, name)
}

func (c Chat) wantsSeverity(severity string) bool {
	return slices.Index(severities, severity) >= slices.Index(severities, c.Severity)
}

var chatForm = regexp.MustCompile(`^(?:-?[1-9][0-9]{0,18}|@[A-Za-z][A-Za-z0-9_]{3,31})$`)

// CheckChat says whether text can be a chat's id.
func CheckChat(text string) error {
	if !chatForm.MatchString(text) {
		return fmt.Errorf("%q is not a chat: it is a number, negative for a group, or the @name of a channel", strictyaml.Shorten(text))
	}
	if text[0] != '@' {
		if _, err := strconv.ParseInt(text, 10, 64); err != nil {
			return fmt.Errorf("%q is not a chat: the number is too large", strictyaml.Shorten(text))
		}
	}
	return nil
}

// check holds a Config to what Open needs.
func (c Config) check() error {
	seen := map[string]bool{}
	for _, chat := range c.Chats {
		if err := CheckChat(chat.ID); err != nil {
			return err
		}
		if seen[chat.ID] {
			return fmt.Errorf("chat %s stands twice", chat.ID)
		}
		seen[chat.ID] = true
	}
	return nil
}

// ParseConfig reads the mapping under telegram in config.yaml:
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
// file is for errors, each of which is one line that begins with FILE:LINE. detectors are the names that exist; nil lets every name pass.
func ParseConfig(file string, node *yaml.Node, detectors []string) (Config, error) {
	var c Config
	if strictyaml.IsNull(node) {
		return c, nil
	}
	err := strictyaml.Each(file, node, "telegram", []string{"chats", "cooldown", "digest_above"}, func(key string, _ int, value *yaml.Node) error {
		if strictyaml.IsNull(value) {
			return nil
		}
		at := func(err error) error { return fmt.Errorf("%s:%d: %s: %w", file, value.Line, key, err) }
		switch key {
		case "cooldown":
			text, err := strictyaml.Text(value)
			if err != nil {
				return at(err)
			}
			if c.Cooldown, err = time.ParseDuration(text); err != nil || c.Cooldown < 0 {
				return at(fmt.Errorf("%q is not a length of time such as 90s, 30m or 1h30m", strictyaml.Shorten(text)))
			}
			if c.Cooldown == 0 {
				c.Cooldown = -1
			}
		case "digest_above":
			text, err := strictyaml.Text(value)
			if err != nil {
				return at(err)
			}
			if c.DigestAbove, err = strconv.Atoi(text); err != nil || c.DigestAbove < 1 {
				return at(fmt.Errorf("%q is not a whole number above 0", strictyaml.Shorten(text)))
			}
		case "chats":
			if value.Kind != yaml.SequenceNode {
				return at(errors.New(`a list is wanted here: lines that begin with "- id:"`))
			}
			for _, item := range value.Content {
				chat, err := parseChat(file, strictyaml.Resolve(item), detectors)
				if err != nil {
					return err
				}
				if i := slices.IndexFunc(c.Chats, func(other Chat) bool { return other.ID == chat.ID }); i >= 0 {
					return fmt.Errorf("%s:%d: chat %s stands here for the second time; the first is on line %d", file, chat.Line, chat.ID, c.Chats[i].Line)
				}
				c.Chats = append(c.Chats, chat)
			}
		}
		return nil
	})
	if err != nil {
		return Config{}, err
	}
	return c, nil
}

func parseChat(file string, node *yaml.Node, detectors []string) (Chat, error) {
	chat := Chat{Line: node.Line}
	err := strictyaml.Each(file, node, "a chat", []string{"id", "name", "severity", "symbols", "detectors", "send", "silent"}, func(key string, _ int, value *yaml.Node) error {
		if strictyaml.IsNull(value) {
			return nil
		}
		var err error
		switch key {
		case "id":
			if chat.ID, err = strictyaml.Text(value); err == nil {
				err = CheckChat(chat.ID)
			}
		case "name":
			chat.Name, err = strictyaml.Text(value)
		case "severity":
			if chat.Severity, err = strictyaml.Text(value); err == nil {
				err = among(chat.Severity, severities)
			}
		case "symbols":
			chat.Symbols, err = list(value, func(pattern string) error {
				if _, err := path.Match(pattern, ""); err != nil {
					return fmt.Errorf("%q is not a pattern: * stands for any letters, ? for one", strictyaml.Shorten(pattern))
				}
				return nil
			})
		case "detectors":
			chat.Detectors, err = list(value, func(name string) error {
				if detectors == nil {
					return nil
				}
				return among(name, detectors)
			})
		case "send":
			var names []string
			names, err = list(value, func(name string) error {
				return among(name, []string{string(Alerts), string(Reports), string(Notices)})
			})
			for _, name := range names {
				chat.Send = append(chat.Send, Wanted(name))
			}
		case "silent":
			var text string
			if text, err = strictyaml.Text(value); err == nil {
				err = among(text, []string{"true", "false"})
				chat.Silent = text == "true"
			}
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %s: %w", file, value.Line, key, err)
		}
		return nil
	})
	if err == nil && chat.ID == "" {
		err = fmt.Errorf("%s:%d: a chat without id", file, chat.Line)
	}
	return chat, err
}

func among(word string, known []string) error {
	if !slices.Contains(known, word) {
		return fmt.Errorf("%q is not known%s", strictyaml.Shorten(word), strictyaml.DidYouMean(word, known))
	}
	return nil
}

// list reads one value or a list of them. An empty list is an error: it would tell nothing, or all.
func list(node *yaml.Node, check func(string) error) ([]string, error) {
	items := []*yaml.Node{node}
	if node.Kind == yaml.SequenceNode {
		items = node.Content
	}
	var out []string
	for _, item := range items {
		text, err := strictyaml.Text(strictyaml.Resolve(item))
		if err == nil {
			err = check(strings.TrimSpace(text))
		}
		if err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	if len(out) == 0 {
		return nil, errors.New("the list is empty; leave the key out for all")
	}
	return out, nil
}
