package backfill

import (
	"cmp"
	"log/slog"

	"tapedeck/internal/binance"
	"tapedeck/internal/tape"
)

// The exchange's public servers. DefaultRESTURL needs no key, but has no history of raw trades.
const (
	DefaultRESTURL      = "https://data-api.binance.vision"
	DefaultRawTradesURL = "https://api.binance.com"
	DefaultArchiveURL   = "https://data.binance.vision"
)

// Endpoints are the exchange's addresses; an empty one is the default.
type Endpoints struct {
	RESTURL, ArchiveURL string
	// Logger receives requests and downloads that are retried; nil means none.
	Logger *slog.Logger
}

// Connect returns the clients for a tape. They share the request budget with every other process on
// the tape. Connect itself sends nothing. The caller closes the clients. A request to an exchange that
// has not sent any response fails after 12 s with a *binance.UnreachableError.
func Connect(dir *tape.Dir, endpoints Endpoints) Clients {
	rest := DefaultRESTURL
	if dir.Feed() == tape.RawTrade {
		rest = DefaultRawTradesURL
	}
	budget := binance.OpenBudget(dir.State().Path("budget.json"), binance.BudgetOptions{})
	archive := cmp.Or(endpoints.ArchiveURL, DefaultArchiveURL)
	return Clients{
		REST:    binance.NewREST(cmp.Or(endpoints.RESTURL, rest), budget, binance.ClientOptions{Logger: endpoints.Logger, FailFast: true}),
		Archive: binance.NewArchive(archive, binance.ClientOptions{Logger: endpoints.Logger}),
	}
}

// Close closes idle connections.
func (c Clients) Close() {
	c.REST.Close()
	if c.Archive != nil {
		c.Archive.Close()
	}
}
