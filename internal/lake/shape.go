package lake

import (
	"fmt"
	"strings"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"tapedeck/internal/tape"
)

// Format is the version of the tables' shape and of what their properties mean.
const Format = "1"

// The properties of a table. dayPrefix is followed by a date.
const (
	formatKey = "tapedeck.format"
	marketKey = "tapedeck.market"
	feedKey   = "tapedeck.feed"
	dayPrefix = "tapedeck.day."
)

// market is the only one that a tape can have.
const market = "spot"

// CoverageRow is one row of the table coverage: what the table trades has of a symbol on a UTC date. Times are in
// microseconds since the epoch, UTC.
type CoverageRow struct {
	Symbol string `parquet:"symbol,dict,id(1)"`
	// Date is in days since the epoch.
	Date    int32  `parquet:"date,date,id(2)"`
	FirstID *int64 `parquet:"first_id,optional,id(3)"`
	LastID  *int64 `parquet:"last_id,optional,id(4)"`
	FirstAt *int64 `parquet:"first_at,optional,timestamp(microsecond:local),id(5)"`
	LastAt  *int64 `parquet:"last_at,optional,timestamp(microsecond:local),id(6)"`
	Trades  int64  `parquet:"trades,id(7)"`
	// AbsentAtSource counts ids that the exchange itself does not have; AbsentIDs lists them: 17-19,23.
	AbsentAtSource int64  `parquet:"absent_at_source,id(8)"`
	AbsentIDs      string `parquet:"absent_ids,id(9)"`
	// State is proven, absent, open or dropped; see package tape. It is open only on the first and the last day of
	// a symbol's record.
	State string `parquet:"state,dict,id(10)"`
	// Content is a hash of all rows; see tape.ContentSum.
	Content string `parquet:"content,id(11)"`
	// Tape is the id of the tape that shipped it.
	Tape      string `parquet:"tape,dict,id(12)"`
	CheckedAt int64  `parquet:"checked_at,timestamp(microsecond:local),id(13)"`
}

// shapeOf returns the schema, the partition spec and the sort order with which a table is created.
func shapeOf(name tape.Table) (*iceberg.Schema, *iceberg.PartitionSpec, table.SortOrder) {
	required := func(id int, name string, kind iceberg.Type) iceberg.NestedField {
		return iceberg.NestedField{ID: id, Name: name, Type: kind, Required: true}
	}
	optional := func(id int, name string, kind iceberg.Type) iceberg.NestedField {
		return iceberg.NestedField{ID: id, Name: name, Type: kind}
	}
	text, long, double, micros := iceberg.PrimitiveTypes.String, iceberg.PrimitiveTypes.Int64, iceberg.PrimitiveTypes.Float64, iceberg.PrimitiveTypes.Timestamp
	var fields []iceberg.NestedField
	partition := iceberg.PartitionField{FieldID: 1000, Transform: iceberg.DayTransform{}}
	sorted := []int{1, 2}
	switch name {
	case tape.Alerts:
		fields = []iceberg.NestedField{
			required(1, "detector", text), required(2, "symbol", text), required(3, "at", micros), required(4, "score", double),
			required(5, "severity", text), required(6, "message", text), required(7, "first_id", long),
			required(8, "last_id", long), required(9, "extra", text), required(10, "run_id", text), required(11, "found_at", micros),
		}
		partition.SourceIDs, partition.Name = []int{3}, "at_day"
		sorted = []int{2, 3}
	case tape.Coverage:
		fields = []iceberg.NestedField{
			required(1, "symbol", text), required(2, "date", iceberg.PrimitiveTypes.Date), optional(3, "first_id", long),
			optional(4, "last_id", long), optional(5, "first_at", micros), optional(6, "last_at", micros),
			required(7, "trades", long), required(8, "absent_at_source", long), required(9, "absent_ids", text),
			required(10, "state", text), required(11, "content", text), required(12, "tape", text),
			required(13, "checked_at", micros),
		}
		partition.SourceIDs, partition.Name = []int{2}, "date_day"
		sorted = []int{1}
	default:
		fields = []iceberg.NestedField{
			required(1, "symbol", text), required(2, "id", long), required(3, "price", double), required(4, "qty", double),
			required(5, "first_trade_id", long), required(6, "last_trade_id", long), required(7, "traded_at", micros),
			required(8, "is_buyer_maker", iceberg.PrimitiveTypes.Bool),
		}
		partition.SourceIDs, partition.Name = []int{7}, "traded_at_day"
	}
	var by []table.SortField
	for _, id := range sorted {
		by = append(by, table.SortField{
			SourceIDs: []int{id}, Transform: iceberg.IdentityTransform{}, Direction: table.SortASC, NullOrder: table.NullsFirst,
		})
	}
	order, err := table.NewSortOrder(1, by)
	if err != nil {
		panic(err) // a constant above is wrong
	}
	spec := iceberg.NewPartitionSpec(partition)
	return iceberg.NewSchema(0, fields...), &spec, order
}

