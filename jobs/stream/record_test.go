package stream

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"tapedeck/internal/recorded"
	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/state"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
)

// newTape creates an empty tape.
func newTape(t *testing.T, feed tape.Feed) *tape.Dir {
	t.Helper()
	dir, err := tape.Create(t.TempDir(), feed, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// runRecorder runs a recorder until it ends.
func runRecorder(ctx context.Context, dir *tape.Dir, opt Options) (Summary, error) {
	r, err := New(dir, opt)
	if err != nil {
		return Summary{}, err
	}
	err = r.Run(ctx)
	return r.Summary(), err
}

// fixedSymbols is an Options.Symbols that always returns the same symbols.
func fixedSymbols(texts ...string) func(context.Context) ([]symbol.Name, error) {
	return func(context.Context) ([]symbol.Name, error) { return namesOf(texts...), nil }
}

func namesOf(texts ...string) (names []symbol.Name) {
	for _, text := range texts {
		names = append(names, symbol.Must(text))
	}
	return names
}

// freshDecoders makes the Parquet library forget its decoders. The recorder reads its own history when
// it adds to it.
func freshDecoders() { parquet.Zstd = zstd.Codec{Level: parquet.Zstd.Level} }

// readTrades reads a segment with a decoder of its own. The Parquet library keeps decoders for
// reuse, and with them channels that belong to the synctest bubble in which they were created.
func readTrades(dir *tape.Dir, path string) ([]tape.Trade, error) {
	freshDecoders()
	return dir.ReadTrades(path)
}

// tapeRows reads a whole tape, sorted by symbol and id. A duplicate row fails the test.
func tapeRows(t *testing.T, dir *tape.Dir) []tape.Trade {
	t.Helper()
	segments, broken, err := dir.Segments(tape.Trades, "", "")
	if err != nil || len(broken) > 0 {
		t.Fatal(err, broken)
	}
	var rows []tape.Trade
	for _, segment := range segments {
		if segment.Rows == 0 {
			continue
		}
		read, err := readTrades(dir, segment.Path)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range read {
			if date := tape.DateOf(row.TradedAt); date != segment.Date {
				t.Fatalf("%s %d traded on %s is in the partition of %s", row.Symbol, row.ID, date, segment.Date)
			}
		}
		rows = append(rows, read...)
	}
	slices.SortFunc(rows, func(a, b tape.Trade) int {
		return cmp.Or(cmp.Compare(a.Symbol, b.Symbol), cmp.Compare(a.ID, b.ID))
	})
	for i := 1; i < len(rows); i++ {
		if rows[i].Symbol == rows[i-1].Symbol && rows[i].ID == rows[i-1].ID {
			t.Fatalf("%s %d is on the tape twice", rows[i].Symbol, rows[i].ID)
		}
	}
	return rows
}

// countBySymbol counts rows, and fails if a symbol's ids are not consecutive.
func countBySymbol(t *testing.T, rows []tape.Trade) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for i, row := range rows {
		counts[row.Symbol]++
		if i > 0 && rows[i-1].Symbol == row.Symbol && rows[i-1].ID+1 != row.ID {
			t.Errorf("%s: id %d follows %d", row.Symbol, row.ID, rows[i-1].ID)
		}
	}
	return counts
}

// testLogger logs to the test's output.
func testLogger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// recordedPaths returns the paths of recordings of real traffic.
func recordedPaths(t *testing.T, names ...string) (paths []string) {
	t.Helper()
	for _, name := range names {
		paths = append(paths, recorded.Path(t, filepath.Join("stream", name)))
	}
	return paths
}

// TestRecordedTradesAreStoredExactly plays recorded real trades and compares the tape with them.
func TestRecordedTradesAreStoredExactly(t *testing.T) {
	if testing.Short() {
		t.Skip("slow with the race detector; make test-all runs it")
	}
	recordings := map[string]*exchange.Recording{} // each is read once, which takes longer than playing it
	for _, test := range []struct {
		name    string
		feed    tape.Feed
		kind    exchange.Kind
		files   []string
		symbols []string
		want    map[string]int
		dates   []string
		options Options
	}{
		{
			name: "trade", feed: tape.RawTrade, kind: exchange.Trade,
			files:   []string{"btcusdt_20240808.gz", "btcusdt_20240809.gz", "ethusdt_20240808.gz", "ethusdt_20240809.gz"},
			symbols: []string{"BTCUSDT", "ETHUSDT"},
			want:    map[string]int{"BTCUSDT": 19904, "ETHUSDT": 14515},
			dates:   []string{"2024-08-08", "2024-08-09"},
		},
		{
			name: "trade, two connections per symbol, small batches", feed: tape.RawTrade, kind: exchange.Trade,
			files:   []string{"btcusdt_20240808.gz", "btcusdt_20240809.gz", "ethusdt_20240808.gz", "ethusdt_20240809.gz"},
			symbols: []string{"BTCUSDT", "ETHUSDT"},
			want:    map[string]int{"BTCUSDT": 19904, "ETHUSDT": 14515},
			dates:   []string{"2024-08-08", "2024-08-09"},
			options: Options{Connections: 2, StreamsPerConnection: 1, FlushRows: 5000},
		},
		{
			name: "aggTrade", feed: tape.AggTrade, kind: exchange.AggTrade,
			files:   []string{"aggtrade_3symbols_20210404.txt.gz"},
			symbols: []string{"BTCUSDT", "ETHUSDT", "DOTUSDT"},
			want:    map[string]int{"BTCUSDT": 1227, "ETHUSDT": 506, "DOTUSDT": 177},
			dates:   []string{"2021-04-04"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			paths := recordedPaths(t, test.files...)
			recording := recordings[paths[0]]
			if recording == nil {
				var err error
				if recording, err = exchange.OpenRecording(paths...); err != nil {
					t.Fatal(err)
				}
				recordings[paths[0]] = recording
			}
			opt := test.options
			connections := max(opt.Connections, 1)
			server := exchange.StartTest(t, recording, exchange.Options{
				Speed: exchange.MaxSpeed, CloseAtEnd: true, WaitForStreams: connections * len(test.symbols),
			})
			dir := newTape(t, test.feed)
			opt.URL, opt.Symbols, opt.Once, opt.Logger = server.StreamURL(), fixedSymbols(test.symbols...), true, testLogger(t)
			summary, err := runRecorder(t.Context(), dir, opt)
			if err != nil {
				t.Fatal(err)
			}
			rows := tapeRows(t, dir)
			if got := countBySymbol(t, rows); fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("on the tape: %v, want %v", got, test.want)
			}
			if summary.Trades != int64(len(rows)) || summary.Rows != summary.Trades || summary.Duplicates != int64((connections-1)*len(rows)) ||
				summary.Inexact+summary.Malformed+summary.Gaps+summary.Reconnects != 0 {
				t.Errorf("summary: %+v", summary)
			}
			dates := map[string]bool{}
			for _, row := range rows {
				dates[tape.DateOf(row.TradedAt)] = true
			}
			if len(dates) != len(test.dates) {
				t.Errorf("dates %v, want %v", dates, test.dates)
			}
			i := 0
			for _, symbol := range slices.Sorted(slices.Values(test.symbols)) {
				for _, want := range recording.Rows(nil, symbol, test.kind, 0, 1<<30) {
					if err := compareRow(rows[i], symbol, want); err != nil {
						t.Fatal(err)
					}
					i++
				}
			}
			if i != len(rows) {
				t.Errorf("%d rows on the tape, %d in the capture", len(rows), i)
			}
		})
	}
}

