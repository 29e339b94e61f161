package stream

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tapedeck/internal/benchtest"
	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/tape"
)

var loadMinute = flag.Duration("minute", time.Minute, "length of each of the three minutes of BenchmarkStreamProcess")

// The load of BenchmarkStreamProcess: the whole market at a busy time.
const loadSymbols, loadPerSecond = 1000, 20_000

// program is the real program, and an exchange for it in this process.
type program struct {
	binary string
	server *exchange.Server
	names  string
}

func newProgram(b *testing.B) program {
	binary := benchtest.Program(b)
	start := time.Now()
	source, err := exchange.NewSteady(loadSymbols, loadPerSecond, start, 0)
	if err != nil {
		b.Fatal(err)
	}
	var names []string
	for _, symbol := range source.Symbols() {
		names = append(names, symbol.Name)
	}
	return program{binary, exchange.StartTest(b, source, exchange.Options{Start: start}), strings.Join(names, ",")}
}

// process is a running program.
type process struct {
	cmd      *exec.Cmd
	messages chan string // of the program's log; closed when it ends
}

// start starts the program and waits until all its connections are up.
func (p program) start(b *testing.B, data, interval string) process {
	c := exec.Command(p.binary, "--data-dir", data, "stream", "--symbols", p.names, "--flush-interval", interval,
		"--stream-url", p.server.StreamURL(), "--rest-url", p.server.URL())
	c.Dir = b.TempDir()
	c.Env = append(os.Environ(), "TAPEDECK_LOG_LEVEL=info")
	stderr, err := c.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	running := process{c, make(chan string, 100)}
	go func() {
		defer close(running.messages)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			var line struct{ Level, Msg string }
			if json.Unmarshal(lines.Bytes(), &line) != nil || line.Level != "INFO" {
				fmt.Fprintln(os.Stderr, lines.Text())
			}
			running.messages <- line.Msg
		}
	}()
	const connections = loadSymbols / defaultStreamsPerConnection
	for range connections {
		running.await(b, "stream connected")
	}
	return running
}

// await waits until the program has logged a message.
func (p process) await(b *testing.B, message string) {
	b.Helper()
	for logged := range p.messages {
		if logged == message {
			return
		}
	}
	b.Fatalf("the program ended before it logged %q", message)
}

// kill kills the program, and returns when it did.
func (p process) kill(b *testing.B) time.Time {
	if err := p.cmd.Process.Kill(); err != nil {
		b.Fatal(err)
	}
	at := time.Now()
	for range p.messages {
	}
	if err := p.cmd.Wait(); p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		b.Fatalf("the program ended by itself: %v", err)
	}
	return at
}

// BenchmarkStreamProcess measures the processor time and the memory of the real program at 20,000
// trades a second of 1,000 symbols, for three minutes, minute by minute. Then, five times and with
// a flush every two seconds, it measures how long after its match a trade can be read from the
// tape, and how much kill -9 loses.
func BenchmarkStreamProcess(b *testing.B) {
	p := newProgram(b)
	for range benchtest.Runs(b) {
		p.threeMinutes(b)
	}
	const interval = 2 * time.Second
	for range 5 {
		b.Run("kill", func(b *testing.B) {
			data := filepath.Join(b.TempDir(), "data")
			running := p.start(b, data, interval.String())
			watch := tapeWatch{data: data, read: map[string]bool{}}
			var delays []time.Duration
			for range 2 {
				running.await(b, "segment published")
				delays = append(delays, watch.newDelays(b)...)
			}
			delays = append(delays, watch.until(b, running, rand.N(interval))...)
			lost, since := lostBy(b, data, running.kill(b))
			slices.Sort(delays)
			b.ReportMetric(float64((delays[len(delays)*99/100] - interval).Milliseconds()), "ms-p99-over-interval")
			b.ReportMetric(since.Seconds(), "s-lost-by-kill")
			b.ReportMetric(float64(lost), "trades-lost-by-kill")
		})
	}
}

