package main

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/benchtest"
)

var growth = flag.String("growth", "1,10", "sizes of BenchmarkGrowth's tapes, in days of a million trades, ascending")

// BenchmarkGrowth measures commands on tapes of several sizes. Each day of a tape has a million trades
// of 50 symbols in 4 segments. Large tapes take minutes to create and about 12 GB per 1,000 million
// trades; they are deleted afterwards.
func BenchmarkGrowth(b *testing.B) {
	binary := benchtest.Program(b)
	for text := range strings.SplitSeq(*growth, ",") {
		days, err := strconv.Atoi(text)
		if err != nil || days < 1 {
			b.Fatalf("-growth %q: %q is not a number of days", *growth, text)
		}
		b.Run(text+"M", func(b *testing.B) { measureGrowth(b, binary, days) })
	}
}

func measureGrowth(b *testing.B, binary string, days int) {
	started := time.Now()
	data := benchTape{days: days, segments: 4, symbols: 50, rows: 250_000}.create(b).Path()
	b.Logf("%d million trades were written in %.0f s", days, time.Since(started).Seconds())
	end := benchDay.AddDate(0, 0, days)
	run := func(args ...string) benchtest.Usage {
		return benchtest.Run(b, binary, append(args, "--data-dir", data, "--now", end.Add(time.Hour).Format(time.RFC3339))...)
	}
	seconds := func(args ...string) float64 {
		return median(3, func() float64 { return run(args...).Wall.Seconds() })
	}
	b.ReportMetric(float64(days), "Mtrades")
	// Compaction leaves the last hours alone. Two days later it merges everything.
	compact := benchtest.Run(b, binary, "compact", "--data-dir", data, "--now", end.AddDate(0, 0, 2).Format(time.RFC3339))
	b.ReportMetric(compact.Wall.Seconds(), "s-compact")
	b.ReportMetric(float64(compact.Memory)/1e6, "MB-compact")
	first := run("verify")
	b.ReportMetric(first.Wall.Seconds(), "s-verify-first")
	b.ReportMetric(float64(first.Memory)/1e6, "MB-verify-first")
	b.ReportMetric(seconds("verify"), "s-verify-again")
	minute := end.Add(-12 * time.Hour)
	b.ReportMetric(seconds("detect", "--dry-run", "--from", minute.Format(time.RFC3339), "--to", minute.Add(time.Minute).Format(time.RFC3339)), "s-detect")
	b.ReportMetric(seconds("report", "--from", end.AddDate(0, 0, -1).Format(time.RFC3339), "--to", end.Format(time.RFC3339)), "s-report")
	b.ReportMetric(seconds("query", fmt.Sprintf("SELECT symbol, sum(price * qty) FROM trades WHERE date = '%s' GROUP BY symbol", end.AddDate(0, 0, -1).Format(time.DateOnly))), "s-query-day")
	b.ReportMetric(seconds("query", "SELECT symbol, count(*), sum(price * qty) FROM trades GROUP BY symbol"), "s-query-all")
}
