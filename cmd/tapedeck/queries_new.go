package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"tapedeck/internal/durable"
	"tapedeck/internal/tape"
)

// skeletons holds a query of each kind to start from.
//
//go:embed skeleton/*.sql
var skeletons embed.FS

var queryName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// create writes a query to start from into the user's directory of queries.
func (c *queriesCmd) create(a *app) error {
	switch {
	case len(c.Names) != 1:
		return misuse("--new %s needs one name: tapedeck queries --new %s my_query", c.New, c.New)
	case c.SQLDir == "":
		return withHint(misuse("--new needs a directory for your own queries"),
			"name it with --sql-dir DIR, or as sql_dir in config.yaml; it is created if it does not exist")
	case c.Format != "table":
		return misuse("--format is for queries that exist, not for --new")
	case !queryName.MatchString(c.Names[0]):
		return misuse("%q is not a lower_snake_case name such as my_query", c.Names[0])
	case tape.Owns(a.dataDir, c.SQLDir) || tape.Owns(a.dataDir, filepath.Join(c.SQLDir, "query.sql")):
		return misuse("--sql-dir: %q is part of the tape %q; name a directory elsewhere", c.SQLDir, a.dataDir)
	}
	text, err := skeletons.ReadFile("skeleton/" + c.New + ".sql")
	if err != nil {
		return err
	}
	name := c.Names[0]
	title := strings.ReplaceAll(name, "_", " ")
	title = strings.ToUpper(title[:1]) + title[1:]
	path := filepath.Join(c.SQLDir, c.New, name+".sql")
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = misuse("%s exists; choose another name", path)
		}
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("create the directory of the query: %w", err)
	}
	if err := durable.WriteContent(path, strings.NewReplacer("NAME", name, "TITLE", title).Replace(string(text))); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, path)
	from := "" // where the commands find it, unless the configuration says so
	if slices.ContainsFunc(a.args, func(word string) bool { return strings.HasPrefix(word, "--sql-dir") }) {
		from = " --sql-dir " + shellWord(c.SQLDir)
	}
	a.say("%s", map[string]string{
		"detect": fmt.Sprintf("edit it; then tapedeck queries %s%s checks it, and tapedeck detect%s --detector %s --since 24h --dry-run runs it", name, from, from, name),
		"report": fmt.Sprintf("edit it; then tapedeck queries %s%s checks it, and tapedeck report%s --sections %s runs it", name, from, from, name),
		"check":  fmt.Sprintf("edit it; then tapedeck queries %s%s checks it, and tapedeck check%s %s runs it", name, from, from, name),
	}[c.New])
	return nil
}
