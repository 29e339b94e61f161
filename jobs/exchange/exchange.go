// Package exchange is the job of the exchange command: it serves the stand-in Binance on loopback, playing recorded
// captures or a simulated market, until it is told to stop or the recording is over. The protocol is in
// internal/standin/exchange.
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

	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/standin/market"
)

// AtEnd says what happens when a recording is over.
type AtEnd string

const (
	// Stay keeps the connections open, and REST and the archive going.
	Stay AtEnd = "stay"
	// CloseConnections closes each connection with code 1000 and goes on answering.
	CloseConnections AtEnd = "close"
	// Exit closes them and ends Run once they are gone.
	Exit AtEnd = "exit"
)

// DefaultListen is where the stand-in listens if nothing else is said.
const DefaultListen = "127.0.0.1:9800"

// MaxSpeed is the Speed that is as fast as the clients take it.
const MaxSpeed = -1

// ParseSpeed reads a flag: "max", or how many times faster than real time.
func ParseSpeed(text string) (float64, error) {
	if text == "max" {
		return MaxSpeed, nil
	}
	speed, err := strconv.ParseFloat(strings.TrimSuffix(text, "x"), 64)
	if err != nil || !(speed > 0) || speed > 1e6 {
		return 0, fmt.Errorf("speed %q is neither max nor a number above 0 and up to 1000000", text)
	}
	return speed, nil
}

// FaultKinds lists what Options.Faults may name.
func FaultKinds() []string {
	var names []string
	for _, kind := range exchange.FaultKinds() {
		names = append(names, string(kind))
	}
	return names
}

// Options say what to serve: Play, or Simulate.
type Options struct {
	// Listen is host:port; empty means DefaultListen, port 0 any free one.
	Listen string
	// Play names captures, which are merged by their time of receipt.
	Play []string
	// Speed is a factor of real time or MaxSpeed; 0 means 1.
	Speed float64
	// AtEnd is what happens when the captures are over; empty means Stay.
	AtEnd AtEnd
	// WaitForStreams is how many streams must be subscribed to before the clock starts; a recording waits for one at
	// least.
	WaitForStreams int
	// Start is where the clock stands at first. In a recording what was received before is history that REST and the
	// archive have; zero means its beginning. In a market it is the end of the history; zero means Now.
	Start time.Time

	// Simulate serves a simulated market instead, which depends on nothing but the following.
	Simulate bool
	Seed     uint64
	// History is how far it reaches back; 0 means the market's default.
	History time.Duration
	// Symbols is how many pairs there are; 0 means the named ones. Rate multiplies how often they trade; 0 means 1.
	Symbols int
	Rate    float64
	// Quiet leaves the incidents out.
	Quiet bool
	// Steady, where not 0, replaces the market by trades at a steady beat, so many a second of all Symbols (300 where 0)
	// together: for measuring, for it costs next to nothing to make.
	Steady float64
	// Now is the time; required for a market where Start is zero.
	Now func() time.Time

	// Faults maps kinds of fault to their rates: connection faults a minute, all others a share from 0 to 1. EveryFault
	// has all of them at rates of its own, which Faults can change.
	Faults     map[string]float64
	EveryFault bool
	FaultSeed  uint64

	// WeightLimit is the request weight an address may use in a minute; 0 means 6000. Latency is waited before each
	// answer of REST and the archive. ArchiveDelay is how long after its day a file appears; 0 means 5 h, below 0 none.
	WeightLimit  int64
	Latency      time.Duration
	ArchiveDelay time.Duration

	// Telegram serves a stand-in for Telegram's Bot API, too, on a port of its own; its messages go to Out.
	Telegram bool

	// Out is where Run says where it listens and what lies in the market; nil means nowhere.
	Out io.Writer
	// Ready is called once it listens, with http://host:port; nil means nobody is told.
	Ready func(url string)
}

// Incident is something that was put into the simulated market for a detector to find.
type Incident struct {
	// Kind is the name of the detector that should find it.
	Kind   string `json:"kind"`
	Symbol string `json:"symbol"`
	// At is the onset; From and To bound the trades that it changed, half-open.
	At   time.Time `json:"at"`
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	Note string    `json:"note"`
}

// Exchange is a stand-in that is ready to be served.
type Exchange struct {
	// Server is what it is served by; its methods break things and count.
	Server *exchange.Server
	// Injected is what lies in the market; nil for a recording.
	Injected []Incident

	opt       Options
	contents  string // a line that says what is traded
	messenger *messenger
	log       *slog.Logger
}

