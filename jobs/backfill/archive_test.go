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
	"strconv"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
)

// newDayHarness returns an exchange with a UTC day of trades, whose ids it returns too, and two
// hours before and after it. The request limit is so low that the archive is faster for the day.
func newDayHarness(t *testing.T) (*harness, idset.Range) {
	t.Helper()
	rows := market("BTCUSDT", 0, 28_000, day0.Add(-2*time.Hour), day0.AddDate(0, 0, 1).Add(2*time.Hour)) // 1,000 an hour
	return newHarnessWith(t, tape.AggTrade, rows, fewRequests), idset.Range{First: 2000, Last: 25_999}
}

var fewRequests = exchange.Options{WeightLimit: 600}

// wholeDay sets the window to the day.
func wholeDay(opt *Options) {
	opt.Window.Start, opt.Window.End, opt.Symbols = day0, day0.AddDate(0, 0, 1), symbolsOf("BTCUSDT")
}

func (h *harness) checkStagingEmpty() {
	h.t.Helper()
	entries, err := os.ReadDir(h.dir.StagingPath())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, entry := range entries {
		h.t.Errorf("still in the staging directory: %s", entry.Name())
	}
}

func TestPastDayComesFromTheArchive(t *testing.T) {
	h, ids := newDayHarness(t)
	// These are on the tape already and must not be written again.
	h.publish("BTCUSDT", idset.Range{First: 12_000, Last: 12_099}, idset.Range{First: 20_000, Last: 20_000})
	before := h.requests(aggTradesPath)
	summary := h.mustBackfill(wholeDay)
	h.checkTape("BTCUSDT", ids)
	total := summary.Total()
	if !summary.Complete() || total.FromArchive != 24_000-101 || total.Fetched != total.FromArchive || total.Days != 1 || total.Absent != 0 {
		t.Errorf("%+v\n%s", total, h.log)
	}
	if asked := h.requests(aggTradesPath) - before; asked > 8 {
		t.Errorf("%d requests although the archive has the day", asked)
	}
	segments, _, err := h.dir.Segments(tape.Trades, "", "")
	if err != nil || len(segments) != 2 {
		t.Errorf("%d segments, want the old and the new one; %v", len(segments), err)
	}
	h.checkStagingEmpty()
	if again := h.mustBackfill(wholeDay); again.Plan.Missing() != 0 || again.Plan.Days() != 0 {
		t.Errorf("the second run found missing ids: %+v", again.Plan)
	}
}

func TestPastDayOfRawTradesComesFromTheArchive(t *testing.T) {
	_, ids := newDayHarness(t)
	var rows []exchange.MemoryRow
	for _, row := range market("BTCUSDT", 0, 28_000, day0.Add(-2*time.Hour), day0.AddDate(0, 0, 1).Add(2*time.Hour)) {
		row.FirstTradeID, row.LastTradeID = row.ID, row.ID
		raw := row
		raw.Kind = exchange.Trade
		rows = append(rows, row, raw)
	}
	h := newHarnessWith(t, tape.RawTrade, rows, fewRequests)
	h.rows["BTCUSDT"] = nil
	for _, row := range rows {
		if row.Kind == exchange.Trade {
			h.rows["BTCUSDT"] = append(h.rows["BTCUSDT"], row)
		}
	}
	summary := h.mustBackfill(wholeDay)
	h.checkTape("BTCUSDT", ids)
	if total := summary.Total(); !summary.Complete() || total.FromArchive != 24_000 {
		t.Errorf("%+v\n%s", total, h.log)
	}
}

func TestRESTFillsInForArchiveFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes tens of seconds with the race detector")
	}
	const always = -1
	for _, tc := range []struct {
		kind        exchange.FaultKind
		times       int
		fromArchive int64 // at least
	}{
		{exchange.ArchiveLate, always, 0},
		{exchange.ArchiveShort, always, 1000},
		{exchange.ArchiveChecksum, always, 0},
		{exchange.ArchiveChecksum, 1, 24_000},
		{exchange.ArchiveCorrupt, always, 0},
		{exchange.ArchiveNoChecksum, always, 0},
		{exchange.ArchiveHole, always, 1000},
		{exchange.ArchiveUnsorted, always, 24_000},
		{exchange.ArchiveReset, 2, 24_000},
		{exchange.ArchiveRepublished, 1, 24_000},
	} {
		t.Run(fmt.Sprintf("%s %d", tc.kind, tc.times), func(t *testing.T) {
			h, ids := newDayHarness(t)
			h.inject(exchange.Fault{Kind: tc.kind, Times: tc.times})
			summary := h.mustBackfill(wholeDay)
			h.checkTape("BTCUSDT", ids)
			total := summary.Total()
			if !summary.Complete() || summary.Symbols[0].Problem != nil || total.Absent != 0 || total.FromArchive < tc.fromArchive || tc.fromArchive == 0 && total.FromArchive != 0 {
				t.Errorf("%+v\n%s", total, h.log)
			}
			if served := h.exchange.Served().Faults[tc.kind]; served == 0 {
				t.Error("the fault was not served")
			}
			absent, err := h.dir.Absent()
			if err != nil || len(absent) != 0 {
				t.Errorf("recorded as absent: %v, %v", absent, err)
			}
			h.checkStagingEmpty()
		})
	}
}

