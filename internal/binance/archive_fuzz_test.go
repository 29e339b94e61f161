package binance

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/symbol"
)

// fuzzedArchive answers every request for a checksum and for a file in the same way.
type fuzzedArchive struct {
	status         int
	checksum, body []byte
	length         int64 // of the file, as the server says
	requests       int
}

func (a *fuzzedArchive) RoundTrip(r *http.Request) (*http.Response, error) {
	a.requests++
	out := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Request: r}
	if strings.HasSuffix(r.URL.Path, ".CHECKSUM") {
		out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(a.checksum)), int64(len(a.checksum))
		return out, nil
	}
	body := a.body
	if from, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && a.status == http.StatusPartialContent {
		if n, err := strconv.Atoi(strings.TrimSuffix(from, "-")); err == nil {
			body = body[min(n, len(body)):]
		}
	}
	out.StatusCode, out.ContentLength = a.status, a.length
	out.Body = io.NopCloser(bytes.NewReader(body))
	return out, nil
}

// FuzzArchive fetches files of an archive that answers anything: what is returned has the checksum, its
// requests and its rows end, and a file that was refused for good does not stay.
func FuzzArchive(f *testing.F) {
	content := zipOf(f, "BTCUSDT-aggTrades-2026-01-15.csv", archiveRows)
	f.Add(200, []byte(checksumOf(content)), content, int64(len(content)))
	f.Add(206, []byte(checksumOf(content)), content[:50], int64(len(content)))
	f.Add(200, []byte(strings.Repeat("0", 64)+"  x.zip\n"), content, int64(-1))
	f.Add(200, []byte(checksumOf([]byte("no zip"))), []byte("no zip"), int64(6))
	f.Add(200, []byte(strings.Repeat("0", 64)+" *../x/a.zip\r\n"+checksumOf(content)), content, int64(len(content)))
	f.Add(416, []byte("\xff\x00"), []byte{}, int64(6<<30))
	f.Fuzz(func(t *testing.T, status int, checksum, body []byte, length int64) {
		if status < 200 || status > 599 {
			return
		}
		dir, server := t.TempDir(), &fuzzedArchive{status: status, checksum: checksum, body: body, length: length}
		archive := NewArchive("http://archive", ClientOptions{Transport: server, Sleep: newTestClock().sleep})
		file, err := archive.Fetch(t.Context(), KindAggTrades, symbol.Must("BTCUSDT"), archiveDay, dir)
		if server.requests > 2*archiveAttemptsAll {
			t.Fatalf("%d requests", server.requests)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); err != nil && !Temporary(err) && len(left) > 0 {
			t.Fatalf("%v, and %v stay", err, left)
		}
		if err != nil {
			return
		}
		want, err := ParseChecksum(string(checksum), ArchiveName(KindAggTrades, symbol.Must("BTCUSDT"), archiveDay))
		if err != nil || want != file.SHA256 {
			t.Fatalf("a file with the SHA-256 %s was accepted, the checksum is %s, %v", file.SHA256, want, err)
		}
		if in, err := file.Open(); err == nil {
			reader, row := NewCSVReader(in, KindAggTrades, nil), Row{}
			for err == nil {
				err = reader.Next(&row)
			}
			in.Close()
		}
		file.Close()
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
			t.Fatalf("%v stay", left)
		}
	})
}

// FuzzBudget opens budgets that are damaged in any way: a request is sent at last, after no longer than
// the longest ban and the longest window of a limit, or the file is named in the error.
func FuzzBudget(f *testing.F) {
	dir := f.TempDir()
	clock := newTestClock()
	budget := OpenBudget(filepath.Join(dir, "budget.json"), BudgetOptions{Now: clock.now, Sleep: clock.sleep})
	if err := budget.SetLimits([]RateLimit{{limitWeight, "MINUTE", 1, 6000}, {limitCalls, "MINUTE", 5, 61000}}); err != nil {
		f.Fatal(err)
	}
	if _, err := budget.reserve(f.Context(), 20, restTimeout); err != nil {
		f.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "budget.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"limits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":1}],"blocked_until":"9999-01-01T00:00:00Z","meters":[{"used":{"-1":9223372036854775807}}]}`))
	f.Add([]byte(`{"limits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"DAY","intervalNum":9223372036854775807,"limit":9223372036854775807}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		clock, path := newTestClock(), filepath.Join(t.TempDir(), "budget.json")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		start, budget := clock.now(), OpenBudget(path, BudgetOptions{Now: clock.now, Sleep: clock.sleep})
		_, err := budget.reserve(t.Context(), 1, restTimeout)
		var banned *BannedError
		if err != nil && !errors.As(err, &banned) {
			t.Fatal(err)
		}
		if waited := clock.now().Sub(start); waited > 5*24*time.Hour {
			t.Fatalf("waited %v", waited)
		}
	})
}

// FuzzSymbolList reads words of a person: each is a name, a pattern or an error of one line.
func FuzzSymbolList(f *testing.F) {
	for _, seed := range []string{"BTCUSDT", "*USDT>10m", "!*DOWNUSDT", "!", "*>", "*>-1", "*>1e400", "[a", "a\n", "*>NaN", "\xff*"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, word string) {
		list, err := ParseSymbolList([]string{word})
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b\x00") {
				t.Fatalf("%q: %q", word, err)
			}
			return
		}
		if list.IsEmpty() {
			t.Fatalf("%q is nothing", word)
		}
		for _, p := range list.patterns {
			if !(p.minVolume >= 0) {
				t.Fatalf("%q: a volume of %v", word, p.minVolume)
			}
		}
		for _, name := range list.names {
			if name.String() != word {
				t.Fatalf("%q is the name %q", word, name)
			}
		}
	})
}
