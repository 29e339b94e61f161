package stream

import (
	"testing"
	"testing/synctest"
	"time"

	"tapedeck/internal/standin/exchange"
)

// TestStatusFollowsTheRecorder requires the status to be right before the first trade, while the
// connection is up, while it is down, and after a gap.
func TestStatusFollowsTheRecorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, evenRows("BTCUSDT", 1200, 100*time.Millisecond))
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: fixedSymbols("BTCUSDT", "ETHUSDT")})
		if s := r.stream.Status(); s.Trades != 0 || !s.NewestTradedAt.IsZero() || !s.LastFlushAt.IsZero() {
			t.Errorf("before the start: %+v", s)
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		s := r.stream.Status()
		if s.Symbols != 2 || s.Connections != 1 || s.Up != 1 || s.Gaps != 0 {
			t.Errorf("while it is up: %+v", s)
		}
		first := time.UnixMicro(1_700_000_000_000_000) // evenRows begins here
		if want := first.Add(time.Duration(s.Trades-1) * 100 * time.Millisecond); s.Trades < 250 || !s.NewestTradedAt.Equal(want) {
			t.Errorf("%d trades, the newest of %v, want %v", s.Trades, s.NewestTradedAt, want)
		}
		if s.Unflushed == 0 || time.Since(s.LastFlushAt) > defaultFlushInterval || s.StartedAt.IsZero() {
			t.Errorf("between two flushes: %+v", s)
		}
		r.wire.down.Store(true)
		inject(t, r.server, exchange.Fault{Kind: exchange.Cut})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s := r.stream.Status(); s.Connections != 1 || s.Up != 0 {
			t.Errorf("while it is down: %+v", s)
		}
		r.wire.down.Store(false)
		<-r.server.Done()
		time.Sleep(time.Minute)
		synctest.Wait()
		if s, summary := r.stream.Status(), r.stop(); s.Up != 1 || s.Gaps != 1 || s.Missing != 1200-summary.Trades || s.Unflushed != 0 {
			t.Errorf("after the gap: %+v, %+v", s, summary)
		}
	})
}
