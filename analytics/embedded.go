package analytics

import "tapedeck/sql"

// sharedMacros are the macros in sql/macro, in the order in which they are created.
var sharedMacros = [...]string{
	"severity_of", "by_quote_asset", "in_usdt", "usdt_rates", "clock_buckets", "bucket_baselines", "move_baselines", "rush_minutes",
}

// embeddedSQL returns the text of an embedded file, such as derived/minutes.sql. It panics if tapedeck was
// built without the file.
func embeddedSQL(name string) string {
	content, err := sql.Files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return string(content)
}