// Without REST, a day whose file is not in the archive yet stays missing until a later run.
func TestLateArchiveFileIsFetchedByALaterRun(t *testing.T) {
	h, ids := newDayHarness(t)
	h.inject(exchange.Fault{Kind: exchange.ArchiveLate, Times: 1})
	only := func(opt *Options) { wholeDay(opt); opt.Source = ArchiveOnly }
	summary := h.mustBackfill(only)
	if summary.Complete() || summary.Symbols[0].StillMissing.Count() != ids.Count() || !errors.Is(summary.Symbols[0].Problem, binance.ErrNotInArchive) {
		t.Errorf("%+v", summary.Symbols)
	}
	// The stand-in publishes a late file after requests for it and for its checksum.
	answer, err := http.Get(h.exchange.URL() + "/data/spot/daily/aggTrades/BTCUSDT/" + binance.ArchiveName(binance.KindAggTrades, symbol.Must("BTCUSDT"), day0))
	if err != nil || answer.StatusCode != http.StatusNotFound {
		t.Fatal(err, answer.Status)
	}
	answer.Body.Close()
	if summary = h.mustBackfill(only); !summary.Complete() {
		t.Errorf("%+v\n%s", summary.Symbols, h.log)
	}
	h.checkTape("BTCUSDT", ids)
}

// serveChangedFile replaces the archive by one that changes the CSV of a day and has a matching
// checksum.
func (h *harness) serveChangedFile(change func(lines []string) []string) {
	h.t.Helper()
	changing := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		name, wantsSum := strings.CutSuffix(r.URL.Path, ".CHECKSUM")
		answer, err := http.Get(h.exchange.URL() + name)
		if err != nil {
			h.t.Error(err)
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
			h.t.Error(err)
			return
		}
		member, err := packed.File[0].Open()
		if err != nil {
			h.t.Error(err)
			return
		}
		text, err := io.ReadAll(member)
		if err != nil {
			h.t.Error(err)
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
			h.t.Error(err)
			return
		}
		if wantsSum {
			fmt.Fprintf(out, "%x  %s\n", sha256.Sum256(changed.Bytes()), name[strings.LastIndex(name, "/")+1:])
			return
		}
		out.Header().Set("Content-Length", strconv.Itoa(changed.Len()))
		out.Write(changed.Bytes())
	}))
	h.t.Cleanup(changing.Close)
	c := &clock{at: now}
	archive := binance.NewArchive(changing.URL, binance.ClientOptions{Sleep: c.sleep})
	h.t.Cleanup(archive.Close)
	h.clients.Archive = archive
}

// setField replaces a field of a line.
func setField(line string, field int, value string) string {
	fields := strings.Split(line, ",")
	fields[field] = value
	return strings.Join(fields, ",")
}

func TestWrongFileWithAMatchingChecksumIsDetected(t *testing.T) {
	if testing.Short() {
		t.Skip("takes tens of seconds with the race detector")
	}
	for _, tc := range []struct {
		name        string
		change      func(lines []string) []string
		fromArchive int64
		log         string
	}{
		{"a row of another day", func(lines []string) []string {
			lines[100] = setField(lines[100], 5, fmt.Sprint(day0.AddDate(0, 0, -1).UnixMicro()))
			return lines
		}, 0, "traded on another day"},
		{"the first row differs from REST", func(lines []string) []string {
			lines[0] = setField(lines[0], 1, "7.00000000")
			return lines
		}, 0, "differs from the same trade from REST"},
		{"a row twice with different content", func(lines []string) []string {
			return append(lines, setField(lines[50], 2, "7.00000000"))
		}, 23_999, "REST decides"},
		{"a row twice with the same content", func(lines []string) []string {
			return append(lines, lines[50])
		}, 24_000, ""},
		{"voided rows instead of trades", func(lines []string) []string {
			for i := 10; i < 20; i++ {
				id, _, _ := strings.Cut(lines[i], ",")
				lines[i] = id + ",0.00000000,0.00000000,-1,-1," + strings.Split(lines[i], ",")[5] + ",True,True"
			}
			return lines
		}, 23_990, "archive file lacks ids"},
		{"a line that is not a row", func(lines []string) []string {
			lines[20_000] = "<html>"
			return lines
		}, 0, "line 20001"},
		{"the first and last rows are missing", func(lines []string) []string { return lines[3 : len(lines)-7] }, 23_990, "archive file lacks ids"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, ids := newDayHarness(t)
			h.serveChangedFile(tc.change)
			summary := h.mustBackfill(wholeDay)
			h.checkTape("BTCUSDT", ids)
			if total := summary.Total(); !summary.Complete() || total.FromArchive != tc.fromArchive || total.Absent != 0 {
				t.Errorf("%+v\n%s", total, h.log)
			}
			if !strings.Contains(h.log.String(), tc.log) {
				t.Errorf("the log lacks %q: %s", tc.log, h.log)
			}
			h.checkStagingEmpty()
		})
	}
}

