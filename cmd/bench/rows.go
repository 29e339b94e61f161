package main

// benchmark is a Go benchmark that is run for its metrics.
type benchmark struct {
	name, pkg string
	size      string   // distinguishes two entries of one benchmark
	long      bool     // a run takes more than ten seconds: not with -quick
	turns     bool     // it is started once and repeats by itself (benchtest.Turns)
	runs      int      // maximum number of runs; 0 means no maximum
	args      []string // of the test binary
}

// id is the name in row.benchmark.
func (b benchmark) id() string { return b.name + b.size }

func benchmarks() []benchmark {
	return []benchmark{
		{name: "BenchmarkReadLoop", pkg: "jobs/stream", turns: true},
		{name: "BenchmarkStreamProcess", pkg: "jobs/stream", turns: true, runs: 1, long: true},
		{name: "BenchmarkImportDay", pkg: "jobs/importer", turns: true, args: []string{"-rows", "20000000"}},
		{name: "BenchmarkREST", pkg: "jobs/backfill", turns: true, long: true},
		{name: "BenchmarkCompact", pkg: "cmd/tapedeck", turns: true, long: true},
		{name: "BenchmarkVerify", pkg: "cmd/tapedeck", turns: true, long: true},
		{name: "BenchmarkReport", pkg: "jobs/report", turns: true, long: true},
		{name: "BenchmarkOverview", pkg: "jobs/report", turns: true, long: true},
		{name: "BenchmarkScan", pkg: "internal/tape"},
		{name: "BenchmarkDetect", pkg: "jobs/detect", turns: true, long: true},
		{name: "BenchmarkBytes", pkg: "cmd/tapedeck", turns: true},
		{name: "BenchmarkColdStart", pkg: "cmd/tapedeck", turns: true},
	}
}

// largeBenchmarks lists the benchmarks that take too long for make bench; make bench-large runs them.
func largeBenchmarks() []benchmark {
	const size = ", large"
	return []benchmark{
		{name: "BenchmarkStreamProcess", size: size, pkg: "jobs/stream", turns: true},
		{name: "BenchmarkBackfillDay", size: size, pkg: "jobs/backfill", turns: true, args: []string{"-rows", "20000000"}},
		{name: "BenchmarkCompact", size: size, pkg: "cmd/tapedeck", turns: true, args: []string{"-segment-rows", "34800"}},
		{name: "BenchmarkReport", size: size, pkg: "jobs/report", turns: true, args: []string{"-trades", "20000000"}},
		{name: "BenchmarkOverview", size: size, pkg: "jobs/report", turns: true, args: []string{"-trades", "20000000"}},
	}
}

// row is a line of a table: one metric of one benchmark.
type row struct {
	benchmark, metric       string
	label, comparison, unit string
	bar                     float64 // 0 means none
	atMost                  bool    // the bar is an upper limit

	absolute, absoluteUnit string // another metric, for orientation
	runs                   string // replaces the number of runs
	optional               bool   // not every machine can measure it
}

