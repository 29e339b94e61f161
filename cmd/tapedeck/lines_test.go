package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/rivo/uniseg"
)

// replay logs the lines of a JSON log with a lineHandler and returns what that writes.
func replay(t *testing.T, path string, level slog.Level, form lineForm) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	handler := newLineHandler(&out, level, form)
	for logged := range strings.Lines(string(text)) {
		e, ok := parseEntry(logged)
		var at struct{ Time time.Time }
		if err := json.Unmarshal([]byte(logged), &at); err != nil || !ok {
			t.Fatalf("%s: %v", logged, err)
		}
		record := slog.NewRecord(at.Time, e.level, e.message, 0)
		record.AddAttrs(e.values...)
		if err := handler.Handle(t.Context(), record); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

// TestLogOnATerminal words a real log of `run`, during which the exchange was restarted, and some
// records that did not occur in it. The results are golden files, to be read.
func TestLogOnATerminal(t *testing.T) {
	columns := func(n int) func() int { return func() int { return n } }
	for golden, form := range map[string]lineForm{
		"run_80.txt":  {zone: time.UTC, status: true, width: columns(80)},
		"run_160.txt": {zone: time.FixedZone("CET", 3600), status: true, width: columns(160)},
		"run_log.txt": {zone: time.UTC, width: columns(160)}, // without a status line
	} {
		level := slog.LevelInfo
		got := replay(t, "testdata/log/run.jsonl", level, form)
		path := filepath.Join("testdata", "log", golden)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s differs; -update rewrites it:\n%s", golden, diff)
		}
		for line := range strings.Lines(got) {
			line = strings.TrimSuffix(line, "\n")
			if n := uniseg.StringWidth(line); n >= form.width() {
				t.Errorf("%s: a line of %d columns: %s", golden, n, line)
			}
			if strings.ContainsFunc(line, unicode.IsControl) || strings.Contains(line, "http://") || strings.Contains(line, "run_id") {
				t.Errorf("%s: %q", golden, line)
			}
		}
	}
}

// TestDebugShowsEverything requires one line at least for each record, and no run's output to be lost.
func TestDebugShowsEverything(t *testing.T) {
	got := replay(t, "testdata/log/run.jsonl", slog.LevelDebug, lineForm{width: func() int { return 1000 }})
	text, err := os.ReadFile("testdata/log/run.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if records, lines := strings.Count(string(text), "\n"), strings.Count(got, "\n"); lines != records {
		t.Errorf("%d lines for %d records", lines, records)
	}
	for _, want := range []string{"heal: ETHUSDT: 1 trade fetched", "heal: segments merged (rows 7)\n", "started: backfill --since 10m"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q", want)
		}
	}
}

func TestColorsDoNotChangeTheText(t *testing.T) {
	form := lineForm{zone: time.UTC, width: func() int { return 80 }}
	without := replay(t, "testdata/log/run.jsonl", slog.LevelInfo, form)
	form.color = true
	with := replay(t, "testdata/log/run.jsonl", slog.LevelInfo, form)
	if with == without || !strings.Contains(with, yellow+"warning"+plain+": ") || !strings.Contains(with, red+"error"+plain+": ") {
		t.Error("warnings and errors have no color")
	}
	if diff := cmp.Diff(without, escapeSequence.ReplaceAllString(with, "")); diff != "" {
		t.Error(diff)
	}
}

