package main

// benchmark is a Go benchmark that is run for its metrics.
type benchmark struct {
	name, pkg string
	size      string   // tells two entries of one benchmark apart
	long      bool     // more than ten seconds a run: not with -quick
	turns     bool     // it is started once and takes its turns by itself (benchtest.Turns); others are started anew for each run
	runs      int      // at most so many runs; 0 is as many as asked for
	args      []string // of the test binary
}

// id is what rows call it.
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

// largeBenchmarks are those that take too long for all the others to wait for them: make bench-large runs them.
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

// row is a line of the table: one metric of one benchmark, held to a bar; 0 is none.
type row struct {
	benchmark, metric   string
	what, against, unit string
	bar                 float64
	atMost              bool // the bar is a ceiling

	absolute, absoluteUnit string // a metric that stands beside it for orientation
	runs                   string // what the values are of, where they are not of so many runs
	maybe                  bool   // a machine may be unable to give it
}

func rows() []row {
	const fast = "times as fast"
	return []row{
		{benchmark: "BenchmarkReadLoop", metric: "of-bare", what: "`stream`: trades for the same processor time, from websocket frames on loopback to published Parquet, 200 symbols", against: "the websocket library reading the same frames and dropping them", unit: "times as many", bar: 0.5,
			absolute: "Mtrades/s", absoluteUnit: "million trades/s of a core"},
		{benchmark: "BenchmarkReadLoop", metric: "of-bare-in-pieces", what: "the same", against: "the same, reading from the network in pieces as large as `stream` does", unit: "times as many",
			absolute: "stream-ns/trade", absoluteUnit: "ns/trade"},
		{benchmark: "BenchmarkReadLoop", metric: "of-go-binance", what: "the same", against: "go-binance's `WsCombinedAggTradeServe` with an empty handler", unit: "times as many", bar: 5,
			absolute: "go-binance-ns/trade", absoluteUnit: "ns/trade for go-binance"},
		{benchmark: "BenchmarkReadLoop", metric: "allocs/trade", what: "the same: allocations a trade, all of them at a flush (see below)", unit: "a trade",
			absolute: "allocs/flush", absoluteUnit: "a flush of 200,000 trades"},
		{benchmark: "BenchmarkStreamProcess", metric: "%core", what: "`stream`: processor time at 20,000 trades/s of 1,000 symbols", unit: "% of a core", bar: 10, atMost: true, runs: "3 minutes of one"},
		{benchmark: "BenchmarkStreamProcess", metric: "MB", what: "the same: resident memory at the end of each minute", unit: "MB", bar: 150, atMost: true, runs: "3 minutes of one",
			absolute: "MB-most", absoluteUnit: "MB at most"},
		{benchmark: "BenchmarkStreamProcess", metric: "MB-grown", what: "the same: resident memory after the third minute less that after the first", unit: "MB"},
		{benchmark: "BenchmarkStreamProcess", metric: "ms-p99-over-interval", what: "the same: from a trade to when it can be read, 99th percentile, beyond the flush interval of 2 s", unit: "ms", bar: 200, atMost: true},
		{benchmark: "BenchmarkStreamProcess", metric: "s-lost-by-kill", what: "the same: lost by `kill -9`, flushing every 2 s", unit: "s", bar: 2.2, atMost: true,
			absolute: "trades-lost-by-kill", absoluteUnit: "trades"},
		{benchmark: "BenchmarkImportDay", metric: "ratio", what: "`import`: a zip of 20 million aggTrades to published, sorted, verified Parquet", against: "DuckDB: `read_csv` of the unzipped file `ORDER BY id` to the same Parquet", unit: fast, bar: 0.8,
			absolute: "Mtrades/s", absoluteUnit: "million trades/s"},
		{benchmark: "BenchmarkImportDay", metric: "cpu-ratio", what: "the same, by processor time", against: "the same", unit: "times as little"},
		{benchmark: "BenchmarkImportDay", metric: "MB", what: "the same: most memory", unit: "MB", bar: 1000, atMost: true,
			absolute: "B/trade", absoluteUnit: "bytes a trade on disk"},
		{benchmark: "BenchmarkREST", metric: "of-budget", what: "`backfill` by REST from an exchange that answers after 50 ms, which counts in windows of 6 s", against: "the rate that the exchange's limit allows", unit: "of it", bar: 0.95,
			absolute: "trades/s", absoluteUnit: "trades/s"},
		{benchmark: "BenchmarkREST", metric: "of-least-requests", what: "the same: requests made", against: "the least that can be", unit: "times as many", bar: 1, atMost: true},
		{benchmark: "BenchmarkCompact", metric: "ratio", what: "`compact`: a day of 10 million trades of 200 symbols in 1,440 segments", against: "one `COPY … ORDER BY symbol, id` of DuckDB over the same files, within 1 GB", unit: fast, bar: 0.8,
			absolute: "Mtrades/s", absoluteUnit: "million trades/s"},
		{benchmark: "BenchmarkCompact", metric: "MB", what: "the same: most memory", unit: "MB", bar: 1000, atMost: true},
		{benchmark: "BenchmarkVerify", metric: "s-again", what: "`verify`: 365 days × 50 symbols, after the first time", unit: "s", bar: 1, atMost: true},
		{benchmark: "BenchmarkVerify", metric: "Mtrades/s-first", what: "the first time, 365 files of 100,000 trades", unit: "million trades/s", bar: 20},
		{benchmark: "BenchmarkReport", metric: "of-bare-sql", what: "`report`: a day of 4 million trades of 200 symbols, all sections", against: "the bare SQL of its sections in one DuckDB session", unit: "of its time", bar: 1.15, atMost: true,
			absolute: "s-report", absoluteUnit: "s"},
		{benchmark: "BenchmarkOverview", metric: "of-pandas", what: "`report --sections overview` of the same day", against: "pandas making the overview of the same trades, as CSV", unit: fast, bar: 10, maybe: true,
			absolute: "s-overview", absoluteUnit: "s"},
		{benchmark: "BenchmarkScan", metric: "Mrows/s", what: "reading every id of a segment of a million trades, one thread", unit: "million trades/s"},
		{benchmark: "BenchmarkDetect", metric: "s-365-days", what: "`detect`: all detectors over a minute of new trades of 300 symbols at 20 million trades a day, a year on the tape", unit: "s", bar: 1.5, atMost: true},
		{benchmark: "BenchmarkDetect", metric: "ratio-365", what: "the same", against: "the same with one day on the tape", unit: "times as long", bar: 1.2, atMost: true},
		{benchmark: "BenchmarkDetect", metric: "MB", what: "the same, most memory of the process that also writes the tape", unit: "MB"},
		{benchmark: "BenchmarkBytes", metric: "ratio", what: "bytes on disk after `compact`, 105,280 recorded real trades", against: "the archive's zip of the same trades", unit: "of its size", bar: 0.5, atMost: true,
			absolute: "B/trade", absoluteUnit: "bytes a trade"},
		{benchmark: "BenchmarkColdStart", metric: "ms-version", what: "`version`, from start to end", unit: "ms", bar: 30, atMost: true},
		{benchmark: "BenchmarkColdStart", metric: "ms-health", what: "`health`", unit: "ms", bar: 60, atMost: true},
		{benchmark: "BenchmarkColdStart", metric: "ms-report", what: "`report --since 24h` of 400,000 trades", unit: "ms", bar: 300, atMost: true},
		{benchmark: "BenchmarkColdStart", metric: "of-duckdb-shell", what: "`query \"SELECT count(*) FROM trades\"`", against: "the DuckDB shell on the same files", unit: "times as long", maybe: true},
		{benchmark: "BenchmarkColdStart", metric: "ms-query", what: "`query \"SELECT count(*) FROM trades\"`", unit: "ms"},
	}
}

