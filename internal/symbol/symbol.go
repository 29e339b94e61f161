// Package symbol holds the names of trading pairs, and the patterns that select them.
//
// Its one guarantee: a Name is harmless wherever it is used. It can have letters, digits, "_", "-"
// and "." only, so it is no path, no SQL, no markup and no terminal sequence, and it is never read as
// a pattern. Parse is the only way to make one, so whatever comes from outside passes it: the
// exchange, files, the tape, flags and the configuration.
package symbol

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxBytes is the length of the longest name. Binance's own limit is 50 characters.
const MaxBytes = 64

// Name is the name of a trading pair as the exchange spells it, such as BTCUSDT. It may be non-ASCII.
// The zero value is no name. Names are compared with ==.
type Name struct{ text string }

// InvalidError is a text that is not a name.
type InvalidError struct {
	Text   string
	reason string
}

// Error quotes the text, so that it has no control characters, and shortens it.
func (e *InvalidError) Error() string {
	return fmt.Sprintf("%s is not a symbol, such as BTCUSDT: %s", Quote(e.Text), e.reason)
}

// What a name can be, for messages.
const (
	tooLong    = "it can have 64 bytes at most"
	empty      = "it is empty"
	characters = `it can have letters, digits, "_", "-" and "."`
	dots       = "it consists of dots"
)

// Parse returns the name that a text is. The error is an *InvalidError.
func Parse(text string) (Name, error) {
	if reason := whyNot(text); reason != "" {
		return Name{}, &InvalidError{text, reason}
	}
	return Name{strings.Clone(text)}, nil // a part of a larger text would keep that in memory
}

// IsValid reports whether a text is a name.
func IsValid(text string) bool { return whyNot(text) == "" }

// Check returns the error of Parse.
func Check(text string) error {
	if reason := whyNot(text); reason != "" {
		return &InvalidError{text, reason}
	}
	return nil
}

// whyNot returns why a text is not a name, or "".
func whyNot(text string) string {
	switch {
	case text == "":
		return empty
	case len(text) > MaxBytes:
		return tooLong
	case text == "." || text == "..":
		return dots
	}
	for i := 0; i < len(text); i++ {
		if c := text[i]; c >= utf8.RuneSelf {
			return whyNotRunes(text)
		} else if !isPlain(c) {
			return characters
		}
	}
	return ""
}

func whyNotRunes(text string) string {
	for _, r := range text {
		if r == utf8.RuneError || r < utf8.RuneSelf && !isPlain(byte(r)) ||
			r >= utf8.RuneSelf && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return characters
		}
	}
	return ""
}

// isPlain reports whether a name can have an ASCII character.
func isPlain(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c == '_' || c == '-' || c == '.'
}

// Must returns the name that a constant is. It panics if the text is not a name.
func Must(text string) Name {
	name, err := Parse(text)
	if err != nil {
		panic(err)
	}
	return name
}

// String returns the name.
func (n Name) String() string { return n.text }

// IsZero reports whether there is no name.
func (n Name) IsZero() bool { return n.text == "" }

// Compare orders names by their bytes.
func (n Name) Compare(other Name) int { return cmp.Compare(n.text, other.text) }

// Upper returns the name in upper case, as the exchange spells its ASCII letters. A few letters are
// longer in upper case; a name that would be too long is returned as it is.
func (n Name) Upper() Name {
	if upper, err := Parse(strings.ToUpper(n.text)); err == nil {
		return upper
	}
	return n
}

// MarshalText implements encoding.TextMarshaler.
func (n Name) MarshalText() ([]byte, error) { return []byte(n.text), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *Name) UnmarshalText(text []byte) (err error) {
	*n, err = Parse(string(text))
	return err
}

// FileName returns the name of a file for n: ASCII, without separators, never hidden and at most
// three times as long. FromFileName is its inverse.
func (n Name) FileName() string {
	name := url.PathEscape(n.text)
	if strings.HasPrefix(name, ".") {
		name = "%2E" + name[1:]
	}
	return name
}

// FromFileName returns the name whose FileName is given. Names that are not encoded are accepted, as
// earlier versions wrote them.
func FromFileName(file string) (Name, error) {
	text, err := url.PathUnescape(file)
	if err != nil {
		return Name{}, &InvalidError{file, characters}
	}
	return Parse(text)
}

// ParseAll returns the names among texts in their order, and the texts that are none.
func ParseAll(texts []string) (names []Name, invalid []string) {
	for _, text := range texts {
		if name, err := Parse(text); err == nil {
			names = append(names, name)
		} else {
			invalid = append(invalid, text)
		}
	}
	return names, invalid
}

// Strings returns the texts of names.
func Strings(names []Name) []string {
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = name.text
	}
	return texts
}

// Sort sorts names and removes repeated ones.
func Sort(names []Name) []Name {
	slices.SortFunc(names, Name.Compare)
	return slices.Compact(names)
}

// QuoteAll returns texts as Quote shows them.
func QuoteAll(texts []string) []string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = Quote(text)
	}
	return quoted
}

// IsPrintable reports whether a text can be typed on a command line as it is.
func IsPrintable(text string) bool {
	return len(text) <= 200 && utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

// ShellQuote returns a printable text as one word for a shell.
func ShellQuote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// Show returns a name as it is, and any other text as Quote does.
func Show(text string) string {
	if IsValid(text) {
		return text
	}
	return Quote(text)
}

// Quote returns any text, also one that is not a name, in quotes and on one line: what is not
// printable is escaped, and what is long is shortened.
func Quote(text string) string {
	const most = 80
	if len(text) > most {
		cut := most
		for cut > 0 && !utf8.RuneStart(text[cut]) {
			cut--
		}
		return fmt.Sprintf("%q…", text[:cut])
	}
	return fmt.Sprintf("%q", text)
}
