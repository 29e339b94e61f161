package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/window"
)

// spoiler stands between tapedeck and the exchange's REST and archive. It spoils some answers in ways that no
// exchange has any right to.
type spoiler struct {
	proxy http.Handler

	mu      sync.Mutex
	pending []string // how the next answers are spoiled, by the name in spoils
	served  map[string]int
}

// spoils are the ways to spoil an answer of REST. None leaves out or alters a row and has the form of an
// answer: an exchange that lies is believed.
var spoils = map[string]func(w http.ResponseWriter, body []byte){
	"endless":     func(w http.ResponseWriter, body []byte) { endless(w, body, []byte(" ")) },
	"endless row": func(w http.ResponseWriter, body []byte) { endless(w, []byte(`[{"a":1`), []byte("0")) },
	"deep":        func(w http.ResponseWriter, _ []byte) { writeBody(w, bytes.Repeat([]byte("["), 1<<20)) },
	"half":        func(w http.ResponseWriter, body []byte) { writeBody(w, body[:len(body)/2]) },
	"nothing":     func(w http.ResponseWriter, _ []byte) { writeBody(w, nil) },
	"html":        func(w http.ResponseWriter, _ []byte) { writeBody(w, []byte("<html>\x1b[2J\nComplete: all</html>")) },
	"texts":       func(w http.ResponseWriter, body []byte) { writeBody(w, numbers.ReplaceAll(body, []byte(`:"$1"`))) },
	"nulls":       func(w http.ResponseWriter, body []byte) { writeBody(w, numbers.ReplaceAll(body, []byte(`:null`))) },
	"huge":        func(w http.ResponseWriter, body []byte) { writeBody(w, numbers.ReplaceAll(body, []byte(`:1e999`))) },
	"negative":    func(w http.ResponseWriter, body []byte) { writeBody(w, numbers.ReplaceAll(body, []byte(`:-$1`))) },
	"bomb":        func(w http.ResponseWriter, _ []byte) { writeBomb(w) },
	"elsewhere": func(w http.ResponseWriter, _ []byte) {
		w.Header().Set("Location", "http://127.0.0.1:1/")
		w.WriteHeader(http.StatusTemporaryRedirect)
	},
	"twice": func(w http.ResponseWriter, body []byte) {
		if rows, ok := bytes.CutPrefix(body, []byte("[{")); ok {
			body = slices.Concat(body[:len(body)-1], []byte(",{"), rows)
		}
		writeBody(w, body)
	},
	"backwards": func(w http.ResponseWriter, body []byte) {
		rows, ok := bytes.CutPrefix(body, []byte("[{"))
		if !ok {
			writeBody(w, body)
			return
		}
		parts := bytes.Split(bytes.TrimSuffix(rows, []byte("}]")), []byte("},{"))
		slices.Reverse(parts)
		writeBody(w, slices.Concat([]byte("[{"), bytes.Join(parts, []byte("},{")), []byte("}]")))
	},
	"forged symbols": func(w http.ResponseWriter, body []byte) {
		for _, name := range []string{"../../tape.json", `\u001b[2J`, "!BTC*", "*", "", "A/B"} {
			forged := fmt.Sprintf(`"symbols":[{"symbol":"%s","status":"TRADING"},`, name)
			body = bytes.Replace(body, []byte(`"symbols":[`), []byte(forged), 1)
		}
		writeBody(w, body)
	},
}

// numbers matches the numbers of an answer.
var numbers = regexp.MustCompile(`:([0-9]+)`)

func writeBody(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	_, _ = w.Write(body)
}

// endless sends a body, and then the same again and again until the client has had enough.
func endless(w http.ResponseWriter, body, again []byte) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	_, err := w.Write(body)
	for block := bytes.Repeat(again, 1<<20); err == nil; {
		_, err = w.Write(block)
	}
}

// writeBomb sends a few hundred KB that unpack to 256 MB.
func writeBomb(w http.ResponseWriter) {
	w.Header().Set("Content-Encoding", "gzip")
	packed := gzip.NewWriter(w)
	for zeros := make([]byte, 1<<20); ; {
		if _, err := packed.Write(zeros); err != nil {
			return
		}
		if err := packed.Flush(); err != nil {
			return
		}
	}
}

// startSpoiler starts a spoiler, and leads all requests through it.
func (a *attacker) startSpoiler() *spoiler {
	target, err := url.Parse(a.server.URL())
	if err != nil {
		a.t.Fatal(err)
	}
	s := &spoiler{proxy: httputil.NewSingleHostReverseProxy(target), served: map[string]int{}}
	server := httptest.NewServer(s)
	a.t.Cleanup(server.Close)
	a.rest = server.URL
	return s
}

func (s *spoiler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	kind := ""
	if len(s.pending) > 0 {
		kind, s.pending = s.pending[0], s.pending[1:]
		s.served[kind]++
	}
	s.mu.Unlock()
	if kind == "" {
		s.proxy.ServeHTTP(w, r)
		return
	}
	r.Header.Del("Accept-Encoding")
	answer := httptest.NewRecorder()
	s.proxy.ServeHTTP(answer, r)
	for name, values := range answer.Header() {
		if name != "Content-Length" {
			w.Header()[name] = values
		}
	}
	spoils[kind](w, answer.Body.Bytes())
}

