package clients

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// world is an exchange and the tapes of its recorders.
type world struct {
	t             *testing.T
	dir, binary   string
	source        string // this directory
	rest, streams string // addresses
	environment   []string
}

func newWorld(t *testing.T) *world {
	source, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: t.TempDir(), source: source}
	w.binary = filepath.Join(w.dir, "tapedeck")
	build := exec.Command("go", "build", "-o", w.binary, "tapedeck/cmd/tapedeck")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build tapedeck: %v\n%s", err, text)
	}
	exchange := exec.Command(w.binary, "exchange", "--simulate", "--rate", "3", "--history", history.String(), "--listen", "127.0.0.1:0")
	var log bytes.Buffer
	exchange.Stderr = &log
	out, err := exchange.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.start(exchange)
	lines := bufio.NewScanner(out)
	for lines.Scan() && w.rest == "" {
		_, w.rest, _ = strings.Cut(lines.Text(), "exchange at ")
	}
	if w.rest == "" {
		t.Fatalf("the exchange did not start: %s", log.String())
	}
	go func() {
		for lines.Scan() { // until the exchange ends
		}
	}()
	w.streams = strings.Replace(w.rest, "http", "ws", 1)
	w.environment = append(os.Environ(), "TAPEDECK_STREAM_URL="+w.streams, "TAPEDECK_REST_URL="+w.rest, "TAPEDECK_ARCHIVE_URL="+w.rest,
		"TAPEDECK_LOG_LEVEL=info", "STANDIN_REST="+w.rest, "STANDIN_STREAMS="+w.streams, "STANDIN_SECONDS="+strconv.Itoa(seconds))
	return w
}

// start starts a program that ends with the test.
func (w *world) start(c *exec.Cmd) {
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { w.stop(c) })
}

// stop ends a program with a signal, if it has not ended.
func (w *world) stop(c *exec.Cmd) {
	if c.ProcessState == nil {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
	}
}

// record starts a recorder and waits until it has connected.
func (w *world) record(kind string) *exec.Cmd {
	c := exec.Command(w.binary, "stream", "--data-dir", filepath.Join(w.dir, kind), "--feed", kind, "--symbols", "BTCUSDT,ETHUSDT", "--flush-interval", "5s")
	c.Env = w.environment
	log, err := c.StderrPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	w.start(c)
	before := w.served().Connections
	go func() {
		for lines := bufio.NewScanner(log); lines.Scan(); { // until the recorder ends
		}
	}()
	for deadline := time.Now().Add(time.Minute); w.served().Connections == before; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatal("the recorder does not connect")
		}
	}
	return c
}

func (w *world) tapedeck(kind string, args ...string) []byte {
	w.t.Helper()
	c := exec.Command(w.binary, append(args, "--data-dir", filepath.Join(w.dir, kind))...)
	c.Env = w.environment
	var log bytes.Buffer
	c.Stderr = &log
	out, err := c.Output()
	if err != nil && c.ProcessState.ExitCode() != 3 { // of a backfill: the history begins within the window
		w.t.Fatalf("tapedeck %s: %v\n%s", strings.Join(args, " "), err, log.String())
	}
	return out
}

func (w *world) read(kind string) tape {
	text := w.tapedeck(kind, "query", "--format", "csv", "SELECT symbol, id, price, qty, epoch_ms(traded_at), is_buyer_maker FROM trades")
	list, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil || len(list) < 100 {
		w.t.Fatalf("the tape has %d rows, %v", len(list), err)
	}
	read := tape{}
	for _, r := range list[1:] {
		var one truth
		id, err0 := strconv.ParseInt(r[1], 10, 64)
		var errs [4]error
		one.price, errs[0] = strconv.ParseFloat(r[2], 64)
		one.qty, errs[1] = strconv.ParseFloat(r[3], 64)
		one.at, errs[2] = strconv.ParseInt(r[4], 10, 64)
		one.sell, errs[3] = strconv.ParseBool(r[5])
		if err0 != nil || slices.ContainsFunc(errs[:], func(err error) bool { return err != nil }) {
			w.t.Fatalf("row %q: %v %v", r, err0, errs)
		}
		if read[r[0]] == nil {
			read[r[0]] = map[int64]truth{}
		}
		read[r[0]][id] = one
	}
	return read
}

type served struct {
	Connections int64 `json:"connections"`
}

func (w *world) served() (s served)             { w.ask("served", &s); return s }
func (w *world) offences() (o map[string]int64) { w.ask("offences", &o); return o }

func (w *world) ask(what string, v any) {
	w.t.Helper()
	answer, err := http.Get(w.rest + "/_tapedeck/" + what)
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(v); err != nil {
		w.t.Fatal(err)
	}
}

// execute runs a program and returns its standard output.
func (w *world) execute(dir, program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, program, args...)
	c.Dir, c.Env = dir, w.environment
	var log bytes.Buffer
	c.Stderr = &log
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", filepath.Base(program), err, log.String())
	}
	return out, nil
}
