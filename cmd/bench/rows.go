package main

// benchmark is a Go benchmark that is run for its metrics.
type benchmark struct {
	name, pkg string
	long      bool     // a run takes more than ten seconds: not with -quick
	repeated  bool     // it measures once, so it is started for each run; others repeat by themselves (benchtest.Turns)
	runs      int      // maximum number of runs; 0 means no maximum
	args      []string // of the test binary
	rows      []row

	figures map[string][]float64 // by metric
}

// row is a line of a table: one metric.
type row struct {
	metric                  string
	label, comparison, unit string
	atLeast, atMost         float64 // the bar: a lower or an upper limit; 0 means none

	absolute, absoluteUnit string // another metric, for orientation
	runs                   string // replaces the number of runs
	optional               bool   // not every machine can measure it
}

const fast = "times as fast"

// benchmarks lists the benchmarks of make bench.
func benchmarks() []*benchmark {
	return []*benchmark{
		{name: "BenchmarkReadLoop", pkg: "jobs/stream", rows: []row{
			{metric: "of-bare", label: "`stream`: trades per processor time, from websocket frames on loopback to published Parquet, 200 symbols", comparison: "the websocket library reading and discarding the same frames", unit: "times as many", atLeast: 0.5,
				absolute: "Mtrades/s", absoluteUnit: "million trades/s per core"},
			{metric: "of-bare-in-pieces", label: "the same", comparison: "the same, with reads as large as those of `stream`", unit: "times as many",
				absolute: "stream-ns/trade", absoluteUnit: "ns/trade"},
			{metric: "of-go-binance", label: "the same", comparison: "go-binance's `WsCombinedAggTradeServe` with an empty handler", unit: "times as many", atLeast: 5,
				absolute: "go-binance-ns/trade", absoluteUnit: "ns/trade for go-binance"},
			{metric: "allocs/trade", label: "the same: allocations, all of them in flushes (see below)", unit: "per trade",
				absolute: "allocs/flush", absoluteUnit: "per flush of 200,000 trades"},
		}},
		{name: "BenchmarkStreamProcess", pkg: "jobs/stream", runs: 1, long: true, rows: []row{
			{metric: "%core", label: "`stream`: processor time at 20,000 trades/s of 1,000 symbols", unit: "% of a core", atMost: 10, runs: "3 minutes of one"},
			{metric: "MB", label: "the same: resident memory at the end of each minute", unit: "MB", atMost: 150, runs: "3 minutes of one",
				absolute: "MB-most", absoluteUnit: "MB peak"},
			{metric: "MB-grown", label: "the same: growth of resident memory from the first to the third minute", unit: "MB"},
			{metric: "ms-p99-over-interval", label: "the same: time from a trade to its visibility, beyond the flush interval of 2 s, 99th percentile", unit: "ms", atMost: 200},
			{metric: "s-lost-by-kill", label: "the same: loss by `kill -9` with flushes every 2 s", unit: "s", atMost: 2.2,
				absolute: "trades-lost-by-kill", absoluteUnit: "trades"},
		}},
		{name: "BenchmarkImportDay", pkg: "jobs/importer", args: []string{"-rows", "20000000"}, rows: []row{
			{metric: "ratio", label: "`import`: a zip of 20 million aggTrades to published, sorted, verified Parquet", comparison: "DuckDB: `read_csv` of the unzipped file with `ORDER BY id` to the same Parquet", unit: fast, atLeast: 0.8,
				absolute: "Mtrades/s", absoluteUnit: "million trades/s"},
			{metric: "cpu-ratio", label: "the same: processor time", comparison: "the same", unit: "times less"},
			{metric: "MB", label: "the same: peak memory", unit: "MB", atMost: 1000,
				absolute: "B/trade", absoluteUnit: "bytes per trade on disk"},
		}},
		{name: "BenchmarkREST", pkg: "jobs/backfill", long: true, rows: []row{
			{metric: "of-budget", label: "`backfill` by REST from an exchange with a latency of 50 ms and weight windows of 6 s", comparison: "the rate that the exchange's limit allows", unit: "of it", atLeast: 0.95,
				absolute: "trades/s", absoluteUnit: "trades/s"},
			{metric: "of-least-requests", label: "the same: number of requests", comparison: "the least possible number", unit: "times as many", atMost: 1},
		}},
		{name: "BenchmarkCompact", pkg: "cmd/tapedeck", long: true, rows: []row{
			{metric: "ratio", label: "`compact`: a day of 10 million trades of 200 symbols in 1,440 segments", comparison: "one `COPY … ORDER BY symbol, id` of DuckDB over the same files, within 1 GB", unit: fast, atLeast: 0.8,
				absolute: "Mtrades/s", absoluteUnit: "million trades/s"},
			{metric: "MB", label: "the same: peak memory", unit: "MB", atMost: 1000},
		}},
		{name: "BenchmarkVerify", pkg: "cmd/tapedeck", long: true, rows: []row{
			{metric: "s-again", label: "`verify`: 365 days × 50 symbols, repeated", unit: "s", atMost: 1},
			{metric: "Mtrades/s-first", label: "`verify`: first time, 365 files of 100,000 trades", unit: "million trades/s", atLeast: 20},
		}},
		{name: "BenchmarkQueryAll", pkg: "cmd/tapedeck", long: true, runs: 3, rows: queryAllRows("4 million")},
		{name: "BenchmarkReport", pkg: "jobs/report", long: true, rows: []row{
			{metric: "of-bare-sql", label: "`report`: a day of 4 million trades of 200 symbols, all sections", comparison: "the bare SQL of its sections in one DuckDB session", unit: "of its time", atMost: 1.15,
				absolute: "s-report", absoluteUnit: "s"},
		}},
		{name: "BenchmarkWideReport", pkg: "jobs/report", long: true, runs: 3, args: []string{"-wide-days", "10"}, rows: wideReportRows("10 days, 10 million trades")},
		{name: "BenchmarkOverview", pkg: "jobs/report", long: true, rows: []row{
			{metric: "of-pandas", label: "`report --sections overview` of the same day", comparison: "pandas computing the overview of the same trades from CSV", unit: fast, atLeast: 10, optional: true,
				absolute: "s-overview", absoluteUnit: "s"},
		}},
		{name: "BenchmarkScan", pkg: "internal/tape", repeated: true, rows: []row{
			{metric: "Mrows/s", label: "scanning the ids of a segment of a million trades, one thread", unit: "million trades/s"},
		}},
		{name: "BenchmarkDetect", pkg: "jobs/detect", long: true, rows: []row{
			{metric: "s-365-days", label: "`detect`: all detectors over one new minute of 300 symbols at 20 million trades a day, with a year on the tape", unit: "s", atMost: 1.5},
			{metric: "ratio-365", label: "the same", comparison: "the same with one day on the tape", unit: "times as long", atMost: 1.2},
			{metric: "MB", label: "the same: peak memory of the process, which also writes the tape", unit: "MB"},
		}},
		{name: "BenchmarkBytes", pkg: "cmd/tapedeck", rows: []row{
			{metric: "ratio", label: "size on disk after `compact`, 105,280 recorded real trades", comparison: "the archive's zip of the same trades", unit: "of its size", atMost: 0.5,
				absolute: "B/trade", absoluteUnit: "bytes per trade"},
		}},
		{name: "BenchmarkColdStart", pkg: "cmd/tapedeck", rows: []row{
			{metric: "ms-version", label: "`version`: from start to end of the process", unit: "ms", atMost: 30},
			{metric: "ms-health", label: "`health`", unit: "ms", atMost: 60},
			{metric: "ms-report", label: "`report --since 24h` of 400,000 trades", unit: "ms", atMost: 300},
			{metric: "of-duckdb-shell", label: "`query \"SELECT count(*) FROM trades\"`", comparison: "the DuckDB shell on the same files", unit: "times as long", optional: true},
			{metric: "ms-query", label: "`query \"SELECT count(*) FROM trades\"`", unit: "ms"},
		}},
	}
}