func rows() []row {
	const fast = "times as fast"
	return []row{
		{benchmark: "BenchmarkReadLoop", metric: "of-bare", label: "`stream`: trades per processor time, from websocket frames on loopback to published Parquet, 200 symbols", comparison: "the websocket library reading and discarding the same frames", unit: "times as many", bar: 0.5,
			absolute: "Mtrades/s", absoluteUnit: "million trades/s per core"},
		{benchmark: "BenchmarkReadLoop", metric: "of-bare-in-pieces", label: "the same", comparison: "the same, with reads as large as those of `stream`", unit: "times as many",
			absolute: "stream-ns/trade", absoluteUnit: "ns/trade"},
		{benchmark: "BenchmarkReadLoop", metric: "of-go-binance", label: "the same", comparison: "go-binance's `WsCombinedAggTradeServe` with an empty handler", unit: "times as many", bar: 5,
			absolute: "go-binance-ns/trade", absoluteUnit: "ns/trade for go-binance"},
		{benchmark: "BenchmarkReadLoop", metric: "allocs/trade", label: "the same: allocations, all of them in flushes (see below)", unit: "per trade",
			absolute: "allocs/flush", absoluteUnit: "per flush of 200,000 trades"},
		{benchmark: "BenchmarkStreamProcess", metric: "%core", label: "`stream`: processor time at 20,000 trades/s of 1,000 symbols", unit: "% of a core", bar: 10, atMost: true, runs: "3 minutes of one"},
		{benchmark: "BenchmarkStreamProcess", metric: "MB", label: "the same: resident memory at the end of each minute", unit: "MB", bar: 150, atMost: true, runs: "3 minutes of one",
			absolute: "MB-most", absoluteUnit: "MB peak"},
		{benchmark: "BenchmarkStreamProcess", metric: "MB-grown", label: "the same: growth of resident memory from the first to the third minute", unit: "MB"},
		{benchmark: "BenchmarkStreamProcess", metric: "ms-p99-over-interval", label: "the same: time from a trade to its visibility, beyond the flush interval of 2 s, 99th percentile", unit: "ms", bar: 200, atMost: true},
		{benchmark: "BenchmarkStreamProcess", metric: "s-lost-by-kill", label: "the same: loss by `kill -9` with flushes every 2 s", unit: "s", bar: 2.2, atMost: true,
			absolute: "trades-lost-by-kill", absoluteUnit: "trades"},
		{benchmark: "BenchmarkImportDay", metric: "ratio", label: "`import`: a zip of 20 million aggTrades to published, sorted, verified Parquet", comparison: "DuckDB: `read_csv` of the unzipped file with `ORDER BY id` to the same Parquet", unit: fast, bar: 0.8,
			absolute: "Mtrades/s", absoluteUnit: "million trades/s"},
		{benchmark: "BenchmarkImportDay", metric: "cpu-ratio", label: "the same: processor time", comparison: "the same", unit: "times less"},
		{benchmark: "BenchmarkImportDay", metric: "MB", label: "the same: peak memory", unit: "MB", bar: 1000, atMost: true,
			absolute: "B/trade", absoluteUnit: "bytes per trade on disk"},
		{benchmark: "BenchmarkREST", metric: "of-budget", label: "`backfill` by REST from an exchange with a latency of 50 ms and weight windows of 6 s", comparison: "the rate that the exchange's limit allows", unit: "of it", bar: 0.95,
			absolute: "trades/s", absoluteUnit: "trades/s"},
		{benchmark: "BenchmarkREST", metric: "of-least-requests", label: "the same: number of requests", comparison: "the least possible number", unit: "times as many", bar: 1, atMost: true},
		{benchmark: "BenchmarkCompact", metric: "ratio", label: "`compact`: a day of 10 million trades of 200 symbols in 1,440 segments", comparison: "one `COPY … ORDER BY symbol, id` of DuckDB over the same files, within 1 GB", unit: fast, bar: 0.8,
			absolute: "Mtrades/s", absoluteUnit: "million trades/s"},
		{benchmark: "BenchmarkCompact", metric: "MB", label: "the same: peak memory", unit: "MB", bar: 1000, atMost: true},
		{benchmark: "BenchmarkVerify", metric: "s-again", label: "`verify`: 365 days × 50 symbols, repeated", unit: "s", bar: 1, atMost: true},
		{benchmark: "BenchmarkVerify", metric: "Mtrades/s-first", label: "`verify`: first time, 365 files of 100,000 trades", unit: "million trades/s", bar: 20},
		{benchmark: "BenchmarkReport", metric: "of-bare-sql", label: "`report`: a day of 4 million trades of 200 symbols, all sections", comparison: "the bare SQL of its sections in one DuckDB session", unit: "of its time", bar: 1.15, atMost: true,
			absolute: "s-report", absoluteUnit: "s"},
		{benchmark: "BenchmarkOverview", metric: "of-pandas", label: "`report --sections overview` of the same day", comparison: "pandas computing the overview of the same trades from CSV", unit: fast, bar: 10, optional: true,
			absolute: "s-overview", absoluteUnit: "s"},
		{benchmark: "BenchmarkScan", metric: "Mrows/s", label: "scanning the ids of a segment of a million trades, one thread", unit: "million trades/s"},
		{benchmark: "BenchmarkDetect", metric: "s-365-days", label: "`detect`: all detectors over one new minute of 300 symbols at 20 million trades a day, with a year on the tape", unit: "s", bar: 1.5, atMost: true},
		{benchmark: "BenchmarkDetect", metric: "ratio-365", label: "the same", comparison: "the same with one day on the tape", unit: "times as long", bar: 1.2, atMost: true},
		{benchmark: "BenchmarkDetect", metric: "MB", label: "the same: peak memory of the process, which also writes the tape", unit: "MB"},
		{benchmark: "BenchmarkBytes", metric: "ratio", label: "size on disk after `compact`, 105,280 recorded real trades", comparison: "the archive's zip of the same trades", unit: "of its size", bar: 0.5, atMost: true,
			absolute: "B/trade", absoluteUnit: "bytes per trade"},
		{benchmark: "BenchmarkColdStart", metric: "ms-version", label: "`version`: from start to end of the process", unit: "ms", bar: 30, atMost: true},
		{benchmark: "BenchmarkColdStart", metric: "ms-health", label: "`health`", unit: "ms", bar: 60, atMost: true},
		{benchmark: "BenchmarkColdStart", metric: "ms-report", label: "`report --since 24h` of 400,000 trades", unit: "ms", bar: 300, atMost: true},
		{benchmark: "BenchmarkColdStart", metric: "of-duckdb-shell", label: "`query \"SELECT count(*) FROM trades\"`", comparison: "the DuckDB shell on the same files", unit: "times as long", optional: true},
		{benchmark: "BenchmarkColdStart", metric: "ms-query", label: "`query \"SELECT count(*) FROM trades\"`", unit: "ms"},
	}
}

