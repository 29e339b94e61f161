package stream

import "testing"

// TestTradeBelongsToItsStream: a trade counts only if it came by a stream of its symbol, or by none.
func TestTradeBelongsToItsStream(t *testing.T) {
	s := &trackedSymbol{lower: "btcusdt"}
	for stream, want := range map[string]bool{
		"btcusdt@aggTrade": true, "btcusdt@trade": true, "ethusdt@aggTrade": false, "btcusdt": false, "btcusdtx@trade": false, "": false,
	} {
		if got := s.isNamedBy([]byte(stream)); got != want {
			t.Errorf("%q: %t", stream, got)
		}
	}
	if !s.isNamedBy(nil) {
		t.Error("a raw message has no envelope")
	}
}
