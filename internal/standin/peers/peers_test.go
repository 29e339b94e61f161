// Package peers measures other people's tools beside tapedeck on the same input: what a trade of a stream,
// the import of a day and an overview cost.
// `make bench-peers` installs them, with the versions pinned here and in internal/standin/clients, and runs
// it. Processor time and memory are those of the whole process, with its start.
package peers

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tapedeck/internal/standin/exchange"
)

var (
	installed = flag.String("peers", "", "directory where scripts/clients installed the tools; empty skips the test")
	runs      = flag.Int("runs", 3, "how often each is measured, in turns")
	cutAfter  = flag.Duration("cut-after", 15*time.Second, "when the connections of a stream are cut: half of its length")
	million   = flag.Float64("million", 2, "million trades of the import and the overview")
)

const symbols = 20

// cost is what a process used.
type cost struct {
	cpu, wall time.Duration
	memory    int64 // bytes
	out       []byte
}

// bench is the tools and a scratch directory.
type bench struct {
	*testing.T
	dir, binary string
}

func (b *bench) run(environment []string, program string, args ...string) cost {
	b.Helper()
	c := exec.Command(program, args...)
	c.Env, c.Dir = append(os.Environ(), environment...), b.dir
	var log bytes.Buffer
	c.Stderr = &log
	began := time.Now()
	out, err := c.Output()
	if err != nil && c.ProcessState.ExitCode() != 3 {
		b.Fatalf("%s: %v\n%s", filepath.Base(program), err, log.String())
	}
	usage := c.ProcessState.SysUsage().(*syscall.Rusage)
	return cost{c.ProcessState.UserTime() + c.ProcessState.SystemTime(), time.Since(began), usage.Maxrss << 10, out}
}

func (b *bench) python(name string) string { return filepath.Join(*installed, name, "bin", "python") }

func (b *bench) script(name string) string {
	path, err := filepath.Abs(name)
	if err != nil {
		b.Fatal(err)
	}
	return path
}

func TestPeers(t *testing.T) {
	if *installed == "" {
		t.Skip("needs tools from npm and PyPI: make bench-peers")
	}
	b := &bench{T: t, dir: t.TempDir()}
	b.binary = filepath.Join(b.dir, "tapedeck")
	if text, err := exec.Command("go", "build", "-o", b.binary, "tapedeck/cmd/tapedeck").CombinedOutput(); err != nil {
		t.Fatalf("build tapedeck: %v\n%s", err, text)
	}
	fmt.Println("| what | tool | figure | memory |\n|---|---|---:|---:|")
	t.Run("frames", func(t *testing.T) { b.T = t; b.frames() })
	t.Run("streams", func(t *testing.T) { b.T = t; b.streams() })
	t.Run("cut", func(t *testing.T) { b.T = t; b.cut() })
}

// recorder is a tool that receives a stream of a stand-in until expected trades arrived or none for idle
// seconds.
type recorder struct {
	name     string
	run      func(s *exchange.Server, expected int64, idle int) cost
	received func(of cost) int64
}

func (b *bench) recorders() []recorder {
	environment := func(s *exchange.Server, expected int64, idle int) []string {
		return []string{"STANDIN_REST=" + s.URL(), "STANDIN_STREAMS=" + s.StreamURL(), "PEER_SYMBOLS=" + strings.Join(names(), ","),
			"PEER_EXPECTED=" + strconv.FormatInt(expected, 10), "PEER_IDLE=" + strconv.Itoa(idle)}
	}
	return []recorder{
		{"tapedeck `stream`, to Parquet", func(s *exchange.Server, _ int64, _ int) cost {
			return b.run([]string{"TAPEDECK_STREAM_URL=" + s.StreamURL(), "TAPEDECK_REST_URL=" + s.URL()}, b.binary,
				"stream", "--once", "--data-dir", b.fresh("stream"), "--symbols", strings.Join(names(), ","))
		}, func(cost) int64 {
			out := b.run(nil, b.binary, "query", "--data-dir", filepath.Join(b.dir, "stream"), "--format", "json", "SELECT count(*) AS n FROM trades").out
			var rows []struct{ N int64 }
			if err := json.Unmarshal(out, &rows); err != nil || len(rows) != 1 {
				b.Fatalf("%s: %v", out, err)
			}
			return rows[0].N
		}},
		{"cryptofeed 2.4.1, counting", func(s *exchange.Server, expected int64, idle int) cost {
			return b.run(environment(s, expected, idle), b.python("cryptofeed"), b.script("stream_cryptofeed.py"))
		}, b.counted},
		{"ccxt.pro 4.5.84, counting", func(s *exchange.Server, expected int64, idle int) cost {
			text, err := os.ReadFile("stream_ccxt.mjs")
			if err != nil {
				b.Fatal(err)
			}
			path := filepath.Join(*installed, "ccxt", "stream_ccxt.mjs") // where node finds the package
			if err := os.WriteFile(path, text, 0o644); err != nil {
				b.Fatal(err)
			}
			return b.run(environment(s, expected, idle), "node", path)
		}, b.counted},
	}
}

