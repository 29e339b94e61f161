package binance

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
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/symbol"
)

var archiveDay = time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)

func zipOf(t testing.TB, files ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	packed := zip.NewWriter(&out)
	for i := 0; i < len(files); i += 2 {
		file, err := packed.Create(files[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(file, files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func checksumOf(content []byte) string {
	return fmt.Sprintf("%x  BTCUSDT-aggTrades-2026-01-15.zip\n", sha256.Sum256(content))
}

// newArchive returns an archive that serve implements, and the requests that it received.
func newArchive(t *testing.T, serve http.HandlerFunc) (*Archive, *[]string) {
	t.Helper()
	var requests []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		line := strings.TrimPrefix(r.URL.Path, "/data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2026-01-15.")
		if part := r.Header.Get("Range"); part != "" {
			line += " " + part
		}
		requests = append(requests, line)
		serve(w, r)
	}))
	t.Cleanup(server.Close)
	clock := newTestClock()
	archive := NewArchive(server.URL, ClientOptions{Sleep: clock.sleep})
	t.Cleanup(archive.Close)
	return archive, &requests
}

const archiveRows = "26129,0.01633102,4.70443515,27781,27781,1498793709153,True,True\n"

func TestFetchVerifiesTheChecksum(t *testing.T) {
	content := zipOf(t, "BTCUSDT-aggTrades-2026-01-15.csv", archiveRows)
	archive, requests := newArchive(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".CHECKSUM") {
			io.WriteString(w, checksumOf(content))
			return
		}
		w.Write(content)
	})
	dir := t.TempDir()
	file, err := archive.Fetch(t.Context(), KindAggTrades, symbol.Must("BTCUSDT"), archiveDay, dir)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		content, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		rows := NewCSVReader(content, KindAggTrades, nil)
		var row Row
		if err := rows.Next(&row); err != nil || row.ID != 26129 {
			t.Errorf("%+v, %v", row, err)
		}
		if err := rows.Next(&row); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		content.Close()
	}
	file.Close()
	if diff := cmp.Diff([]string{"zip.CHECKSUM", "zip"}, *requests); diff != "" {
		t.Error(diff)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("files left: %v", left)
	}
}

func TestFetchResumesADownload(t *testing.T) {
	content := zipOf(t, "BTCUSDT-aggTrades-2026-01-15.csv", strings.Repeat(archiveRows, 10000))
	attempts := 0
	archive, requests := newArchive(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".CHECKSUM") {
			io.WriteString(w, checksumOf(content))
			return
		}
		if attempts++; attempts <= 2 {
			from := 0
			fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
			w.Header().Set("Content-Length", fmt.Sprint(len(content)-from))
			if from > 0 {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(content)-1, len(content)))
				w.WriteHeader(http.StatusPartialContent)
			}
			w.Write(content[from : from+300])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
	dir := t.TempDir()
	// A process that was killed left the first bytes.
	if err := os.WriteFile(filepath.Join(dir, "BTCUSDT-aggTrades-2026-01-15.zip.part"), content[:100], 0o644); err != nil {
		t.Fatal(err)
	}
	file, err := archive.Fetch(t.Context(), KindAggTrades, symbol.Must("BTCUSDT"), archiveDay, dir)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	if diff := cmp.Diff([]string{"zip.CHECKSUM", "zip bytes=100-", "zip bytes=400-", "zip bytes=700-"}, *requests); diff != "" {
		t.Error(diff)
	}
}

func TestFetchDownloadsAReplacedFileAgain(t *testing.T) {
	old, content := zipOf(t, "x.csv", archiveRows), zipOf(t, "x.csv", archiveRows+archiveRows)
	archive, requests := newArchive(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".CHECKSUM") {
			io.WriteString(w, checksumOf(content))
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "BTCUSDT-aggTrades-2026-01-15.zip.part"), append(old, make([]byte, len(content))...), 0o644); err != nil {
		t.Fatal(err)
	}
	file, err := archive.Fetch(t.Context(), KindAggTrades, symbol.Must("BTCUSDT"), archiveDay, dir)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	if got := len(*requests); got != 4 || (*requests)[3] != "zip" {
		t.Errorf("requests %v", *requests)
	}
}

