package backfill

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/tape"
)

// dayWorld has a UTC day of trades, the ids of which it gives, and some hours before and after it. The exchange's limits are so low that the day is
// worth a file of the archive.
func dayWorld(t *testing.T) (*world, idset.Range) {
	t.Helper()
	rows := market("BTCUSDT", 0, 28_000, day0.Add(-2*time.Hour), day0.AddDate(0, 0, 1).Add(2*time.Hour)) // 1,000 an hour
	return newWorldWith(t, tape.AggTrade, rows, fewRequests), idset.Range{First: 2000, Last: 25_999}
}

var fewRequests = exchange.Options{WeightLimit: 600}

// wholeDay is the window that is just the day.
func wholeDay(opt *Options) {
	opt.From, opt.To, opt.Symbols = day0, day0.AddDate(0, 0, 1), []string{"BTCUSDT"}
}

func (w *world) wantNothingStaged() {
	w.t.Helper()
	entries, err := os.ReadDir(w.dir.StagingPath())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, entry := range entries {
		w.t.Errorf("left in the staging directory: %s", entry.Name())
	}
}

func TestAPastDayComesFromTheArchive(t *testing.T) {
	w, ids := dayWorld(t)
	// What is there already is not written again.
	w.seed("BTCUSDT", idset.Range{First: 12_000, Last: 12_099}, idset.Range{First: 20_000, Last: 20_000})
	before := w.requests(aggTradesPath)
	summary := w.mustRun(wholeDay)
	w.wantTape("BTCUSDT", ids)
	total := summary.Total()
	if !summary.Complete() || total.FromArchive != 24_000-101 || total.Fetched != total.FromArchive || total.Days != 1 || total.Absent != 0 {
		t.Errorf("%+v\n%s", total, w.log)
	}
	if asked := w.requests(aggTradesPath) - before; asked > 8 {
		t.Errorf("%d requests where the archive has the day", asked)
	}
	segments, _, err := w.dir.Segments(tape.Trades, "", "")
	if err != nil || len(segments) != 2 {
		t.Errorf("%d segments, one of them there before; %v", len(segments), err)
	}
	w.wantNothingStaged()
	if again := w.mustRun(wholeDay); again.Plan.Missing() != 0 || again.Plan.Days() != 0 {
		t.Errorf("the second run found something missing: %+v", again.Plan)
	}
}

func TestAPastDayOfRawTradesComesFromTheArchive(t *testing.T) {
	_, ids := dayWorld(t)
	var rows []exchange.MemoryRow
	for _, row := range market("BTCUSDT", 0, 28_000, day0.Add(-2*time.Hour), day0.AddDate(0, 0, 1).Add(2*time.Hour)) {
		row.FirstTradeID, row.LastTradeID = row.ID, row.ID
		raw := row
		raw.Kind = exchange.Trade
		rows = append(rows, row, raw)
	}
	w := newWorldWith(t, tape.RawTrade, rows, fewRequests)
	w.rows["BTCUSDT"] = nil
	for _, row := range rows {
		if row.Kind == exchange.Trade {
			w.rows["BTCUSDT"] = append(w.rows["BTCUSDT"], row)
		}
	}
	summary := w.mustRun(wholeDay)
	w.wantTape("BTCUSDT", ids)
	if total := summary.Total(); !summary.Complete() || total.FromArchive != 24_000 {
		t.Errorf("%+v\n%s", total, w.log)
	}
}

func TestFaultsOfTheArchiveAreHealedByREST(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes tens of seconds with the race detector")
	}
	const forEver = -1
	for _, tc := range []struct {
		kind        exchange.FaultKind
		times       int
		fromArchive int64 // at least
	}{
		{exchange.ArchiveLate, forEver, 0},
		{exchange.ArchiveShort, forEver, 1000},
		{exchange.ArchiveChecksum, forEver, 0},
		{exchange.ArchiveChecksum, 1, 24_000},
		{exchange.ArchiveCorrupt, forEver, 0},
		{exchange.ArchiveNoChecksum, forEver, 0},
		{exchange.ArchiveHole, forEver, 1000},
		{exchange.ArchiveUnsorted, forEver, 24_000},
		{exchange.ArchiveReset, 2, 24_000},
		{exchange.ArchiveRepublished, 1, 24_000},
	} {
		t.Run(fmt.Sprintf("%s %d", tc.kind, tc.times), func(t *testing.T) {
			w, ids := dayWorld(t)
			w.inject(exchange.Fault{Kind: tc.kind, Times: tc.times})
			summary := w.mustRun(wholeDay)
			w.wantTape("BTCUSDT", ids)
			total := summary.Total()
			if !summary.Complete() || summary.Symbols[0].Problem != nil || total.Absent != 0 || total.FromArchive < tc.fromArchive || tc.fromArchive == 0 && total.FromArchive != 0 {
				t.Errorf("%+v\n%s", total, w.log)
			}
			if served := w.exchange.Served().Faults[tc.kind]; served == 0 {
				t.Errorf("the fault was not served")
			}
			absent, err := w.dir.Absent()
			if err != nil || len(absent) != 0 {
				t.Errorf("recorded as absent: %v, %v", absent, err)
			}
			w.wantNothingStaged()
		})
	}
}

