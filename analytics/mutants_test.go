package analytics

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var mutants = flag.String("mutants", "", "mutate the queries whose path contains this text, and print the mutants that the cases in sql/testdata miss")

// mutantTimeout is when a mutant counts as killed, for example because it joins everything with everything.
const mutantTimeout = 20 * time.Second

// minKilled is the share of mutants that the cases must kill.
const minKilled = 0.95

// mutant is a query with one change.
type mutant struct {
	query  Query
	line   int
	change string
}

// TestMutants changes each comparison and each threshold of each query, one at a time, and runs
// the cases. At least one must fail. A mutant that is not a valid query counts as killed.
func TestMutants(t *testing.T) {
	if *mutants == "" {
		t.Skip("takes minutes: make sql-mutants")
	}
	queries, problems := Load("")
	for _, problem := range problems {
		t.Fatal(problem)
	}
	byName := map[string]Query{}
	for _, query := range queries {
		byName[query.Name] = query
	}
	files, err := filepath.Glob(filepath.Join(casesDir, "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string][]string{}
	for _, file := range files {
		if query, ok := queryOfCase(strings.TrimSuffix(filepath.Base(file), ".txtar"), byName); ok {
			cases[query.Name] = append(cases[query.Name], file)
		}
	}
	all, survived := 0, 0
	for _, query := range queries {
		if *mutants != "all" && !strings.Contains(query.Path, *mutants) {
			continue
		}
		made, dead := mutate(query)
		left := made
		s, err := OpenEmpty(t.Context(), Options{Threads: 1, MemoryLimit: "400MB"})
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range cases[query.Name] {
			c := loadCase(t, s, query, file)
			left = slices.DeleteFunc(slices.Clone(left), func(m mutant) bool {
				ctx, cancel := context.WithTimeout(t.Context(), mutantTimeout)
				defer cancel()
				result, err := s.Run(ctx, m.query, c.args)
				return err != nil || renderCSV(t, result) != c.want
			})
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("%-36s %4d of %4d killed\n", query.Path, dead+len(made)-len(left), dead+len(made))
		for _, m := range left {
			fmt.Printf("    %s:%d survived: %s\n", query.Path, m.line, m.change)
		}
		all, survived = all+dead+len(made), survived+len(left)
	}
	fmt.Printf("%d of %d mutants killed, %.1f %%\n", all-survived, all, 100*float64(all-survived)/float64(max(all, 1)))
	if float64(all-survived) < minKilled*float64(all) {
		t.Errorf("fewer than %.0f %% of the mutants were killed", 100*minKilled)
	}
}

var (
	headerDefault = regexp.MustCompile(`(?m)^-- param:\s.*[;,] default ([-0-9.]+|[0-9]+ [a-z]+)$`)
	realNumber    = regexp.MustCompile(`^ \$[a-z_]+::DOUBLE`)
	readsFrom     = regexp.MustCompile(`^ \$window_start::TIMESTAMP - INTERVAL`)
	lookBack      = regexp.MustCompile(`\$window_start::TIMESTAMP - INTERVAL $`)
)

// mutate returns the mutants of a query, and how many more are not valid queries.
func mutate(query Query) (out []mutant, dead int) {
	text := query.Text
	add := func(from, to int, by string) {
		m := mutant{line: 1 + strings.Count(text[:from], "\n"), change: fmt.Sprintf("%s → %s in %q", text[from:to], by, strings.TrimSpace(lineAt(text, from)))}
		var err error
		if m.query, err = ParseQuery(query.Path, text[:from]+by+text[to:]); err != nil {
			dead++
			return
		}
		out = append(out, m)
	}
	for _, at := range headerDefault.FindAllStringSubmatchIndex(text, -1) {
		for _, by := range neighbors(text[at[2]:at[3]]) {
			add(at[2], at[3], by)
		}
	}
	tokens, err := scan(text)
	if err != nil {
		return nil, 1
	}
	swaps := map[string][]string{">=": {">", "<"}, ">": {">=", "<="}, "<=": {"<", ">"}, "<": {"<=", ">="}, "=": {"<>"}, "<>": {"="}}
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		if t.kind == literal && i > 0 && tokens[i-1].text == "interval" && isDigit(t.text[0]) {
			for _, by := range neighbors(t.text) {
				// Reading further back than necessary returns the same rows, so it is not a mutant.
				if n, _ := strconv.Atoi(by); n > 0 && lookBack.MatchString(text[:t.offset]) && len(by) >= len(t.text) && by > t.text {
					continue
				}
				add(t.offset, t.offset+len(t.text), by)
			}
		}
		if t.kind != symbol || !strings.Contains("<>=", t.text) {
			continue
		}
		operator := t.text
		if i+1 < len(tokens) && tokens[i+1].offset == t.offset+1 && strings.Contains(">=", tokens[i+1].text) {
			operator += tokens[i+1].text
			i++
		}
		for i, by := range swaps[operator] {
			// With real numbers, rounding would decide whether a case shows the difference between > and >=.
			// And reading from an earlier instant returns the same rows.
			if i == 0 && len(swaps[operator]) > 1 && (realNumber.MatchString(text[t.offset+len(operator):]) || readsFrom.MatchString(text[t.offset+len(operator):])) {
				continue
			}
			add(t.offset, t.offset+len(operator), by)
		}
		if i+1 < len(tokens) && tokens[i+1].kind == literal && isDigit(tokens[i+1].text[0]) {
			next := tokens[i+1]
			for _, by := range neighbors(next.text) {
				add(next.offset, next.offset+len(next.text), by)
			}
		}
	}
	return out, dead
}

// neighbors returns the values a tenth below and above a number, at least 1 for an integer.
func neighbors(number string) []string {
	number, unit, _ := strings.Cut(number, " ")
	if unit != "" {
		unit = " " + unit
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		step := max(1, n/10)
		return []string{fmt.Sprint(n-step) + unit, fmt.Sprint(n+step) + unit}
	}
	x, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return nil
	}
	return []string{strconv.FormatFloat(0.9*x, 'g', -1, 64) + unit, strconv.FormatFloat(1.1*x, 'g', -1, 64) + unit}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func lineAt(text string, at int) string {
	from := strings.LastIndexByte(text[:at], '\n') + 1
	if to := strings.IndexByte(text[at:], '\n'); to >= 0 {
		return text[from : at+to]
	}
	return text[from:]
}
