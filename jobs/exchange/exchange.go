// Package exchange is the job of the exchange command. It serves the stand-ins for Binance and
// Telegram on this machine: recorded captures or a simulated market, until it is stopped or the
// recording ends. The protocols are in internal/standin; the job chooses what is served and reports
// where.
package exchange

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"tapedeck/internal/standin/botapi"
	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/standin/market"
)

// AtEnd is what happens when a recording ends.
type AtEnd string

const (
	// Stay keeps the connections open, and REST and the archive available.
	Stay AtEnd = "stay"
	// CloseConnections closes each connection with code 1000, and keeps REST and the archive available.
	CloseConnections AtEnd = "close"
	// Exit closes the connections and ends Run once the clients have disconnected.
	Exit AtEnd = "exit"
)

// DefaultListen is the default address.
const DefaultListen = "127.0.0.1:9800"

// telegramToken is the token of the stand-in's only bot, in the form of a real one.
const telegramToken = "1:STAND-IN-FOR-A-BOT"

// ParseSpeed reads a factor of real time, such as 10 or 10x, or "max" for exchange.MaxSpeed.
func ParseSpeed(text string) (float64, error) {
	if text == "max" {
		return exchange.MaxSpeed, nil
	}
	speed, err := strconv.ParseFloat(strings.TrimSuffix(text, "x"), 64)
	if err != nil || !(speed > 0) || speed > 1e6 {
		return 0, fmt.Errorf("speed %q is neither max nor a number above 0 and up to 1000000", text)
	}
	return speed, nil
}

// FaultKinds lists the keys of Options.Faults.
func FaultKinds() []string {
	var names []string
	for _, kind := range exchange.FaultKinds() {
		names = append(names, string(kind))
	}
	return names
}

// Options describe what is served. Either Play or Simulate is required.
type Options struct {
	// Listen is host:port; empty means DefaultListen, port 0 means any free port.
	Listen string
	// Play names captures, which are merged by their time of receipt.
	Play []string
	// Speed is a factor of real time or exchange.MaxSpeed; 0 means 1.
	Speed float64
	// AtEnd is what happens when the captures end; empty means Stay.
	AtEnd AtEnd
	// WaitForStreams is how many streams must be subscribed to before the clock starts. A recording
	// waits for at least one.
	WaitForStreams int
	// Start is the initial time of the clock. In a recording, rows received before are history; zero
	// means its beginning. In a market zero means Now.
	Start time.Time
	// ClockOffset is how far the exchange's clock is ahead of Now, or behind if it is negative. It
	// matters only to a market without Start.
	ClockOffset time.Duration

	// Simulate serves a simulated market instead of captures: a market.Perpetual, which resumes after a
	// restart. It depends only on Seed, Symbols, Rate and Quiet.
	Simulate bool
	Seed     uint64
	// Staged serves a market.Market instead: one with a history of its own, which ends at Start and has
	// its incidents in the last hours. After a restart it is another one.
	Staged bool
	// History is how far it reaches back; 0 means the market's default: its beginning, or a day and two
	// hours of a staged one.
	History time.Duration
	// Symbols is the number of pairs; 0 means the named ones. Rate multiplies how often they trade; 0
	// means 1.
	Symbols int
	Rate    float64
	// Quiet omits the incidents.
	Quiet bool
	// Steady, if not 0, replaces the market by trades at a constant rate: so many a second of all
	// Symbols (0 means 300) together. It is for measurements, because it needs little processor time.
	Steady float64
	// Now is the clock. It is required for a market if Start is zero.
	Now func() time.Time

	// Faults maps kinds of fault to their rates: connection faults a minute, all others a share from 0
	// to 1. EveryFault enables all of them at default rates, which Faults overrides.
	Faults     map[string]float64
	EveryFault bool
	FaultSeed  uint64

	// WeightLimit is the request weight that an address may use in a minute; 0 means 6000. Latency
	// delays each answer of REST and the archive. ArchiveDelay is how long after its day a file
	// appears; 0 means 5 h, below 0 means no delay.
	WeightLimit  int64
	Latency      time.Duration
	ArchiveDelay time.Duration

	// Telegram also serves a stand-in for Telegram's Bot API. It prints its messages to Out.
	// TelegramListen is its host:port; empty means any free port of the exchange's host.
	Telegram       bool
	TelegramListen string

	// Out receives the addresses and the incidents of the market; nil means no output.
	Out io.Writer
	// Ready is called with http://host:port once the exchange listens; it may be nil.
	Ready func(url string)
}

