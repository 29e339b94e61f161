package stream

import (
	"testing"
	"testing/synctest"
	"time"

	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/tape"
)

// TestStatusFollowsTheRecorder requires the status to be right before the first trade, while the
// connection is up, while it is down, and after a gap.
func TestStatusFollowsTheRecorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, evenRows("BTCUSDT", 1200, 100*time.Millisecond))
		opt := Options{URL: "ws://exchange", Symbols: fixedSymbols("BTCUSDT", "ETHUSDT")}
		idle, err := New(newTape(t, tape.AggTrade), opt)
		if err != nil {
			t.Fatal(err)
		}
		if s := idle.Status(); s != (Status{}) {
			t.Errorf("before the start: %+v", s)
		}
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, opt)
		time.Sleep(35 * time.Second) // between two flushes, which are due after every 10 s
		synctest.Wait()
		s := r.stream.Status()
		if s.Symbols != 2 || s.Connections != 1 || s.Up != 1 || s.Gaps != 0 {
			t.Errorf("while it is up: %+v", s)
		}
		first := time.UnixMicro(1_700_000_000_000_000) // evenRows begins here
		if want := first.Add(time.Duration(s.Trades-1) * 100 * time.Millisecond); s.Trades < 300 || !s.NewestTradedAt.Equal(want) {
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