// largeRows lists the rows of largeBenchmarks.
func largeRows() []row {
	const fast, size = "times as fast", ", large"
	return []row{
		{benchmark: "BenchmarkStreamProcess" + size, metric: "%core", label: "`stream`: processor time at 20,000 trades/s of 1,000 symbols", unit: "% of a core", bar: 10, atMost: true, runs: "15 minutes of 5"},
		{benchmark: "BenchmarkStreamProcess" + size, metric: "MB", label: "the same: resident memory at the end of each minute", unit: "MB", bar: 150, atMost: true, runs: "15 minutes of 5",
			absolute: "MB-most", absoluteUnit: "MB peak"},
		{benchmark: "BenchmarkStreamProcess" + size, metric: "MB-grown", label: "the same: growth of resident memory from the first to the third minute", unit: "MB"},
		{benchmark: "BenchmarkBackfillDay" + size, metric: "Mtrades/s", label: "`backfill`: a day of 20 million aggTrades from an archive on loopback", unit: "million trades/s"},
		{benchmark: "BenchmarkBackfillDay" + size, metric: "MB", label: "the same: peak memory", unit: "MB", bar: 1000, atMost: true},
		{benchmark: "BenchmarkCompact" + size, metric: "ratio", label: "`compact`: a day of 50 million trades of 200 symbols in 1,440 segments", comparison: "one `COPY … ORDER BY symbol, id` of DuckDB over the same files, within 1 GB", unit: fast, bar: 0.8,
			absolute: "Mtrades/s", absoluteUnit: "million trades/s"},
		{benchmark: "BenchmarkCompact" + size, metric: "MB", label: "the same: peak memory", unit: "MB", bar: 1000, atMost: true},
		{benchmark: "BenchmarkReport" + size, metric: "of-bare-sql", label: "`report`: a day of 20 million trades of 200 symbols, all sections", comparison: "the bare SQL of its sections in one DuckDB session", unit: "of its time", bar: 1.15, atMost: true,
			absolute: "s-report", absoluteUnit: "s"},
		{benchmark: "BenchmarkOverview" + size, metric: "of-pandas", label: "`report --sections overview` of the same day", comparison: "pandas computing the overview of the same trades from CSV", unit: fast, bar: 10, optional: true,
			absolute: "s-overview", absoluteUnit: "s"},
	}
}
