package stream

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/standin/exchange"
)

// A run that is to give up ends when the exchange has been out of reach for as long as was said, and what it had received
// is on the tape.
func TestGivesUpWhereNobodyIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const patience = 5 * time.Minute
		source := exchange.NewMemory(nil, steady("BTCUSDT", 12000, 100*time.Millisecond))
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: List("BTCUSDT"), GiveUpAfter: patience})
		time.Sleep(time.Minute)
		r.wire.down.Store(true)
		inject(t, r.server, exchange.Fault{Kind: exchange.Cut})
		cut := time.Now()
		<-r.ended
		if r.err == nil || !strings.Contains(r.err.Error(), "the exchange could not be reached for 5m0s: ") || !strings.Contains(r.err.Error(), "no route to host") {
			t.Fatalf("error %v", r.err)
		}
		if took := time.Since(cut); took < patience || took > patience+10*time.Second {
			t.Errorf("gave up after %v", took)
		}
		if got := int64(len(tapeRows(t, r.dir))); got != r.summary.Trades || got < 590 {
			t.Errorf("%d on the tape, summary %+v", got, r.summary)
		}
		var state State
		if err := r.dir.ReadState(StateName, &state); err != nil || state.EndedAt == nil || !strings.Contains(state.Error, "could not be reached") {
			t.Errorf("state %+v, error %v", state, err)
		}
	})
}

// Only attempts that reach nobody count, for every connection, and one that reaches the exchange begins the count anew.
func TestWhatCountsAsOutOfReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nobody := errors.New("no such host")
		refusal := fmt.Errorf("dial: %w", &binance.RefusedError{Status: 418})
		first, second := &link{name: "1.1"}, &link{name: "1.2"}
		d := newDeck(nil, Options{}, nil)
		began := time.Now()
		expect := func(want time.Duration, ok bool) {
			t.Helper()
			lasts, _, got := d.cutOff()
			if since := time.Since(began) - lasts; got != ok || ok && since != want {
				t.Errorf("out of reach: %v since %v, want %v since %v", got, since, ok, want)
			}
		}
		expect(0, false) // no link at all
		d.join(first)
		d.join(second)
		d.refused(first, nobody)
		expect(0, false) // the second may be well
		time.Sleep(time.Minute)
		d.refused(first, nobody)
		d.refused(second, nobody)
		expect(time.Minute, true)
		d.refused(second, refusal)
		expect(0, false)
		time.Sleep(time.Minute)
		d.refused(second, nobody)
		expect(2*time.Minute, true)
		d.arrive(first, &connection{link: first}, false)
		expect(0, false)
	})
}