// A file that the archive does not have yet is worth another look later, where REST is not to be asked.
func TestWhatIsLateStaysMissingWithoutREST(t *testing.T) {
	w, ids := dayWorld(t)
	w.inject(exchange.Fault{Kind: exchange.ArchiveLate, Times: 1})
	only := func(opt *Options) { wholeDay(opt); opt.Source = ArchiveOnly }
	summary := w.mustRun(only)
	if summary.Complete() || summary.Symbols[0].StillMissing.Count() != ids.Count() || !errors.Is(summary.Symbols[0].Problem, binance.ErrNotInArchive) {
		t.Errorf("%+v", summary.Symbols)
	}
	// The stand-in publishes a late file when it was asked for it and for its checksum.
	answer, err := http.Get(w.exchange.URL() + "/data/spot/daily/aggTrades/BTCUSDT/" + binance.ArchiveName(binance.KindAggTrades, "BTCUSDT", day0))
	if err != nil || answer.StatusCode != http.StatusNotFound {
		t.Fatal(err, answer.Status)
	}
	answer.Body.Close()
	if summary = w.mustRun(only); !summary.Complete() {
		t.Errorf("%+v\n%s", summary.Symbols, w.log)
	}
	w.wantTape("BTCUSDT", ids)
}

// forge serves the archive with one day's CSV changed, under a checksum that fits.
func (w *world) forge(change func(lines []string) []string) {
	w.t.Helper()
	forged := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		name, wantsSum := strings.CutSuffix(r.URL.Path, ".CHECKSUM")
		answer, err := http.Get(w.exchange.URL() + name)
		if err != nil {
			w.t.Error(err)
			return
		}
		defer answer.Body.Close()
		content, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusOK {
			out.WriteHeader(answer.StatusCode)
			return
		}
		packed, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			w.t.Error(err)
			return
		}
		member, err := packed.File[0].Open()
		if err != nil {
			w.t.Error(err)
			return
		}
		text, err := io.ReadAll(member)
		if err != nil {
			w.t.Error(err)
			return
		}
		lines := change(strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"))
		var changed bytes.Buffer
		repacked := zip.NewWriter(&changed)
		into, err := repacked.CreateHeader(&zip.FileHeader{Name: packed.File[0].Name, Method: zip.Deflate})
		if err == nil {
			_, err = io.WriteString(into, strings.Join(lines, "\n")+"\n")
		}
		if err != nil || repacked.Close() != nil {
			w.t.Error(err)
			return
		}
		if wantsSum {
			fmt.Fprintf(out, "%x  %s\n", sha256.Sum256(changed.Bytes()), name[strings.LastIndex(name, "/")+1:])
			return
		}
		out.Write(changed.Bytes())
	}))
	w.t.Cleanup(forged.Close)
	c := &clock{at: now}
	archive := binance.NewArchive(forged.URL, binance.ArchiveOptions{Sleep: c.sleep})
	w.t.Cleanup(archive.Close)
	w.clients.Archive = archive
}

// change replaces a field of a line.
func change(line string, field int, by string) string {
	fields := strings.Split(line, ",")
	fields[field] = by
	return strings.Join(fields, ",")
}

