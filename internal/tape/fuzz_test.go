package tape

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// FuzzSegment opens a tape on which a segment has an arbitrary content: nothing panics, and the segment is
// named or its rows are those that its footer lists.
func FuzzSegment(f *testing.F) {
	day := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	source, err := Create(f.TempDir(), AggTrade, day)
	if err != nil {
		f.Fatal(err)
	}
	var rows []Trade
	for id := range int64(20) {
		rows = append(rows, Trade{
			Symbol: "BTCUSDT", ID: id, Price: 1, Qty: 2, FirstTradeID: id, LastTradeID: id, TradedAt: day.UnixMicro() + id,
		})
	}
	if _, err := source.Publish(context.Background(), rows, Origin{Source: FromStream}); err != nil {
		f.Fatal(err)
	}
	segments, _, err := source.Segments(Trades, "", "")
	if err != nil || len(segments) == 0 {
		f.Fatal(segments, err)
	}
	for _, s := range segments {
		content, err := os.ReadFile(filepath.Join(source.Path(), s.Path))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
		f.Add(content[len(content)/2:])
	}
	f.Add([]byte("PAR1"))
	f.Fuzz(func(t *testing.T, content []byte) {
		dir, err := Create(t.TempDir(), AggTrade, day)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir.Path(), "trades", "date=2026-01-15", "x.parquet")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		index := dir.Index()
		if err := index.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		certificate, err := dir.Certify(t.Context(), day.Add(24*time.Hour), true)
		if err != nil {
			t.Fatal(err)
		}
		if !certificate.Complete() || len(index.Broken()) > 0 {
			return
		}
		rows, err := dir.ReadTrades("trades/date=2026-01-15/x.parquet")
		if err != nil {
			t.Fatalf("the certificate is complete, but the rows cannot be read: %v", err)
		}
		var certified int64
		for _, s := range certificate.Symbols {
			certified += s.Trades
		}
		if int64(len(rows)) != certified {
			t.Fatalf("%d rows, %d certified", len(rows), certified)
		}
	})
}
