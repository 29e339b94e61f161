package image_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// block is a fenced block of shell commands in a page, with the directive in the comment before it.
type block struct {
	page      string
	line      int    // of the first command
	directive string // "another machine": run it without the volumes of the blocks before
	script    string
}

// The comments that direct the test. A page with begin and end is tested between them, any other as a
// whole.
const (
	begin           = "<!-- image-test: begin -->"
	end             = "<!-- image-test: end -->"
	directivePrefix = "<!-- image-test: "
)

// parseBlocks returns the blocks marked `sh` of a page in order.
func parseBlocks(page, text string) ([]block, error) {
	var blocks []block
	whole := !strings.Contains(text, begin)
	inside, fence, directive := whole, "", ""
	lines := bufio.NewScanner(strings.NewReader(text))
	var script strings.Builder
	for number := 1; lines.Scan(); number++ {
		line := lines.Text()
		switch {
		case fence != "" && strings.TrimSpace(line) == "```":
			if fence == "sh" && inside {
				blocks[len(blocks)-1].script = script.String()
			}
			fence = ""
		case fence != "":
			script.WriteString(line + "\n")
		case strings.HasPrefix(line, "```"):
			fence = strings.TrimSpace(strings.TrimPrefix(line, "```"))
			if fence == "" {
				fence = "text"
			}
			script.Reset()
			if fence == "sh" && inside {
				blocks = append(blocks, block{page: page, line: number + 1, directive: directive})
			}
			directive = ""
		case line == begin:
			inside = true
		case line == end:
			inside = false
		case strings.HasPrefix(line, directivePrefix):
			directive = strings.TrimSuffix(strings.TrimPrefix(line, directivePrefix), " -->")
			if directive != "another machine" {
				return nil, fmt.Errorf("%s:%d: unknown directive %q", page, number, line)
			}
		}
	}
	if fence != "" || inside != whole {
		return nil, fmt.Errorf("%s: a block or the tested part does not end", page)
	}
	return blocks, nil
}

// pages returns the blocks of all tested pages. In the README they are between begin and end.
func pages(t *testing.T, root string) []block {
	t.Helper()
	var all []block
	for _, page := range []string{"DOCKER.md", "README.md"} {
		text, err := os.ReadFile(root + "/" + page)
		switch {
		case os.IsNotExist(err) && page == "README.md":
			t.Log("there is no README.md")
			continue
		case err != nil:
			t.Fatal(err)
		case page == "README.md" && !strings.Contains(string(text), begin):
			t.Logf("README.md has no commands between lines %q and %q", begin, end)
			continue
		}
		blocks, err := parseBlocks(page, string(text))
		if err != nil {
			t.Fatal(err)
		}
		if len(blocks) == 0 {
			t.Errorf("%s: no commands to test", page)
		}
		all = append(all, blocks...)
	}
	return all
}

func TestParseBlocks(t *testing.T) {
	fenced := func(kind string, lines ...string) string {
		return "```" + kind + "\n" + strings.Join(lines, "\n") + "\n```\n"
	}
	text := "# A page\n" + fenced("sh", "a b", "c \\", "  d") + fenced("", "no") + fenced("json", "{}") +
		"<!-- image-test: another machine -->\n" + fenced("sh", "e")
	got, err := parseBlocks("p.md", text)
	want := []block{{"p.md", 3, "", "a b\nc \\\n  d\n"}, {"p.md", 15, "another machine", "e\n"}}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = parseBlocks("p.md", fenced("sh", "before")+begin+"\n"+fenced("sh", "inside")+end+"\n"+fenced("sh", "after"))
	if err != nil || len(got) != 1 || got[0].script != "inside\n" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, broken := range []string{"```sh\na\n", begin + "\n", "<!-- image-test: dance -->\n"} {
		if _, err := parseBlocks("p.md", broken); err == nil {
			t.Errorf("%q is accepted", broken)
		}
	}
}

// untested lists commands in the text of a page that are in no block, with the reason.
var untested = map[string]string{
	`docker compose run --rm -v "$PWD/archive:/archive:ro" import /archive/BTCUSDT-aggTrades-2026-01-15.zip`: "needs a file that the test does not have",
	"docker compose exec stream tapedeck health --help":                                                      "the help has a golden file",
	"docker compose down":                               "TestStack",
	"docker compose down --volumes":                     "every test with a stack ends with it",
	"docker build --platform linux/arm64 -t tapedeck .": "needs a base image for arm64",
}

// TestCommandsInTheText expects that each command in the text of a page is in a block or in untested.
func TestCommandsInTheText(t *testing.T) {
	run := map[string]bool{}
	for _, b := range pages(t, "..") {
		for line := range strings.Lines(b.script) {
			run[strings.TrimSpace(line)] = true
		}
	}
	if len(run) < 20 {
		t.Errorf("only %d commands in the blocks of all pages", len(run))
	}
	inline := regexp.MustCompile("`(docker (?:compose|run|build) [^`]+)`")
	for _, page := range []string{"../DOCKER.md", "../README.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range inline.FindAllStringSubmatch(string(text), -1) {
			if _, known := untested[found[1]]; !known && !run[found[1]] {
				t.Errorf("%s shows %q, which no test runs", page, found[1])
			}
		}
	}
}

// TestComposePassesSettings expects that compose.yaml passes every setting on, except the paths that
// are fixed in the containers.
func TestComposePassesSettings(t *testing.T) {
	fixed := map[string]bool{"config": true, "crontab": true, "data_dir": true, "sql_dir": true, "now": true}
	stack, err := os.ReadFile("../compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	sources, err := filepath.Glob("../cmd/tapedeck/*.go")
	if err != nil {
		t.Fatal(err)
	}
	keys := 0
	for _, source := range sources {
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`\bkey:"([a-z_]+)"`).FindAllStringSubmatch(string(text), -1) {
			keys++
			if name := "TAPEDECK_" + strings.ToUpper(found[1]); !fixed[found[1]] && !strings.Contains(string(stack), "\n    "+name+":") {
				t.Errorf("compose.yaml does not pass on %s", name)
			}
		}
	}
	if keys < 10 {
		t.Errorf("only %d settings found", keys)
	}
}
