package symbol

import (
	"fmt"
	"path"
	"strings"
)

// Pattern selects names. It is what a person wrote in a flag or in the configuration; a name, from
// wherever it comes, is never read as one.
type Pattern struct{ text, glob string }

// IsPattern reports whether a word has a wildcard, so that it is no name.
func IsPattern(word string) bool { return strings.ContainsAny(word, "*?[") }

// ParsePattern reads a name or a pattern in any letter case: * matches any characters, ? matches one,
// and [AB] one of those in brackets.
func ParsePattern(text string) (Pattern, error) {
	p := Pattern{text, strings.ToUpper(text)}
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune("*?[]^", r) {
			return -1
		}
		return r
	}, text)
	if _, err := path.Match(p.glob, ""); err != nil || text == "" || name != "" && whyNotRunes(name) != "" {
		return Pattern{}, fmt.Errorf("%s is neither a symbol nor a pattern, such as *USDT: besides * and ? %s", Quote(text), characters)
	}
	return p, nil
}

// Matches reports whether a name matches, in any letter case.
func (p Pattern) Matches(name string) bool {
	matched, _ := path.Match(p.glob, strings.ToUpper(name)) // ParsePattern has checked the glob
	return matched
}

// String returns the pattern as it was written.
func (p Pattern) String() string { return p.text }
