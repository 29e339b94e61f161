package telegram

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplit(t *testing.T) {
	for name, c := range map[string]struct {
		markup string
		limit  int
		want   []string
	}{
		"short":                           {"<b>a</b> b", 10, []string{"<b>a</b> b"}},
		"nothing":                         {" \n ", 10, nil},
		"empty formatting":                {"<b></b>", 10, nil},
		"at the end of a line":            {"one two\nthree four", 12, []string{"one two\n", "three four"}},
		"at a space":                      {"one\ntwo three four", 12, []string{"one\ntwo ", "three four"}},
		"anywhere":                        {"abcdefghijkl", 5, []string{"abcde", "fghij", "kl"}},
		"tags are closed and opened":      {"<b>abc <i>def</i></b>", 4, []string{"<b>abc </b>", "<b><i>def</i></b>"}},
		"with their attributes":           {`<a href="http://x">abcdef</a>`, 3, []string{`<a href="http://x">abc</a>`, `<a href="http://x">def</a>`}},
		"an entity is one character":      {"&amp;&lt;&gt;", 2, []string{"&amp;&lt;", "&gt;"}},
		"an emoji counts twice":           {"😀😀😀", 4, []string{"😀😀", "😀"}},
		"parts of an emoji stay together": {"ab👨‍👩‍👧", 8, []string{"ab", "👨‍👩‍👧"}},
		"an accent stays with its letter": {"abcde\u0301f", 5, []string{"abcd", "e\u0301f"}},
		"a flag stays together":           {"abc🇩🇪", 5, []string{"abc", "🇩🇪"}},
		"unclosed tag":                    {"<b>a", 10, []string{"<b>a</b>"}},
		"unmatched end tag":               {"a</b>", 10, []string{"a"}},
		"crossed tags":                    {"<b>a<i>b</b>c</i>", 10, []string{"<b>a<i>b</i></b>c"}},
		"unknown tags are text":           {"<br>a<b onclick=1>", 20, []string{"&lt;br&gt;a&lt;b onclick=1&gt;"}},
		"unknown entities are text":       {"&nbsp;&", 20, []string{"&amp;nbsp;&amp;"}},
		"controls by number are left out": {"a&#x80;&#128;&#7;b", 20, []string{"ab"}}, // HTML shows a euro sign, Telegram does not
		"no characters are left out":      {"a&#0;&#xD800;&#x10FFFF;&#x10FFFE;b", 20, []string{"a&#x10FFFE;b"}},
		"indentation is kept":             {"abcdef\n  ghi", 8, []string{"abcdef\n", "  ghi"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Split(c.markup, c.limit)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSplitKeepsServerLimits(t *testing.T) {
	parts := Split(strings.Repeat("<b>x</b>", 1000), TextLimit)
	for _, part := range parts {
		if n := strings.Count(part, "<b>"); n > maxTags {
			t.Errorf("%d formatted pieces in a part", n)
		}
	}
	if got := strings.Count(strings.Join(parts, ""), "x"); got != 1000 {
		t.Errorf("%d of 1000 are left", got)
	}
	for _, part := range Split(strings.Repeat(`<a href="`+strings.Repeat("y", 2000)+`">x</a>`, 20), TextLimit) {
		if len(part) > 35_000 {
			t.Errorf("a part of %d bytes", len(part))
		}
	}
}

func TestSplitOfManyOpenTags(t *testing.T) {
	parts := Split(strings.Repeat("<b><i>", 5000)+strings.Repeat("x", 10_000), TextLimit)
	if got := strings.Count(strings.Join(parts, ""), "x"); got != 10_000 || len(parts) != 3 {
		t.Errorf("%d of 10000 are left, in %d parts", got, len(parts))
	}
}

func TestEscape(t *testing.T) {
	if got, want := Escape("a<b>&\"'\x00\x1b[31m\xff\tz\n"), "a&lt;b&gt;&amp;\"'[31m\uFFFD\tz\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := Plain("<b>a</b> &lt; &#x1F600; <x>"); got != "a < 😀 <x>" {
		t.Errorf("plain: %q", got)
	}
}