// largeRows are those of largeBenchmarks.
func largeRows() []row {
	const fast, size = "times as fast", ", large"
	return []row{
		{benchmark: "BenchmarkStreamProcess" + size, metric: "%core", what: "`stream`: processor time at 20,000 trades/s of 1,000 symbols", unit: "% of a core", bar: 10, atMost: true, runs: "15 minutes of 5"},
		{benchmark: "BenchmarkStreamProcess" + size, metric: "MB", what: "the same: resident memory at the end of each minute", unit: "MB", bar: 150, atMost: true, runs: "15 minutes of 5",
			absolute: "MB-most", absoluteUnit: "MB at most"},
		{benchmark: "BenchmarkStreamProcess" + size, metric: "MB-grown", what: "the same: resident memory after the third minute less that after the first", unit: "MB"},
		{benchmark: "BenchmarkBackfillDay" + size, metric: "Mtrades/s", what: "`backfill`: a day of 20 million aggTrades from an archive on loopback", unit: "million trades/s"},
		{benchmark: "BenchmarkBackfillDay" + size, metric: "MB", what: "the same: most memory", unit: "MB", bar: 1000, atMost: true},
		{benchmark: "BenchmarkCompact" + size, metric: "ratio", what: "`compact`: a day of 50 million trades of 200 symbols in 1,440 segments", against: "one `COPY … ORDER BY symbol, id` of DuckDB over the same files, within 1 GB", unit: fast, bar: 0.8,
			absolute: "Mtrades/s", absoluteUnit: "million trades/s"},
		{benchmark: "BenchmarkCompact" + size, metric: "MB", what: "the same: most memory", unit: "MB", bar: 1000, atMost: true},
		{benchmark: "BenchmarkReport" + size, metric: "of-bare-sql", what: "`report`: a day of 20 million trades of 200 symbols, all sections", against: "the bare SQL of its sections in one DuckDB session", unit: "of its time", bar: 1.15, atMost: true,
			absolute: "s-report", absoluteUnit: "s"},
		{benchmark: "BenchmarkOverview" + size, metric: "of-pandas", what: "`report --sections overview` of the same day", against: "pandas making the overview of the same trades, as CSV", unit: fast, bar: 10, maybe: true,
			absolute: "s-overview", absoluteUnit: "s"},
	}
}
