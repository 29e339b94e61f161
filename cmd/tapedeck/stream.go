package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"tapedeck/jobs/health"
	"tapedeck/jobs/schedule"
	"tapedeck/jobs/stream"
)

// recordFlags are how the stream records.
type recordFlags struct {
	feedFlags
	symbolFlags
	FlushInterval length `key:"flush_interval" placeholder:"LENGTH" default:"15s" help:"How long a trade waits at most to be written: what kill -9 loses at most. Shorter makes more and smaller files."`
	FlushRows     int    `key:"flush_rows" placeholder:"N" default:"200000" help:"Write sooner when N trades wait; it bounds memory."`
	Connections   int    `key:"connections" placeholder:"N" default:"1" help:"How many connections carry each symbol; with 2 one may fail without a gap."`
	GiveUpAfter   length `key:"give_up_after" placeholder:"LENGTH" help:"End with an error when the exchange could not be reached for LENGTH, for where something starts tapedeck again. The default is never."`
	streamPlace
	restPlace
}

type streamCmd struct {
	recordFlags
	watchFlags
	For  length `placeholder:"LENGTH" help:"End after LENGTH instead of recording until told to stop."`
	Once bool   `help:"End when the exchange closes the connections in the ordinary way, as the stand-in does at the end of a recording."`
}

func (*streamCmd) runsUntilStopped() bool { return true }

func (*streamCmd) manual() manual {
	return manual{
		about: `Records the trades of the symbols to the tape until SIGTERM or ctrl-C, and then writes what it still holds. A connection is replaced before the exchange ends
it, and made anew when it breaks or goes silent; what was missed meanwhile shows as a gap in the ids, which backfill
heals. Makes the data directory if there is none. Patterns such as *USDT are looked up again every 10 minutes, so that a new listing is recorded, too.`,
		examples: []string{
			"tapedeck stream",
			"tapedeck stream --symbols '*USDT' --flush-interval 1m",
			"tapedeck stream --symbols BTCUSDT --for 10m",
		},
		exits: []string{"0  stopped as asked, everything written", "1  failed; the tape cannot be written, or a symbol is unknown"},
	}
}

func (c *streamCmd) Run(ctx context.Context, a *app) error {
	dir, err := a.createTape(c.Feed)
	if err != nil {
		return err
	}
	a.upgrade(ctx, dir)
	unwatch, err := a.watch(ctx, c.watchFlags, dir, nil, health.Stream)
	if err != nil {
		return err
	}
	defer unwatch()
	summary, err := a.stream(ctx, "stream", c.recordFlags, func(options *stream.Options) {
		options.For, options.Once = time.Duration(c.For), c.Once
	})
	if err != nil {
		return err
	}
	a.reportToParent(schedule.Report{Rows: summary.Rows, Message: fmt.Sprintf("%s of %s", counted(int(summary.Trades), "trade"), counted(summary.Symbols, "symbol"))})
	a.say("%s of %s received, %s written, %s left to backfill",
		counted(int(summary.Trades), "trade"), counted(summary.Symbols, "symbol"), counted(int(summary.Rows), "row"), counted(int(summary.Gaps), "gap"))
	return nil
}

// recordingGarbage is how much of what is in use may wait as garbage while recording, in percent. What is in use is some 60 MB and hardly any becomes garbage, so that
// collecting four times as often as Go does by itself costs nothing that could be measured, and saves up to 60 MB.
const recordingGarbage = 25

// recordingThreads is on how many processors Go code runs while recording. 20,000 trades a second take a tenth of one; with more, a tenth of that
// goes into looking for work on the others (see BENCHMARKS.md).
const recordingThreads = 1

// stream records until ctx is done; change adjusts what the flags do not say.
func (a *app) stream(ctx context.Context, command string, flags recordFlags, change func(*stream.Options)) (stream.Summary, error) {
	dir, err := a.createTape(flags.Feed)
	if err != nil {
		return stream.Summary{}, err
	}
	names, err := a.chooseSymbols(ctx, dir, flags.Symbols)
	if err != nil {
		return stream.Summary{}, err
	}
	options := stream.Options{
		Symbols:       a.symbolSource(dir, names, flags.RestURL),
		URL:           string(flags.StreamURL),
		FlushInterval: time.Duration(flags.FlushInterval), FlushRows: flags.FlushRows, Connections: flags.Connections,
		GiveUpAfter: time.Duration(flags.GiveUpAfter),
		RunID:       a.runID(command), UserAgent: a.userAgent(), Logger: a.log,
	}
	change(&options)
	if a.env["GOGC"] == "" {
		debug.SetGCPercent(recordingGarbage)
	}
	if a.env["GOMAXPROCS"] == "" {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(recordingThreads))
	}
	return stream.Run(ctx, dir, options)
}

// userAgent is how tapedeck introduces itself to the exchange.
func (a *app) userAgent() string {
	name, _ := buildVersion()
	return "tapedeck/" + name
}
