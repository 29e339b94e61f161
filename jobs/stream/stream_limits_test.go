package stream

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/symbol"
)

// TestRefreshChangesSubscriptions: a new symbol is subscribed to and a removed one unsubscribed
// from, while the others are recorded without interruption.
func TestRefreshChangesSubscriptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rows []exchange.MemoryRow
		for _, name := range []string{"AUSDT", "BUSDT", "CUSDT", "DUSDT", "币安人生USDT"} {
			rows = append(rows, evenRows(name, 1200, 500*time.Millisecond)...)
		}
		source := exchange.NewMemory(nil, rows)
		var lookups atomic.Int64
		provider := func(context.Context) ([]symbol.Name, error) {
			switch lookups.Add(1) {
			case 1:
				return namesOf("AUSDT", "BUSDT"), nil
			case 2:
				return nil, errors.New("the exchange does not answer")
			case 3:
				return namesOf("AUSDT", "CUSDT", "DUSDT", "币安人生USDT"), nil
			default:
				return namesOf("AUSDT"), nil
			}
		}
		r := newRig(t, source, exchange.Options{WaitForStreams: 2},
			Options{Symbols: provider, RefreshEvery: 2 * time.Minute, StreamsPerConnection: 3})
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		changed, connected := r.eventsOf(Changed), r.eventsOf(Connected)
		if len(changed) != 1 || changed[0].Streams != 3 || len(connected) != 2 || connected[1].Streams != 1 {
			t.Fatalf("changed %+v, connected %+v", changed, connected)
		}
		got := readState(t, r.dir)
		if len(got.Symbols) != 4 || len(got.Connections) != 2 || got.Symbols["币安人生USDT"].Trades == 0 {
			t.Errorf("state %+v", got)
		}
		time.Sleep(90 * time.Second) // after the fourth lookup one group with one symbol is left
		synctest.Wait()
		if got := readState(t, r.dir); len(got.Symbols) != 1 || len(got.Connections) != 1 {
			t.Errorf("state %+v", got)
		}
		<-r.server.Done()
		time.Sleep(time.Second)
		summary := r.stop()
		counts := countBySymbol(t, tapeRows(t, r.dir))
		if counts["AUSDT"] != 1200 || counts["BUSDT"] < 470 || counts["BUSDT"] > 490 || counts["CUSDT"] < 230 || counts["币安人生USDT"] < 230 || counts["币安人生USDT"] > 250 {
			t.Errorf("on the tape %v", counts)
		}
		if summary.Symbols != 1 || summary.Reconnects+summary.Replaced != 0 || summary.Unknown != 0 {
			t.Errorf("summary %+v", summary)
		}
	})
}

// TestManySymbolsKeepTheExchangesLimits records 2,000 symbols. The rig polices the limits of
// connections and requests.
func TestManySymbolsKeepTheExchangesLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rows []exchange.MemoryRow
		var names []string
		want := map[string]int{}
		for i := range 2000 {
			name := fmt.Sprintf("LONGNAMEDTOKEN%04dUSDT", i)
			names = append(names, name)
			rows = append(rows, evenRows(name, 2, time.Second)...)
			want[name] = 2
		}
		source := exchange.NewMemory(nil, rows)
		r := newRig(t, source, exchange.Options{WaitForStreams: len(names)}, Options{Symbols: fixedSymbols(names...), StreamsPerConnection: 1024})
		<-r.server.Done()
		time.Sleep(time.Second)
		summary := r.stop()
		r.requireComplete(source, want)
		if summary.Connects != 2 || summary.Reconnects != 0 {
			t.Errorf("summary %+v", summary)
		}
	})
}

// TestUnansweredRequestsDoNotStopRecording: an exchange that does not answer requests still
// delivers the streams that the address named.
func TestUnansweredRequestsDoNotStopRecording(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, evenRows("BTCUSDT", 600, 100*time.Millisecond))
		r := newRig(t, source, exchange.Options{WaitForStreams: 1, MaxFrame: 1}, Options{Symbols: fixedSymbols("BTCUSDT")})
		r.excuse = exchange.FrameTooLarge
		<-r.server.Done()
		time.Sleep(time.Second)
		if summary := r.stop(); summary.Connects != 1 || summary.Refused+summary.Replaced != 0 {
			t.Errorf("summary %+v", summary)
		}
		r.requireComplete(source, map[string]int{"BTCUSDT": 600})
	})
}

func TestFlushIntervalBoundsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, evenRows("BTCUSDT", 20, 7*time.Second))
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: fixedSymbols("BTCUSDT"), FlushInterval: 15 * time.Second})
		<-r.server.Done()
		time.Sleep(20 * time.Second)
		r.stop()
		flushed := r.eventsOf(Flushed)
		total := int64(0)
		for _, e := range flushed {
			if e.Rows < 2 || e.Rows > 3 {
				t.Errorf("a batch of %d rows", e.Rows)
			}
			total += e.Rows
		}
		if total != 20 {
			t.Errorf("%d rows in %d batches", total, len(flushed))
		}
	})
}

// TestFullBatchesStallReading: while one batch is published the next one fills. When it is full
// too, reading waits. Nothing is lost, and the connection does not count as silent.
func TestFullBatchesStallReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, evenRows("BTCUSDT", 1200, 100*time.Millisecond))
		release := make(chan struct{})
		opt := Options{Symbols: fixedSymbols("BTCUSDT"), FlushRows: 400, FlushInterval: time.Hour}
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, opt, func(_ *rig, e Event) {
			if e.Kind == Flushed && e.Rows == 400 {
				<-release
			}
		})
		// Full after 40 s, and again after 80. The exchange waits a minute for a pong.
		time.Sleep(110 * time.Second)
		synctest.Wait()
		got := readState(t, r.dir)
		if got.UnflushedTrades != 400 || got.Counters.Stalls != 1 || got.Counters.Trades != 800 {
			t.Errorf("stalled with %+v", got)
		}
		close(release)
		<-r.server.Done()
		time.Sleep(time.Second)
		summary := r.stop()
		r.requireComplete(source, map[string]int{"BTCUSDT": 1200})
		if summary.Replaced+summary.Reconnects != 0 {
			t.Errorf("summary %+v", summary)
		}
	})
}
