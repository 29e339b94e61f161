package stream

import (
	"flag"
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

var loadMinute = flag.Duration("minute", time.Minute, "how long each of the three minutes of BenchmarkStreamProcess takes")

// The load of BenchmarkStreamProcess: the whole market at a busy time.
const loadSymbols, loadPerSecond = 1000, 20_000

// program is the real program and an exchange for it, in this process.
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

func (p program) start(b *testing.B, data, interval string) *exec.Cmd {
	c := exec.Command(p.binary, "--data-dir", data, "stream", "--symbols", p.names, "--flush-interval", interval, "--stream-url", p.server.StreamURL(), "--rest-url", p.server.URL())
	c.Dir, c.Stderr = b.TempDir(), os.Stderr
	c.Env = append(os.Environ(), "TAPEDECK_LOG_LEVEL=warn")
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	return c
}

func kill(b *testing.B, c *exec.Cmd) time.Time {
	if err := c.Process.Kill(); err != nil {
		b.Fatal(err)
	}
	at := time.Now()
	if err := c.Wait(); c.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		b.Fatalf("the stream ended by itself: %v", err)
	}
	return at
}

// BenchmarkStreamProcess measures the real program at 20,000 trades a second of 1,000 symbols, for three minutes, minute by minute: its processor time and its memory. Then five times, flushing every
// two seconds: how long after it was traded a trade can be read from the tape beyond that, and how much kill -9 loses.
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
			watch := tapeWatch{data: data, seen: map[string]bool{}}
			delays := watch.until(b, time.Now().Add(5*time.Second+rand.N(2*time.Second))) // a flush and a half at least
			lost, since := lostBy(b, data, kill(b, running))
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
	running := p.start(b, data, DefaultFlushInterval.String())
	watch := tapeWatch{data: data, seen: map[string]bool{}}
	watch.until(b, time.Now().Add(2*time.Second)) // it connects
	first := 0.
	for minute := range 3 {
		b.Run("minute", func(b *testing.B) {
			used := benchtest.ProcessorTimeOf(b, running.Process.Pid)
			began := time.Now()
			delays := watch.until(b, began.Add(*loadMinute))
			used = benchtest.ProcessorTimeOf(b, running.Process.Pid) - used
			b.ReportMetric(100*used.Seconds()/time.Since(began).Seconds(), "%core")
			now, most := benchtest.Resident(b, running.Process.Pid)
			b.ReportMetric(now, "MB")
			if minute == 0 {
				first = now
			}
			if minute == 2 {
				b.ReportMetric(most, "MB-most")
				b.ReportMetric(now-first, "MB-grown")
			}
			if len(delays) < loadPerSecond*int(loadMinute.Seconds())/2 {
				b.Fatalf("%d trades were recorded", len(delays))
			}
		})
	}
	kill(b, running)
}

// lostBy is how many trades up to a time are not on the tape, of those since the first that is, and how long before it the last that is was traded.
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
		from, to, _, err := dir.TimesOf(s)
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

// tapeWatch looks at a tape that is being written.
type tapeWatch struct {
	data string
	seen map[string]bool // paths of segments
}

// until gives, for each row that came to the tape until a time, how long after it was traded it could be read.
func (w *tapeWatch) until(b *testing.B, end time.Time) []time.Duration {
	b.Helper()
	var delays []time.Duration
	for time.Now().Before(end) {
		paths, err := filepath.Glob(filepath.Join(w.data, "trades/date=2*/*.parquet"))
		if err != nil {
			b.Fatal(err)
		}
		at := time.Now()
		for _, path := range paths {
			if w.seen[path] {
				continue
			}
			w.seen[path] = true
			dir, err := tape.Open(w.data)
			if err != nil {
				b.Fatal(err)
			}
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
		time.Sleep(5 * time.Millisecond)
	}
	return delays
}