// New reads the captures or makes the market.
func New(opt Options, log *slog.Logger) (*Exchange, error) {
	if opt.Simulate == (len(opt.Play) > 0) {
		return nil, errors.New("exchange: wants either captures to play or a market to simulate")
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
		Speed: opt.Speed, WaitForStreams: opt.WaitForStreams, CloseAtEnd: opt.AtEnd != Stay,
		WeightLimit: opt.WeightLimit, Latency: opt.Latency, ArchiveDelay: opt.ArchiveDelay,
		Faults: faults, Logger: log,
	}
	if opt.Speed == MaxSpeed {
		settings.Speed = exchange.MaxSpeed
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
	if e.Server, err = exchange.New(source, settings); err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	return e, nil
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
	settings.Start = e.opt.Start
	messages := 0
	for _, n := range recording.Messages {
		messages += n
	}
	first, last := recording.Span()
	e.contents = fmt.Sprintf("recording of %s: %d messages of %d symbols", span(first, last), messages, len(recording.Messages))
	return recording, nil
}

func (e *Exchange) simulate(settings *exchange.Options) (exchange.Source, error) {
	start := e.opt.Start
	if start.IsZero() {
		start = e.opt.Now()
	}
	if e.opt.Steady != 0 {
		return e.steady(settings, start)
	}
	m, err := market.New(market.Config{
		Seed: e.opt.Seed, Start: start, History: e.opt.History, Symbols: e.opt.Symbols, Rate: e.opt.Rate, Quiet: e.opt.Quiet,
	})
	if err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	settings.Start = start
	if e.opt.Start.IsZero() {
		settings.Start = e.opt.Now() // making the history took a while
	}
	for _, event := range m.Injected() {
		e.Injected = append(e.Injected, Incident{
			Kind: event.Kind, Symbol: event.Symbol, At: event.At.UTC(), From: event.From.UTC(), To: event.To.UTC(), Note: event.Note,
		})
	}
	settings.Injected = e.Injected
	source := newMarketSource(m)
	first, _ := source.Span()
	e.contents = fmt.Sprintf("simulated market, seed %d: %d symbols, history of %s", e.opt.Seed, len(source.symbols), span(first, start.UnixMicro()))
	return source, nil
}

func (e *Exchange) steady(settings *exchange.Options, start time.Time) (exchange.Source, error) {
	symbols := e.opt.Symbols
	if symbols == 0 {
		symbols = 300
	}
	settings.Start = start
	source, err := exchange.NewMetronome(symbols, e.opt.Steady, start.Add(-e.opt.History), 0)
	if err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	e.contents = fmt.Sprintf("%g trades a second of %d symbols, history of %s", e.opt.Steady, symbols, span(start.Add(-e.opt.History).UnixMicro(), start.UnixMicro()))
	return source, nil
}

func span(first, last int64) string {
	const form = "2006-01-02 15:04:05"
	return time.UnixMicro(first).UTC().Format(form) + " to " + time.UnixMicro(last).UTC().Format(form) + " UTC"
}

// Run serves the stand-in until ctx ends, or, with AtEnd Exit, until the recording is over and the clients have gone.
// Neither is an error.
func Run(ctx context.Context, opt Options, log *slog.Logger) error {
	e, err := New(opt, log)
	if err != nil {
		return err
	}
	ln, err := Listen(opt.Listen)
	if err != nil {
		return errors.Join(err, e.Server.Close())
	}
	return e.Serve(ctx, ln)
}

// Listen opens the address; its error says which it was.
func Listen(address string) (net.Listener, error) {
	if address == "" {
		address = DefaultListen
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		var errno syscall.Errno
		if errors.As(err, &errno) {
			return nil, fmt.Errorf("listen on %s: %w", address, errno)
		}
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return ln, nil
}

// Serve is Run with a listener, which it closes.
func (e *Exchange) Serve(ctx context.Context, ln net.Listener) error {
	url := "http://" + ln.Addr().String()
	if e.opt.Telegram {
		host, _, err := net.SplitHostPort(ln.Addr().String())
		if err == nil {
			e.messenger, err = startMessenger(host, cmp.Or(e.opt.Out, io.Discard))
		}
		if err != nil {
			return errors.Join(err, ln.Close(), e.Server.Close())
		}
		defer e.messenger.close()
	}
	if e.opt.Out != nil {
		if err := e.introduce(url); err != nil {
			return errors.Join(err, ln.Close(), e.Server.Close())
		}
	}
	served := make(chan error, 1)
	go func() { served <- e.Server.Serve(ln) }()
	e.log.Info("exchange listening", "url", url)
	if e.opt.Ready != nil {
		e.opt.Ready(url)
	}
	var over <-chan struct{}
	if e.opt.AtEnd == Exit {
		over = e.Server.Done()
	}
	select {
	case err := <-served:
		return errors.Join(err, e.Server.Close())
	case <-ctx.Done():
	case <-over:
		// Clients have 5 s to answer the close frame, then they are cut.
		_ = e.Server.WaitIdle(ctx)
	}
	err := e.Server.Close()
	if serveErr := <-served; serveErr != nil {
		err = errors.Join(serveErr, err)
	}
	did := e.Server.Served()
	e.log.Info("exchange stopped", "connections", did.Connections, "messages", did.Messages, "peak_weight_1m", did.PeakWeight)
	if e.messenger != nil {
		if offences := e.messenger.api.Offences(); len(offences) > 0 {
			e.log.Warn("the client broke Telegram's rules", "offences", offences)
		}
	}
	if offences := e.Server.Offences(); len(offences) > 0 {
		e.log.Warn("the client broke the exchange's rules", "offences", offences)
	}
	return err
}

// introduce says where the exchange is, how to point tapedeck at it, and what lies in it.
func (e *Exchange) introduce(url string) error {
	var text strings.Builder
	fmt.Fprintf(&text, "stand-in exchange at %s\n%s\n\n", url, e.contents)
	if e.messenger != nil {
		text.WriteString(e.messenger.exports())
	}
	fmt.Fprintf(&text, "export TAPEDECK_STREAM_URL=ws%s\nexport TAPEDECK_REST_URL=%s\nexport TAPEDECK_ARCHIVE_URL=%s\n", strings.TrimPrefix(url, "http"), url, url)
	if len(e.Injected) > 0 {
		fmt.Fprint(&text, "\n")
		table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
		fmt.Fprint(table, "INJECTED\tSYMBOL\tAT (UTC)\tWHAT\n")
		for _, i := range e.Injected {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", i.Kind, i.Symbol, i.At.Format("2006-01-02 15:04:05"), i.Note)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(e.opt.Out, text.String()); err != nil {
		return fmt.Errorf("print where the exchange listens: %w", err)
	}
	return nil
}
