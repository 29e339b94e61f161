package soak

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/state"
)

// conflictCounts compares the conflicts that the exchange served with those on the tape.
type conflictCounts struct {
	// Under faults a process can be killed after it received another content and before it wrote it.
	servedUnderFaults, foundUnderFaults int
	// Without faults each one that is served must be found.
	served, found int
	// strange counts conflicts on the tape that were not served, are there twice, or whose row on the
	// tape is not the exchange's.
	strange int
	first   string // the first strange or missing one
}

// content is what the tape has of a row, as text.
func contentOf(symbol string, r exchange.Row) string {
	price, _ := strconv.ParseFloat(r.Price, 64)
	qty, _ := strconv.ParseFloat(r.Qty, 64)
	return describe(symbol, r.ID, price, qty, r.TradedAt, r.BuyerMaker)
}

func describe(symbol string, id int64, price, qty float64, at int64, maker bool) string {
	// The archive and REST have milliseconds for some days.
	return fmt.Sprintf("%s %d: %v %v at %d ms, %t", symbol, id, price, qty, at/1000, maker)
}

// recordedConflict is a row of the table conflicts.
type recordedConflict struct{ kept, other string }

// recordedConflicts reads the table conflicts with plain DuckDB.
func (s *soak) recordedConflicts() (out []recordedConflict) {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(fmt.Sprintf(`SELECT symbol, id, price, qty, epoch_us(traded_at), is_buyer_maker,
    other_price, other_qty, epoch_us(other_traded_at), other_is_buyer_maker
FROM read_parquet('%s')`, filepath.Join(s.data, "conflicts/*/*.parquet")))
	if err != nil {
		s.t.Fatalf("read the conflicts: %v", err)
	}
	defer rows.Close()
	for rows.Next() {
		var symbol string
		var id, at, otherAt int64
		var price, qty, otherPrice, otherQty float64
		var maker, otherMaker bool
		if err := rows.Scan(&symbol, &id, &price, &qty, &at, &maker, &otherPrice, &otherQty, &otherAt, &otherMaker); err != nil {
			s.t.Fatal(err)
		}
		out = append(out, recordedConflict{
			describe(symbol, id, price, qty, at, maker), describe(symbol, id, otherPrice, otherQty, otherAt, otherMaker),
		})
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
	return out
}

// serveConflicts ends the random faults and serves other contents in each way that a conflict arises: a
// stream that sends an id again, and a file of the archive that was published again. Then it compares
// what was served with what is on the tape.
func (s *soak) serveConflicts() {
	s.server.EndFaults()
	under := s.server.Conflicts()
	s.conflicts.servedUnderFaults = len(under)
	s.conflicts.foundUnderFaults = s.checkConflicts(under)

	const events = 12
	began := time.Now()
	ctx, stop := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer stop()
	go func() {
		defer stop() // interrupts the stream, which then writes what it holds
		for before := s.server.Served().Messages; s.server.Served().Messages < before+20; {
			if !pause(ctx, 20*time.Millisecond) {
				return
			}
		}
		if _, err := s.server.Inject(exchange.Fault{Kind: exchange.Conflict, Count: events}); err != nil {
			s.problem("inject: %v", err)
			return
		}
		for want := int64(len(under) + events); s.server.Served().Conflicts < want; {
			if !pause(ctx, 20*time.Millisecond) {
				s.problem("the stream received only %d of %d conflicts", s.server.Served().Conflicts-int64(len(under)), events)
				return
			}
		}
		for s.publishedConflicts(began) < events && pause(ctx, 20*time.Millisecond) {
		}
	}()
	s.run(ctx, 0, "stream", "--symbols", strings.Join(s.names, ","), "--flush-interval", "300ms")

	// The day was on the tape before the archive replaced its file.
	for i, symbol := range s.names[:2] {
		day := s.begin.Format(time.DateOnly)
		path := fmt.Sprintf("/data/spot/daily/aggTrades/%s/%[1]s-aggTrades-%s.zip", symbol, day)
		if _, err := s.server.Inject(exchange.Fault{Kind: exchange.ArchiveRevised, Match: path}); err != nil {
			s.problem("inject: %v", err)
		}
		file := filepath.Join(s.logs, fmt.Sprintf("revised-%d", i), filepath.Base(path))
		// The file appears some hours after its day, and a fault of before may still hold it.
		for started := time.Now(); time.Since(started) < 2*time.Minute; {
			// It may be replaced between the two downloads.
			replaced := s.server.Served().Faults[exchange.ArchiveRevised] > int64(i)
			if !s.download(path, file) || !s.download(path+".CHECKSUM", file+".CHECKSUM") {
				pause(s.t.Context(), 200*time.Millisecond)
			} else if replaced {
				break
			}
		}
		if status := s.run(s.t.Context(), 0, "import", file); status != 3 {
			s.problem("import of a file with other contents: exit status %d, want 3", status)
		}
	}
	served := s.server.Conflicts()
	s.conflicts.served = len(served) - len(under)
	s.conflicts.found = s.checkConflicts(served) - s.conflicts.foundUnderFaults
	s.end = s.server.Now()
}

// publishedConflicts returns how many conflicts the stream that was started after began says it found.
func (s *soak) publishedConflicts(began time.Time) int64 {
	var live state.Stream
	text, err := os.ReadFile(filepath.Join(s.data, ".state", state.StreamFile))
	if err != nil || json.Unmarshal(text, &live) != nil || live.StartedAt.Before(began) {
		return 0
	}
	return live.Counters.Conflicts
}

// download stores a file of the exchange's archive. It returns false if there is none yet.
func (s *soak) download(path, file string) bool {
	response, err := http.Get(s.server.URL() + path)
	if err != nil {
		s.problem("download: %v", err)
		return false
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return false
	}
	content, err := io.ReadAll(response.Body)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o755)
	}
	if err == nil {
		err = os.WriteFile(file, content, 0o644)
	}
	if err != nil {
		s.problem("download: %v", err)
	}
	return err == nil
}

// checkConflicts returns how many of the conflicts that were served are on the tape, and counts strange
// ones.
func (s *soak) checkConflicts(served []exchange.Altered) (found int) {
	wanted := map[string]string{} // the exchange's row by the content that was served instead
	for _, a := range served {
		row := s.source.Rows(nil, a.Symbol, a.Kind, a.Row.ID, 1)
		wanted[contentOf(a.Symbol, a.Row)] = contentOf(a.Symbol, row[0])
	}
	recorded := map[string]bool{}
	for _, c := range s.recordedConflicts() {
		switch right, ok := wanted[c.other]; {
		case !ok:
			s.strange("%s is a conflict with %s, which was not served", c.kept, c.other)
		case c.kept != right:
			s.strange("the tape keeps %s, the exchange had %s", c.kept, right)
		case recorded[c.other]:
			s.strange("the conflict with %s is on the tape twice", c.other)
		}
		recorded[c.other] = true
	}
	for other := range wanted {
		if recorded[other] {
			found++
		} else if s.conflicts.first == "" {
			s.conflicts.first = "not found: " + other
		}
	}
	return found
}

func (s *soak) strange(format string, args ...any) {
	if s.conflicts.strange++; s.conflicts.strange == 1 {
		s.conflicts.first = fmt.Sprintf(format, args...)
	}
}
