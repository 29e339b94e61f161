package exchange

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// hourlyRows returns an aggregated trade and its two trades in each hour of the two days before and
// the two days after a new year.
func hourlyRows(year int) []MemoryRow {
	var rows []MemoryRow
	begin := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).Add(-48 * time.Hour)
	for i := range int64(96) {
		at := begin.Add(time.Duration(i) * time.Hour).UnixMicro()
		rows = append(rows, MemoryRow{Symbol: "BTCUSDT", Kind: AggTrade, Row: Row{
			ID: 101 + i, FirstTradeID: 201 + 2*i, LastTradeID: 202 + 2*i, Price: "0.00021340", Qty: "15.00000000", TradedAt: at + 123456, BuyerMaker: i%2 == 0,
		}})
		for j := range int64(2) {
			rows = append(rows, MemoryRow{Symbol: "BTCUSDT", Kind: Trade, Row: Row{
				ID: 201 + 2*i + j, Price: "0.00021340", Qty: "7.50000000", TradedAt: at + 123456, BuyerMaker: i%2 == 0,
			}})
		}
	}
	return rows
}

// archiveAt starts a server with hourlyRows at a time.
func archiveAt(t *testing.T, opt Options, now string, allowed ...Offence) *Server {
	t.Helper()
	at, err := time.Parse("2006-01-02T15:04", now)
	if err != nil {
		t.Fatal(err)
	}
	opt.Speed, opt.Start, opt.SpoolDir = Manual, at, t.TempDir()
	return StartTest(t, NewMemory(nil, hourlyRows(2025)), opt, allowed...)
}

// unzip returns the lines of a zip with one file.
func unzip(body, name string) ([]string, error) {
	z, err := zip.NewReader(strings.NewReader(body), int64(len(body)))
	if err != nil {
		return nil, err
	}
	if len(z.File) != 1 || z.File[0].Name != name {
		return nil, fmt.Errorf("%d files, the first is %s; want %s", len(z.File), z.File[0].Name, name)
	}
	in, err := z.File[0].Open()
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"), nil
}

func sumOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

const daily = "/data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-"

func TestArchiveFiles(t *testing.T) {
	s := archiveAt(t, Options{}, "2025-01-02T05:00")
	for _, c := range []struct {
		dir, name   string
		lines       int
		first, last string
	}{
		{"daily/aggTrades", "BTCUSDT-aggTrades-2024-12-31", 24,
			"125,0.00021340,15.00000000,249,250,1735603200123,True,True", "148,0.00021340,15.00000000,295,296,1735686000123,False,True"},
		{"daily/aggTrades", "BTCUSDT-aggTrades-2025-01-01", 24,
			"149,0.00021340,15.00000000,297,298,1735689600123456,True,True", "172,0.00021340,15.00000000,343,344,1735772400123456,False,True"},
		{"daily/trades", "BTCUSDT-trades-2024-12-31", 48,
			"249,0.00021340,7.50000000,0.00160050,1735603200123,True,True", "296,0.00021340,7.50000000,0.00160050,1735686000123,False,True"},
		{"monthly/aggTrades", "BTCUSDT-aggTrades-2024-12", 48,
			"101,0.00021340,15.00000000,201,202,1735516800123,True,True", "148,0.00021340,15.00000000,295,296,1735686000123,False,True"},
	} {
		url := s.URL() + "/data/spot/" + c.dir + "/BTCUSDT/" + c.name + ".zip"
		status, body, header := get(t, url)
		if status != 200 {
			t.Errorf("%s: status %d", c.name, status)
			continue
		}
		lines, err := unzip(body, c.name+".csv")
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if len(lines) != c.lines || lines[0] != c.first || lines[len(lines)-1] != c.last {
			t.Errorf("%s: %d lines\n%s\n%s\nwant %d\n%s\n%s", c.name, len(lines), lines[0], lines[len(lines)-1], c.lines, c.first, c.last)
		}
		if _, sum, _ := get(t, url+".CHECKSUM"); sum != sumOf(body)+"  "+c.name+".zip\n" {
			t.Errorf("%s: checksum %q", c.name, sum)
		}
		if header.Get("ETag") == "" || header.Get("Last-Modified") == "" || header.Get("Content-Length") != fmt.Sprint(len(body)) {
			t.Errorf("%s: header %v", c.name, header)
		}
		req, _ := http.NewRequest("GET", url, nil)
		req.Header.Set("If-None-Match", header.Get("ETag"))
		if resp, err := http.DefaultClient.Do(req); err != nil || resp.StatusCode != http.StatusNotModified {
			t.Errorf("%s: with its ETag: %v, %v", c.name, resp, err)
		}
	}
}

