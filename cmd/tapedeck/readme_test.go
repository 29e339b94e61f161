package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tapedeck/analytics"
)

const readmePath = "../../README.md"

// readmeLines is how long the README may be: what a person reads in one sitting.
const readmeLines = 250

// TestREADME holds the README to what is there: its tables of commands and queries are made of the help and of the queries' headers.
func TestREADME(t *testing.T) {
	text, err := os.ReadFile(readmePath)
	if err != nil {
		t.Fatal(err)
	}
	readme := string(text)
	want := readme
	for name, table := range map[string]string{"commands": commandTable(t), "queries": queryTable(t)} {
		begin, end := strings.Index(want, "<!-- "+name+":"), strings.Index(want, "<!-- end of "+name+" -->")
		if begin < 0 || end < begin {
			t.Fatalf("the README has no place for the table of %s", name)
		}
		first := begin + strings.Index(want[begin:], "\n") + 1
		want = want[:first] + "\n" + table + "\n" + want[end:]
	}
	if *update {
		if err := os.WriteFile(readmePath, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		readme = want
	}
	if diff := cmp.Diff(want, readme); diff != "" {
		t.Errorf("the README's tables are not up to date; -update rewrites them:\n%s", diff)
	}
	if n := strings.Count(readme, "\n"); n > readmeLines {
		t.Errorf("the README has %d lines, more than %d", n, readmeLines)
	}
}

func commandTable(t *testing.T) string {
	table := "| command | does |\n|---|---|\n"
	for _, command := range commands(t) {
		table += fmt.Sprintf("| `%s` | %s |\n", command.Name, command.Help)
	}
	return table
}

func queryTable(t *testing.T) string {
	queries, problems := analytics.Load("")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	table := "| query | a row is, or what its rows are | parameters and their defaults |\n|---|---|---|\n"
	for _, query := range queries {
		if query.Kind == analytics.Cookbook {
			continue // its twenty are told of below the table
		}
		var params []string
		for _, param := range query.Params {
			if param.HasDefault {
				params = append(params, fmt.Sprintf("%s %s", param.Name, valueText(param.Default)))
			}
		}
		table += fmt.Sprintf("| [%s/%s](%s) | %s | %s |\n", query.Kind, query.Name, query.Path, summaryOf(query), strings.Join(params, ", "))
	}
	return table
}

// TestREADMECommandLines holds every command line in the README to the real flags.
func TestREADMECommandLines(t *testing.T) {
	text, err := os.ReadFile(readmePath)
	if err != nil {
		t.Fatal(err)
	}
	a := &app{}
	checked := 0
	fenced := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	inline := regexp.MustCompile("`(tapedeck [^`]*)`").FindAllStringSubmatch(string(text), -1)
	for _, match := range append(fenced, inline...) {
		for line := range strings.SplitSeq(match[1], "\n") {
			_, line, found := strings.Cut(line, "tapedeck ")
			if !found || strings.Contains(line, "market.duckdb") || strings.Contains(line, "COMMAND") || strings.Contains(line, "NAME") {
				continue
			}
			line, _, _ = strings.Cut(line, "#")
			args := strings.Fields(line)
			if i := strings.Index(line, `"`); i > 0 {
				args = append(strings.Fields(line[:i]), strings.Trim(strings.TrimSpace(line[i:]), `"`))
			}
			if err := a.validateCommand(args); err != nil && !strings.Contains(err.Error(), "does not end by itself") && !strings.Contains(err.Error(), "asks for help") {
				t.Errorf("tapedeck %s: %v", line, err)
			}
			checked++
		}
	}
	if checked < 10 {
		t.Errorf("only %d command lines were found", checked)
	}
}

// TestKeysAreInTheREADME: each key of config.yaml stands in the README's table.
func TestKeysAreInTheREADME(t *testing.T) {
	readme, err := os.ReadFile(readmePath)
	if err != nil {
		t.Fatal(err)
	}
	for key := range configKeys() {
		if !strings.Contains(string(readme), "\n| `"+key+"` |") {
			t.Errorf("the README's table of keys lacks %s", key)
		}
	}
}
