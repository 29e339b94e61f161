package analytics

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// writerFunc is a function as a writer.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(data []byte) (int, error) { return f(data) }

// tenMegabytes is a result of more than is held back, with an error in its last row if it has one.
const tenMegabytes = "SELECT i, repeat('x', 1000) AS text, CASE WHEN i = %ROW% THEN error('a bad row') END AS bad FROM range(10000) AS r(i)"

// TestExportBeginsBeforeTheStatementEnds: the rows come as they are computed. Of a statement that fails, the
// error says that the result is cut off, unless nothing of it was written.
func TestExportBeginsBeforeTheStatementEnds(t *testing.T) {
	s := openSession(t, newTape(t, seconds("A", 1, 3)), Options{Threads: 1})
	for row, wantWritten := range map[string]bool{"9999": true, "0": false} {
		var out bytes.Buffer
		err := s.Export(t.Context(), strings.ReplaceAll(tenMegabytes, "%ROW%", row), CSV, &out)
		if err == nil || !strings.Contains(err.Error(), "a bad row") {
			t.Errorf("an error in row %s: %v", row, err)
			continue
		}
		if saysSo := strings.HasSuffix(err.Error(), "; the result is cut off"); saysSo != wantWritten || (out.Len() > 0) != wantWritten {
			t.Errorf("an error in row %s: %d bytes, %v", row, out.Len(), err)
		}
	}
}

// TestExportWithoutPipes writes the same on a file system that has no pipes.
func TestExportWithoutPipes(t *testing.T) {
	s := openSession(t, newTape(t, seconds("A", 1, 3)), Options{})
	conn, err := s.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var text bytes.Buffer
	path := filepath.Join(s.scratch.path, "result")
	statement := "COPY (SELECT 1 AS one) TO " + Quote(path) + " (FORMAT csv, HEADER true)"
	if err := copyFile(t.Context(), conn, statement, path, func(r io.Reader) error { _, err := text.ReadFrom(r); return err }); err != nil || text.String() != "one\n1\n" {
		t.Errorf("%q, %v", text.String(), err)
	}
}

// TestExportEndsWithItsReader: a writer that fails ends the statement, and so does the context while a
// writer waits.
func TestExportEndsWithItsReader(t *testing.T) {
	s := openSession(t, newTape(t, seconds("A", 1, 3)), Options{})
	endless := "SELECT repeat('x', 1000) FROM range(1000000000000)"
	full := errors.New("full")
	err := s.Export(t.Context(), endless, CSV, writerFunc(func([]byte) (int, error) { return 0, full }))
	if !errors.Is(err, full) {
		t.Errorf("a writer that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	released := make(chan struct{})
	defer close(released)
	err = s.Export(ctx, endless, CSV, writerFunc(func([]byte) (int, error) {
		cancel()
		<-released
		return 0, io.ErrClosedPipe
	}))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context: %v", err)
	}
	if got := rowsOf(t, s, "SELECT 1"); got != "1" {
		t.Errorf("afterwards: %s", got)
	}
}

// TestStreamingStatements: a statement whose plan passes its rows on gets little memory, however much
// there is. One that sorts, groups or joins gets what there is.
func TestStreamingStatements(t *testing.T) {
	dir := newTape(t, seconds("A", 1, 3))
	for statement, want := range map[string]bool{
		"FROM trades": true, "SELECT price * qty AS quote_qty FROM trades WHERE symbol = 'A' LIMIT 5;": true,
		"SELECT 1 UNION ALL FROM range(9)": true,
		"FROM trades ORDER BY price":       false, "SELECT symbol, count(*) FROM trades GROUP BY symbol": false,
		"SELECT list(id) FROM trades": false, "FROM trades JOIN bounds USING (symbol)": false,
		"SELECT nothing": false, "DROP VIEW trades": false, "SELECT 1; FROM trades": false, "": false,
	} {
		s := openSession(t, dir, Options{Threads: 1, Statement: statement})
		const little = streamingMemory + streamingPerThread
		if got := s.budget.bytes <= little; got != want && readMemory("/").available > 1<<30 {
			t.Errorf("%q: %d MB", statement, s.budget.bytes>>20)
		}
	}
}

// TestStoreKeepsTheFirstRows: of more rows than are wanted only the first are kept, and all are counted.
func TestStoreKeepsTheFirstRows(t *testing.T) {
	s := openSession(t, newTape(t, seconds("A", 1, 3)), Options{})
	for _, c := range []struct {
		statement          string
		limit, rows, total int64
	}{
		{"SELECT i FROM range(5) AS r(i)", 3, 3, 5},
		{"SELECT i FROM range(5) AS r(i); -- all", 5, 5, 5},
		{"SELECT i FROM range(5) AS r(i) ORDER BY i", 9, 5, 5},
		{"SELECT i FROM range(5) AS r(i) WHERE random() < 2", 3, 3, 5},
		{"FROM trades", 1, 1, 3},
	} {
		stored, err := s.Store(t.Context(), c.statement, c.limit, func([]Column) Cells { return sprintCells })
		if err != nil {
			t.Fatalf("%s: %v", c.statement, err)
		}
		var rows int64
		if err := stored.Each(t.Context(), func(cells []string) error {
			if len(cells) == 1 && cells[0] != fmt.Sprintf("int64 %d", rows) {
				t.Errorf("%s: row %d is %v", c.statement, rows, cells)
			}
			rows++
			return nil
		}); err != nil || rows != c.rows || stored.Rows != c.rows || stored.Total != c.total {
			t.Errorf("%s: %d rows, %d of %d, %v", c.statement, rows, stored.Rows, stored.Total, err)
		}
		if err := stored.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestExportOfNumbersThatJSONHasNot checks that the result is JSON: NaN and the infinities are null in it.
func TestExportOfNumbersThatJSONHasNot(t *testing.T) {
	s := openSession(t, newTape(t, seconds("A", 1, 3)), Options{})
	var out bytes.Buffer
	statement := "SELECT 'nan'::DOUBLE AS a, '-inf'::FLOAT AS \"b\"\"c\", 1.5::DOUBLE AS d, 'nan' AS e ORDER BY 1"
	if err := s.Export(t.Context(), statement, JSON, &out); err != nil {
		t.Fatal(err)
	}
	var rows []map[string]any
	if err := json.Unmarshal(out.Bytes(), &rows); err != nil || len(rows) != 1 {
		t.Fatalf("%s: %v", out.Bytes(), err)
	}
	want := map[string]any{"a": nil, `b"c`: nil, "d": 1.5, "e": "nan"}
	if diff := cmp.Diff(want, rows[0]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
