package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/durable"
	"tapedeck/internal/state"
	"tapedeck/internal/symbol"
)

// Defaults of Options.
const (
	defaultURL = "wss://data-stream.binance.vision"
	// defaultFlushInterval bounds what kill -9 loses. It makes 240 segments an hour, which compact
	// merges.
	defaultFlushInterval = 15 * time.Second
	// defaultFlushRows is about 20 MB in memory, twice: one batch fills while the other is
	// published.
	defaultFlushRows = 200_000
	// defaultStreamsPerConnection fits into one URL and keeps the loss of a connection small. The
	// exchange allows 1,024.
	defaultStreamsPerConnection = 200
	// defaultRefreshEvery is how soon a new listing is recorded.
	defaultRefreshEvery = 10 * time.Minute
	// defaultMaxAge is an hour less than the 24 after which the exchange closes a connection.
	defaultMaxAge = 23 * time.Hour
)

// Options select what to record and how. Symbols is required; a zero value means the default.
type Options struct {
	// Symbols returns the symbols to record. It is called at the
	// start, where a permanent error ends Run, and then every RefreshEvery, where an error changes
	// nothing.
	Symbols      func(context.Context) ([]symbol.Name, error)
	RefreshEvery time.Duration

	// URL is the address of the streams: scheme (ws or wss) and host.
	URL string
	// FlushInterval is how long a trade waits at most to be published. With FlushRows trades it is
	// sooner.
	FlushInterval time.Duration
	FlushRows     int
	// Connections is the number of connections per symbol, 1 to 8. With more than one, the loss of
	// one leaves no gap.
	Connections          int
	StreamsPerConnection int
	// MaxAge is the age at which a connection is replaced, less up to a twentieth, so that not all
	// connections are replaced at the same time.
	MaxAge time.Duration

	// Once ends Run when the exchange has closed every connection normally (close code 1000), as
	// the stand-in does at the end of a recording. An unreachable exchange is an error then.
	Once bool
	// For ends Run after that long; 0 means never.
	For time.Duration
	// GiveUpAfter ends Run with an error when no connection has reached the exchange for that long;
	// 0 means never. It is meant for a process that is restarted by something else.
	GiveUpAfter time.Duration

	// RunID is written into the segments' metadata, and names the file of watched spans.
	RunID string
	// UserAgent is sent with each handshake.
	UserAgent string
	// DialContext opens network connections; nil means net.Dialer's.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger receives connections, segments and gaps; nil means none.
	Logger *slog.Logger
	// Observe is called with each event, one at a time. Recording waits until it returns.
	Observe func(Event)

	// For tests: the system's time, which may be set at any time, and its uptime.
	system func() time.Time
	uptime func() state.Uptime
}

func (opt Options) withDefaults() (Options, error) {
	opt.URL = cmp.Or(opt.URL, defaultURL)
	opt.FlushInterval = cmp.Or(opt.FlushInterval, defaultFlushInterval)
	opt.FlushRows = cmp.Or(opt.FlushRows, defaultFlushRows)
	opt.RefreshEvery = cmp.Or(opt.RefreshEvery, defaultRefreshEvery)
	opt.Connections = cmp.Or(opt.Connections, 1)
	opt.StreamsPerConnection = cmp.Or(opt.StreamsPerConnection, defaultStreamsPerConnection)
	opt.MaxAge = cmp.Or(opt.MaxAge, defaultMaxAge)
	opt.RunID = cmp.Or(opt.RunID, durable.UniqueName("stream", ""))
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Observe == nil {
		opt.Observe = func(Event) {}
	}
	switch {
	case opt.Symbols == nil:
		return opt, errors.New("no symbols to record")
	case min(opt.FlushInterval, opt.RefreshEvery, opt.MaxAge, opt.For, opt.GiveUpAfter) < 0:
		return opt, errors.New("a duration is negative")
	case opt.FlushRows < 0:
		return opt, fmt.Errorf("flush after %d rows: negative", opt.FlushRows)
	case opt.Connections < 0 || opt.Connections > 8:
		return opt, fmt.Errorf("%d connections per symbol: not between 1 and 8", opt.Connections)
	case opt.StreamsPerConnection < 0 || opt.StreamsPerConnection > binance.MaxStreams:
		return opt, fmt.Errorf("%d streams per connection: not between 1 and %d", opt.StreamsPerConnection, binance.MaxStreams)
	}
	_, _, err := binance.StreamURL(opt.URL, nil)
	return opt, err
}

// EventKind is the kind of an Event.
type EventKind string

// The events.
const (
	Connected EventKind = "connected" // a connection is up and subscribed
	Lost      EventKind = "lost"      // a connection ended by itself
	Replaced  EventKind = "replaced"  // a connection was closed in favor of a new one that is up
	Refused   EventKind = "refused"   // an attempt to connect failed
	Changed   EventKind = "changed"   // a connection's subscriptions were changed
	Flushed   EventKind = "flushed"   // a batch was published
)

// Event reports what happened, for a progress display and for tests.
type Event struct {
	Kind EventKind
	// Connection is the number of the group of symbols and that of the copy, such as 2.1.
	Connection string
	// Streams is the number of streams of the connection.
	Streams int
	// Reason says why a connection ended or was replaced.
	Reason string
	// Rows and Dropped are those of the flushed batch. Trades counts all trades received so far.
	Rows, Dropped, Trades int64
}

// Summary counts what a recorder did.
type Summary struct {
	state.StreamCounters
	// Symbols is the number of symbols recorded at the end.
	Symbols int
	// Traded is the number of those of which a trade was received.
	Traded int
}
