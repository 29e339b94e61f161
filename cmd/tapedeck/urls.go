package main

// The flags with the addresses of outside services, each for the commands that use it.
type (
	restURLFlag struct {
		RestURL httpURL `key:"rest_url" placeholder:"URL" help:"Address of the REST API. The default is https://data-api.binance.vision, or https://api.binance.com for the history of the feed trade."`
	}
	archiveURLFlag struct {
		ArchiveURL httpURL `key:"archive_url" placeholder:"URL" default:"https://data.binance.vision" help:"Address of the archive of daily files."`
	}
)

// streamURL and httpURL are URLs that paths are appended to.
type (
	streamURL string
	httpURL   string
)

func (u *streamURL) UnmarshalText(text []byte) error {
	*u = streamURL(text)
	return checkURL(string(text), "ws", "wss")
}

func (u *httpURL) UnmarshalText(text []byte) error {
	*u = httpURL(text)
	return checkURL(string(text), "http", "https")
}
