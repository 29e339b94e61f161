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

// mutant is the text of a query or macro with one change.
type mutant struct {
	text   string
	line   int
	change string
}

// sqlCaseFile is a case in sql/testdata and its query.
type sqlCaseFile struct {
	query Query
	file  string
}

// mutationTarget is a text to mutate, and the cases that should notice.
type mutationTarget struct {
	path, text string
	cases      []sqlCaseFile
	// run runs the query of a case with the mutated text.
	run func(ctx context.Context, s *Session, text string, query Query, args map[string]any) (Result, error)
}

// mutationTargets returns the embedded queries and the shared macros.
func mutationTargets(t *testing.T) (targets []mutationTarget) {
	t.Helper()
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
	cases := map[string][]sqlCaseFile{}
	for _, file := range files {
		if query, ok := queryOfCase(strings.TrimSuffix(filepath.Base(file), ".txtar"), byName); ok {
			cases[query.Name] = append(cases[query.Name], sqlCaseFile{query, file})
		}
	}
	for _, query := range queries {
		targets = append(targets, mutationTarget{query.Path, query.Text, cases[query.Name], runMutatedQuery})
	}
	for _, name := range sharedMacros {
		text := embeddedSQL("macro/" + name + ".sql")
		target := mutationTarget{"sql/macro/" + name + ".sql", text, nil, runWithMutatedMacro}
		for _, query := range queries {
			if callsMacro(t, query.Text, name) {
				target.cases = append(target.cases, cases[query.Name]...)
			}
		}
		targets = append(targets, target)
	}
	return targets
}

// callsMacro reports whether a text calls a shared macro, by itself or through another one.
func callsMacro(t *testing.T, text, name string) bool {
	t.Helper()
	for _, other := range sharedMacros {
		if !strings.Contains(text, other+"(") {
			continue
		}
		_, body, _ := strings.Cut(embeddedSQL("macro/"+other+".sql"), ") AS")
		if other == name || callsMacro(t, body, name) {
			return true
		}
	}
	return false
}

func runMutatedQuery(ctx context.Context, s *Session, text string, query Query, args map[string]any) (Result, error) {
	mutated, err := ParseQuery(query.Path, text)
	if err != nil {
		return Result{}, err
	}
	return s.Run(ctx, mutated, args)
}

func runWithMutatedMacro(ctx context.Context, s *Session, text string, query Query, args map[string]any) (Result, error) {
	if err := exec(ctx, s.db, strings.Replace(text, "CREATE MACRO", "CREATE OR REPLACE MACRO", 1)); err != nil {
		return Result{}, err
	}
	return s.Run(ctx, query, args)
}

// TestMutants changes each comparison and each threshold of each query and shared macro, one at a time,
// and runs the cases. At least one must fail. A mutant that is not valid SQL counts as killed.
func TestMutants(t *testing.T) {
	if *mutants == "" {
		t.Skip("takes minutes: make sql-mutants")
	}
	all, survived := 0, 0
	for _, target := range mutationTargets(t) {
		if *mutants != "all" && !strings.Contains(target.path, *mutants) {
			continue
		}
		created := mutate(target.text)
		left := created
		s, err := OpenEmpty(t.Context(), Options{Threads: 1, MemoryLimit: "400MB"})
		if err != nil {
			t.Fatal(err)
		}
		for _, of := range target.cases {
			c := loadCase(t, s, of.query, of.file)
			left = slices.DeleteFunc(slices.Clone(left), func(m mutant) bool {
				ctx, cancel := context.WithTimeout(t.Context(), mutantTimeout)
				defer cancel()
				result, err := target.run(ctx, s, m.text, of.query, c.args)
				return err != nil || renderCSV(t, result) != c.want
			})
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("%-36s %4d of %4d killed\n", target.path, len(created)-len(left), len(created))
		for _, m := range left {
			fmt.Printf("    %s:%d survived: %s\n", target.path, m.line, m.change)
		}
		all, survived = all+len(created), survived+len(left)
	}
	fmt.Printf("%d of %d mutants killed, %.1f %%\n", all-survived, all, 100*float64(all-survived)/float64(max(all, 1)))
	if float64(all-survived) < minKilled*float64(all) {
		t.Errorf("fewer than %.0f %% of the mutants were killed", 100*minKilled)
	}
}

var (
	headerDefault = regexp.MustCompile(`(?m)^-- param:\s.*[;,] default ([-0-9.]+|[0-9]+ [a-z]+)$`)
	realNumber    = regexp.MustCompile(`^ (\$[a-z_]+::DOUBLE|by_quote_asset\()`)
	readsFrom     = regexp.MustCompile(`^ (\$window_start::TIMESTAMP - INTERVAL|window_start - INTERVAL|since\b|until\b)`)
	lookBack      = regexp.MustCompile(`(\$window_start::TIMESTAMP|\bwindow_start) - INTERVAL $`)
)

// mutate returns the mutants of a text.
func mutate(text string) (out []mutant) {
	add := func(from, to int, by string) {
		out = append(out, mutant{
			text:   text[:from] + by + text[to:],
			line:   1 + strings.Count(text[:from], "\n"),
			change: fmt.Sprintf("%s → %s in %q", text[from:to], by, strings.TrimSpace(lineAt(text, from))),
		})
	}
	for _, at := range headerDefault.FindAllStringSubmatchIndex(text, -1) {
		for _, by := range neighbors(text[at[2]:at[3]]) {
			add(at[2], at[3], by)
		}
	}
	tokens, err := scan(text)
	if err != nil {
		return nil
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
		isNamedArgument := i > 0 && tokens[i-1].isSymbol(":") && t.text == "="
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
			// And reading more than necessary returns the same rows.
			if isNamedArgument || i == 0 && len(swaps[operator]) > 1 && (realNumber.MatchString(text[t.offset+len(operator):]) || readsFrom.MatchString(text[t.offset+len(operator):])) {
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
	return out
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

func lineAt(text string, at int) string {
	from := strings.LastIndexByte(text[:at], '\n') + 1
	if to := strings.IndexByte(text[at:], '\n'); to >= 0 {
		return text[from : at+to]
	}
	return text[from:]
}
