package strictyaml

import (
	"fmt"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

func parse(text string) error {
	root, err := Document("f.yaml", []byte(text))
	if err != nil || root == nil {
		return err
	}
	known := []string{"flush_interval", "symbols", "feed"}
	return Each("f.yaml", root, "the file", known, func(_ string, line int, value *yaml.Node) error {
		if _, err := Text(value); err != nil {
			return fmt.Errorf("f.yaml:%d: %w", line, err) // Text does not know where its value is
		}
		return nil
	})
}

func TestErrorsNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "",
		"# only a comment\n":                "",
		"feed: trade\n":                     "",
		"feed: trade\nflush_intervall: 3\n": `f.yaml:2: unknown key "flush_intervall"; did you mean "flush_interval"?`,
		"Flush-Interval: 3\n":               `f.yaml:1: unknown key "Flush-Interval"; did you mean "flush_interval"?`,
		"colour: red\n":                     `f.yaml:1: unknown key "colour"; choose one of flush_interval, symbols, feed`,
		"feed: ' '\n":                       `f.yaml:1: the value is empty`,
		"feed: a\n\nfeed: b\n":              `f.yaml:3: duplicate key "feed"; the first is on line 1`,
		"- feed\n":                          `f.yaml:1: the file needs lines of the form "key: value"`,
		": [\n":                             "f.yaml:1: did not find ",
		"feed\n":                            `f.yaml:1: the file needs lines of the form "key: value"`,
		"feed: [a\n":                        "f.yaml:",
		"a: b\n---\nc: d\n":                 "f.yaml: more than one YAML document; write only one",
		"feed: a\n\tfeed: b\n":              "f.yaml:",
		"[a, b]: c\n":                       "f.yaml:1: a key must be a plain word",
	} {
		err := parse(text)
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)):
			t.Errorf("%q: %v, want %s", text, err, want)
		case err != nil && strings.Contains(err.Error(), "\n"):
			t.Errorf("%q: the error has more than one line: %q", text, err)
		}
	}
}

func FuzzDocument(f *testing.F) {
	for _, seed := range []string{"feed: trade\n", "a: &x {b: *x}\n", "&a [*a]", "? {a: b}\n: c\n", "%YAML 1.1\n---\n", "\xff\xfe", "a: !!binary =\n", "feed: ''\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		err := parse(text)
		if err == nil {
			return
		}
		for _, line := range strings.Split(err.Error(), "\n") { // one for each problem
			if !strings.HasPrefix(line, "f.yaml") {
				t.Errorf("the line %q names no file: %q", line, err)
			}
		}
	})
}
