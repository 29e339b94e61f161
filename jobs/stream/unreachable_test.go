package stream

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/standin/exchange"
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
		tr := newTracker(slog.New(slog.DiscardHandler))
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