func TestFetchErrors(t *testing.T) {
	content := zipOf(t, "x.csv", archiveRows)
	for _, tc := range []struct {
		name          string
		zip, checksum http.HandlerFunc
		requests      int
		check         func(error) bool
	}{
		{"no file yet", respond(404, "<Error/>"), respond(200, checksumOf(content)), 2, func(err error) bool { return errors.Is(err, ErrNotInArchive) }},
		{"no checksum", respond(200, string(content)), respond(404, "<Error/>"), 1, func(err error) bool { return errors.Is(err, ErrNotInArchive) }},
		{"wrong checksum", respond(200, string(content)), respond(200, checksumOf([]byte("else"))), 4, func(err error) bool { var c *ChecksumError; return errors.As(err, &c) }},
		{"checksum of another file", respond(200, string(content)), respond(200, strings.Replace(checksumOf(content), "BTC", "ETH", 1)), 6, func(err error) bool { var d *DamagedError; return errors.As(err, &d) }},
		{"access denied", respond(403, "<Error>AccessDenied"), respond(200, checksumOf(content)), 2, func(err error) bool { var s *StatusError; return errors.As(err, &s) && !Temporary(err) }},
		{"503", respond(503, "slow down"), respond(200, checksumOf(content)), 7, Temporary},
	} {
		t.Run(tc.name, func(t *testing.T) {
			archive, requests := newArchive(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, ".CHECKSUM") {
					tc.checksum(w, r)
				} else {
					tc.zip(w, r)
				}
			})
			dir := t.TempDir()
			_, err := archive.Fetch(t.Context(), KindAggTrades, symbol.Must("BTCUSDT"), archiveDay, dir)
			if err == nil || !tc.check(err) || len(*requests) != tc.requests {
				t.Errorf("err = %v after %v", err, *requests)
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("files left: %v", left)
			}
		})
	}
}

func TestFetchIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	archive, _ := newArchive(t, func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	if _, err := archive.Fetch(ctx, KindAggTrades, symbol.Must("BTCUSDT"), archiveDay, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

func TestConcurrentDownloadsUseTwoFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.zip.part")
	first, err := openPart(path)
	if err != nil {
		t.Fatal(err)
	}
	second, err := openPart(path)
	if err != nil {
		t.Fatal(err)
	}
	if first.Name() == second.Name() {
		t.Error("both write to one file")
	}
	closePart(first, true)
	closePart(second, true)
}

func TestOpenZip(t *testing.T) {
	good := zipOf(t, "a/b.csv", archiveRows)
	for name, tc := range map[string]struct {
		content []byte
		want    string
	}{
		"two":       {zipOf(t, "a.csv", "x", "b.csv", "y"), `several CSVs in the zip: "a.csv" and "b.csv"`},
		"none":      {zipOf(t, "a.txt", "x"), "no CSV in the zip"},
		"truncated": {good[:len(good)-10], "not a valid zip file"},
		"empty":     {nil, "not a valid zip file"},
	} {
		if _, _, err := OpenZip(bytes.NewReader(tc.content), int64(len(tc.content))); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	name, content, err := OpenZip(bytes.NewReader(good), int64(len(good)))
	if err != nil || name != "b.csv" {
		t.Fatal(name, err)
	}
	content.Close()
}

// TestFlippedBitInAZipIsAnError: the checksum file may match, so reading must detect it.
func TestFlippedBitInAZipIsAnError(t *testing.T) {
	var rows strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&rows, "%d,0.0%d,4.70443515,%d,%d,%d,True,True\n", i, 1633102+i*7919%1000000, i, i, 1498793709153+i)
	}
	content := zipOf(t, "x.csv", rows.String())
	for at := len(content) / 4; at < 3*len(content)/4; at += len(content) / 40 {
		broken := bytes.Clone(content)
		broken[at] ^= 0x10
		_, unpacked, err := OpenZip(bytes.NewReader(broken), int64(len(broken)))
		if err != nil {
			t.Fatal(err)
		}
		reader := NewCSVReader(unpacked, KindAggTrades, nil)
		var row Row
		for err == nil {
			err = reader.Next(&row)
		}
		if errors.Is(err, io.EOF) {
			t.Errorf("byte %d flipped: no error in %d lines", at, reader.Line())
		}
	}
}