// spoilAnswers has the exchange spoil its next answers, and asks it. What is stored and claimed is true all
// the same, and nothing of the answers reaches the terminal.
func (a *attacker) spoilAnswers() {
	if a.sick() {
		return
	}
	if a.spoiler == nil {
		a.spoiler = a.startSpoiler()
	}
	kinds := slices.Sorted(maps.Keys(spoils))
	a.spoiler.mu.Lock()
	for range 1 + a.random.IntN(2) { // a request is repeated after a second at first, then after longer ones
		a.spoiler.pending = append(a.spoiler.pending, kinds[a.random.IntN(len(kinds))])
	}
	a.note("the exchange's next answers: %s", strings.Join(a.spoiler.pending, ", "))
	a.spoiler.mu.Unlock()
	a.wait(time.Minute)
	args := []string{"backfill", "--from", oracleDay.Format(time.RFC3339), "--symbols", strings.Join(a.symbols, ",")}
	if a.chance(4) {
		args = []string{"backfill", "--symbols", "*"}
	}
	for _, symbol := range a.symbols {
		a.asked[symbol] = a.now
	}
	status, stdout, stderr := a.run(args...)
	a.ends("backfill", status, stdout, stderr)
	if strings.ContainsAny(stdout+stderr, "\x1b\x00") || strings.Contains(stdout+stderr, "\nComplete") {
		a.fail("the exchange's answer reaches the terminal: %q", stdout+stderr)
	}
	a.look()
	a.spoiler.mu.Lock()
	a.spoiler.pending = nil
	a.spoiler.mu.Unlock()
	if status == exitDone && len(args) > 3 {
		a.checkFetched(window.Window{Start: oracleDay, End: earlier(a.now, a.now.Add(a.skew))}, stderr) // now is by this machine's clock
	}
	a.checkOutside()
}

// checkFetched fails if a trade of a window is not on the tape, after a backfill that said it is.
func (a *attacker) checkFetched(w window.Window, said string) {
	for _, symbol := range a.symbols {
		for _, row := range a.between(symbol, w) {
			if _, ok := a.on[symbol][row.ID]; !ok && !a.disturbed[symbol] {
				a.fail("backfill says %q with status 0, but %s %d is not on the tape", said, symbol, row.ID)
			}
		}
	}
}

// checkContents fails if a row on the tape has a content that nobody has ever sent.
func (a *attacker) checkContents() {
	for _, symbol := range a.symbols {
		rows := a.market[symbol]
		for id, row := range a.on[symbol] {
			if i := id - rows[0].ID; i >= 0 && i < int64(len(rows)) && rows[i] == row || a.altered[symbol][id][row] || a.contradicted[symbol] {
				continue
			}
			a.fail("the tape has %s %d with a content that nobody sent: %+v", symbol, id, row)
		}
	}
}

// spoilArchive fetches from an archive whose files never end, or are not what their checksum says.
func (a *attacker) spoilArchive() {
	if a.sick() || a.now.After(oracleDay.Add(30*time.Hour)) {
		return
	}
	a.wait(max(time.Minute, oracleDay.Add(29*time.Hour).Sub(a.now))) // the file of a day is there in the next morning
	args := []string{"backfill", "--source", "archive", "--from", oracleDay.Format(time.DateOnly),
		"--to", oracleDay.AddDate(0, 0, 1).Format(time.DateOnly), "--symbols", strings.Join(a.symbols, ",")}
	kinds := []exchange.FaultKind{exchange.ArchiveShort, exchange.ArchiveChecksum, exchange.ArchiveCorrupt, exchange.ArchiveHole,
		exchange.ArchiveUnsorted, exchange.ArchiveNoChecksum, exchange.ArchiveLate, endlessFile, wrongFile}
	kind := kinds[a.random.IntN(len(kinds))]
	a.note("the archive's files: %s", kind)
	if kind == endlessFile || kind == wrongFile {
		server := httptest.NewServer(hostileArchive(kind))
		defer server.Close()
		args = append(args, "--archive-url", server.URL)
	} else if _, err := a.server.Inject(exchange.Fault{Kind: kind, Count: 1 + a.random.IntN(3)}); err != nil {
		a.t.Fatal(err)
	}
	for _, symbol := range a.symbols {
		a.asked[symbol] = a.now
	}
	status, stdout, stderr := a.run(args...)
	a.ends("backfill", status, stdout, stderr)
	a.look()
	if status == exitDone {
		a.checkFetched(window.Window{Start: oracleDay, End: oracleDay.AddDate(0, 0, 1)}, stderr)
	}
	if parts := a.staged(); len(parts) > 0 {
		a.fail("an archive that is %s leaves %v", kind, parts)
	}
}

// Faults of an archive that the stand-in does not have.
const endlessFile, wrongFile exchange.FaultKind = "endless", "wrong"

// hostileArchive has files that never end, or are not what their checksum says.
func hostileArchive(kind exchange.FaultKind) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, isChecksum := strings.CutSuffix(r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:], ".CHECKSUM")
		switch {
		case isChecksum:
			_, _ = fmt.Fprintf(w, "%064d  %s\n", 0, name)
		case kind == endlessFile:
			endless(w, nil, []byte("0"))
		default:
			writeBody(w, make([]byte, 1<<20))
		}
	})
}

// staged returns the downloads that are in the staging directory.
func (a *attacker) staged() (names []string) {
	entries, err := os.ReadDir(a.path(".staging"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.t.Fatal(err)
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".part") {
			names = append(names, entry.Name())
		}
	}
	return names
}
