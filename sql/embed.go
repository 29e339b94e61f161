// Package sql is the text of tapedeck's queries: what a relation holds (schema), and the detectors, report sections and
// checks that read the relations. Each file is one SELECT under a header that names what it reads, its parameters and its
// columns; package analytics reads the headers and runs the files. They run as they stand in the duckdb shell, too.
package sql

import "embed"

// Files holds schema/*.sql, detect/*.sql, report/*.sql, check/*.sql and cookbook/*.sql, the statements of relations in derived/*.sql and market/*.sql.
//
//go:embed */*.sql
var Files embed.FS
