package analytics

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"tapedeck/internal/durable"
	"tapedeck/sql"
)

// kinds are all kinds, in the order in which Load returns them.
var kinds = []Kind{Detect, Report, Check, Cookbook, Summary}

// FileError is returned for a file among the user's queries that cannot be used.
type FileError struct {
	// Kind and Name are those of the query that the file would be. Both are empty if it is in no
	// directory of queries.
	Kind Kind
	Name string
	Path string
	// Err says what is wrong, in one line for each error. Each line names the file.
	Err error
}

func (e *FileError) Error() string { return e.Err.Error() }
func (e *FileError) Unwrap() error { return e.Err }

// ProblemOf returns the problem with the query of that name, and of one of the kinds if any are given, or
// nil.
func ProblemOf(problems []error, name string, only ...Kind) error {
	for _, problem := range problems {
		var file *FileError
		if errors.As(problem, &file) && file.Name == name && (len(only) == 0 || slices.Contains(only, file.Kind)) {
			return problem
		}
	}
	return nil
}

// Load returns the embedded queries and those in dir, ordered by kind and name. dir has subdirectories
// detect, report, check, cookbook and summary; "" is none. A file in dir replaces the embedded query of the same
// kind and name. A file that breaks the contract is a problem, a *FileError: it is left out, and so is the
// query that it replaces. A file that looks like a query but is in the wrong place, or has the wrong
// ending, is a problem as well. If any kinds are given, only those are loaded.
func Load(dir string, only ...Kind) (queries []Query, problems []error) {
	if len(only) == 0 {
		only = kinds
	}
	found := map[string]Query{}
	problems = loadFiles(found, sql.Files, "sql", only, nil)
	if dir != "" {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			problems = append(problems, fmt.Errorf("the query directory %q does not exist or is not a directory", dir))
		} else {
			problems = append(problems, loadFiles(found, os.DirFS(dir), dir, only, summariesIn(dir))...)
			problems = append(problems, misplaced(os.DirFS(dir), dir, only)...)
		}
	}
	queries = slices.SortedFunc(maps.Values(found), func(a, b Query) int {
		return cmp.Or(slices.Index(kinds, a.Kind)-slices.Index(kinds, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return queries, problems
}

// summariesIn returns the names of the summaries in a directory of queries.
func summariesIn(dir string) (names []string) {
	paths, _ := filepath.Glob(filepath.Join(dir, string(Summary), "*.sql")) // fails for a wrong pattern only
	for _, file := range paths {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".sql"))
	}
	return names
}

// maxQueryBytes is the size above which a file is not a query.
const maxQueryBytes = 1 << 20

// loadFiles puts the queries of the given kinds into found, by path relative to files, and deletes those
// that files replaces with a wrong one. dir is the path of files; summaries are those in it.
func loadFiles(found map[string]Query, files fs.FS, dir string, only []Kind, summaries []string) (problems []error) {
	for _, kind := range only {
		entries, err := fs.ReadDir(files, string(kind))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("list %q: %w", filepath.Join(dir, string(kind)), err))
			continue
		}
		for _, entry := range entries {
			if entry.IsDir() || !strings.HasSuffix(entry.Name(), ".sql") || strings.HasPrefix(entry.Name(), ".") {
				continue
			}
			name := path.Join(string(kind), entry.Name())
			query, err := loadFile(files, name, filepath.Join(dir, filepath.FromSlash(name)), summaries)
			if err != nil {
				problems = append(problems, &FileError{kind, strings.TrimSuffix(entry.Name(), ".sql"), filepath.Join(dir, filepath.FromSlash(name)), err})
				delete(found, name)
			} else {
				found[name] = query
			}
		}
	}
	return problems
}

func loadFile(files fs.FS, name, shown string, summaries []string) (Query, error) {
	info, err := fs.Stat(files, name)
	if err != nil {
		return Query{}, fmt.Errorf("read %q: %w", shown, err)
	}
	if err := durable.CheckRegular(shown, info); err != nil {
		return Query{}, err
	}
	if info.Size() > maxQueryBytes {
		return Query{}, fmt.Errorf("read %q: %d bytes are too many for a query", shown, info.Size())
	}
	content, err := fs.ReadFile(files, name)
	if err != nil {
		return Query{}, fmt.Errorf("read %q: %w", shown, err)
	}
	return parseQuery(shown, string(content), summaries)
}