// properties are those with which a table is created.
func (l *Lake) properties(tape.Table) iceberg.Properties {
	return iceberg.Properties{
		"format-version": "2", formatKey: Format, marketKey: market, feedKey: string(l.feed),
		// Without it the number of manifests, and of requests for each commit, would grow with the days.
		"commit.manifest-merge.enabled":              "true",
		"write.metadata.delete-after-commit.enabled": "true",
		"write.metadata.previous-versions-max":       "100",
		"write.parquet.compression-codec":            "zstd",
	}
}

// TableError says why a table is not one that tapedeck can use.
type TableError struct{ Table, Problem string }

func (e *TableError) Error() string { return fmt.Sprintf("the table %s %s", e.Table, e.Problem) }

// check returns a *TableError if a table is not one of this tape's market and feed, or has another shape.
func (l *Lake) check(name tape.Table, found *table.Table) error {
	refuse := func(format string, args ...any) error {
		return &TableError{strings.Join(found.Identifier(), "."), fmt.Sprintf(format, args...)}
	}
	switch have := found.Properties(); {
	case have[formatKey] == "":
		return refuse("was not made by tapedeck; name another namespace")
	case have[formatKey] != Format:
		return refuse("has the format %s, made by a newer tapedeck; this one uses format %s", have[formatKey], Format)
	case have[marketKey] != market:
		return refuse("holds the market %s, not %s", have[marketKey], market)
	case l.feed != "" && have[feedKey] != string(l.feed):
		return refuse("holds the feed %s, and the tape has the feed %s; name another namespace", have[feedKey], l.feed)
	}
	if version := found.Metadata().Version(); version > 2 {
		return refuse("has the Iceberg format version %d; tapedeck writes version 2", version)
	}
	want, spec, _ := shapeOf(name)
	for _, field := range want.Fields() {
		have, ok := found.Schema().FindFieldByName(field.Name)
		if !ok || have.ID != field.ID || !have.Type.Equals(field.Type) {
			return refuse("has no column %s of type %s with the field id %d", field.Name, field.Type, field.ID)
		}
	}
	for _, field := range found.Schema().Fields() {
		if _, ours := want.FindFieldByName(field.Name); !ours && field.Required {
			return refuse("requires the column %s, which tapedeck does not write", field.Name)
		}
	}
	given := found.Spec()
	if given.NumFields() != 1 || given.Field(0).Transform.String() != spec.Field(0).Transform.String() ||
		given.Field(0).SourceIDs[0] != spec.Field(0).SourceIDs[0] {
		return refuse("is not partitioned by %s", spec.Field(0).Name)
	}
	return nil
}

// Feed returns the feed of the table trades, or "" if there is no such table.
func feedOf(found *table.Table) tape.Feed { return tape.Feed(found.Properties()[feedKey]) }
