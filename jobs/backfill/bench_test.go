package backfill

import (
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/benchtest"
	"tapedeck/internal/binance"
	"tapedeck/internal/binance/archivetest"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

var benchRows = flag.Int("rows", 1_000_000, "aggTrades in the benchmark's day")

// serveDay starts an exchange with one day: its archive file, and by REST its first and its last
// trade. It returns the URL.
func serveDay(b *testing.B, files archivetest.Files) string {
	b.Helper()
	row := func(line string) map[string]any {
		fields := strings.Split(line, ",")
		number := func(i int) int64 {
			n, err := strconv.ParseInt(fields[i], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
		return map[string]any{"a": number(0), "p": fields[1], "q": fields[2], "f": number(3), "l": number(4), "T": number(5), "m": fields[6] == "True", "M": true}
	}
	first, last := row(files.First), row(files.Last)
	packed, err := os.Open(files.Zip)
	if err != nil {
		b.Fatal(err)
	}
	defer packed.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, packed); err != nil {
		b.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v3/exchangeInfo", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"timezone":"UTC","serverTime":1754697600000,"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":6000}],"symbols":[{"symbol":%q,"status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT"}]}`, archivetest.Symbol)
	})
	mux.HandleFunc("/api/v3/aggTrades", func(w http.ResponseWriter, r *http.Request) {
		rows := []any{}
		switch query := r.URL.Query(); {
		case query.Has("startTime") && query.Get("startTime") <= fmt.Sprint(first["T"]):
			rows = append(rows, first)
		case query.Has("endTime"):
			rows = append(rows, last)
		}
		if err := json.NewEncoder(w).Encode(rows); err != nil {
			b.Error(err)
		}
	})
	mux.HandleFunc("/data/", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".CHECKSUM") {
			fmt.Fprintf(w, "%x  %s\n", sum.Sum(nil), filepath.Base(files.Zip))
			return
		}
		http.ServeFile(w, r, files.Zip)
	})
	server := httptest.NewServer(mux)
	b.Cleanup(server.Close)
	return server.URL
}

// BenchmarkBackfillDay downloads a day from an archive on loopback, verifies it and publishes it.
func BenchmarkBackfillDay(b *testing.B) {
	files, err := archivetest.WriteDay(b.TempDir(), *benchRows)
	if err != nil {
		b.Fatal(err)
	}
	url := serveDay(b, files)
	benchtest.Turns(b, func(b *testing.B) {
		dir, err := tape.Create(filepath.Join(b.TempDir(), "data"), tape.AggTrade, archivetest.Day)
		if err != nil {
			b.Fatal(err)
		}
		rest := binance.NewREST(url, binance.OpenBudget(dir.State().Path("budget.json"), binance.BudgetOptions{}), binance.ClientOptions{})
		defer rest.Close()
		archive := binance.NewArchive(url, binance.ClientOptions{})
		defer archive.Close()
		next := archivetest.Day.AddDate(0, 0, 1)
		began := time.Now()
		summary, err := Run(b.Context(), dir, Clients{REST: rest, Archive: archive}, Options{
			Window: window.Window{Start: archivetest.Day, End: next}, Symbols: symbolsOf(archivetest.Symbol), Now: next.Add(24 * time.Hour), Source: ArchiveOnly,
		})
		took := time.Since(began)
		if err != nil || !summary.Complete() || summary.Total().FromArchive != int64(*benchRows) {
			b.Fatal(err, summary.Total(), summary.Symbols)
		}
		if err := os.RemoveAll(dir.Path()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(*benchRows)/took.Seconds()/1e6, "Mtrades/s")
		_, most := benchtest.Resident(b, 0)
		b.ReportMetric(most, "MB")
	})
}
