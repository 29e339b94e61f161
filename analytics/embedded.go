package analytics

import (
	"io/fs"

	"tapedeck/sql"
)

// sharedMacros are the macros in sql/macro, in the order in which they are created.
var sharedMacros = [...]string{
	"severity_of", "by_quote_asset", "clock_buckets", "bucket_baselines", "move_baselines", "rush_minutes",
}

// embeddedSQL returns the text of an embedded file, such as derived/minutes.sql.
func embeddedSQL(name string) (string, error) {
	content, err := fs.ReadFile(sql.Files, name)
	return string(content), err
}

// embeddedNames returns the names of the embedded files that match a pattern, sorted.
func embeddedNames(pattern string) ([]string, error) { return fs.Glob(sql.Files, pattern) }
