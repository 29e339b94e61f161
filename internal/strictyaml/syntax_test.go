package strictyaml

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestSyntaxErrorsNameTheLine checks the line and the words for the mistakes that people make.
func TestSyntaxErrorsNameTheLine(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"jobs:\n  - name: a\n    schedule: x\n   run: b\n", "4: the line is indented by 3 spaces, and the lines above that it can follow by 0, 2 or 4"},
		{"jobs:\n  - name: a\n    schedule: x\n     run: b\n", "4: the line is indented by 5 spaces, more than the line above (4), which has a value already"},
		{"jobs:\n  - name: a\n  schedule: x\n    run: b\n", "3: the line is indented like a dash of the list above; its keys are indented by 4 spaces"},
		{"jobs:\n  - name: a\n    schedule: x\n    run: b\n - name: c\n   schedule: y\n   run: z\n", "5: the line is indented by 1 space, and the lines above that it can follow by 0, 2 or 4"},
		{"jobs:\n  - name: a\n    schedule: x\n    run: b\n   - name: c\n     schedule: y\n     run: z\n", "5: the line is indented by 3 spaces, and the lines above that it can follow by 0, 2 or 4"},
		{"jobs:\n  - name: a\n    schedule: x\n    run: b\n    - name: c\n      schedule: y\n", "5: the dash is indented like a key of the entry above; the dash of that entry is indented by 2 spaces"},
		{"jobs:\n  - name: a\n    schedule: x\n    run: b\n  name: c\n", "5: the line is indented like a dash of the list above; its keys are indented by 4 spaces"},
		{"jobs:\n# c\n  - name: a\n    schedule: x\n\n    timeout 10m\n    run: b\n", "6: \"timeout 10m\" has no colon: a line has the form \"key: value\""},
		{"a: 1\n b: 2\nc: 3\n", "2: the line is indented by 1 space, more than the line above (0), which has a value already"},
		{"a: 1\n  b: 2\nc: 3\n", "2: the line is indented by 2 spaces, more than the line above (0), which has a value already"},
		{"telegram:\n  chats:\n    - id: 1\n     name: x\n", "4: the line is indented by 5 spaces, and the lines above that it can follow by 0, 2, 4 or 6"},
		{"detectors:\n  pump:\n    min: 1\n   max: 2\n", "4: the line is indented by 3 spaces, and the lines above that it can follow by 0, 2 or 4"},
		{"detectors:\n  pump:\n    min: 1\n     max: 2\n", "4: the line is indented by 5 spaces, more than the line above (4), which has a value already"},
		{"symbols: [a, b\nfeed: trade\n", "1: the [ that starts here is not closed"},
		{"symbols:\n  - a\n - b\n", "3: the line is indented by 1 space, and the lines above that it can follow by 0 or 2"},
		{"symbols:\n  - a\n   - b\n", ""},
		{"a: 1\nb\nc: 3\n", "2: \"b\" has no colon: a line has the form \"key: value\""},
		{"a: 1\nb 2\n", "2: \"b 2\" has no colon: a line has the form \"key: value\""},
		{"a: {b: 1\nc: 2\nd: 3\n", "1: the { that starts here is not closed"},
		{"a: \"x\nb: 2\nc: 3\n", "1: the quote that starts here is not closed"},
		{"a: 'it's'\nb: 2\n", "1: the quote that starts here is not closed"},
		{"a: b: c\nd: 1\n", "1: a value with a colon needs quotes: \"b: c\""},
		{"a: @daily\nb: 1\n", "1: a value that starts with @ needs quotes: \"@daily\""},
		{"a: %x\nb: 1\n", "1: a value that starts with % needs quotes: \"%x\""},
		{"x: 1\na:\n  - b\n  c: 1\n", "4: the line is indented like a dash of the list above; the key of that list is indented by 0 spaces"},
		{"x: 1\n\ta: 2\n", "2: the line is indented with a tab; YAML needs spaces"},
		{"x: &a\n  y: 1\nz: *b\n", "3: unknown anchor 'b' referenced"},
		{"jobs:\n  - name: a\n    run: x\n    schedule:\"y\"\n  - name: b\n", "4: \"schedule:\\\"y\\\"\" needs a space after the colon"},
		{"  a: 1\nb: 2\n", "1: the first line is indented by 2 spaces, and line 2 by 0"},
		{"jobs:\n  -name: a\n    run: x\n", "2: write a space after the dash"},
	} {
		_, err := Document("f", []byte(c.text))
		got := ""
		if err != nil {
			got = strings.TrimPrefix(err.Error(), "f:")
		}
		if got != c.want {
			t.Errorf("%q:\n got %s\nwant %s", c.text, got, c.want)
		}
	}
}

// TestWrongIndentationNamesTheLine indents one line of a file differently. If the file is no YAML
// then, the error names that line, or the next one, which cannot follow it.
func TestWrongIndentationNamesTheLine(t *testing.T) {
	const text = `# jobs
jobs:
  - name: heal
    schedule: "*/5 * * * *"
    run: backfill --since 2h
    timeout: 10m

  # every minute
  - name: detect
    schedule: "* * * * *"
    run: detect
telegram:
  chats:
    - id: 1
      tags: [a, b]
    - id: 2
      quiet:
        from: "22:00"
        to: "06:00"
detectors:
  pump_burst:
    min_rms: 8
symbols:
  - BTCUSDT
  - ETHUSDT
`
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	wrong := 0
	for wrong < 300 {
		lines := strings.Split(text, "\n")
		i := rnd.IntN(len(lines) - 1)
		content := strings.TrimLeft(lines[i], " ")
		if content == "" || content[0] == '#' {
			continue
		}
		before := len(lines[i]) - len(content)
		lines[i] = strings.Repeat(" ", max(0, before+rnd.IntN(9)-4)) + content
		_, err := Document("f", []byte(strings.Join(lines, "\n")))
		if err == nil {
			continue
		}
		wrong++
		next := i + 1
		for next < len(lines) && (strings.TrimSpace(lines[next]) == "" || strings.TrimSpace(lines[next])[0] == '#') {
			next++
		}
		if !strings.HasPrefix(err.Error(), fmt.Sprintf("f:%d: ", i+1)) && !strings.HasPrefix(err.Error(), fmt.Sprintf("f:%d: ", next+1)) {
			t.Errorf("seed %d: line %d is wrong:\n%s\n%v", seed, i+1, strings.Join(lines, "\n"), err)
		}
		if strings.Contains(err.Error(), "did not find") || strings.Contains(err.Error(), "mapping values") {
			t.Errorf("seed %d: line %d gets the parser's words:\n%s\n%v", seed, i+1, strings.Join(lines, "\n"), err)
		}
	}
}