// compareRow compares a row of the tape with what the exchange sent, decimals as text.
func compareRow(got tape.Trade, symbol string, want exchange.Row) error {
	if got.Symbol != symbol || got.ID != want.ID || got.FirstTradeID != want.FirstTradeID || got.LastTradeID != want.LastTradeID ||
		got.TradedAt != want.TradedAt || got.IsBuyerMaker != want.BuyerMaker {
		return fmt.Errorf("on the tape %+v, sent %s %+v", got, symbol, want)
	}
	for _, column := range []struct {
		value float64
		text  string
	}{{got.Price, want.Price}, {got.Qty, want.Qty}} {
		_, fraction, _ := strings.Cut(column.text, ".")
		if printed := strconv.FormatFloat(column.value, 'f', len(fraction), 64); printed != column.text {
			return fmt.Errorf("%s %d prints as %s, sent was %s", symbol, got.ID, printed, column.text)
		}
		shortest := strconv.AppendFloat(nil, column.value, 'f', -1, 64)
		trimmed := []byte(column.text)
		if bytes.IndexByte(trimmed, '.') >= 0 {
			trimmed = bytes.TrimSuffix(bytes.TrimRight(trimmed, "0"), []byte("."))
		}
		if !bytes.Equal(shortest, trimmed) {
			return fmt.Errorf("%s %d prints as %s in the shortest form, sent was %s", symbol, got.ID, shortest, trimmed)
		}
	}
	return nil
}

func TestStopPublishesEverythingReceived(t *testing.T) {
	rows := simpleRows("BTCUSDT", 1, 1000)
	server := exchange.StartTest(t, exchange.NewMemory(nil, rows), exchange.Options{Speed: exchange.MaxSpeed})
	dir := newTape(t, tape.AggTrade)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	summary, err := runRecorder(ctx, dir, Options{
		URL: server.StreamURL(), Symbols: fixedSymbols("BTCUSDT"), FlushInterval: time.Hour, FlushRows: 600, Logger: testLogger(t),
		Observe: func(e Event) {
			if e.Kind == Flushed {
				cancel()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := int64(len(tapeRows(t, dir))); got < 600 || got != summary.Trades || got != summary.Rows {
		t.Errorf("%d on the tape, summary %+v", got, summary)
	}
	written := readState(t, dir)
	if written.EndedAt.IsZero() || written.Error != "" || written.Counters != summary.StreamCounters {
		t.Errorf("state %+v, summary %+v", written, summary)
	}
}

// readState reads the recorder's state file.
func readState(t *testing.T, dir *tape.Dir) (s state.Stream) {
	t.Helper()
	if err := dir.State().Read(state.StreamFile, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// simpleRows returns aggTrades of two raw trades each, a millisecond apart.
func simpleRows(symbol string, firstID int64, n int) []exchange.MemoryRow {
	const start = 1_700_000_000_000_000
	rows := make([]exchange.MemoryRow, n)
	for i := range rows {
		id := firstID + int64(i)
		rows[i] = exchange.MemoryRow{Symbol: symbol, Kind: exchange.AggTrade, Row: exchange.Row{
			ID: id, FirstTradeID: id * 2, LastTradeID: id*2 + 1, Price: "1.50", Qty: "2", TradedAt: start + int64(i)*1000, BuyerMaker: i%3 == 0,
		}}
	}
	return rows
}