// largeBenchmarks lists the benchmarks that take too long for make bench; make bench-large runs them.
func largeBenchmarks() []*benchmark {
	return []*benchmark{
		{name: "BenchmarkStreamProcess", pkg: "jobs/stream", rows: []row{
			{metric: "%core", label: "`stream`: processor time at 20,000 trades/s of 1,000 symbols", unit: "% of a core", atMost: 10, runs: "15 minutes of 5"},
			{metric: "MB", label: "the same: resident memory at the end of each minute", unit: "MB", atMost: 150, runs: "15 minutes of 5",
				absolute: "MB-most", absoluteUnit: "MB peak"},
			{metric: "MB-grown", label: "the same: growth of resident memory from the first to the third minute", unit: "MB"},
		}},
		{name: "BenchmarkBackfillDay", pkg: "jobs/backfill", args: []string{"-rows", "20000000"}, rows: []row{
			{metric: "Mtrades/s", label: "`backfill`: a day of 20 million aggTrades from an archive on loopback", unit: "million trades/s"},
			{metric: "MB", label: "the same: peak memory", unit: "MB", atMost: 1000},
		}},
		{name: "BenchmarkCompact", pkg: "cmd/tapedeck", args: []string{"-segment-rows", "34800"}, rows: []row{
			{metric: "ratio", label: "`compact`: a day of 50 million trades of 200 symbols in 1,440 segments", comparison: "one `COPY … ORDER BY symbol, id` of DuckDB over the same files, within 1 GB", unit: fast, atLeast: 0.8,
				absolute: "Mtrades/s", absoluteUnit: "million trades/s"},
			{metric: "MB", label: "the same: peak memory", unit: "MB", atMost: 1000},
		}},
		{name: "BenchmarkReport", pkg: "jobs/report", args: []string{"-trades", "20000000"}, rows: []row{
			{metric: "of-bare-sql", label: "`report`: a day of 20 million trades of 200 symbols, all sections", comparison: "the bare SQL of its sections in one DuckDB session", unit: "of its time", atMost: 1.15,
				absolute: "s-report", absoluteUnit: "s"},
		}},
		{name: "BenchmarkWideReport", pkg: "jobs/report", runs: 1, args: []string{"-wide-days", "30", "-wide-trades", "4000000"},
			rows: wideReportRows("30 days, 120 million trades")},
		{name: "BenchmarkDay", pkg: "jobs/report", runs: 3, args: []string{"-wide-trades", "20000000"}, rows: dayRows("20 million")},
		{name: "BenchmarkOverview", pkg: "jobs/report", args: []string{"-trades", "20000000"}, rows: []row{
			{metric: "of-pandas", label: "`report --sections overview` of the same day", comparison: "pandas computing the overview of the same trades from CSV", unit: fast, atLeast: 10, optional: true,
				absolute: "s-overview", absoluteUnit: "s"},
		}},
	}
}

