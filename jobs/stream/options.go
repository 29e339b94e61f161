package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"tapedeck/internal/binance"
)

// Defaults of Options.
const (
	DefaultURL = "wss://data-stream.binance.vision"
	// DefaultFlushInterval bounds what kill -9 loses; it makes 240 segments an hour, which compact merges.
	DefaultFlushInterval = 15 * time.Second
	// DefaultFlushRows is some 20 MB in memory, twice: one batch fills while the other is published.
	DefaultFlushRows = 200_000
	// DefaultStreamsPerConnection fits into one URL and leaves the loss of a connection a small one; the
	// exchange allows 1,024.
	DefaultStreamsPerConnection = 200
	// DefaultRefreshEvery is how soon a listing is picked up.
	DefaultRefreshEvery = 10 * time.Minute
	// DefaultMaxAge stays an hour clear of the 24 at which the exchange closes a connection.
	DefaultMaxAge = 23 * time.Hour
)

// Options say what to record and how. Symbols is required.
type Options struct {
	// Symbols gives the symbols to record, as the exchange spells them. It is asked at the start, where its
	// error ends Run, and then every RefreshEvery, where its error leaves things as they are. See List.
	Symbols      func(context.Context) ([]string, error)
	RefreshEvery time.Duration

	// URL is where the streams are: scheme and host, ws or wss.
	URL string
	// FlushInterval is how long a trade waits at most to be published; FlushRows publishes sooner.
	FlushInterval time.Duration
	FlushRows     int
	// Connections is how many connections carry each symbol; above 1 one may fail without a gap. 0 means 1.
	Connections          int
	StreamsPerConnection int
	// MaxAge is when a connection is replaced by a new one, less up to a twentieth so that they do not all
	// go at once.
	MaxAge time.Duration

	// Once ends Run when the exchange has closed every connection normally (close code 1000), as the
	// stand-in does at the end of a recording. An exchange that can't be reached is an error then.
	Once bool
	// For ends Run after so long; 0 means never.
	For time.Duration
	// GiveUpAfter ends Run with an error when no connection could reach the exchange for so long, and is for where
	// something starts the process again; 0 means never.
	GiveUpAfter time.Duration

	// RunID is written into the segments' metadata.
	RunID string
	// UserAgent is sent with each handshake.
	UserAgent string
	// DialContext opens network connections; nil means net.Dialer's.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger hears of connections, segments and gaps; nil means silence.
	Logger *slog.Logger
	// Observe is called with each event, one at a time, and holds up recording until it returns.
	Observe func(Event)
}

// List is an Options.Symbols that always gives the same symbols.
func List(symbols ...string) func(context.Context) ([]string, error) {
	return func(context.Context) ([]string, error) { return symbols, nil }
}

func (opt Options) withDefaults() (Options, error) {
	set(&opt.URL, DefaultURL)
	set(&opt.FlushInterval, DefaultFlushInterval)
	set(&opt.FlushRows, DefaultFlushRows)
	set(&opt.RefreshEvery, DefaultRefreshEvery)
	set(&opt.Connections, 1)
	set(&opt.StreamsPerConnection, DefaultStreamsPerConnection)
	set(&opt.MaxAge, DefaultMaxAge)
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Observe == nil {
		opt.Observe = func(Event) {}
	}
	switch {
	case opt.Symbols == nil:
		return opt, errors.New("no symbols to record")
	case opt.FlushInterval < 0 || opt.RefreshEvery < 0 || opt.MaxAge < 0 || opt.For < 0 || opt.GiveUpAfter < 0:
		return opt, errors.New("a duration is below 0")
	case opt.FlushRows < 0:
		return opt, fmt.Errorf("flush after %d rows: below 0", opt.FlushRows)
	case opt.Connections < 0 || opt.Connections > 8:
		return opt, fmt.Errorf("%d connections a symbol: not between 1 and 8", opt.Connections)
	case opt.StreamsPerConnection < 0 || opt.StreamsPerConnection > binance.MaxStreams:
		return opt, fmt.Errorf("%d streams a connection: not between 1 and %d", opt.StreamsPerConnection, binance.MaxStreams)
	}
	_, _, err := binance.StreamURL(opt.URL, nil)
	return opt, err
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// EventKind says what happened.
type EventKind string

// The events.
const (
	Connected EventKind = "connected" // a connection is up with its subscriptions
	Lost      EventKind = "lost"      // a connection ended by itself
	Replaced  EventKind = "replaced"  // a connection was left for a new one that is up
	Refused   EventKind = "refused"   // a connection could not be made
	Changed   EventKind = "changed"   // a connection's subscriptions were changed
	Flushed   EventKind = "flushed"   // a batch is on the tape
)

// Event is something that happened, for a progress display and for tests.
type Event struct {
	Kind EventKind
	// Link names the place of the connection: group of symbols and copy.
	Link string
	// Streams is how many streams the connection has.
	Streams int
	// Reason says why a connection ended or was replaced.
	Reason string
	// Rows and Dropped are of the batch flushed, Trades all that were received so far.
	Rows, Dropped, Trades int64
}

// Summary counts what a run did.
type Summary struct {
	Counters
	// Symbols recorded at the end.
	Symbols int
}
