package binance

import (
	"strings"
	"testing"
)

// Names that no symbol can have are left out of what the exchange lists, with one warning.
func TestListedNamesThatAreNoSymbolsAreLeftOut(t *testing.T) {
	client, _ := newTestREST(t, newTestClock(), respond(200, `{"serverTime":1768435200000,"rateLimits":[],"symbols":[`+
		`{"symbol":"BTCUSDT","status":"TRADING"},{"symbol":"../../tape.json","status":"TRADING"},{"symbol":"!BTC*","status":"TRADING"}]}`))
	info, _, err := client.ExchangeInfo(t.Context())
	if err != nil || len(info.Symbols) != 1 || info.Symbols[0].Name.String() != "BTCUSDT" || len(info.LeftOut) != 2 {
		t.Errorf("%+v, %v", info, err)
	}
	for _, word := range []string{"../../tape.json", "!../x", "a/*", "A\x1b", "BTC\n*"} {
		if _, err := ParseSymbolList([]string{word}); err == nil || strings.ContainsAny(err.Error(), "\x1b\n") {
			t.Errorf("%q: %v", word, err)
		}
	}
}
