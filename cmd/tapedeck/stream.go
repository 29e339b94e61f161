package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"time"

	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
	"tapedeck/jobs/health"
	"tapedeck/jobs/schedule"
	"tapedeck/jobs/stream"
)

// recordFlags select what is recorded and how.
type recordFlags struct {
	feedFlags
	symbolFlags
	FlushInterval length          `key:"flush_interval" placeholder:"LENGTH" default:"15s" help:"Write trades at least this often; kill -9 loses at most this much. Shorter intervals make more and smaller files."`
	FlushRows     positive        `key:"flush_rows" placeholder:"N" default:"200000" help:"Write sooner when N trades are waiting, which bounds memory."`
	Connections   connectionCount `key:"connections" placeholder:"N" default:"1" help:"Connections per symbol; with 2, the loss of one leaves no gap."`
	GiveUpAfter   length          `key:"give_up_after" placeholder:"LENGTH" help:"Exit with an error when the exchange was unreachable for LENGTH, so that a supervisor restarts tapedeck. The default is never."`
	StreamURL     streamURL       `key:"stream_url" placeholder:"URL" default:"wss://data-stream.binance.vision" help:"Address of the websocket streams."`
	restURLFlag
}

type streamCmd struct {
	recordFlags
	metricsFlags
	For  length `placeholder:"LENGTH" help:"Stop after LENGTH. The default is to record until stopped."`
	Once bool   `help:"Exit when the exchange closes all connections normally, as the stand-in does at the end of a recording."`
}

func (*streamCmd) runsUntilStopped() bool { return true }

func (*streamCmd) recordsUnread() {}

func (*streamCmd) noNow() string { return "recording needs a running clock" }

func (c *streamCmd) Run(ctx context.Context, a *app) error {
	dir, err := a.createTape(c.Feed)
	if err != nil {
		return err
	}
	a.upgrade(ctx, dir)
	recorder, err := a.recorder(ctx, dir, "stream", c.recordFlags, stream.Options{For: time.Duration(c.For), Once: c.Once})
	if err != nil {
		return err
	}
	metrics, err := a.metrics(ctx, c.metricsFlags, dir, nil, health.Stream)
	if err != nil {
		return err
	}
	removeStatus := a.showStatus(ctx, statusSources{recorder: recorder.Status, tape: dir})
	err = runServices(ctx, append(metrics, recorder)...)
	removeStatus()
	if err != nil {
		return err
	}
	summary := recorder.Summary()
	trades, symbols := wording.Count(summary.Trades, "trade"), wording.Count(summary.Symbols, "symbol")
	if summary.Traded < summary.Symbols {
		symbols = wording.Comma(summary.Traded) + " of " + symbols
	}
	message := trades + " of " + symbols
	if summary.Connects == 0 {
		message = "never connected to the exchange"
	}
	a.reportToParent(schedule.Report{Rows: summary.Rows, Message: message})
	before := ""
	if summary.MissingBefore > 0 {
		before = "; " + wording.Count(summary.MissingBefore, "id") + " missing between the tape and the first trades received"
	}
	if summary.Connects == 0 {
		a.say("never connected to the exchange: nothing was recorded")
		if c.For > 0 {
			return partial("the exchange was not reached in %s", time.Duration(c.For))
		}
		return nil
	}
	a.say("%s of %s received, %s of them new on the tape; %s in the stream%s",
		trades, symbols, wording.Comma(summary.Rows), wording.Count(summary.Gaps, "gap"), before)
	return nil
}

// recordingGCPercent is the garbage collector's target while recording. About 60 MB are in use and
// hardly any of it becomes garbage, so that collecting four times as often as by default has no
// measurable cost and saves up to 60 MB.
const recordingGCPercent = 25

// recordingThreads is the number of processors that run Go code while recording. 20,000 trades a
// second need a tenth of one; with more, a tenth of that is spent on looking for work on the others
// (see BENCHMARKS.md).
const recordingThreads = 1

// recorder is a stream.Recorder that sets up Go's runtime for recording, unless the environment
// does.
type recorder struct {
	*stream.Recorder
	env map[string]string
}

// Run implements service.
func (r *recorder) Run(ctx context.Context) error {
	if r.env["GOGC"] == "" {
		debug.SetGCPercent(recordingGCPercent)
	}
	if r.env["GOMAXPROCS"] == "" {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(recordingThreads))
	}
	return r.Recorder.Run(ctx)
}

// recorder returns a recorder for the tape at dir. The flags override options.
func (a *app) recorder(
	ctx context.Context, dir *tape.Dir, command string, flags recordFlags, options stream.Options,
) (*recorder, error) {
	symbols, err := a.chooseSymbols(ctx, dir, flags.Symbols)
	if err != nil {
		return nil, err
	}
	checkFor := symbolCheckTimeout
	if options.Once || options.For > 0 {
		checkFor = boundedCheckTimeout
	}
	options.Symbols = a.symbolSource(dir, symbols, flags.RestURL, checkFor)
	options.URL = string(flags.StreamURL)
	options.FlushInterval, options.FlushRows = time.Duration(flags.FlushInterval), int(flags.FlushRows)
	options.Connections, options.GiveUpAfter = int(flags.Connections), time.Duration(flags.GiveUpAfter)
	options.RunID, options.UserAgent, options.Logger = a.runID(command), a.userAgent(), a.log
	r, err := stream.New(dir, options)
	if err != nil {
		return nil, err
	}
	return &recorder{r, a.env}, nil
}

// userAgent returns the name and version that tapedeck sends to the exchange.
func (a *app) userAgent() string {
	name, _ := buildVersion()
	return "tapedeck/" + name
}
