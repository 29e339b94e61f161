package symbol

import (
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestNamesAreLettersDigitsAndAFewSigns(t *testing.T) {
	for _, text := range []string{
		"BTCUSDT", "btcusdt", "1INCHUSDT", "BTC-USDT", "BTC_240628", "a.b", ".A", "A..B", "币安人生USDT", "ÄTH",
		strings.Repeat("A", MaxBytes),
	} {
		name, err := Parse(text)
		if err != nil || name.String() != text {
			t.Errorf("%q: %v, %v", text, name, err)
		}
	}
	for _, text := range []string{
		"", ".", "..", "../../tape.json", "a/b", `a\b`, "/", "!BTC*", "*", "BTC*", "?", "[A]", "A B", " A", "A,B", "A>1",
		"A\n", "A\x00", "A\x1b[2J", "A\u202eB", "A\u200bB", "A'B", `A"B`, "A<b>", "A&B", "A%2FB", "A\xff", "A\ufffd", "=A", "+A", "😀",
		strings.Repeat("A", MaxBytes+1), strings.Repeat("币", 22),
	} {
		if name, err := Parse(text); err == nil || !name.IsZero() {
			t.Errorf("%q is a name", text)
		} else if line := err.Error(); strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q: the error is not one printable line: %q", text, line)
		}
	}
}

func TestPatternsSelectNames(t *testing.T) {
	for _, tc := range []struct {
		pattern, matches, not string
	}{
		{"btc*", "BTCUSDT", "ETHBTC"}, {"*usdt", "ÄTHUSDT", "BTC"}, {"?", "币", "AB"}, {"[AB]C", "BC", "CC"}, {"BTCUSDT", "btcusdt", "BTCUSD"},
		{"[^A]*", "BTC", "ABC"},
	} {
		p, err := ParsePattern(tc.pattern)
		if err != nil || !p.Matches(tc.matches) || p.Matches(tc.not) {
			t.Errorf("%q: %v", tc.pattern, err)
		}
	}
	for _, text := range []string{"", "!BTC*", "[", "BTC/USDT", "*\n", `\*`, "BTC USDT", "*>5"} {
		if _, err := ParsePattern(text); err == nil {
			t.Errorf("%q is a pattern", text)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"BTCUSDT", "../../tape.json", "!BTC*", "币安人生USDT", ".", "..", ".A", "A\xff", "A\u202e", "a%2f", strings.Repeat("A", 65)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := Parse(text)
		if (err == nil) != IsValid(text) || (err == nil) != (Check(text) == nil) {
			t.Fatalf("%q: Parse, IsValid and Check differ", text)
		}
		if err != nil {
			if line := err.Error(); !utf8.ValidString(line) || len(line) > 600 || strings.ContainsFunc(line, unicode.IsControl) {
				t.Fatalf("%q: the error is %q", text, line)
			}
			return
		}
		if name.String() != text || len(text) == 0 || len(text) > MaxBytes || !utf8.ValidString(text) {
			t.Fatalf("%q is the name %q", text, name)
		}
		for _, r := range text {
			if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-.", r) {
				t.Fatalf("%q has the character %q", text, r)
			}
		}
		if IsPattern(text) {
			t.Fatalf("%q is a pattern", text)
		}
		file := name.FileName()
		dir := filepath.Join(string(filepath.Separator), "dir")
		if filepath.Dir(filepath.Join(dir, file)) != dir || strings.HasPrefix(file, ".") || len(file) > 200 ||
			strings.ContainsFunc(file, func(r rune) bool { return r > unicode.MaxASCII }) {
			t.Fatalf("%q has the file name %q", text, file)
		}
		if again, err := FromFileName(file); err != nil || again != name {
			t.Fatalf("%q: %q is the file of %q, %v", text, file, again, err)
		}
		if upper := name.Upper(); !IsValid(upper.String()) {
			t.Fatalf("%q is %q in upper case", text, upper)
		}
		p, err := ParsePattern(text)
		if err != nil || !p.Matches(text) {
			t.Fatalf("%q does not match itself: %v", text, err)
		}
	})
}
