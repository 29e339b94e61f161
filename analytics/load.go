package analytics

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	text "tapedeck/sql"
)

// Load reads the embedded queries and those of a directory with subdirectories detect, report, check and cookbook ("" for none). A file
// there with the name of an embedded query takes its place. A file that breaks the contract is a problem and is left out;
// if it was to take an embedded query's place, that one is left out, too. Queries come by kind and name: those of the given kinds, of
// all where none is given.
func Load(dir string, kinds ...Kind) (queries []Query, problems []error) {
	order := []Kind{Detect, Report, Check, Cookbook}
	if len(kinds) == 0 {
		kinds = order
	}
	found := map[string]Query{}
	embedded, errs := loadFrom(text.Files, kinds, func(name string) string { return "sql/" + name })
	problems = append(problems, errs...)
	for _, loaded := range embedded {
		found[loaded.key] = loaded.query
	}
	if dir != "" {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			problems = append(problems, fmt.Errorf("the directory of queries %q is not there or is not a directory", dir))
			dir = ""
		}
	}
	if dir != "" {
		own, errs := loadFrom(os.DirFS(dir), kinds, func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) })
		problems = append(problems, errs...)
		for _, loaded := range own {
			found[loaded.key] = loaded.query
			if loaded.query.Name == "" {
				delete(found, loaded.key)
			}
		}
	}
	for _, query := range found {
		queries = append(queries, query)
	}
	slices.SortFunc(queries, func(a, b Query) int {
		return cmp.Or(slices.Index(order, a.Kind)-slices.Index(order, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return queries, problems
}

type loadedQuery struct {
	key   string // kind and name
	query Query  // without a name where the file is wrong
}

// maxQueryBytes is the size over which a file is not taken for a query.
const maxQueryBytes = 1 << 20

func loadFrom(files fs.FS, kinds []Kind, pathOf func(string) string) (out []loadedQuery, problems []error) {
	for _, kind := range kinds {
		entries, err := fs.ReadDir(files, string(kind))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("list %q: %w", pathOf(string(kind)), err))
			continue
		}
		for _, entry := range entries {
			if entry.IsDir() || !strings.HasSuffix(entry.Name(), ".sql") || strings.HasPrefix(entry.Name(), ".") {
				continue
			}
			name := path.Join(string(kind), entry.Name())
			query, err := loadFile(files, name, pathOf(name))
			if err != nil {
				problems = append(problems, err)
			}
			out = append(out, loadedQuery{name, query})
		}
	}
	return out, problems
}

func loadFile(files fs.FS, name, shown string) (Query, error) {
	info, err := fs.Stat(files, name)
	if err != nil {
		return Query{}, fmt.Errorf("read %q: %w", shown, err)
	}
	if info.Size() > maxQueryBytes {
		return Query{}, fmt.Errorf("read %q: %d bytes are too many for a query", shown, info.Size())
	}
	content, err := fs.ReadFile(files, name)
	if err != nil {
		return Query{}, fmt.Errorf("read %q: %w", shown, err)
	}
	return ParseQuery(shown, string(content))
}
