package lake

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"

	"tapedeck/internal/idset"
	"tapedeck/internal/tape"
)

// EncodeRows writes rows of coverage or alerts as Parquet.
func EncodeRows[T CoverageRow | tape.Alert](w io.Writer, rows []T) error {
	writer := parquet.NewGenericWriter[T](w, parquet.Compression(&parquet.Zstd), parquet.CreatedBy("tapedeck", "1", ""))
	if _, err := writer.Write(rows); err != nil {
		return err
	}
	return writer.Close()
}

// Coverage reads the rows of coverage of a date, sorted by symbol. t is the table coverage.
func (t *Table) Coverage(ctx context.Context, date, dir string) ([]CoverageRow, error) {
	rows, err := rowsOf[CoverageRow](ctx, t, date, dir)
	slices.SortFunc(rows, func(a, b CoverageRow) int { return strings.Compare(a.Symbol, b.Symbol) })
	return rows, err
}

// Alerts reads the alerts of a date. t is the table alerts.
func (t *Table) Alerts(ctx context.Context, date, dir string) ([]tape.Alert, error) {
	return rowsOf[tape.Alert](ctx, t, date, dir)
}

func rowsOf[T CoverageRow | tape.Alert](ctx context.Context, t *Table, date, dir string) (out []T, err error) {
	files, err := t.Files(ctx, date)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		rows, err := readFile[T](ctx, t, file, dir)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file.Path, err)
		}
		out = append(out, rows...)
	}
	return out, nil
}

func readFile[T CoverageRow | tape.Alert](ctx context.Context, t *Table, file File, dir string) (rows []T, err error) {
	open, err := t.Fetch(ctx, file, dir)
	if err != nil {
		return nil, err
	}
	defer open.Close()
	return decodeRows[T](open)
}

func decodeRows[T CoverageRow | tape.Alert](file *os.File) (rows []T, err error) {
	defer func() {
		if p := recover(); p != nil { // the library panics on some damaged files
			err = fmt.Errorf("damaged content: %v", p)
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return parquet.Read[T](file, info.Size())
}

// IDs returns the ids that a row of coverage says are there.
func (r CoverageRow) IDs() (idset.Set, error) {
	if r.FirstID == nil || r.LastID == nil {
		return nil, nil
	}
	absent, err := ParseIDs(r.AbsentIDs)
	return idset.Set{{First: *r.FirstID, Last: *r.LastID}}.Subtract(absent), err
}

// FormatIDs writes ids as text: 17-19,23.
func FormatIDs(ids idset.Set) string {
	var out []string
	for _, r := range ids {
		if r.First == r.Last {
			out = append(out, strconv.FormatInt(r.First, 10))
		} else {
			out = append(out, fmt.Sprintf("%d-%d", r.First, r.Last))
		}
	}
	return strings.Join(out, ",")
}

// ParseIDs is the inverse of FormatIDs.
func ParseIDs(text string) (ids idset.Set, err error) {
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		from, to, several := strings.Cut(part, "-")
		if !several {
			to = from
		}
		first, err := strconv.ParseInt(from, 10, 64)
		last, lastErr := strconv.ParseInt(to, 10, 64)
		if err != nil || lastErr != nil || first < 0 || last < first {
			return nil, fmt.Errorf("%q are not ids", text)
		}
		ids = ids.Add(idset.Range{First: first, Last: last})
	}
	return ids, nil
}
