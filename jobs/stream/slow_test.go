package stream

import (
	"testing"
	"testing/synctest"
	"time"

	"tapedeck/internal/standin/exchange"
)

// TestSlowConnectionShowsInTheDelay: over a line of 64 kbit/s, 200 trades a second arrive ever later,
// and the state says by how much. What was received is on the tape all the same.
func TestSlowConnectionShowsInTheDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, evenRows("BTCUSDT", 16000, 5*time.Millisecond))
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: fixedSymbols("BTCUSDT"), FlushInterval: time.Second})
		time.Sleep(10 * time.Second)
		first := readState(t, r.dir)
		if late := first.DelayMS - first.LeastDelayMS; late < 0 || late > 1000 {
			t.Errorf("%d ms late on a fast line", late)
		}
		r.wire.bytesPerSecond.Store(64000 / 8)
		time.Sleep(65 * time.Second)
		s := readState(t, r.dir)
		if late := s.DelayMS - s.LeastDelayMS; late < 30000 || late > 65000 {
			t.Errorf("%d ms late after 65 s on a slow line", late)
		}
		if lag, ok := s.Symbols["BTCUSDT"].Lag(); !ok || lag > 2*time.Second {
			t.Errorf("the tape is %v behind what was received, %v", lag, ok)
		}
	})
}
