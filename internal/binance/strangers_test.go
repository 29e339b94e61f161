package binance

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"tapedeck/internal/symbol"
)

// strangerText is what a server sends that is not the exchange's. It must not appear in an error.
const strangerText = "topsecret"

// redirects returns the address of a server that redirects every request to another server, with how
// many requests that one received.
func redirects(t *testing.T, status int) (address string, followed *atomic.Int64) {
	t.Helper()
	followed = new(atomic.Int64)
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		followed.Add(1)
		w.Write([]byte(strangerText))
	}))
	t.Cleanup(target.Close)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", target.URL+"/latest?"+strangerText)
		w.WriteHeader(status)
		w.Write([]byte(strangerText))
	}))
	t.Cleanup(server.Close)
	return server.URL, followed
}

// ways are the ways in which the exchange is asked.
func ways(t *testing.T, address string) map[string]func() error {
	return map[string]func() error{
		"REST": func() error {
			client, _ := newTestREST(t, newTestClock(), respond(200, ""))
			client.client.BaseURL = address
			_, err := client.AggTrades(t.Context(), symbol.Must("BTCUSDT"), 1, 10)
			return err
		},
		"exchangeInfo": func() error {
			client, _ := newTestREST(t, newTestClock(), respond(200, ""))
			client.client.BaseURL = address
			_, _, err := client.ExchangeInfo(t.Context())
			return err
		},
		"archive": func() error {
			archive := NewArchive(address, ClientOptions{Sleep: newTestClock().sleep})
			defer archive.Close()
			_, err := archive.Fetch(t.Context(), KindAggTrades, symbol.Must("BTCUSDT"), archiveDay, t.TempDir())
			return err
		},
		"stream": func() error {
			conn, err := Dial(t.Context(), strings.Replace(address, "http", "ws", 1)+"/stream", DialOptions{})
			if err == nil {
				conn.Close()
			}
			return err
		},
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 307, 308} {
		address, followed := redirects(t, status)
		for name, ask := range ways(t, address) {
			err := ask()
			if err == nil || !strings.Contains(err.Error(), "redirect") || !strings.Contains(err.Error(), "127.0.0.1") ||
				strings.Contains(err.Error(), strangerText) {
				t.Errorf("%s, %d: %v", name, status, err)
			}
		}
		if n := followed.Load(); n > 0 {
			t.Errorf("%d: %d requests to where the redirect goes", status, n)
		}
	}
}

// TestAnswersOfStrangersAreNotQuoted asks servers that are not the exchange's in every way.
func TestAnswersOfStrangersAreNotQuoted(t *testing.T) {
	for _, status := range []int{200, 400, 401, 403, 404, 500} {
		for _, body := range []string{strangerText, `{"token":"topsecret"}`, `["topsecret"]`, `[{"a":"topsecret"}]`, `{"code":0,"msg":"topsecret"}`,
			`[{"a":1,"p":"topsecret","q":"1","f":1,"l":1,"T":1498793709153}]`} {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				w.Write([]byte(body))
			}))
			for name, ask := range ways(t, server.URL) {
				if err := ask(); err == nil || strings.Contains(err.Error(), strangerText) {
					t.Errorf("%s, %d, %s: %v", name, status, body, err)
				}
			}
			server.Close()
		}
	}
}

// TestMessageOfTheStreamIsNotQuoted decodes messages that are not the exchange's.
func TestMessageOfTheStreamIsNotQuoted(t *testing.T) {
	for _, message := range []string{
		strangerText, `{"password":"topsecret"`, `{"e":"aggTrade","s":"BTCUSDT","a":"topsecret"}`, `{"code":"topsecret","msg":"topsecret"}`,
		`{"error":"topsecret"}`, `{"stream":"x","data":"topsecret"}`, `{"e":"trade","m":"topsecret","s":"A","t":1,"p":"1","q":"1","T":1498793709153}`,
	} {
		var m Message
		if err := Decode([]byte(message), &m); err != nil && strings.Contains(err.Error(), strangerText) {
			t.Errorf("%s: %v", message, err)
		}
	}
}
