package analytics

import (
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"tapedeck/internal/wording"
)

// otherDirs are directories of tapedeck's own sql that hold no queries.
var otherDirs = []string{"derived", "macro", "market", "schema", "testdata"}

// misplaced returns an error for each file of a directory of queries that looks like a query but is not
// read, because of its directory or its ending. dir is the path of files. A directory whose name is close
// to a kind that is not among only is left out.
func misplaced(files fs.FS, dir string, only []Kind) (problems []error) {
	report := func(name string, kind Kind, format string, args ...any) {
		shown := filepath.Join(dir, filepath.FromSlash(name))
		text := fmt.Sprintf("%s: %s", shown, fmt.Sprintf(format, args...))
		base, _, _ := strings.Cut(path.Base(name), ".")
		problems = append(problems, &FileError{kind, base, shown, fmt.Errorf("%s", text)})
	}
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil // Load has listed it
	}
	for _, entry := range entries {
		name := entry.Name()
		switch kind := Kind(name); {
		case strings.HasPrefix(name, "."):
		case slices.Contains(kinds, kind):
			if slices.Contains(only, kind) {
				misplacedIn(files, dir, kind, report)
			}
		case !entry.IsDir() && looksLikeQuery(name):
			report(name, "", "not read here; move it into %s, the directory of its kind", kindDirs(dir))
		case entry.IsDir() && !slices.Contains(otherDirs, name):
			if count := queriesIn(files, name); count > 0 {
				near, ok := nearestKind(name)
				if ok && slices.Contains(only, near) {
					report(name, "", "%s in it not read; rename the directory to %s", wording.Count(count, "file"), near)
				} else if !ok {
					report(name, "", "%s in it not read; the directories are %s", wording.Count(count, "file"), kindDirs(dir))
				}
			}
		}
	}
	return problems
}

// misplacedIn reports the files in the directory of a kind that are not read.
func misplacedIn(files fs.FS, dir string, kind Kind, report func(name string, kind Kind, format string, args ...any)) {
	entries, err := fs.ReadDir(files, string(kind))
	if err != nil {
		return // loadFiles has listed it
	}
	for _, entry := range entries {
		name := path.Join(string(kind), entry.Name())
		switch {
		case strings.HasPrefix(entry.Name(), "."):
		case entry.IsDir():
			if count := queriesIn(files, name); count > 0 {
				report(name, kind, "%s in it not read; move what is in it to %s", wording.Count(count, "file"), filepath.Join(dir, string(kind)))
			}
		case !strings.HasSuffix(entry.Name(), ".sql") && looksLikeQuery(entry.Name()):
			base, _, _ := strings.Cut(entry.Name(), ".")
			report(name, kind, "not read because of its ending; rename it to %s.sql", base)
		}
	}
}

// looksLikeQuery reports whether somebody may take a file for a query: x.sql, x.SQL or x.sql.txt, but not a
// copy that an editor keeps.
func looksLikeQuery(name string) bool {
	lower := strings.ToLower(name)
	for _, ending := range []string{"~", ".bak", ".orig", ".rej", ".swp", ".tmp"} {
		if strings.HasSuffix(lower, ending) {
			return false
		}
	}
	return !strings.HasPrefix(name, ".") && strings.Contains(lower, ".sql")
}

// queriesIn counts the files in a directory that look like queries.
func queriesIn(files fs.FS, dir string) (count int) {
	entries, _ := fs.ReadDir(files, dir) // what cannot be listed is no query
	for _, entry := range entries {
		if !entry.IsDir() && looksLikeQuery(entry.Name()) {
			count++
		}
	}
	return count
}

// nearestKind returns the kind that the name of a directory probably means, such as detect for detectors.
func nearestKind(name string) (Kind, bool) {
	lower := strings.ToLower(name)
	for _, kind := range kinds {
		if strings.HasPrefix(lower, string(kind)) {
			return kind, true
		}
	}
	names := make([]string, len(kinds))
	for i, kind := range kinds {
		names[i] = string(kind)
	}
	near := Kind(wording.Nearest(lower, names))
	return near, near != ""
}

func kindDirs(dir string) string {
	paths := make([]string, len(kinds))
	for i, kind := range kinds {
		paths[i] = filepath.Join(dir, string(kind))
	}
	return strings.Join(paths[:len(paths)-1], ", ") + " or " + paths[len(paths)-1]
}