// counted returns how many trades a program that counts printed.
func (b *bench) counted(of cost) (trades int64) {
	var bySymbol map[string][3]int64 // first id, last id, number
	if err := json.Unmarshal(of.out, &bySymbol); err != nil {
		b.Fatalf("%s: %v", of.out, err)
	}
	for _, ids := range bySymbol {
		trades += ids[2]
	}
	return trades
}

// fresh returns a directory that does not exist.
func (b *bench) fresh(name string) string {
	path := filepath.Join(b.dir, name)
	if err := os.RemoveAll(path); err != nil {
		b.Fatal(err)
	}
	return path
}

func names() []string {
	list := make([]string, symbols)
	for i := range list {
		list[i] = fmt.Sprintf("B%04dUSDT", i+1)
	}
	return list
}

func (b *bench) steady(perSecond float64, length time.Duration, opt exchange.Options) *exchange.Server {
	begin := time.Now().Add(-time.Minute)
	source, err := exchange.NewSteady(symbols, perSecond, begin, length)
	if err != nil {
		b.Fatal(err)
	}
	opt.WaitForStreams, opt.CloseAtEnd, opt.WeightLimit = symbols, true, 1<<40
	server, err := exchange.Start(source, opt)
	if err != nil {
		b.Fatal(err)
	}
	return server
}

// streams measures the processor time of a trade: that of a long stream, read as fast as the tool can, less
// that of a short one.
func (b *bench) streams() {
	const perSecond, long, short = 20_000, 5 * time.Second, 50 * time.Millisecond
	cpu, memory := map[string][]float64{}, map[string][]float64{}
	for range *runs {
		for _, r := range b.recorders() {
			measure := func(length time.Duration) cost {
				s := b.steady(perSecond, length, exchange.Options{Speed: exchange.MaxSpeed, StallLimit: 10 * time.Minute})
				defer s.Close()
				return r.run(s, int64(perSecond*length.Seconds()), 2)
			}
			base, full := measure(short), measure(long)
			trades := perSecond * (long - short).Seconds()
			cpu[r.name] = append(cpu[r.name], (full.cpu-base.cpu).Seconds()*1e6/trades)
			memory[r.name] = append(memory[r.name], float64(full.memory))
		}
	}
	for _, r := range b.recorders() {
		row("stream of 20 symbols, processor time of a trade", r.name, fmt.Sprintf("%.2f µs", median(cpu[r.name])), median(memory[r.name]))
	}
}

// cut measures a stream at the speed of the exchange, whose connections are reset once, in the middle: what a
// second costs, and how many trades are missing at the end.
func (b *bench) cut() {
	const perSecond, short = 20_000, 50 * time.Millisecond
	for _, r := range b.recorders() {
		idle := b.steady(perSecond, short, exchange.Options{Speed: exchange.MaxSpeed, StallLimit: 10 * time.Minute})
		base := r.run(idle, int64(perSecond*short.Seconds()), 2)
		idle.Close()
		s := b.steady(perSecond, *cutAfter*2, exchange.Options{})
		half := s.Now().Add(*cutAfter)
		injected, stop := make(chan error, 1), make(chan struct{})
		go func() {
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for s.Now().Before(half) {
				select {
				case <-tick.C:
				case <-stop:
					injected <- errors.New("it ended before its connection was cut")
					return
				}
			}
			n, err := s.Inject(exchange.Fault{Kind: exchange.Cut, Count: -1})
			if err == nil && n == 0 {
				err = errors.New("there was no connection to cut")
			}
			injected <- err
		}()
		expected := int64(perSecond * 2 * cutAfter.Seconds())
		full := r.run(s, expected, 10)
		close(stop)
		if err := <-injected; err != nil {
			b.Fatalf("%s: %v", r.name, err)
		}
		s.Close()
		row(fmt.Sprintf("stream at %d trades/s for %v, connections cut once", perSecond, *cutAfter*2), r.name,
			fmt.Sprintf("%.1f %% of a processor, %d of %d trades missing", 100*(full.cpu-base.cpu).Seconds()/(2*cutAfter.Seconds()),
				expected-r.received(full), expected), float64(full.memory))
	}
}