func TestMissingArchiveFiles(t *testing.T) {
	s := archiveAt(t, Options{}, "2025-01-02T04:59", UnknownEndpoint)
	for _, path := range []string{
		daily + "2025-01-01.zip", // published 5 h after the day
		daily + "2025-01-01.zip.CHECKSUM",
		daily + "2025-01-02.zip", // the day is not over
		daily + "2024-12-29.zip", // before the first row
		"/data/spot/monthly/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2025-01.zip",
		"/data/spot/daily/aggTrades/ETHUSDT/ETHUSDT-aggTrades-2024-12-31.zip",
	} {
		status, body, header := get(t, s.URL()+path)
		if status != 404 || header.Get("Content-Type") != "application/xml" || !strings.Contains(body, "<Code>NoSuchKey</Code>") || !strings.Contains(body, "<Key>"+path[1:]+"</Key>") {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if got := s.Offences(); len(got) != 0 {
		t.Errorf("offences %v", got)
	}
	for _, path := range []string{
		"/data/spot/daily/aggTrades/BTCUSDT/ETHUSDT-aggTrades-2024-12-31.zip",
		"/data/spot/daily/trades/BTCUSDT/BTCUSDT-aggTrades-2024-12-31.zip",
		"/data/spot/monthly/trades/BTCUSDT/BTCUSDT-trades-2024-12-31.zip",
		"/data/futures/um/daily/trades/BTCUSDT/BTCUSDT-trades-2024-12-31.zip",
	} {
		if status, _, _ := get(t, s.URL()+path); status != 404 {
			t.Errorf("%s: status %d", path, status)
		}
	}
	if got := s.Offences()[UnknownEndpoint]; got != 4 {
		t.Errorf("%d unknown endpoints, want 4", got)
	}
	advance(t, s, time.Date(2025, 1, 2, 5, 0, 0, 0, time.UTC))
	if status, _, _ := get(t, s.URL()+daily+"2025-01-01.zip"); status != 200 {
		t.Errorf("5 h after the day: status %d", status)
	}
}

// TestArchiveFaults downloads a faulty file twice. The second time it is correct, with another ETag if
// the content has changed.
func TestArchiveFaults(t *testing.T) {
	const name = "BTCUSDT-aggTrades-2025-01-01"
	type file struct {
		status      int
		body        string
		lines       []string
		err         error
		sumStatus   int
		sumMatches  bool
		etag        string
		newModified string
	}
	t.Run("archive_reset", func(t *testing.T) {
		s := archiveAt(t, Options{}, "2025-01-02T05:00")
		inject(t, s, Fault{Kind: ArchiveReset}, 0)
		resp, err := http.Get(s.URL() + daily + "2025-01-01.zip")
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if err == nil {
			t.Error("the download was complete")
		}
		if status, _, _ := get(t, s.URL()+daily+"2025-01-01.zip"); status != 200 {
			t.Errorf("second download: status %d", status)
		}
	})
	fetch := func(t *testing.T, s *Server) (f file) {
		status, body, header := get(t, s.URL()+daily+"2025-01-01.zip")
		f = file{status: status, body: body, etag: header.Get("ETag"), newModified: header.Get("Last-Modified")}
		f.lines, f.err = unzip(body, name+".csv")
		sumStatus, sum, _ := get(t, s.URL()+daily+"2025-01-01.zip.CHECKSUM")
		f.sumStatus, f.sumMatches = sumStatus, strings.HasPrefix(sum, sumOf(body)+"  ")
		return f
	}
	for kind, isFaulty := range map[FaultKind]func(f file) bool{
		ArchiveLate:        func(f file) bool { return f.status == 404 },
		ArchiveShort:       func(f file) bool { return f.err == nil && len(f.lines) == 15 && f.sumMatches },
		ArchiveHole:        func(f file) bool { return f.err == nil && len(f.lines) < 24 && len(f.lines) > 10 && f.sumMatches },
		ArchiveUnsorted:    func(f file) bool { return f.err == nil && len(f.lines) > 24 && f.lines[0] > f.lines[1] && f.sumMatches },
		ArchiveChecksum:    func(f file) bool { return f.err == nil && f.sumStatus == 200 && !f.sumMatches },
		ArchiveNoChecksum:  func(f file) bool { return f.err == nil && f.sumStatus == 404 },
		ArchiveRepublished: func(f file) bool { return f.err == nil && len(f.lines) == 24 && f.sumMatches },
		ArchiveCorrupt:     func(f file) bool { return f.status == 200 && f.err != nil && f.sumMatches },
	} {
		t.Run(string(kind), func(t *testing.T) {
			s := archiveAt(t, Options{}, "2025-01-02T05:00")
			if _, err := s.Inject(Fault{Kind: kind, Match: name}); err != nil {
				t.Fatal(err)
			}
			get(t, s.URL()+daily+"2024-12-31.zip") // does not match the fault
			bad := fetch(t, s)
			if !isFaulty(bad) {
				t.Errorf("first download: status %d, %d lines, %v, checksum status %d, matches %v", bad.status, len(bad.lines), bad.err, bad.sumStatus, bad.sumMatches)
			}
			good := fetch(t, s)
			if good.status != 200 || good.err != nil || len(good.lines) != 24 || !good.sumMatches {
				t.Errorf("second download: status %d, %d lines, %v, checksum status %d, matches %v", good.status, len(good.lines), good.err, good.sumStatus, good.sumMatches)
			}
			if bad.status == 200 && bad.newModified == good.newModified {
				t.Errorf("Last-Modified did not change: %s", good.newModified)
			}
			if sameBody := bytes.Equal([]byte(bad.body), []byte(good.body)); bad.status == 200 && (bad.etag == good.etag) != sameBody {
				t.Errorf("ETag %s and %s, same body: %v", bad.etag, good.etag, sameBody)
			}
			if got := s.Served().Faults[kind]; got != 1 {
				t.Errorf("served %d", got)
			}
		})
	}
}
