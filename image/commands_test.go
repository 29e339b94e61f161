package image_test

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
)

// block is a fenced block of shell commands in a page, and what a comment right before it asks for.
type block struct {
	page   string
	line   int    // of the first command
	asks   string // "another machine": run it where no volume is left from the blocks before
	script string
}

// The comments that direct the test. A page that has begin and end is tested between them, any other as a whole.
const (
	begin = "<!-- image-test: begin -->"
	end   = "<!-- image-test: end -->"
	asks  = "<!-- image-test: "
)

// commands gives the blocks marked `sh` of a page, in their order.
func commands(page, text string) ([]block, error) {
	var blocks []block
	whole := !strings.Contains(text, begin)
	inside, fence, wish := whole, "", ""
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
				blocks = append(blocks, block{page: page, line: number + 1, asks: wish})
			}
			wish = ""
		case line == begin:
			inside = true
		case line == end:
			inside = false
		case strings.HasPrefix(line, asks):
			wish = strings.TrimSuffix(strings.TrimPrefix(line, asks), " -->")
			if wish != "another machine" {
				return nil, fmt.Errorf("%s:%d: nobody knows what %q asks for", page, number, line)
			}
		}
	}
	if fence != "" || inside != whole {
		return nil, fmt.Errorf("%s: a block or the tested part has no end", page)
	}
	return blocks, nil
}

// pages are those whose commands are run; the README has them between begin and end.
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
			t.Logf("README.md marks no commands: a line %q and a line %q around them do", begin, end)
			continue
		}
		blocks, err := commands(page, string(text))
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

func TestCommandsOfAPage(t *testing.T) {
	fenced := func(kind string, lines ...string) string {
		return "```" + kind + "\n" + strings.Join(lines, "\n") + "\n```\n"
	}
	text := "# A page\n" + fenced("sh", "a b", "c \\", "  d") + fenced("", "no") + fenced("json", "{}") +
		"<!-- image-test: another machine -->\n" + fenced("sh", "e")
	got, err := commands("p.md", text)
	want := []block{{"p.md", 3, "", "a b\nc \\\n  d\n"}, {"p.md", 15, "another machine", "e\n"}}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = commands("p.md", fenced("sh", "before")+begin+"\n"+fenced("sh", "inside")+end+"\n"+fenced("sh", "after"))
	if err != nil || len(got) != 1 || got[0].script != "inside\n" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, broken := range []string{"```sh\na\n", begin + "\n", "<!-- image-test: dance -->\n"} {
		if _, err := commands("p.md", broken); err == nil {
			t.Errorf("%q is taken", broken)
		}
	}
}

// What a page shows in its running text is shown again in a block, or is an example that wants what a test has not.
func TestPagesHaveCommands(t *testing.T) {
	for _, b := range pages(t, "..") {
		if strings.TrimSpace(b.script) == "" {
			t.Errorf("%s:%d: an empty block", b.page, b.line)
		}
	}
}
