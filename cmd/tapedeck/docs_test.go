package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tapedeck/analytics"
)

// maxREADMEWords bounds what a person reads before the first command.
const maxREADMEWords = 1800

// checkTable compares the part of a page between two markers with the table that belongs there; -update
// writes it.
func checkTable(t *testing.T, path, name, table string) {
	t.Helper()
	path = filepath.Join("..", "..", path)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	start, end := strings.Index(page, "<!-- "+name+":"), strings.Index(page, "<!-- end of "+name+" -->")
	if start < 0 || end < start {
		t.Fatalf("%s has no markers for the table of %s", path, name)
	}
	first := start + strings.Index(page[start:], "\n") + 1
	want := page[:first] + "\n" + table + "\n" + page[end:]
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, page); diff != "" {
		t.Errorf("the table of %s in %s is not up to date; make golden rewrites it:\n%s", name, path, diff)
	}
}

func TestREADMEListsTheCommands(t *testing.T) {
	table := "| command | does |\n|---|---|\n"
	for _, command := range commands(t) {
		table += fmt.Sprintf("| `%s` | %s |\n", command.Name, command.Help)
	}
	checkTable(t, "README.md", "commands", table)
}

func TestREADMEIsShort(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(strings.Fields(string(text))); n > maxREADMEWords {
		t.Errorf("the README has %d words, more than %d", n, maxREADMEWords)
	}
}

func TestDocsListTheQueries(t *testing.T) {
	queries, problems := analytics.Load("")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	table := "| query | rows | parameters and their defaults |\n|---|---|---|\n"
	for _, query := range queries {
		if query.Kind == analytics.Cookbook {
			continue // described below the table
		}
		var params []string
		for _, param := range query.Params {
			if param.HasDefault {
				params = append(params, fmt.Sprintf("%s %s", param.Name, valueText(param.Default)))
			}
		}
		table += fmt.Sprintf("| [%s/%s](../%s) | %s | %s |\n", query.Kind, query.Name, query.Path, summaryOf(query), strings.Join(params, ", "))
	}
	checkTable(t, "docs/QUERIES.md", "queries", table)
}

// pages returns the Markdown pages that users and contributors read.
func pages(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../docs/decisions/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, found...)
	}
	return paths
}

// TestCommandLinesInDocsParse checks every tapedeck command line in the documentation against the real flags.
func TestCommandLinesInDocsParse(t *testing.T) {
	a := &app{}
	checked := 0
	for _, path := range pages(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		fenced := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1)
		inline := regexp.MustCompile("`(tapedeck [^`]*)`").FindAllStringSubmatch(string(text), -1)
		for _, match := range append(fenced, inline...) {
			for line := range strings.SplitSeq(match[1], "\n") {
				if strings.Contains(line, "docker ") {
					continue // run by make image-test
				}
				_, line, found := strings.Cut(line, "tapedeck ")
				if !found || strings.Contains(line, "market.duckdb") || strings.Contains(line, "COMMAND") || strings.Contains(line, "NAME") {
					continue
				}
				line, _, _ = strings.Cut(line, "#")
				args := strings.Fields(line)
				if i := strings.Index(line, `"`); i > 0 {
					args = append(strings.Fields(line[:i]), strings.Trim(strings.TrimSpace(line[i:]), `"`))
				}
				if _, _, err := a.validateCommand(args); err != nil && !strings.Contains(err.Error(), "runs until it is stopped") && !strings.Contains(err.Error(), "shows help") {
					t.Errorf("%s: tapedeck %s: %v", path, line, err)
				}
				checked++
			}
		}
	}
	if checked < 20 {
		t.Errorf("found only %d command lines", checked)
	}
}

// TestLinksInDocsLeadSomewhere checks that every relative link names a file that exists.
func TestLinksInDocsLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	for _, path := range pages(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), match[1])); err != nil {
				t.Errorf("%s links to %s: %v", path, match[1], err)
			}
		}
	}
}

func TestConfigurationPageListsEveryKey(t *testing.T) {
	text, err := os.ReadFile("../../docs/CONFIGURATION.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range configKeys() {
		if !strings.Contains(string(text), "\n| `"+key+"` |") {
			t.Errorf("docs/CONFIGURATION.md does not list the key %s", key)
		}
	}
}

// TestDocsNameRealTestsAndFiles checks that every test, script and path that the pages on the code and on
// security mention exists.
func TestDocsNameRealTestsAndFiles(t *testing.T) {
	tests := map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, match := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			tests[match[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ARCHITECTURE.md", "SECURITY-MODEL.md"} {
		page, err := os.ReadFile("../../docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)`").FindAllStringSubmatch(string(page), -1) {
			if !tests[match[1]] {
				t.Errorf("%s names %s, which does not exist", name, match[1])
			}
		}
		for _, match := range regexp.MustCompile("`(\\w+\\.txtar)`").FindAllStringSubmatch(string(page), -1) {
			if _, err := os.Stat(filepath.Join("testdata/script", match[1])); err != nil {
				t.Errorf("%s names the script %s: %v", name, match[1], err)
			}
		}
		for _, match := range regexp.MustCompile("`((?:internal|jobs|analytics|sql|cmd|scripts)/[\\w/.]+)`").FindAllStringSubmatch(string(page), -1) {
			if _, err := os.Stat(filepath.Join("../..", match[1])); err != nil {
				t.Errorf("%s names %s: %v", name, match[1], err)
			}
		}
	}
}
