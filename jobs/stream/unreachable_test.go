package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/tape"
)

// TestGiveUpAfterEndsTheRun when the exchange was unreachable for that long, with everything
// received on the tape.
func TestGiveUpAfterEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const giveUpAfter = 5 * time.Minute
		source := exchange.NewMemory(nil, evenRows("BTCUSDT", 12000, 100*time.Millisecond))
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: fixedSymbols("BTCUSDT"), GiveUpAfter: giveUpAfter})
		time.Sleep(time.Minute)
		r.wire.down.Store(true)
		inject(t, r.server, exchange.Fault{Kind: exchange.Cut})
		cut := time.Now()
		<-r.ended
		if r.err == nil || !strings.Contains(r.err.Error(), "the exchange could not be reached for 5m0s: ") || !strings.Contains(r.err.Error(), "no route to host") {
			t.Fatalf("error %v", r.err)
		}
		if took := time.Since(cut); took < giveUpAfter || took > giveUpAfter+10*time.Second {
			t.Errorf("gave up after %v", took)
		}
		if got := int64(len(tapeRows(t, r.dir))); got != r.summary.Trades || got < 590 {
			t.Errorf("%d on the tape, summary %+v", got, r.summary)
		}
		if got := readState(t, r.dir); got.EndedAt.IsZero() || !strings.Contains(got.Error, "could not be reached") {
			t.Errorf("state %+v", got)
		}
	})
}

// TestUnreachableNeedsAllConnectors: only failures to reach the exchange count, on all connectors,
// and reaching it once starts the count again.
func TestUnreachableNeedsAllConnectors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		noHost := errors.New("no such host")
		refusal := fmt.Errorf("dial: %w", &binance.RefusedError{Status: 418})
		tr := newTracker(slog.New(slog.DiscardHandler), newClock(nil, nil))
		start := time.Now()
		expect := func(want time.Duration, ok bool) {
			t.Helper()
			since, _, got := tr.unreachable()
			if from := time.Since(start) - since; got != ok || ok && from != want {
				t.Errorf("unreachable: %v from %v, want %v from %v", got, from, ok, want)
			}
		}
		expect(0, false) // there is no connector
		streams := func() int { return 1 }
		first, second := tr.addConnector("1.1", streams, new(readers)), tr.addConnector("1.2", streams, new(readers))
		tr.refused(first, noHost)
		expect(0, false) // the second may succeed
		time.Sleep(time.Minute)
		tr.refused(first, noHost)
		tr.refused(second, noHost)
		expect(time.Minute, true)
		tr.refused(second, refusal)
		expect(0, false)
		time.Sleep(time.Minute)
		tr.refused(second, noHost)
		expect(2*time.Minute, true)
		tr.connected(tr.newConnection(first, func() int64 { return 0 }))
		expect(0, false)
	})
}

// TestBoundedRecordingFailsSoon if it cannot reach the exchange at the start. Later it keeps trying, as
// one that records until it is stopped always does.
func TestBoundedRecordingFailsSoon(t *testing.T) {
	lost := func(ctx context.Context, _, _ string) (net.Conn, error) { // packets that nobody answers
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for _, c := range []struct {
		opt   Options
		fails bool
	}{{Options{For: time.Hour}, true}, {Options{Once: true}, true}, {Options{}, false}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			c.opt.URL, c.opt.Symbols, c.opt.DialContext = "ws://exchange", fixedSymbols("BTCUSDT"), lost
			start := time.Now()
			_, err := runRecorder(ctx, newTape(t, tape.AggTrade), c.opt)
			if took := time.Since(start); errors.Is(err, ErrUnreachable) != c.fails || c.fails != (took < 12*time.Second) {
				t.Errorf("%+v: %v after %v", c.opt, err, took)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, evenRows("BTCUSDT", 1200, 100*time.Millisecond))
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: fixedSymbols("BTCUSDT"), For: 5 * time.Minute})
		time.Sleep(5 * time.Second)
		r.wire.down.Store(true)
		inject(t, r.server, exchange.Fault{Kind: exchange.Cut})
		time.Sleep(time.Minute)
		r.wire.down.Store(false)
		<-r.ended
		if r.err != nil || r.summary.Reconnects != 1 {
			t.Errorf("%v, %+v", r.err, r.summary)
		}
	})
}

func TestTapeThatCannotBeWrittenIsNoticedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := newTape(t, tape.AggTrade)
		removeStaging(t, dir)
		start := time.Now()
		_, err := runRecorder(t.Context(), dir, Options{URL: "ws://exchange", Symbols: fixedSymbols("BTCUSDT")})
		if err == nil || !strings.HasPrefix(err.Error(), "the tape cannot be written: ") || time.Since(start) > 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}
