package binance

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"tapedeck/internal/symbol"
)

const partName = "BTCUSDT-aggTrades-2026-01-15.zip.part"

// hostileArchive serves a checksum and, as the file, what serve writes.
func hostileArchive(t *testing.T, serve http.HandlerFunc) (*Archive, *[]string) {
	return newArchive(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".CHECKSUM") {
			io.WriteString(w, checksumOf([]byte("the file")))
			return
		}
		serve(w, r)
	})
}

// checkEmpty fails the test if something is left in a directory.
func checkEmpty(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestEndlessFileIsNotDownloaded(t *testing.T) {
	sent := 0
	archive, requests := hostileArchive(t, func(w http.ResponseWriter, r *http.Request) {
		for block := make([]byte, 1<<20); r.Context().Err() == nil && sent < 64; sent++ {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	dir := t.TempDir()
	_, err := archive.Fetch(t.Context(), KindAggTrades, symbol.Must("BTCUSDT"), archiveDay, dir)
	var tooLarge *TooLargeError
	if !errors.As(err, &tooLarge) || len(*requests) != 2 {
		t.Errorf("%v after %v", err, *requests)
	}
	checkEmpty(t, dir)
}

func TestHugeFileIsNotDownloaded(t *testing.T) {
	for name, c := range map[string]struct {
		have   int64 // bytes of an earlier download
		length string
		ranges string
	}{
		"length":                {0, "5368709121", ""},
		"length that overflows": {0, "9223372036854775807", ""},
		"rest":                  {1000, "5368709121", "bytes 1000-5368710120/5368710121"},
	} {
		t.Run(name, func(t *testing.T) {
			archive, requests := hostileArchive(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", c.length)
				if c.ranges != "" {
					w.Header().Set("Content-Range", c.ranges)
					w.WriteHeader(http.StatusPartialContent)
				}
				w.Write(make([]byte, 100))
			})
			dir := t.TempDir()
			if c.have > 0 {
				if err := os.WriteFile(filepath.Join(dir, partName), make([]byte, c.have), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := archive.Fetch(t.Context(), KindAggTrades, symbol.Must("BTCUSDT"), archiveDay, dir)
			var tooLarge *TooLargeError
			if !errors.As(err, &tooLarge) || len(*requests) != 2 {
				t.Errorf("%v after %v", err, *requests)
			}
			checkEmpty(t, dir)
		})
	}
}

func TestFileIsNotDownloadedWithoutRoom(t *testing.T) {
	archive, _ := hostileArchive(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "2147483648")
		w.Write(make([]byte, 100))
	})
	archive.opt.Free = func(string) (int64, error) { return 3 << 30, nil }
	dir := t.TempDir()
	_, err := archive.Fetch(t.Context(), KindAggTrades, symbol.Must("BTCUSDT"), archiveDay, dir)
	const want = "need about 4.0 GiB on the disk, and 3.0 GiB are free"
	if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v, want %q", err, want)
	}
	checkEmpty(t, dir)
}

// TestDownloadWithoutProgressEnds serves one byte on each connection.
func TestDownloadWithoutProgressEnds(t *testing.T) {
	archive, requests := hostileArchive(t, func(w http.ResponseWriter, r *http.Request) {
		offset := 0
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &offset)
		w.Header().Set("Content-Length", fmt.Sprint(1_000_000-offset))
		if offset > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-999999/1000000", offset))
			w.WriteHeader(http.StatusPartialContent)
		}
		w.Write([]byte{0})
	})
	if _, err := archive.Fetch(t.Context(), KindAggTrades, symbol.Must("BTCUSDT"), archiveDay, t.TempDir()); !Temporary(err) {
		t.Errorf("%v", err)
	}
	if n := len(*requests); n != 1+archiveAttempts {
		t.Errorf("%d requests", n)
	}
}

// cutArchive answers requests for a file of which each connection delivers some bytes.
type cutArchive struct {
	requests int
	body     func(offset int64) io.Reader
	length   int64
}

func (e *cutArchive) RoundTrip(r *http.Request) (*http.Response, error) {
	response := &http.Response{StatusCode: 200, Header: http.Header{}, Request: r, Body: http.NoBody}
	if strings.HasSuffix(r.URL.Path, ".CHECKSUM") {
		response.Body = io.NopCloser(strings.NewReader(checksumOf([]byte("the file"))))
		return response, nil
	}
	e.requests++
	offset := int64(0)
	if fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &offset); offset > 0 {
		response.StatusCode = http.StatusPartialContent
		response.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset, e.length-1, e.length))
	}
	response.ContentLength = e.length - offset
	response.Body = io.NopCloser(e.body(offset))
	return response, nil
}

