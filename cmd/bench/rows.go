package main

// benchmark is a Go benchmark that is run for its metrics.
type benchmark struct {
	name, pkg string
	long      bool // more than ten seconds a run
}

func benchmarks() []benchmark {
	return []benchmark{
		{name: "BenchmarkCompact", pkg: "cmd/tapedeck", long: true},
		{name: "BenchmarkVerify", pkg: "cmd/tapedeck", long: true},
		{name: "BenchmarkColdStart", pkg: "cmd/tapedeck"},
		{name: "BenchmarkBytes", pkg: "cmd/tapedeck"},
		{name: "BenchmarkScan", pkg: "analytics/tape"},
		{name: "BenchmarkReadLoop", pkg: "jobs/stream", long: true},
		{name: "BenchmarkStreamProcess", pkg: "jobs/stream", long: true},
	}
}

// row is a line of the table: one metric of one benchmark, held to a bar; 0 is none.
type row struct {
	benchmark, metric   string
	what, against, unit string
	bar                 float64
	atMost              bool // the bar is a ceiling
}

func rows() []row {
	return []row{
		{benchmark: "BenchmarkReadLoop", metric: "of-bare", what: "`stream`: trades for the same processor time", against: "the websocket library reading the same frames and dropping them", unit: "times as many", bar: 0.5},
		{benchmark: "BenchmarkReadLoop", metric: "of-go-binance", what: "the same", against: "go-binance's stream loop with an empty handler", unit: "times as many", bar: 5},
		{benchmark: "BenchmarkReadLoop", metric: "stream-ns/trade", what: "the same, absolute", unit: "ns/trade"},
		{benchmark: "BenchmarkStreamProcess", metric: "MB", what: "`stream`: most memory in two minutes of 5,000 trades/s of 300 symbols", unit: "MB", bar: 150, atMost: true},
		{benchmark: "BenchmarkStreamProcess", metric: "ms-p99-over-interval", what: "from a trade to when it can be read, p99, beyond the flush interval", unit: "ms", bar: 200, atMost: true},
		{benchmark: "BenchmarkStreamProcess", metric: "s-lost-by-kill", what: "most that one of five `kill -9` lost, flushing every 2 s", unit: "s", bar: 2.2, atMost: true},
		{benchmark: "BenchmarkStreamProcess", metric: "trades-lost-by-kill", what: "the same, of 5,000 a second", unit: "trades"},
		{benchmark: "BenchmarkCompact", metric: "ratio", what: "`compact`: a day of 10 million trades of 200 symbols in 1,440 segments", against: "one `COPY … ORDER BY symbol, id` of DuckDB over the same files, both within 1 GB", unit: "times as fast", bar: 0.8},
		{benchmark: "BenchmarkCompact", metric: "Mtrades/s", what: "the same, absolute", unit: "million trades/s"},
		{benchmark: "BenchmarkCompact", metric: "MB", what: "the same, most memory", unit: "MB", bar: 1000, atMost: true},
		{benchmark: "BenchmarkVerify", metric: "s-again", what: "`verify`: 365 days × 50 symbols, after the first time", unit: "s", bar: 1, atMost: true},
		{benchmark: "BenchmarkVerify", metric: "Mtrades/s-first", what: "the first time, 365 files of 50,000 trades", unit: "million trades/s", bar: 20},
		{benchmark: "BenchmarkScan", metric: "Mrows/s", what: "reading every id of a segment of a million trades, one thread", unit: "million trades/s"},
		{benchmark: "BenchmarkBytes", metric: "ratio", what: "bytes on disk after `compact`, 105,280 recorded real trades", against: "the archive's zip of the same trades", unit: "of its size", bar: 0.5, atMost: true},
		{benchmark: "BenchmarkBytes", metric: "B/trade", what: "the same, absolute", unit: "bytes a trade"},
		{benchmark: "BenchmarkColdStart", metric: "ms-version", what: "`version`, from start to end", unit: "ms", bar: 30, atMost: true},
		{benchmark: "BenchmarkColdStart", metric: "ms-health", what: "`health`", unit: "ms", bar: 60, atMost: true},
		{benchmark: "BenchmarkColdStart", metric: "ms-report", what: "`report --since 24h` of 400,000 trades", unit: "ms", bar: 300, atMost: true},
		{benchmark: "BenchmarkColdStart", metric: "ms-query", what: "`query \"SELECT count(*) FROM trades\"`", unit: "ms"},
	}
}