// wideReportRows are the lines of a report of many days.
func wideReportRows(what string) []row {
	return []row{
		{metric: "times-bare-sql", label: "`report` of " + what + ", 200 symbols, all sections, to a page, summaries there", comparison: "the SQL of its sections over trades", unit: fast, atLeast: 10,
			absolute: "s-stored", absoluteUnit: "s"},
		{metric: "times-bare-sql-cpu", label: "the same: processor time", comparison: "the same", unit: "times less",
			absolute: "cpu-s-stored", absoluteUnit: "s of a processor"},
		{metric: "MB-stored", label: "the same: peak memory", unit: "MB", atMost: 1000},
		{metric: "first-of-bare-sql", label: "the same, summaries not there", comparison: "the same", unit: "of its time", atMost: 1.3,
			absolute: "s-first", absoluteUnit: "s"},
		{metric: "first-of-bare-sql-cpu", label: "the same: processor time", comparison: "the same", unit: "of it"},
		{metric: "MB-first", label: "the same: peak memory, of what the machine has", unit: "MB"},
		{metric: "%-of-tape", label: "summaries on disk", comparison: "the tape", unit: "% of it", atMost: 8},
	}
}

// dayRows are the lines of a day and its trades.
func dayRows(trades string) []row {
	return []row{
		{metric: "s-stored", label: "`report` of a day of " + trades + " trades of 200 symbols, all sections, to a page, summaries there", unit: "s", atMost: 6,
			absolute: "cpu-s-stored", absoluteUnit: "s of a processor"},
		{metric: "s-first", label: "the same, summaries not there", unit: "s",
			absolute: "cpu-s-first", absoluteUnit: "s of a processor"},
		{metric: "MB-first", label: "the same: peak memory", unit: "MB"},
		{metric: "MB-table", label: "`query \"FROM trades\"` of that day, all rows as a table: peak memory", unit: "MB", atMost: 400,
			absolute: "cpu-s-table", absoluteUnit: "s of a processor"},
		{metric: "MB-csv", label: "the same as csv", unit: "MB", atMost: 400,
			absolute: "cpu-s-csv", absoluteUnit: "s of a processor"},
	}
}

// yearBenchmark measures a tape of a year; make bench-year runs it.
func yearBenchmark() *benchmark {
	return &benchmark{name: "BenchmarkYear", pkg: "jobs/report", args: []string{"-wide-days", "365", "-wide-trades", "2739727"}, rows: []row{
		{metric: "s-year", label: "`report` of 365 days, 1,000 million trades of 200 symbols, all sections, to a page, summaries there", unit: "s", atMost: 60,
			absolute: "cpu-s-year", absoluteUnit: "s of a processor"},
		{metric: "MB-year", label: "the same: peak memory", unit: "MB"},
		{metric: "MB-of-month", label: "the same", comparison: "a report of the last 30 days", unit: "times as much",
			absolute: "MB-month", absoluteUnit: "MB"},
		{metric: "s-month", label: "`report` of the last 30 days", unit: "s"},
		{metric: "times-bare-candles", label: "`query` of `candles('1 hour')` of the symbol with a tenth of the trades, whole command", comparison: "DuckDB over the trades, in a process that runs already", unit: fast, atLeast: 50,
			absolute: "s-candles", absoluteUnit: "s"},
		{metric: "times-bare-candles-cpu", label: "the same: processor time", comparison: "the same", unit: "times less"},
		{metric: "%-of-tape", label: "summaries on disk", comparison: "the tape", unit: "% of it", atMost: 8},
	}}
}

// queryAllRows are the lines of a query of a whole tape.
func queryAllRows(trades string) (rows []row) {
	for _, format := range []string{"table", "csv", "json"} {
		rows = append(rows, row{metric: "MB-" + format, label: "`query \"FROM trades\"` of " + trades + " trades, all of them, as " + format + ": peak memory", unit: "MB", atMost: 400,
			absolute: "s-" + format, absoluteUnit: "s"})
	}
	return rows
}