// Exchange is a stand-in that is ready to run.
type Exchange struct {
	opt         Options
	server      *exchange.Server
	incidents   []market.Event // of the simulated market
	description string         // of the source, in a line
	symbols     []string       // of the simulated market
	log         *slog.Logger
}

// New reads the captures or generates the market. An Exchange must be run, which releases it.
func New(opt Options, log *slog.Logger) (*Exchange, error) {
	if opt.Simulate == (len(opt.Play) > 0) {
		return nil, errors.New("exchange: needs either captures to play or a market to simulate")
	}
	switch opt.AtEnd {
	case "":
		opt.AtEnd = Stay
	case Stay, CloseConnections, Exit:
	default:
		return nil, fmt.Errorf("exchange: at the end %q: want stay, close or exit", opt.AtEnd)
	}
	e := &Exchange{opt: opt, log: log}
	faults, err := e.faults()
	if err != nil {
		return nil, err
	}
	settings := exchange.Options{
		Speed: opt.Speed, Start: opt.Start, WaitForStreams: opt.WaitForStreams, CloseAtEnd: opt.AtEnd != Stay,
		WeightLimit: opt.WeightLimit, Latency: opt.Latency, ArchiveDelay: opt.ArchiveDelay,
		Faults: faults, Logger: log,
	}
	var source exchange.Source
	if opt.Simulate {
		source, err = e.simulate(&settings)
	} else {
		source, err = e.record(&settings)
	}
	if err != nil {
		return nil, err
	}
	if e.server, err = exchange.New(source, settings); err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	return e, nil
}

// CheckFaults reports an unknown kind of fault or an impossible rate.
func CheckFaults(rates map[string]float64) error {
	_, err := (&Exchange{opt: Options{Faults: rates}}).faults()
	return err
}

func (e *Exchange) faults() (*exchange.Faults, error) {
	if len(e.opt.Faults) == 0 && !e.opt.EveryFault {
		return nil, nil
	}
	faults := &exchange.Faults{Seed: e.opt.FaultSeed, Rates: map[exchange.FaultKind]float64{}}
	if e.opt.EveryFault {
		faults = exchange.EveryFault(e.opt.FaultSeed)
	}
	for kind, rate := range e.opt.Faults {
		faults.Rates[exchange.FaultKind(kind)] = rate
	}
	return faults, faults.Validate()
}

func (e *Exchange) record(settings *exchange.Options) (exchange.Source, error) {
	recording, err := exchange.OpenRecording(e.opt.Play...)
	if err != nil {
		return nil, fmt.Errorf("read capture: %w", err)
	}
	settings.WaitForStreams = max(settings.WaitForStreams, 1)
	messages := 0
	for _, n := range recording.Messages {
		messages += n
	}
	first, last := recording.Span()
	e.description = fmt.Sprintf("recording of %s: %d messages of %d symbols",
		span(first, last), messages, len(recording.Messages))
	return recording, nil
}