// TestOutageIsSummedUp requires a warning about the same trouble once a minute, with the number of
// attempts in between, and another one as soon as the trouble changes.
func TestOutageIsSummedUp(t *testing.T) {
	var out bytes.Buffer
	handler := newLineHandler(&out, slog.LevelInfo, lineForm{width: func() int { return 80 }})
	at := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	record := func(after time.Duration, level slog.Level, message string, args ...any) {
		r := slog.NewRecord(at.Add(after), level, message, 0)
		r.Add(append(args, "connection", "1.1")...)
		if err := handler.Handle(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 7 {
		record(time.Duration(i)*10*time.Second, slog.LevelWarn, "stream not connected", "attempt", i+1,
			"error", errors.New(`Get "http://host/stream?streams=x": dial tcp 1.2.3.4:443: connect: connection refused`))
	}
	record(time.Minute+time.Second, slog.LevelWarn, "stream not connected", "attempt", 8, "error", errors.New("dial tcp 1.2.3.4:443: i/o timeout"))
	record(2*time.Minute, slog.LevelInfo, "stream connected", "streams", 3)
	record(3*time.Minute, slog.LevelInfo, "stream connected", "streams", 3)
	want := "warning: not connected, trying again: connection refused\n" +
		"warning: not connected, trying again: connection refused (5 more attempts in\nbetween)\n" +
		"warning: not connected, trying again: no answer in time\n" +
		"connected again after 2 min, 3 streams\nconnected, 3 streams\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestAttributesOfGroupsAndWith(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newLineHandler(&out, slog.LevelInfo, lineForm{width: func() int { return 200 }})).With("first_id", 1234567, "run_id", "x")
	log.WithGroup("g").With("rows", 1204).Info("a fact", slog.Group("inner", "wait_ms", 1500), "took", 90*time.Second, "empty", "", "none", nil)
	log.Debug("hidden")
	if want := "a fact (first id 1234567, g.rows 1,204, g.inner.wait 1.5 s, g.took 1 min 30 s)\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	if log.Handler().Enabled(context.Background(), slog.LevelDebug) {
		t.Error("debug is enabled")
	}
}

// TestLineTextsAreLogged requires each entry that has its own wording to be logged somewhere, so that a
// changed message does not lose its wording unnoticed.
func TestLineTextsAreLogged(t *testing.T) {
	logged := map[string]bool{}
	for _, root := range []string{"../../cmd", "../../jobs", "../../internal", "../../analytics"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(entry.Name(), "line_texts") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(node ast.Node) bool {
				if literal, ok := node.(*ast.BasicLit); ok && literal.Kind == token.STRING {
					if text, err := strconv.Unquote(literal.Value); err == nil {
						logged[text] = true
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for message := range lineTexts() {
		if !logged[message] {
			t.Errorf("nothing logs %q", message)
		}
	}
}

func TestShortError(t *testing.T) {
	for text, want := range map[string]string{
		"failed to get reader: failed to read frame header: EOF": "the other end closed it",
		`connect to the stream: failed to WebSocket dial: failed to send handshake request: Get "http://127.0.0.1:9811/stream?streams=btcusdt@aggTrade&timeUnit=MICROSECOND": dial tcp 127.0.0.1:9811: connect: connection refused`: "connection refused",
		`Get "https://data-api.binance.vision/api/v3/ping": dial tcp: lookup data-api.binance.vision: no such host`:                                                                                                                 "lookup data-api.binance.vision: no such host",
		"read tcp 10.0.0.1:443->10.0.0.2:5000: read: connection reset by peer":                                                                                                                                                      "connection reset by peer",
		"dial tcp [2001:db8::1]:443: connect: no route to host":                                                                                                                                                                     "no route to host",
		"HTTP status 418: banned until 12:00":                   "HTTP status 418: banned until 12:00",
		"read the statement: open x: no such file or directory": "read the statement: open x: no such file or directory",
		"": "",
	} {
		if got := shortError(text); got != want {
			t.Errorf("shortError(%q) = %q, want %q", text, got, want)
		}
	}
}

// FuzzEntry writes any line that a child process logged, in each form for people.
func FuzzEntry(f *testing.F) {
	for _, seed := range []string{
		`{"time":"2026-01-15T00:00:00Z","level":"INFO","msg":"published","symbol":"BTCUSDT","rows":5,"bytes":-1,"wait_ms":9223372036854775807}`,
		`{"level":"WARN","msg":"x","error":{"a":[1e999]},"names":["a",null,{}],"x_s":1.5,"id":1}`,
		`{"level":"ERROR+99","msg":"\u001b[2J\n","time":5}`, `{"level":7}`, "null", "{",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		e, ok := parseEntry(line)
		if !ok {
			return
		}
		if e.message == "" {
			t.Fatalf("%q has no message", line)
		}
		var out bytes.Buffer
		handler := newLineHandler(&out, slog.LevelDebug, lineForm{})
		record := slog.NewRecord(time.Unix(0, 0), e.level, e.message, 0)
		record.AddAttrs(e.values...)
		if err := handler.Handle(t.Context(), record); err != nil {
			t.Fatal(err)
		}
		_ = e.plainText(time.UTC)
	})
}
