package backfill

import (
	"cmp"
	"log/slog"

	"tapedeck/internal/binance"
	"tapedeck/internal/tape"
)

// Where the exchange is, if nobody says otherwise. The first serves public market data without a key; it lacks the history
// of raw trades.
const (
	DefaultRESTURL      = "https://data-api.binance.vision"
	DefaultRawTradesURL = "https://api.binance.com"
	DefaultArchiveURL   = "https://data.binance.vision"
)

// Places say where the exchange is; empty ones are the defaults.
type Places struct {
	RESTURL, ArchiveURL string
	// Logger hears of requests and downloads that are made again; nil means silence.
	Logger *slog.Logger
}

// Connect makes the clients for a tape, whose request budget all its processes share. Nothing is asked yet. Close them when done.
func Connect(dir *tape.Dir, places Places) Clients {
	rest := DefaultRESTURL
	if dir.Feed() == tape.RawTrade {
		rest = DefaultRawTradesURL
	}
	budget := binance.OpenBudget(dir.StatePath("budget.json"), binance.BudgetOptions{})
	return Clients{
		REST:    binance.NewREST(cmp.Or(places.RESTURL, rest), budget, binance.RESTOptions{Logger: places.Logger}),
		Archive: binance.NewArchive(cmp.Or(places.ArchiveURL, DefaultArchiveURL), binance.ArchiveOptions{Logger: places.Logger}),
	}
}

// Close closes the idle connections.
func (c Clients) Close() {
	c.REST.Close()
	if c.Archive != nil {
		c.Archive.Close()
	}
}