// simulate creates the source of a market, and sets the clock.
func (e *Exchange) simulate(settings *exchange.Options) (source exchange.Source, err error) {
	now := func() time.Time {
		if !e.opt.Start.IsZero() {
			return e.opt.Start
		}
		return e.opt.Now().Add(e.opt.ClockOffset)
	}
	start := now()
	switch {
	case e.opt.Steady != 0:
		symbols := cmp.Or(e.opt.Symbols, 300)
		source, err = exchange.NewSteady(symbols, e.opt.Steady, start.Add(-e.opt.History), 0)
		e.description = fmt.Sprintf("%g trades a second of %d symbols", e.opt.Steady, symbols)
	case e.opt.Staged:
		var m *market.Market
		m, err = market.New(market.Config{
			Seed: e.opt.Seed, Start: start, History: e.opt.History, Symbols: e.opt.Symbols, Rate: e.opt.Rate, Quiet: e.opt.Quiet,
		})
		if err == nil {
			source, e.incidents = m, m.Injected()
		}
	default:
		var m *market.Perpetual
		m, err = market.NewPerpetual(market.PerpetualConfig{
			Seed: e.opt.Seed, Now: start, History: e.opt.History, Symbols: e.opt.Symbols, Rate: e.opt.Rate, Quiet: e.opt.Quiet,
		})
		if err == nil {
			source, e.incidents = m, m.Injected(start.Add(-listedIncidents), start.Add(listedIncidents))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	if e.opt.Steady == 0 {
		settings.Injected = e.incidents
		e.description = fmt.Sprintf("simulated market, seed %d: %d symbols", e.opt.Seed, len(source.Symbols()))
	}
	for _, symbol := range source.Symbols() {
		e.symbols = append(e.symbols, symbol.Name)
	}
	first, _ := source.Span()
	e.description += ", history of " + span(first, start.UnixMicro())
	settings.Start = now() // generating the history of a staged market takes time
	return source, nil
}

// listedIncidents is how far before and after the start the incidents of a market without end are
// listed.
const listedIncidents = 24 * time.Hour

func span(first, last int64) string {
	const form = "2006-01-02 15:04:05"
	return time.UnixMicro(first).UTC().Format(form) + " to " + time.UnixMicro(last).UTC().Format(form) + " UTC"
}

// Symbols lists the symbols of the simulated market, the busiest named ones first.
func (e *Exchange) Symbols() []string { return e.symbols }

// Close releases an Exchange that is not run.
func (e *Exchange) Close() error { return e.server.Close() }

// Offences counts the clients' violations of Binance's rules.
func (e *Exchange) Offences() map[exchange.Offence]int64 { return e.server.Offences() }

// Run serves the stand-ins until ctx ends or, with AtEnd Exit, until the recording has ended and the
// clients have disconnected. Then it returns nil.
func (e *Exchange) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ln, err := listen(cmp.Or(e.opt.Listen, DefaultListen))
	if err != nil {
		return errors.Join(err, e.server.Close())
	}
	url := "http://" + ln.Addr().String()
	var services errgroup.Group
	var telegram *botapi.Server
	exports := ""
	if e.opt.Telegram {
		var address string
		if telegram, address, err = e.serveTelegram(ctx, &services, ln); err != nil {
			return errors.Join(err, ln.Close(), e.server.Close())
		}
		exports = fmt.Sprintf("export TAPEDECK_TELEGRAM_URL=%s\nexport TAPEDECK_TELEGRAM_TOKEN=%s\n", address, telegramToken)
	}
	if err := e.printAddresses(url, exports); err != nil {
		stop()
		return errors.Join(err, services.Wait(), ln.Close(), e.server.Close())
	}
	services.Go(func() error {
		defer stop()
		return e.server.Serve(ln)
	})
	e.log.Info("exchange listening", "url", url)
	if e.opt.Ready != nil {
		e.opt.Ready(url)
	}
	var ended <-chan struct{}
	if e.opt.AtEnd == Exit {
		ended = e.server.Done()
	}
	select {
	case <-ctx.Done():
	case <-ended:
		_ = e.server.WaitIdle(ctx) // clients have 5 s to answer the close frame
	}
	stop()
	err = errors.Join(e.server.Close(), services.Wait())
	served := e.server.Served()
	e.log.Info("exchange stopped",
		"connections", served.Connections, "messages", served.Messages, "peak_weight_1m", served.PeakWeight)
	if telegram != nil && len(telegram.Offences()) > 0 {
		e.log.Warn("the client violated Telegram's rules", "offences", telegram.Offences())
	}
	if offences := e.server.Offences(); len(offences) > 0 {
		e.log.Warn("the client violated the exchange's rules", "offences", offences)
	}
	return err
}

// listen opens an address. Its error names the address and the cause only.
func listen(address string) (net.Listener, error) {
	ln, err := net.Listen("tcp", address)
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		err = errno
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return ln, nil
}

// printAddresses prints where the exchange listens, the settings that point tapedeck at it, and the
// incidents.
func (e *Exchange) printAddresses(url, exports string) error {
	if e.opt.Out == nil {
		return nil
	}
	var text strings.Builder
	fmt.Fprintf(&text, "stand-in exchange at %s\n%s\n\n%s", url, e.description, exports)
	fmt.Fprintf(&text, "export TAPEDECK_STREAM_URL=ws%s\n", strings.TrimPrefix(url, "http"))
	fmt.Fprintf(&text, "export TAPEDECK_REST_URL=%s\nexport TAPEDECK_ARCHIVE_URL=%[1]s\n", url)
	if len(e.incidents) > 0 {
		table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
		fmt.Fprint(table, "\nINJECTED\tSYMBOL\tAT (UTC)\tWHAT\n")
		for _, i := range e.incidents {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", i.Kind, i.Symbol, i.At.Format("2006-01-02 15:04:05"), i.Note)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(e.opt.Out, text.String()); err != nil {
		return fmt.Errorf("print the addresses: %w", err)
	}
	return nil
}
