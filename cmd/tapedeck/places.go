package main

// The flags that say where the outside lies, each for the commands that go there.
type (
	streamPlace struct {
		StreamURL streamURL `key:"stream_url" placeholder:"URL" default:"wss://data-stream.binance.vision" help:"Where the websocket streams are."`
	}
	restPlace struct {
		RestURL restURL `key:"rest_url" placeholder:"URL" help:"Where REST is. The default is https://data-api.binance.vision, and https://api.binance.com for the history of the feed trade."`
	}
	archivePlace struct {
		ArchiveURL restURL `key:"archive_url" placeholder:"URL" default:"https://data.binance.vision" help:"Where the archive of daily files is."`
	}
)

// streamURL and restURL are URLs that paths are appended to.
type (
	streamURL string
	restURL   string
)

func (u *streamURL) UnmarshalText(text []byte) error {
	*u = streamURL(text)
	return checkURL(string(text), "ws", "wss")
}

func (u *restURL) UnmarshalText(text []byte) error {
	*u = restURL(text)
	return checkURL(string(text), "http", "https")
}
