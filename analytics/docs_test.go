package analytics

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tapedeck/sql"
)

// fencedBlock returns the first block of a Markdown text with the given language.
func fencedBlock(t *testing.T, markdown, language string) string {
	t.Helper()
	_, rest, found := strings.Cut(markdown, "```"+language+"\n")
	block, _, closed := strings.Cut(rest, "```\n")
	if !found || !closed {
		t.Fatalf("no block of %s", language)
	}
	return block
}

// TestExampleInTheDocs runs the example of docs/SQL.md: the query keeps its header, and its case passes.
func TestExampleInTheDocs(t *testing.T) {
	page, err := os.ReadFile("../docs/SQL.md")
	if err != nil {
		t.Fatal(err)
	}
	query, err := ParseQuery("detect/one_sided_minute.sql", fencedBlock(t, string(page), "sql"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenEmpty(t.Context(), Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Check(t.Context(), query); err != nil {
		t.Error(err)
	}
	file := filepath.Join(t.TempDir(), "one_sided_minute_ordinary.txtar")
	if err := os.WriteFile(file, []byte(fencedBlock(t, string(page), "txtar")), 0o644); err != nil {
		t.Fatal(err)
	}
	if !*update {
		runCase(t, s, query, file)
	}
}

// TestDocsListRelationsAndMacros checks that docs/SQL.md names every relation, every column of minutes and
// every macro.
func TestDocsListRelationsAndMacros(t *testing.T) {
	content, err := os.ReadFile("../docs/SQL.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(content)
	_, relations, _ := strings.Cut(page, "\n## Relations\n")
	s, err := OpenEmpty(t.Context(), Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, name := range relationNames {
		if !strings.Contains(relations, "\n**"+name+":**") {
			t.Errorf("docs/SQL.md does not describe %s", name)
		}
		columns, err := columnsOf(t.Context(), s.db, "canonical."+name)
		if err != nil {
			t.Fatal(err)
		}
		for _, column := range columns {
			if !strings.Contains(relations, column.Name) {
				t.Errorf("docs/SQL.md does not name %s.%s", name, column.Name)
			}
		}
	}
	macros := sharedMacros[:]
	for _, definition := range strings.Split(embeddedSQL(macrosName), "CREATE MACRO ")[1:] {
		name, _, _ := strings.Cut(definition, "(")
		macros = append(macros, name)
	}
	for _, name := range macros {
		if !strings.Contains(page, "`"+name+"(") {
			t.Errorf("docs/SQL.md does not list the macro %s", name)
		}
	}
	files, err := fs.Glob(sql.Files, "macro/*.sql")
	if err != nil || len(files) != len(sharedMacros) {
		t.Errorf("sql/macro has the files %v, and sharedMacros %v: %v", files, sharedMacros, err)
	}
}
