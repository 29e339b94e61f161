package binance

import (
	"errors"
	"io"
	"net/http"
	"testing"

	"tapedeck/internal/symbol"
)

// endlessBody answers every request with a body that does not end, and counts what is read of it.
type endlessBody struct{ read, requests int64 }

func (e *endlessBody) RoundTrip(r *http.Request) (*http.Response, error) {
	e.requests++
	return &http.Response{StatusCode: 200, Header: http.Header{}, Request: r, Body: io.NopCloser(e), ContentLength: -1}, nil
}

func (e *endlessBody) Read(p []byte) (int, error) {
	e.read += int64(len(p))
	for i := range p {
		p[i] = '['
	}
	return len(p), nil
}

// TestEndlessAnswersAreNotRead past the largest answer that can be.
func TestEndlessAnswersAreNotRead(t *testing.T) {
	client, _ := newTestREST(t, newTestClock(), respond(200, ""))
	for name, c := range map[string]struct {
		most int64
		slow bool
		ask  func() error
	}{
		"page":         {maxBody, false, func() error { _, err := client.AggTrades(t.Context(), symbol.Must("BTCUSDT"), 1, 10); return err }},
		"exchangeInfo": {maxInfoBody, true, func() error { _, _, err := client.ExchangeInfo(t.Context()); return err }},
	} {
		if c.slow && testing.Short() {
			continue
		}
		body := &endlessBody{}
		client.transport.base = body
		var damaged *DamagedError
		if err := c.ask(); !errors.As(err, &damaged) || body.read > 2*c.most*body.requests {
			t.Errorf("%s: %v after %d bytes in %d requests", name, err, body.read, body.requests)
		}
	}
	body := &endlessBody{}
	archive := NewArchive("http://archive", ClientOptions{Transport: body, Sleep: newTestClock().sleep})
	if _, err := archive.Fetch(t.Context(), KindAggTrades, symbol.Must("BTCUSDT"), archiveDay, t.TempDir()); err == nil || body.read > 2*maxChecksumBody*body.requests {
		t.Errorf("checksum: %v after %d bytes", err, body.read)
	}
}