func TestInterruptedDownloadIsContinuedByTheNextRun(t *testing.T) {
	h, ids := newDayHarness(t)
	ctx, cancel := context.WithCancel(t.Context())
	// The connection breaks in the middle of the file, and the process is cancelled before it
	// retries.
	h.inject(exchange.Fault{Kind: exchange.ArchiveReset, Times: 1})
	dying := binance.NewArchive(h.exchange.URL(), binance.ClientOptions{Sleep: func(context.Context, time.Duration) error { cancel(); return ctx.Err() }})
	t.Cleanup(dying.Close)
	opt := h.opt
	wholeDay(&opt)
	if _, err := Run(ctx, h.dir, Clients{REST: h.clients.REST, Archive: dying}, opt); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	parts, err := os.ReadDir(h.dir.StagingPath())
	if err != nil || len(parts) != 1 || !strings.HasSuffix(parts[0].Name(), ".part") {
		t.Fatalf("%v, %v", parts, err)
	}
	info, err := parts[0].Info()
	if err != nil || info.Size() == 0 {
		t.Fatalf("%v, %v", info, err)
	}
	summary := h.mustBackfill(wholeDay)
	h.checkTape("BTCUSDT", ids)
	if total := summary.Total(); !summary.Complete() || total.FromArchive != 24_000 {
		t.Errorf("%+v\n%s", total, h.log)
	}
	h.checkStagingEmpty()
}

func TestPlanMatchesTheRequests(t *testing.T) {
	if testing.Short() {
		t.Skip("takes tens of seconds with the race detector")
	}
	for _, source := range []Source{Auto, RESTOnly, ArchiveOnly} {
		t.Run(string(source), func(t *testing.T) {
			h, ids := newDayHarness(t)
			h.publish("BTCUSDT", idset.Range{First: 8000, Last: 8099}, idset.Range{First: 25_000, Last: 25_500})
			opt := h.opt
			wholeDay(&opt)
			opt.Source = source
			if source != ArchiveOnly {
				opt.Window.End = opt.Window.End.Add(90 * time.Minute) // part of a day, too little for a file
			}
			plan, err := Prepare(t.Context(), h.dir, h.clients, opt)
			if err != nil {
				t.Fatal(err)
			}
			if segments, _, err := h.dir.Segments(tape.Trades, "", ""); err != nil || len(segments) != 1 {
				t.Errorf("Prepare wrote something: %d segments, %v", len(segments), err)
			}
			before := h.exchange.Served()
			summary, err := Execute(t.Context(), h.dir, h.clients, plan, opt)
			if err != nil || !summary.Complete() {
				t.Fatal(err, summary.Total(), h.log)
			}
			after := h.exchange.Served()
			asked := after.Endpoints[aggTradesPath].Requests - before.Endpoints[aggTradesPath].Requests
			weight := after.Endpoints[aggTradesPath].Weight - before.Endpoints[aggTradesPath].Weight
			if asked != plan.Requests() || weight != plan.Weight() {
				t.Errorf("planned %d requests of weight %d, made %d of %d", plan.Requests(), plan.Weight(), asked, weight)
			}
			if total := summary.Total(); int64(total.Days) != plan.Days() || total.Fetched != plan.Missing() || total.Cost.Requests != plan.Asked.Requests+asked {
				t.Errorf("planned %d files and %d trades, took %d and %d; counted %+v", plan.Days(), plan.Missing(), total.Days, total.Fetched, total.Cost)
			}
			if source != RESTOnly && plan.Days() != 1 || source != ArchiveOnly && plan.Requests() == 0 {
				t.Errorf("%d files, %d requests", plan.Days(), plan.Requests())
			}
			if source == ArchiveOnly {
				h.checkTape("BTCUSDT", ids)
			}
		})
	}
}
