package analytics

import (
	"fmt"
	"slices"
	"strings"
)

// DuckDB's settings, which a session locks, stop statements from opening files outside the tape's
// directories. They do not stop functions that a SELECT can call and that change the session itself, print
// to standard output, or write files into the directories that may be read. So no text that a session runs
// may call one of these. TestEveryFunctionIsJudged fails if DuckDB gets a function that is in no list.
var (
	// actingFunctions do something else than return rows.
	actingFunctions = []string{
		"enable_profiling", "disable_profiling", // write a file, or print to standard output
		"enable_logging", "disable_logging", "truncate_duckdb_logs", "write_log", // write files
		"enable_peg_parser", "disable_peg_parser", "setseed", // change the session
		"checkpoint", "force_checkpoint",
		"query", "json_execute_serialized_sql", // run a text, which would hide other functions
		"arrow_scan", "arrow_scan_dumb", "seq_scan", // take addresses in memory
		"duckdb_secrets", "which_secret", // open files in the home directory
		"read_duckdb", // attaches a database
	}
	// fileFunctions read files by name, and sniff_csv and glob tell about them. A statement of the user's
	// may read those of the tape with them; a query has relations.
	fileFunctions = []string{
		"read_parquet", "parquet_scan", "parquet_metadata", "parquet_file_metadata", "parquet_full_metadata",
		"parquet_kv_metadata", "parquet_schema", "parquet_bloom_probe", "read_csv", "read_csv_auto", "sniff_csv",
		"read_json", "read_json_auto", "read_json_objects", "read_json_objects_auto", "read_ndjson", "read_ndjson_auto",
		"read_ndjson_objects", "read_text", "read_blob", "glob",
	}
	// sessionFunctions tell about the session and its machine. Those that begin with duckdb_ or pragma_ do
	// too.
	sessionFunctions = []string{"current_setting", "query_table", "summary", "sql_auto_complete"}
)

// refusedFunction returns why a text may not call a function, or "". isQuery is set for a query with a
// header.
func refusedFunction(name string, isQuery bool) string {
	name = strings.ToLower(name)
	switch {
	case slices.Contains(actingFunctions, name):
		return "it does something else than return rows"
	case !isQuery:
		return ""
	case slices.Contains(fileFunctions, name):
		return "a query reads relations, not files"
	case slices.Contains(sessionFunctions, name), strings.HasPrefix(name, "duckdb_"), strings.HasPrefix(name, "pragma_"):
		return "a query reads relations, not the session"
	}
	return ""
}

// refusedCall returns the line of the first call in a text that is refused, and why, or 0. Each name
// before an opening bracket counts as a call, so that no way to write one is overlooked.
func refusedCall(tokens []token, isQuery bool) (line int, reason string) {
	for i, t := range tokens {
		if i+1 < len(tokens) && tokens[i+1].isSymbol("(") {
			name := t.name()
			if reason := refusedFunction(name, isQuery); name != "" && reason != "" {
				return t.line, fmt.Sprintf("%s is not allowed: %s", name, reason)
			}
		}
		if isQuery && i > 0 && t.kind == literal && namesFile(tokens[i-1], t) {
			return t.line, fmt.Sprintf("%s is not allowed: a query reads relations, not files", t.text)
		}
	}
	return 0, ""
}

// namesFile reports whether a quoted token is a file that is read: a string with a slash behind FROM or
// JOIN, or a quoted name with one.
func namesFile(before, t token) bool {
	switch t.text[0] {
	case '"':
		return strings.Contains(t.text, "/")
	case '\'', 'e', 'E', '$':
		return strings.Contains(t.text, "/") && before.kind == word && (before.text == "from" || before.text == "join")
	}
	return false
}

// name returns the name that a word or a quoted name stands for, or "".
func (t token) name() string {
	switch {
	case t.kind == word:
		return t.text
	case t.kind == literal && strings.HasPrefix(t.text, `"`):
		return strings.ReplaceAll(strings.Trim(t.text, `"`), `""`, `"`)
	}
	return ""
}
