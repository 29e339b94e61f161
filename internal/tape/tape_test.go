package tape

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/durable"
)

var day0 = time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)

func newTape(t *testing.T) *Dir {
	t.Helper()
	d, err := Create(filepath.Join(t.TempDir(), "data"), AggTrade, day0)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// trades returns rows with the ids from first to last, one second apart from at.
func trades(symbol string, first, last int64, at time.Time) []Trade {
	var out []Trade
	for id := first; id <= last; id++ {
		out = append(out, Trade{
			Symbol: symbol, ID: id, Price: 100 + float64(id%7)/100, Qty: float64(id%11+1) / 1000,
			FirstTradeID: 2 * id, LastTradeID: 2*id + 1,
			TradedAt: at.Add(time.Duration(id-first) * time.Second).UnixMicro(), IsBuyerMaker: id%2 == 0,
		})
	}
	return out
}

func publish(t *testing.T, d *Dir, rows []Trade) Published {
	t.Helper()
	out, err := d.Publish(context.Background(), rows, Origin{Source: FromStream})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// all reads every row of the tape. It fails on a repeated row and on one in the wrong partition.
func all(t *testing.T, d *Dir) map[string]map[int64]Trade {
	t.Helper()
	segments, broken, err := d.Segments(Trades, "", "")
	if err != nil || len(broken) > 0 {
		t.Fatal(err, broken)
	}
	out := map[string]map[int64]Trade{}
	for _, s := range segments {
		rows, err := d.ReadTrades(s.Path)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			if out[row.Symbol] == nil {
				out[row.Symbol] = map[int64]Trade{}
			}
			if _, ok := out[row.Symbol][row.ID]; ok {
				t.Fatalf("%s %d is repeated", row.Symbol, row.ID)
			}
			if DateOf(row.TradedAt) != s.Date {
				t.Fatalf("%s %d of %s is in %s", row.Symbol, row.ID, DateOf(row.TradedAt), s.Path)
			}
			out[row.Symbol][row.ID] = row
		}
	}
	return out
}

func TestPublishDropsDuplicates(t *testing.T) {
	d := newTape(t)
	rows := trades("BTCUSDT", 1, 100, day0)
	rand.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	if out := publish(t, d, append(rows, trades("BTCUSDT", 1, 10, day0)...)); out.Rows != 100 || out.Dropped != 10 {
		t.Fatalf("%+v", out)
	}
	if out := publish(t, d, trades("BTCUSDT", 51, 150, day0.Add(50*time.Second))); out.Rows != 50 || out.Dropped != 50 {
		t.Fatalf("%+v", out)
	}
	if out := publish(t, d, trades("BTCUSDT", 1, 150, day0)); out.Rows != 0 || len(out.Segments) != 0 {
		t.Fatalf("%+v", out)
	}
	got := all(t, d)["BTCUSDT"]
	for _, want := range trades("BTCUSDT", 1, 150, day0) {
		if diff := cmp.Diff(want, got[want.ID]); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestPublishPartitionsByDateOfTrade(t *testing.T) {
	d := newTape(t)
	out := publish(t, d, trades("币安人生USDT", 1, 20, day0.Add(-10*time.Second)))
	if len(out.Segments) != 2 ||
		!strings.Contains(out.Segments[0], "date=2026-01-14/") || !strings.Contains(out.Segments[1], "date=2026-01-15/") {
		t.Fatal(out.Segments)
	}
	if len(all(t, d)["币安人生USDT"]) != 20 {
		t.Fatal("rows lost")
	}
}

func TestIndexGapsIncludeLostEnds(t *testing.T) {
	d := newTape(t)
	var paths []string
	for _, s := range [][2]int64{{1, 10}, {11, 20}, {31, 40}} {
		paths = append(paths, publish(t, d, trades("ETHUSDT", s[0], s[1], day0.Add(time.Duration(s[0])*time.Second))).Segments...)
	}
	gaps := func() []Gap {
		x := d.Index()
		if err := x.Refresh(context.Background()); err != nil {
			t.Fatal(err)
		}
		return x.Gaps("ETHUSDT")
	}
	at := func(second int) time.Time { return day0.Add(time.Duration(second) * time.Second) }
	want := []Gap{{"ETHUSDT", 21, 30, at(20), at(31)}}
	if diff := cmp.Diff(want, gaps()); diff != "" {
		t.Fatal(diff)
	}
	for _, path := range []string{paths[0], paths[2]} {
		if err := os.Remove(filepath.Join(d.Path(), path)); err != nil {
			t.Fatal(err)
		}
	}
	want = []Gap{{"ETHUSDT", 1, 10, at(1), at(11)}, {"ETHUSDT", 21, 40, at(20), at(40)}}
	if diff := cmp.Diff(want, gaps()); diff != "" {
		t.Fatal(diff)
	}
	publish(t, d, trades("ETHUSDT", 1, 40, day0.Add(time.Second)))
	if g := gaps(); g != nil {
		t.Fatal(g)
	}
	if n := len(all(t, d)["ETHUSDT"]); n != 40 {
		t.Fatal(n)
	}
}

func TestBrokenSegmentsAreListedSeparately(t *testing.T) {
	d := newTape(t)
	a := publish(t, d, trades("ETHUSDT", 1, 10, day0)).Segments[0]
	publish(t, d, trades("ETHUSDT", 11, 20, day0.Add(10*time.Second)))
	if err := os.Truncate(filepath.Join(d.Path(), a), 100); err != nil {
		t.Fatal(err)
	}
	good, broken, err := d.Segments(Trades, "", "")
	if err != nil || len(good) != 1 || len(broken) != 1 || broken[0].Path != a {
		t.Fatal(good, broken, err)
	}
	x := d.Index()
	if err := x.Refresh(context.Background()); err != nil {
		t.Fatal(err)
	}
	if b := x.Broken(); len(b) != 1 || b[0].Path != a {
		t.Fatal(b)
	}
	if g := x.Gaps("ETHUSDT"); len(g) != 1 || g[0].First != 1 || g[0].Last != 10 {
		t.Fatal(g)
	}
}

func TestPublishReadsFilesWithoutMetadata(t *testing.T) {
	d := newTape(t)
	rows := trades("ETHUSDT", 5, 9, day0)
	path := filepath.Join(d.Path(), "trades", "date=2026-01-15")
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(path, "foreign.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	if err := encodeRows(file, rows); err != nil {
		t.Fatal(err)
	}
	file.Close()
	if out := publish(t, d, trades("ETHUSDT", 1, 10, day0.Add(-4*time.Second))); out.Rows != 5 {
		t.Fatal(out)
	}
}

func TestCreateAndOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	if _, err := Open(path); !errors.Is(err, ErrNoTape) {
		t.Fatal(err)
	}
	if _, err := Create(path, RawTrade, day0); err != nil {
		t.Fatal(err)
	}
	if d, err := Create(path, "", day0); err != nil || d.Feed() != RawTrade {
		t.Fatal(d, err)
	}
	var wrong *FeedError
	if _, err := Create(path, AggTrade, day0); !errors.As(err, &wrong) {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "tape.json"), []byte(`{"format":2,"feed":"trade"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	var newer *NewerError
	if _, err := Open(path); !errors.As(err, &newer) {
		t.Fatal(err)
	}
}

// Create restores what was deleted from a tape, empty. It does not create a tape over trades whose
// feed is unknown.
func TestCreateRestoresDeletedDirectories(t *testing.T) {
	for _, part := range []string{"trades", "alerts", "runs", "coverage", "conflicts", "recorder", "drops", "alerts/date=1970-01-01", ".staging", ".state"} {
		t.Run(part, func(t *testing.T) {
			d := newTape(t)
			publish(t, d, trades("ETHUSDT", 1, 10, day0))
			if err := os.RemoveAll(filepath.Join(d.Path(), part)); err != nil {
				t.Fatal(err)
			}
			d, err := Create(d.Path(), "", day0)
			if err != nil {
				t.Fatal(err)
			}
			for _, table := range allTables() {
				if _, err := os.Stat(filepath.Join(d.Path(), emptyPath(table))); err != nil {
					t.Error(err)
				}
			}
			if out := publish(t, d, trades("ETHUSDT", 1, 12, day0)); out.Rows != 12 && out.Rows != 2 {
				t.Errorf("%+v", out)
			}
			var got struct{ N int }
			err = errors.Join(d.State().Write("x.json", struct{ N int }{1}), d.State().Read("x.json", &got))
			if err != nil || got.N != 1 {
				t.Error(got, err)
			}
		})
	}
	d := newTape(t)
	publish(t, d, trades("ETHUSDT", 1, 10, day0))
	if err := os.Remove(filepath.Join(d.Path(), manifestName)); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(d.Path(), "", day0); !errors.Is(err, ErrNoManifest) {
		t.Errorf("trades without tape.json: %v, want ErrNoManifest", err)
	}
}

func TestPublishAlertsDropsDuplicates(t *testing.T) {
	d := newTape(t)
	a := Alert{Detector: "pump_burst", Symbol: "AUSDT", At: day0.UnixMicro(), Score: 3, Severity: "high", Extra: "{}"}
	b := a
	b.At++
	for i, want := range []int64{2, 0} {
		out, err := d.PublishAlerts(context.Background(), []Alert{a, b, a})
		if err != nil || out.Rows != want {
			t.Fatal(i, out, err)
		}
	}
	got, err := d.ReadAlerts("2026-01-15", "2026-01-15")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Alert{a, b}, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestSweepDeletesOnlyFilesOfDeadWriters(t *testing.T) {
	d := newTape(t)
	live, err := durable.OS{}.Create(filepath.Join(d.StagingPath(), stagedName("live")))
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	dead := filepath.Join(d.StagingPath(), stagedName("dead"))
	if err := os.WriteFile(dead, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if n, err := d.Sweep(time.Now()); n != 0 || err != nil {
		t.Fatal("a new file was deleted", n, err)
	}
	if n, err := d.Sweep(time.Now().Add(time.Hour)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := os.Stat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

func TestParseDecimal(t *testing.T) {
	for _, c := range []struct {
		text  string
		value float64
		exact bool
	}{
		{"61837.63000000", 61837.63, true}, {"0.00000001", 1e-8, true}, {"0", 0, true}, {"0.00000000", 0, true},
		{"7", 7, true}, {"007.50", 7.5, true}, {".5", .5, true}, {"92233720368.54775807", 92233720368.54775807, false},
		{"123456789012345.6", 123456789012345.6, true}, {"9007199254740993", 9007199254740992, false},
		{"999999999999999.00000000", 999999999999999, true}, {"1000000000000000", 1e15, true},
		{"100000000000000000000000000000", 1e29, true}, {"0.1000000000000000055511151231257827", 0.1, false},
	} {
		value, exact, err := ParseDecimal([]byte(c.text))
		if err != nil || value != c.value || exact != c.exact {
			t.Errorf("%s: %v %v %v", c.text, value, exact, err)
		}
	}
	for _, text := range []string{"", ".", "-1", "1e5", "1.2.3", "NaN", " 1", "1,5"} {
		if _, _, err := ParseDecimal([]byte(text)); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

// FuzzParseDecimal compares ParseDecimal with strconv: the double is the same, and exact is true
// only if its shortest form is the same number.
func FuzzParseDecimal(f *testing.F) {
	f.Add(uint64(6183763), uint8(2))
	f.Add(uint64(999999999999999999), uint8(8))
	f.Fuzz(func(t *testing.T, mantissa uint64, point uint8) {
		digits := strconv.FormatUint(mantissa, 10)
		n := int(point % 25)
		for len(digits) <= n {
			digits = "0" + digits
		}
		text := digits[:len(digits)-n]
		if n > 0 {
			text += "." + digits[len(digits)-n:]
		}
		want, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		value, exact, err := ParseDecimal([]byte(text))
		if err != nil || value != want {
			t.Fatalf("%s: %v, want %v (%v)", text, value, want, err)
		}
		printed := strconv.AppendFloat(nil, want, 'f', -1, 64)
		same := string(trimDecimal([]byte(text))) == string(trimDecimal(printed))
		if exact != same {
			t.Fatalf("%s: exact is %v, printed back it is %s", text, exact, printed)
		}
	})
}

// A state file can be in a directory of its own, as the messages of the outbox are.
func TestStateInDirectory(t *testing.T) {
	dir, err := Create(t.TempDir(), "", time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		if err := dir.State().Write(filepath.Join("outbox", "a.json"), n); err != nil {
			t.Fatal(err)
		}
	}
	var n int
	if err := dir.State().Read(filepath.Join("outbox", "a.json"), &n); err != nil || n != 1 {
		t.Error(n, err)
	}
	listed, err := os.ReadDir(dir.State().Path(""))
	isPartition := func(e os.DirEntry) bool { return strings.Contains(e.Name(), "=") }
	if err != nil || len(listed) == 0 || slices.ContainsFunc(listed, isPartition) {
		t.Errorf("%v, %v", listed, err)
	}
}

// The index of a process that publishes for months stays small, and correct when segments are
// removed.
func TestPublishIndexEvictsPartitions(t *testing.T) {
	d := newTape(t)
	for day := range 3 * keptDates {
		first := int64(10 * day)
		if out := publish(t, d, trades("ETHUSDT", first, first+9, day0.AddDate(0, 0, day))); out.Rows != 10 {
			t.Fatalf("day %d: %+v", day, out)
		}
	}
	if n := len(d.index.parts); n > keptDates+3 {
		t.Errorf("the index holds %d partitions", n)
	}
	for date, part := range d.index.parts {
		for name, runs := range part.files {
			if runs.runs != nil {
				t.Errorf("the index keeps the runs of %s of %s", name, date)
			}
		}
	}
	// It reads an evicted partition again.
	if out := publish(t, d, trades("ETHUSDT", 0, 9, day0)); out.Rows != 0 || out.Dropped != 10 {
		t.Errorf("published on a day long ago: %+v", out)
	}
	// The ids of a removed segment are published again, those of the others are not.
	out := publish(t, d, trades("BTCUSDT", 1, 10, day0))
	publish(t, d, trades("BTCUSDT", 11, 20, day0.Add(time.Minute)))
	if err := os.Remove(filepath.Join(d.Path(), out.Segments[0])); err != nil {
		t.Fatal(err)
	}
	rows := append(trades("BTCUSDT", 1, 10, day0), trades("BTCUSDT", 11, 20, day0.Add(time.Minute))...)
	if out := publish(t, d, rows); out.Rows != 10 || out.Dropped != 10 {
		t.Errorf("published after a segment was removed: %+v", out)
	}
	if c := certify(t, d, day0.AddDate(1, 0, 0)); !c.Complete() {
		t.Errorf("%+v", c)
	}
}
