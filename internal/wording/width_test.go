package wording

import (
	"slices"
	"strings"
	"testing"
)

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string // lines, joined with |
		all   string // as of WrapAll, if it differs
	}{
		{"", 10, "", ""},
		{"one two three", 0, "one two three", "one two three"},
		{"one two three", 7, "one two|three", ""},
		{"one two three", 6, "one|two|three", ""},
		{"  one   two ", 20, "one two", ""},
		{"a wonderful day", 4, "a|wonderful|day", "a|wond|erfu|l|day"},
		{"币安人生 up", 8, "币安人生|up", ""},
		{"币安人生 up", 11, "币安人生 up", ""},
		{"币", 1, "币", ""},
	} {
		if got := strings.Join(Wrap(c.text, c.width), "|"); got != c.want {
			t.Errorf("Wrap(%q, %d) = %q, want %q", c.text, c.width, got, c.want)
		}
		if c.width == 0 {
			continue
		}
		if c.all == "" {
			c.all = c.want
		}
		if got := strings.Join(WrapAll(c.text, c.width), "|"); got != c.all {
			t.Errorf("WrapAll(%q, %d) = %q, want %q", c.text, c.width, got, c.all)
		}
	}
	if got := Wrap("", 5); !slices.Equal(got, []string{""}) {
		t.Errorf("an empty text has the lines %q", got)
	}
}

func TestTruncate(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"币安人生", 8, "币安人生"}, {"币安人生", 7, "币安人…"}, {"币安", 2, "…"}, {"abc", 0, ""}, {"abc", -1, ""},
	} {
		if got := Truncate(c.text, c.width); got != c.want {
			t.Errorf("Truncate(%q, %d) = %q, want %q", c.text, c.width, got, c.want)
		}
	}
}