// threeMinutes records for three minutes.
func (p program) threeMinutes(b *testing.B) {
	data := filepath.Join(b.TempDir(), "data")
	running := p.start(b, data, defaultFlushInterval.String())
	watch := tapeWatch{data: data, read: map[string]bool{}}
	memoryAtFirst := 0.
	for minute := range 3 {
		b.Run("minute", func(b *testing.B) {
			used := benchtest.ProcessorTimeOf(b, running.cmd.Process.Pid)
			start := time.Now()
			delays := watch.until(b, running, *loadMinute)
			used = benchtest.ProcessorTimeOf(b, running.cmd.Process.Pid) - used
			b.ReportMetric(100*used.Seconds()/time.Since(start).Seconds(), "%core")
			memory, most := benchtest.Resident(b, running.cmd.Process.Pid)
			b.ReportMetric(memory, "MB")
			if minute == 0 {
				memoryAtFirst = memory
			}
			if minute == 2 {
				b.ReportMetric(most, "MB-most")
				b.ReportMetric(memory-memoryAtFirst, "MB-grown")
			}
			if len(delays) < loadPerSecond*int(loadMinute.Seconds())/2 {
				b.Fatalf("%d trades were recorded", len(delays))
			}
		})
	}
	running.kill(b)
}

// lostBy returns how many trades between the first on the tape and a time are not on the tape, and
// how long before that time the last one on the tape was matched.
func lostBy(b *testing.B, data string, at time.Time) (lost int64, since time.Duration) {
	dir, err := tape.Open(data)
	if err != nil {
		b.Fatal(err)
	}
	segments, broken, err := dir.Segments(tape.Trades, "", "")
	if err != nil || len(broken) > 0 || len(segments) == 0 {
		b.Fatal(err, broken, len(segments))
	}
	rows, first, last := int64(0), time.Time{}, time.Time{}
	for _, s := range segments {
		rows += s.Rows
		from, to, _, err := dir.TimeRange(s)
		if err != nil {
			b.Fatal(err)
		}
		if first.IsZero() || from.Before(first) {
			first = from
		}
		if to.After(last) {
			last = to
		}
	}
	return int64(at.Sub(first).Seconds()*loadPerSecond) - rows, at.Sub(last)
}

// tapeWatch reads the segments of a tape that is being written, each once.
type tapeWatch struct {
	data string
	read map[string]bool // by path
}

// until returns the delays of the rows that are published within a time.
func (w *tapeWatch) until(b *testing.B, running process, within time.Duration) []time.Duration {
	b.Helper()
	var delays []time.Duration
	end := time.After(within)
	for {
		select {
		case <-end:
			return delays
		case message, ok := <-running.messages:
			if !ok {
				b.Fatal("the program ended by itself")
			}
			if message == "segment published" {
				delays = append(delays, w.newDelays(b)...)
			}
		}
	}
}

// newDelays returns, for each row of new segments, how long ago it was matched.
func (w *tapeWatch) newDelays(b *testing.B) []time.Duration {
	b.Helper()
	at := time.Now()
	paths, err := filepath.Glob(filepath.Join(w.data, "trades/date=2*/*.parquet"))
	if err != nil {
		b.Fatal(err)
	}
	dir, err := tape.Open(w.data)
	if err != nil {
		b.Fatal(err)
	}
	var delays []time.Duration
	for _, path := range paths {
		if w.read[path] {
			continue
		}
		w.read[path] = true
		rel, err := filepath.Rel(w.data, path)
		if err != nil {
			b.Fatal(err)
		}
		rows, err := readTrades(dir, rel)
		if err != nil {
			b.Fatal(err)
		}
		for _, row := range rows {
			delays = append(delays, at.Sub(time.UnixMicro(row.TradedAt)))
		}
	}
	return delays
}