// frames measures the import of archive files and the overview of the result.
func (b *bench) frames() {
	files := b.archive(int(*million * 1e6))
	day, imported := "2026-11-02", filepath.Join(b.dir, "imported.parquet")
	python, script := b.python("frames"), b.script("frames.py")
	type tool struct {
		name                string
		importing, overview func() cost
	}
	tape := filepath.Join(b.dir, "imported")
	tools := []tool{{"tapedeck", func() cost {
		return b.run(nil, b.binary, append([]string{"import", "--data-dir", b.fresh("imported")}, files...)...)
	}, func() cost {
		return b.run(nil, b.binary, "report", "--data-dir", tape, "--sections", "overview", "--from", day, "--to", "2026-11-03", "--format", "csv")
	}}}
	for _, library := range []string{"pandas", "polars", "duckdb"} {
		tools = append(tools, tool{library + " " + b.version(library), func() cost {
			return b.run(nil, python, append([]string{script, library, "import", imported}, files...)...)
		}, func() cost {
			segments, err := filepath.Glob(filepath.Join(tape, "trades", "*", "*.parquet"))
			if err != nil || len(segments) == 0 {
				b.Fatalf("no segments: %v", err)
			}
			return b.run(nil, python, append([]string{script, library, "overview", "-"}, segments...)...)
		}})
	}
	for _, what := range []struct {
		name string
		run  func(tool) cost
	}{{fmt.Sprintf("import of a day of %g million trades in %d files", *million, symbols), func(t tool) cost { return t.importing() }},
		{"overview of that day", func(t tool) cost { return t.overview() }}} {
		cpu, wall, memory := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
		for range *runs {
			for _, tool := range tools {
				c := what.run(tool)
				cpu[tool.name], wall[tool.name] = append(cpu[tool.name], c.cpu.Seconds()), append(wall[tool.name], c.wall.Seconds())
				memory[tool.name] = append(memory[tool.name], float64(c.memory))
			}
		}
		for _, tool := range tools {
			row(what.name, tool.name, fmt.Sprintf("%.2f s of a processor, %.2f s passed", median(cpu[tool.name]), median(wall[tool.name])), median(memory[tool.name]))
		}
	}
}

func (b *bench) version(library string) string {
	return strings.TrimSpace(string(b.run(nil, b.python("frames"), "-c", "from importlib.metadata import version; print(version('"+library+"'))").out))
}

// archive writes the files of a day of the symbols and returns their paths.
func (b *bench) archive(trades int) (files []string) {
	begin := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)
	source, err := exchange.NewSteady(symbols, float64(trades)/86400, begin, 24*time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	for _, symbol := range names() {
		name := symbol + "-aggTrades-2026-11-02"
		var buffer bytes.Buffer
		z := zip.NewWriter(&buffer)
		csv, err := z.Create(name + ".csv")
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range source.Rows(nil, symbol, exchange.AggTrade, 0, trades) {
			fmt.Fprintf(csv, "%d,%s,%s,%d,%d,%d,%s,True\n", r.ID, r.Price, r.Qty, r.FirstTradeID, r.LastTradeID, r.TradedAt,
				map[bool]string{true: "True", false: "False"}[r.BuyerMaker])
		}
		path := filepath.Join(b.dir, name+".zip")
		if err := z.Close(); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, buffer.Bytes(), 0o644); err != nil {
			b.Fatal(err)
		}
		files = append(files, path)
	}
	return files
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// row prints a row of the table.
func row(what, tool, figure string, memory float64) {
	size := ""
	if memory > 0 {
		size = fmt.Sprintf("%.0f MB", memory/1e6)
	}
	fmt.Printf("| %s | %s | %s | %s |\n", what, tool, figure, size)
}
