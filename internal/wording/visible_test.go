package wording

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "",
		"BTCUSDT":                          "BTCUSDT",
		"币安人生 ✓":                           "币安人生 ✓",
		"emoji 👩‍👩‍👧 stays":                "emoji 👩‍👩‍👧 stays",
		`C:\data`:                          `C:\data`,
		"X\nComplete: every id":            `X\nComplete: every id`,
		"a\x1b[2Jb\x07":                    `a\x1b[2Jb\a`,
		"two\r\nlines\tand\x00":            `two\r\nlines\tand\x00`,
		"\u009b31m":                        `\u009b31m`,
		"bad \xff":                         `bad \xff`,
		"\u202egnirts\u2066 \u200fx\u061c": `\u202egnirts\u2066 \u200fx\u061c`,
		"\ufeffBTC\u200bUSDT\u00ad":        `\ufeffBTC\u200bUSDT\u00ad`,
		"line\u2028paragraph\u2029":        `line\u2028paragraph\u2029`,
		"tag \U000E0041":                   `tag \U000e0041`,
		"a nbsp\u00a0stays":                "a nbsp\u00a0stays",
	} {
		if got := Visible(text); got != want {
			t.Errorf("Visible(%q) = %q, want %q", text, got, want)
		}
		if got := Visible(want); got != want {
			t.Errorf("Visible(%q) = %q, not the same", want, got)
		}
	}
	if got, want := Name(strings.Repeat("Ä", 140)), strings.Repeat("Ä", 120)+"… (20 more characters)"; got != want {
		t.Errorf("Name = %q, want %q", got, want)
	}
	if got, want := Name(strings.Repeat("Ä", 120)), strings.Repeat("Ä", 120); got != want {
		t.Errorf("Name = %q, want %q", got, want)
	}
	if got, want := Visible("a\n"+strings.Repeat("x", 3999)), `a\n`+strings.Repeat("x", 3998)+"… (1 more character)"; got != want {
		t.Errorf("Visible = %q, want %q", got, want)
	}
}

func TestFormula(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "BTC": "BTC", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@a": "'@a", "\tx": "'\tx", "\rx": "'\rx", "＝1": "'＝1", " =1": " =1",
	} {
		if got := Formula(text); got != want {
			t.Errorf("Formula(%q) = %q, want %q", text, got, want)
		}
	}
}

// hidden has a character of each kind that a terminal might act on.
const hidden = "a\x1b[2J\u009b31m\u202e\u200b\U000E0041\x7f\n\t币"

func TestJSONDecodesToTheSameText(t *testing.T) {
	encoded, err := json.Marshal(hidden)
	if err != nil {
		t.Fatal(err)
	}
	for step := 1; step < 5; step++ {
		var out bytes.Buffer
		w := JSON(&out)
		for rest := append([]byte("[\n\t"), append(encoded, "]\n"...)...); len(rest) > 0; rest = rest[min(step, len(rest)):] {
			if n, err := w.Write(rest[:min(step, len(rest))]); err != nil || n != min(step, len(rest)) {
				t.Fatal(n, err)
			}
		}
		if got, want := out.String(), "[\n\t\"a\\u001b[2J\\u009b31m\\u202e\\u200b\\udb40\\udc41\\u007f\\n\\t币\"]\n"; got != want {
			t.Errorf("step %d: %q, want %q", step, got, want)
		}
		var decoded []string
		if err := json.Unmarshal(out.Bytes(), &decoded); err != nil || decoded[0] != hidden {
			t.Errorf("step %d: decoded %q, %v", step, decoded, err)
		}
	}
}

func TestLinesShowsWhatATerminalWouldActOn(t *testing.T) {
	for step := 1; step < 5; step++ {
		var out bytes.Buffer
		w := Lines(&out)
		for rest := []byte(hidden + "\xff\r\n"); len(rest) > 0; rest = rest[min(step, len(rest)):] {
			if _, err := w.Write(rest[:min(step, len(rest))]); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := out.String(), "a\\x1b[2J\\u009b31m\\u202e\\u200b\\U000e0041\\x7f\n\t币\\xff\\r\n"; got != want {
			t.Errorf("step %d: %q, want %q", step, got, want)
		}
	}
}
