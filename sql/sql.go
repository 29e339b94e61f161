// Package sql holds the text of tapedeck's SQL: the schema of the relations, what is derived from them, and the queries over
// them. Each query is one SELECT under a header that names what it reads, its parameters and its columns. Package analytics
// parses the headers and runs the queries; they also run unchanged in the duckdb shell. docs/SQL.md specifies the header.
package sql

import "embed"

// Files holds the queries (detect, report, check, cookbook and summary), the schema of the relations (schema), the SELECTs of derived
// relations (derived), the table macros that detectors share (macro), and what market.duckdb holds besides (market).
//
//go:embed */*.sql
var Files embed.FS