func TestAFileThatLiesUnderAChecksumThatFitsIsFoundOut(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes tens of seconds with the race detector")
	}
	for _, tc := range []struct {
		name        string
		change      func(lines []string) []string
		fromArchive int64
		log         string
	}{
		{"a row of another day", func(lines []string) []string {
			lines[100] = change(lines[100], 5, fmt.Sprint(day0.AddDate(0, 0, -1).UnixMicro()))
			return lines
		}, 0, "traded on another day"},
		{"the first row differs from REST", func(lines []string) []string {
			lines[0] = change(lines[0], 1, "7.00000000")
			return lines
		}, 0, "differs from the same trade from REST"},
		{"a row twice with different content", func(lines []string) []string {
			return append(lines, change(lines[50], 2, "7.00000000"))
		}, 23_999, "REST decides"},
		{"a row twice with the same content", func(lines []string) []string {
			return append(lines, lines[50])
		}, 24_000, ""},
		{"voided rows in the place of trades", func(lines []string) []string {
			for i := 10; i < 20; i++ {
				id, _, _ := strings.Cut(lines[i], ",")
				lines[i] = id + ",0.00000000,0.00000000,-1,-1," + strings.Split(lines[i], ",")[5] + ",True,True"
			}
			return lines
		}, 23_990, "archive file lacks ids"},
		{"a line that is none", func(lines []string) []string {
			lines[20_000] = "<html>"
			return lines
		}, 0, "line 20001"},
		{"the seams are missing", func(lines []string) []string { return lines[3 : len(lines)-7] }, 23_990, "archive file lacks ids"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, ids := dayWorld(t)
			w.forge(tc.change)
			summary := w.mustRun(wholeDay)
			w.wantTape("BTCUSDT", ids)
			if total := summary.Total(); !summary.Complete() || total.FromArchive != tc.fromArchive || total.Absent != 0 {
				t.Errorf("%+v\n%s", total, w.log)
			}
			if !strings.Contains(w.log.String(), tc.log) {
				t.Errorf("the log does not tell: %s", w.log)
			}
			w.wantNothingStaged()
		})
	}
}

func TestADownloadThatWasEndedIsContinuedByTheNextRun(t *testing.T) {
	w, ids := dayWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	// The connection breaks in the middle of the file, and the process ends when it would ask again.
	w.inject(exchange.Fault{Kind: exchange.ArchiveReset, Times: 1})
	dying := binance.NewArchive(w.exchange.URL(), binance.ArchiveOptions{Sleep: func(context.Context, time.Duration) error { cancel(); return ctx.Err() }})
	t.Cleanup(dying.Close)
	opt := w.opt
	wholeDay(&opt)
	if _, err := Run(ctx, w.dir, Clients{REST: w.clients.REST, Archive: dying}, opt); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	parts, err := os.ReadDir(w.dir.StagingPath())
	if err != nil || len(parts) != 1 || !strings.HasSuffix(parts[0].Name(), ".part") {
		t.Fatalf("%v, %v", parts, err)
	}
	info, err := parts[0].Info()
	if err != nil || info.Size() == 0 {
		t.Fatalf("%v, %v", info, err)
	}
	summary := w.mustRun(wholeDay)
	w.wantTape("BTCUSDT", ids)
	if total := summary.Total(); !summary.Complete() || total.FromArchive != 24_000 {
		t.Errorf("%+v\n%s", total, w.log)
	}
	w.wantNothingStaged()
}

func TestThePlanSaysWhatIsThenSpent(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes tens of seconds with the race detector")
	}
	for _, source := range []Source{Auto, RESTOnly, ArchiveOnly} {
		t.Run(string(source), func(t *testing.T) {
			w, ids := dayWorld(t)
			w.seed("BTCUSDT", idset.Range{First: 8000, Last: 8099}, idset.Range{First: 25_000, Last: 25_500})
			opt := w.opt
			wholeDay(&opt)
			opt.Source = source
			if source != ArchiveOnly {
				opt.To = opt.To.Add(90 * time.Minute) // some of a day that is too little for a file
			}
			plan, err := Prepare(t.Context(), w.dir, w.clients, opt)
			if err != nil {
				t.Fatal(err)
			}
			if segments, _, err := w.dir.Segments(tape.Trades, "", ""); err != nil || len(segments) != 1 {
				t.Errorf("planning wrote something: %d segments, %v", len(segments), err)
			}
			before := w.exchange.Served()
			summary, err := Execute(t.Context(), w.dir, w.clients, plan, opt)
			if err != nil || !summary.Complete() {
				t.Fatal(err, summary.Total(), w.log)
			}
			after := w.exchange.Served()
			asked := after.Endpoints[aggTradesPath].Requests - before.Endpoints[aggTradesPath].Requests
			weight := after.Endpoints[aggTradesPath].Weight - before.Endpoints[aggTradesPath].Weight
			if asked != plan.Requests() || weight != plan.Weight() {
				t.Errorf("planned %d requests of weight %d, and made %d of %d", plan.Requests(), plan.Weight(), asked, weight)
			}
			if total := summary.Total(); int64(total.Days) != plan.Days() || total.Fetched != plan.Missing() || total.Cost.Requests != plan.Asked.Requests+asked {
				t.Errorf("planned %d files and %d trades, took %d and %d; counted %+v", plan.Days(), plan.Missing(), total.Days, total.Fetched, total.Cost)
			}
			if source != RESTOnly && plan.Days() != 1 || source != ArchiveOnly && plan.Requests() == 0 {
				t.Errorf("%d files, %d requests", plan.Days(), plan.Requests())
			}
			if source == ArchiveOnly {
				w.wantTape("BTCUSDT", ids)
			}
		})
	}
}