// failing returns a reader's bytes and then an error of the network.
func failing(r io.Reader) io.Reader { return io.MultiReader(r, errReader{}) }

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestDownloadHasABoundedNumberOfRequests serves enough on each connection to count as progress.
func TestDownloadHasABoundedNumberOfRequests(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 100 MB")
	}
	block := make([]byte, archiveProgress)
	server := &cutArchive{length: 1 << 30, body: func(int64) io.Reader { return failing(bytes.NewReader(block)) }}
	archive := NewArchive("http://archive", ClientOptions{Transport: server, Sleep: newTestClock().sleep})
	_, err := archive.Fetch(t.Context(), KindAggTrades, symbol.Must("BTCUSDT"), archiveDay, t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "given up after 100 requests") || server.requests != archiveAttemptsAll-1 {
		t.Errorf("%v after %d requests", err, server.requests)
	}
}

// slow delivers a byte every 50 s.
type slow struct{}

func (slow) Read(p []byte) (int, error) {
	time.Sleep(50 * time.Second)
	return copy(p, "x"), nil
}

// TestSlowDownloadIsGivenUp: bytes that trickle in do not keep a download going.
func TestSlowDownloadIsGivenUp(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		server := &cutArchive{length: 1 << 30}
		server.body = func(int64) io.Reader { return &cancellable{in: slow{}, end: time.Now().Add(time.Hour)} }
		archive := NewArchive("http://archive", ClientOptions{Transport: server})
		began := time.Now()
		_, err := archive.Fetch(t.Context(), KindAggTrades, symbol.Must("BTCUSDT"), archiveDay, dir)
		if err == nil || time.Since(began) > 10*time.Hour {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

// cancellable ends after an hour, as a body does whose request is cancelled.
type cancellable struct {
	in  io.Reader
	end time.Time
}

func (c *cancellable) Read(p []byte) (int, error) {
	if time.Now().After(c.end) {
		return 0, io.ErrUnexpectedEOF
	}
	return c.in.Read(p)
}

// TestDownloadDoesNotFollowLinks puts a link at the name of the unfinished download.
func TestDownloadDoesNotFollowLinks(t *testing.T) {
	content := zipOf(t, "x.csv", archiveRows)
	for name, link := range map[string]func(string, string) error{"symbolic": os.Symlink, "hard": os.Link} {
		t.Run(name, func(t *testing.T) {
			archive, _ := newArchive(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, ".CHECKSUM") {
					io.WriteString(w, checksumOf(content))
					return
				}
				http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
			})
			victim, dir := filepath.Join(t.TempDir(), "victim"), t.TempDir()
			if err := os.WriteFile(victim, []byte("untouched"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := link(victim, filepath.Join(dir, partName)); err != nil {
				t.Fatal(err)
			}
			file, err := archive.Fetch(t.Context(), KindAggTrades, symbol.Must("BTCUSDT"), archiveDay, dir)
			if err != nil {
				t.Fatal(err)
			}
			file.Close()
			if text, err := os.ReadFile(victim); err != nil || string(text) != "untouched" {
				t.Errorf("the link's target: %d bytes, %v", len(text), err)
			}
		})
	}
}

// bomb returns a zip with a CSV of a small compressed size that says it has a large one.
func bomb(t *testing.T, size uint64) []byte {
	t.Helper()
	var out bytes.Buffer
	packed := zip.NewWriter(&out)
	file, err := packed.CreateRaw(&zip.FileHeader{Name: "x.csv", Method: zip.Deflate, UncompressedSize64: size, CompressedSize64: 5})
	if err != nil {
		t.Fatal(err)
	}
	file.Write([]byte{1, 0, 0, 0xff, 0xff})
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestZipBombIsRefused(t *testing.T) {
	var many bytes.Buffer
	packed := zip.NewWriter(&many)
	for i := range 70_000 {
		if _, err := packed.CreateRaw(&zip.FileHeader{Name: fmt.Sprintf("%040d.csv", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		content []byte
		want    string
	}{
		"ratio":         {bomb(t, 100<<20), "too much for a zip"},
		"terabytes":     {bomb(t, 1<<40), "too much for a zip"},
		"overflow":      {bomb(t, 1<<63), "too much for a zip"},
		"too many CSVs": {many.Bytes(), "the zip has too many files"},
	} {
		_, _, err := OpenZip(bytes.NewReader(c.content), int64(len(c.content)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	// One that has more than it says ends with an error at that size.
	lying := zipOf(t, "x.csv", strings.Repeat(archiveRows, 10_000))
	directory := bytes.LastIndex(lying, []byte("PK\x01\x02"))
	copy(lying[directory+24:], []byte{100, 0, 0, 0})
	_, content, err := OpenZip(bytes.NewReader(lying), int64(len(lying)))
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	if n, err := io.Copy(io.Discard, content); err == nil || n > 64<<10 {
		t.Errorf("read %d bytes, %v", n, err)
	}
}
