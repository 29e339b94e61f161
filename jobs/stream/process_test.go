package stream

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tapedeck/analytics/tape"
	"tapedeck/jobs/internal/exchange"
)

var load = flag.Duration("load", 2*time.Minute, "how long BenchmarkStreamProcess records before it looks at the memory")

// BenchmarkStreamProcess measures the real program at 5,000 trades a second of 300 symbols: the most memory that was resident, how long after
// it was traded a trade can be read from the tape beyond the flush interval, and how much kill -9 loses at a flush interval of two seconds.
func BenchmarkStreamProcess(b *testing.B) {
	const symbols, perSecond = 300, 5000
	binary := filepath.Join(b.TempDir(), "tapedeck")
	if out, err := exec.Command("go", "build", "-o", binary, "tapedeck/cmd/tapedeck").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	start := time.Now()
	source, err := exchange.NewMetronome(symbols, perSecond, start, 0)
	if err != nil {
		b.Fatal(err)
	}
	server := exchange.StartTest(b, source, exchange.Options{Start: start})
	var names []string
	for _, symbol := range source.Symbols() {
		names = append(names, symbol.Name)
	}
	stream := func(data, interval string) *exec.Cmd {
		p := exec.Command(binary, "--data-dir", data, "stream", "--symbols", strings.Join(names, ","), "--flush-interval", interval, "--stream-url", server.StreamURL(), "--rest-url", server.URL())
		p.Dir, p.Stderr = b.TempDir(), os.Stderr
		p.Env = append(os.Environ(), "TAPEDECK_LOG_LEVEL=warn")
		if err := p.Start(); err != nil {
			b.Fatal(err)
		}
		return p
	}
	kill := func(p *exec.Cmd) time.Time {
		if err := p.Process.Kill(); err != nil {
			b.Fatal(err)
		}
		at := time.Now()
		if err := p.Wait(); p.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			b.Fatalf("the stream ended by itself: %v", err)
		}
		return at
	}
	b.ResetTimer()
	for range b.N {
		data := filepath.Join(b.TempDir(), "data")
		p := stream(data, DefaultFlushInterval.String())
		delays := watchTape(b, data, time.Now().Add(*load))
		memory := residentMost(b, p.Process.Pid)
		kill(p)
		slices.Sort(delays)
		p99 := delays[len(delays)*99/100]
		b.ReportMetric(float64(memory)/1e6, "MB")
		b.ReportMetric(float64((p99 - DefaultFlushInterval).Milliseconds()), "ms-p99-over-interval")

		lost, seconds := int64(0), 0.
		for range 5 {
			data := filepath.Join(b.TempDir(), "data")
			p := stream(data, "2s")
			watchTape(b, data, time.Now().Add(4*time.Second+rand.N(4*time.Second)))
			at := kill(p)
			// Every row up to the kill less those on the tape, from the first that is there.
			rows, first, last := int64(0), time.Time{}, time.Time{}
			dir, err := tape.Open(data)
			if err != nil {
				b.Fatal(err)
			}
			segments, broken, err := dir.Segments(tape.Trades, "", "")
			if err != nil || len(broken) > 0 {
				b.Fatal(err, broken)
			}
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
			lost = max(lost, int64(at.Sub(first).Seconds()*perSecond)-rows)
			seconds = max(seconds, at.Sub(last).Seconds())
		}
		b.ReportMetric(seconds, "s-lost-by-kill")
		b.ReportMetric(float64(lost), "trades-lost-by-kill")
	}
}

// watchTape looks at a tape until a time, and gives for each row how long after it was traded it could be read.
func watchTape(b *testing.B, data string, until time.Time) []time.Duration {
	b.Helper()
	seen := map[string]bool{}
	var delays []time.Duration
	for time.Now().Before(until) {
		paths, err := filepath.Glob(filepath.Join(data, "trades/date=2*/*.parquet"))
		if err != nil {
			b.Fatal(err)
		}
		at := time.Now()
		for _, path := range paths {
			if seen[path] {
				continue
			}
			seen[path] = true
			dir, err := tape.Open(data)
			if err != nil {
				b.Fatal(err)
			}
			rel, err := filepath.Rel(data, path)
			if err != nil {
				b.Fatal(err)
			}
			rows, err := dir.ReadTrades(rel)
			if err != nil {
				b.Fatal(err)
			}
			for _, row := range rows {
				delays = append(delays, at.Sub(time.UnixMicro(row.TradedAt)))
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	if len(delays) == 0 {
		b.Fatal("nothing was recorded")
	}
	return delays
}

// residentMost is the most memory that a process has had resident, in bytes.
func residentMost(b *testing.B, pid int) int64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skipf("this system does not tell: %v", err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		b.Fatalf("no VmHWM in %s", text)
	}
	kb, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return kb << 10
}
