package stream

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
)

// TestEndingConnectionIsReplacedWithoutLoss requires the new connection to be up before the old one
// is closed.
func TestEndingConnectionIsReplacedWithoutLoss(t *testing.T) {
	const n = 6000 // ten minutes
	for name, test := range map[string]struct {
		opt    Options
		fault  *exchange.Fault
		reason string
		within time.Duration // the new connection is up so soon after the fault
	}{
		"age":             {opt: Options{MaxAge: 4 * time.Minute}, reason: reasonAge},
		"server shutdown": {fault: &exchange.Fault{Kind: exchange.Shutdown, For: 30 * time.Second}, reason: reasonShutdown, within: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := exchange.NewMemory(nil, evenRows("BTCUSDT", n, 100*time.Millisecond))
				test.opt.Symbols = fixedSymbols("BTCUSDT")
				r := newRig(t, source, exchange.Options{WaitForStreams: 1}, test.opt)
				time.Sleep(2 * time.Minute)
				at := time.Now()
				if test.fault != nil {
					inject(t, r.server, *test.fault)
				}
				<-r.server.Done()
				time.Sleep(time.Second)
				summary := r.stop()
				r.requireComplete(source, map[string]int{"BTCUSDT": n})
				replaced, connected := r.eventsOf(Replaced), r.eventsOf(Connected)
				if len(replaced) == 0 || replaced[0].Reason != test.reason || summary.Replaced != int64(len(replaced)) {
					t.Fatalf("replaced %+v, summary %+v", replaced, summary)
				}
				if len(r.eventsOf(Lost)) > 0 || summary.Reconnects > 0 || summary.Gaps > 0 {
					t.Errorf("lost %+v, summary %+v", r.eventsOf(Lost), summary)
				}
				if summary.Duplicates == 0 {
					t.Error("the connections did not overlap")
				}
				if left := replaced[0].at.Sub(connected[1].at); left < overlap {
					t.Errorf("the old connection was closed %v after the new one was up", left)
				}
				if took := connected[1].at.Sub(at); test.within > 0 && took > test.within {
					t.Errorf("the new connection was up after %v", took)
				}
			})
		})
	}
}

// TestSilentConnectionIsReplaced requires a connection without trades, with or without pings, to be
// replaced within 30 s if its symbols usually trade.
func TestSilentConnectionIsReplaced(t *testing.T) {
	for name, kind := range map[string]exchange.FaultKind{"pings but no trades": exchange.Mute, "half open": exchange.Silence} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := exchange.NewMemory(nil, append(evenRows("BTCUSDT", 3000, 100*time.Millisecond), evenRows("ETHUSDT", 600, 500*time.Millisecond)...))
				r := newRig(t, source, exchange.Options{WaitForStreams: 2}, Options{Symbols: fixedSymbols("BTCUSDT", "ETHUSDT")})
				time.Sleep(2 * time.Minute)
				at := time.Now()
				inject(t, r.server, exchange.Fault{Kind: kind})
				time.Sleep(30 * time.Second)
				synctest.Wait()
				connected := r.eventsOf(Connected)
				if len(connected) != 2 {
					t.Fatalf("%d connections within 30 s", len(connected)-1)
				}
				t.Logf("replaced after %v", connected[1].at.Sub(at))
				<-r.server.Done()
				time.Sleep(time.Second)
				summary := r.stop()
				// The silence is the only gap of each symbol.
				if summary.Gaps != 2 || summary.Trades+summary.Missing != 3600 || summary.Replaced != 1 {
					t.Errorf("summary %+v", summary)
				}
			})
		})
	}
}

// TestSilentSymbolReplacesItsConnection: a symbol that stops trading while others of its connection
// continue is detected; one that always trades rarely is not.
func TestSilentSymbolReplacesItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := evenRows("BTCUSDT", 2400, 100*time.Millisecond)
		rows = append(rows, evenRows("DEADUSDT", 120, time.Second)...) // for two minutes
		rows = append(rows, evenRows("QUIETUSDT", 4, time.Minute)...)
		source := exchange.NewMemory(nil, rows)
		r := newRig(t, source, exchange.Options{WaitForStreams: 3}, Options{Symbols: fixedSymbols("BTCUSDT", "DEADUSDT", "QUIETUSDT")})
		time.Sleep(2*time.Minute + 30*time.Second)
		synctest.Wait()
		if got := len(r.eventsOf(Connected)); got != 2 {
			t.Errorf("%d connections after 30 s of silence", got)
		}
		<-r.server.Done()
		time.Sleep(time.Second)
		summary := r.stop()
		// The symbol stays silent on the new connection, where the limit is twice as long, and so
		// on.
		if summary.Replaced < 2 || summary.Replaced > 3 {
			t.Errorf("%d replacements", summary.Replaced)
		}
		r.requireComplete(source, map[string]int{"BTCUSDT": 2400, "DEADUSDT": 120, "QUIETUSDT": 4})
	})
}

// TestLostConnectionIsReopened requires a new connection immediately, and the gap to be counted.
func TestLostConnectionIsReopened(t *testing.T) {
	for name, test := range map[string]struct {
		fault exchange.Fault
		code  string
	}{
		"cut":    {fault: exchange.Fault{Kind: exchange.Cut}},
		"closed": {fault: exchange.Fault{Kind: exchange.Close, Code: 1008}, code: "1008"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := exchange.NewMemory(nil, evenRows("BTCUSDT", 1200, 100*time.Millisecond))
				r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: fixedSymbols("BTCUSDT")})
				time.Sleep(time.Minute)
				inject(t, r.server, test.fault)
				<-r.server.Done()
				time.Sleep(time.Second)
				summary := r.stop()
				if summary.Reconnects != 1 || summary.Trades+summary.Missing != 1200 || summary.Missing > 5 {
					t.Errorf("summary %+v", summary)
				}
			})
		})
	}
}

func TestRedundantConnectionsLoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, evenRows("BTCUSDT", 3000, 100*time.Millisecond))
		r := newRig(t, source, exchange.Options{WaitForStreams: 2}, Options{Symbols: fixedSymbols("BTCUSDT"), Connections: 2})
		for _, fault := range []exchange.Fault{
			{Kind: exchange.Cut}, {Kind: exchange.Mute}, {Kind: exchange.Close}, {Kind: exchange.Silence}, {Kind: exchange.Drop},
			{Kind: exchange.Duplicate, Count: 3}, {Kind: exchange.Reorder, Count: 3}, {Kind: exchange.Damage},
		} {
			time.Sleep(35 * time.Second)
			inject(t, r.server, fault)
		}
		<-r.server.Done()
		time.Sleep(time.Second)
		summary := r.stop()
		r.requireComplete(source, map[string]int{"BTCUSDT": 3000})
		if summary.Gaps != 0 || summary.Duplicates < 2000 || summary.Malformed+summary.Unknown+summary.Damaged == 0 {
			t.Errorf("summary %+v", summary)
		}
	})
}

// TestEveryFaultTogether requires each trade to be on the tape once, exactly as it was sent, or to
// be counted as missing.
func TestEveryFaultTogether(t *testing.T) {
	seeds := []uint64{1, 2, 3}
	if testing.Short() {
		seeds = seeds[:1]
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 3000
				names := []string{"AUSDT", "BUSDT", "CUSDT"}
				var rows []exchange.MemoryRow
				for _, name := range names {
					rows = append(rows, evenRows(name, n, 100*time.Millisecond)...)
				}
				source := exchange.NewMemory(nil, rows)
				served := exchange.Options{WaitForStreams: 3, Faults: exchange.EveryFault(seed)}
				r := newRig(t, source, served, Options{Symbols: fixedSymbols(names...), Connections: 1 + int(seed%2), StreamsPerConnection: 2})
				<-r.server.Done()
				time.Sleep(5 * time.Second)
				summary := r.stop()
				t.Logf("%+v", summary)
				stored := tapeRows(t, r.dir)
				missing := int64(0)
				for i, row := range stored {
					want := source.Rows(nil, row.Symbol, exchange.AggTrade, row.ID, 1)
					if len(want) == 0 {
						t.Fatalf("not from the exchange: %+v", row)
					}
					if err := compareRow(row, row.Symbol, want[0]); err != nil {
						t.Fatal(err)
					}
					if i > 0 && stored[i-1].Symbol == row.Symbol {
						missing += row.ID - stored[i-1].ID - 1
					}
				}
				if missing > summary.Missing {
					t.Errorf("%d missing, %d were reported", missing, summary.Missing)
				}
				if int64(len(stored)) != summary.Trades || len(stored) < 3*n*8/10 || summary.Connects < 3 {
					t.Errorf("%d on the tape, summary %+v", len(stored), summary)
				}
			})
		})
	}
}

// TestFaultyMessagesAreCountedAndSkipped also requires duplicated and reordered trades to be stored
// once.
func TestFaultyMessagesAreCountedAndSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, evenRows("BTCUSDT", 1200, 100*time.Millisecond))
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: fixedSymbols("BTCUSDT")})
		time.Sleep(10 * time.Second)
		const damaged = 40
		inject(t, r.server, exchange.Fault{Kind: exchange.Damage, Count: damaged})
		time.Sleep(30 * time.Second)
		inject(t, r.server, exchange.Fault{Kind: exchange.Duplicate, Count: 10})
		time.Sleep(10 * time.Second)
		inject(t, r.server, exchange.Fault{Kind: exchange.Reorder, Count: 10})
		<-r.server.Done()
		time.Sleep(time.Second)
		summary := r.stop()
		if summary.Malformed+summary.Unknown+summary.Damaged != damaged || summary.Missing != damaged || summary.Trades != 1200-damaged {
			t.Errorf("summary %+v", summary)
		}
		if summary.Duplicates != 10 || summary.Reconnects != 0 {
			t.Errorf("summary %+v", summary)
		}
		for _, row := range tapeRows(t, r.dir) {
			if want := source.Rows(nil, "BTCUSDT", exchange.AggTrade, row.ID, 1); len(want) == 0 {
				t.Errorf("not from the exchange: %+v", row)
			} else if err := compareRow(row, "BTCUSDT", want[0]); err != nil {
				t.Error(err)
			}
		}
	})
}

// A row that cannot be published would end the recorder, and all rows with it.
func TestImpossibleTradesAreCountedAndSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := evenRows("BTCUSDT", 300, 100*time.Millisecond)
		rows[100].LastTradeID = 1 << 62
		rows[200].Price = "1" + strings.Repeat("0", 30)
		rows[299].ID = math.MaxInt64
		r := newRig(t, exchange.NewMemory(nil, rows), exchange.Options{WaitForStreams: 1}, Options{Symbols: fixedSymbols("BTCUSDT")})
		<-r.server.Done()
		time.Sleep(time.Second)
		summary := r.stop()
		if summary.Malformed != 3 || summary.Missing != 2 || summary.Trades != 297 {
			t.Errorf("summary %+v", summary)
		}
		if got := tapeRows(t, r.dir); len(got) != 297 {
			t.Errorf("%d rows on the tape, want 297", len(got))
		}
	})
}

// TestRefusedConnectionWaitsForRetryAfter requires each attempt to wait as long as the exchange
// asked, and not much longer.
func TestRefusedConnectionWaitsForRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, evenRows("BTCUSDT", 3000, 100*time.Millisecond))
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: fixedSymbols("BTCUSDT")})
		synctest.Wait()
		for _, fault := range []exchange.Fault{
			{Kind: exchange.Refuse, Code: 503, RetryAfter: time.Second},
			{Kind: exchange.Refuse, Code: 429, RetryAfter: 40 * time.Second},
			{Kind: exchange.Refuse, Code: 418, RetryAfter: 3 * time.Minute},
		} {
			inject(t, r.server, fault)
		}
		time.Sleep(10 * time.Second)
		inject(t, r.server, exchange.Fault{Kind: exchange.Cut})
		<-r.server.Done()
		time.Sleep(time.Second)
		summary := r.stop()
		refused, connected := r.eventsOf(Refused), r.eventsOf(Connected)
		if len(refused) != 3 || len(connected) != 2 || summary.Refused != 3 {
			t.Fatalf("refused %+v, connected %+v", refused, connected)
		}
		times := []time.Time{refused[0].at, refused[1].at, refused[2].at, connected[1].at}
		for i, least := range []time.Duration{time.Second, 40 * time.Second, 3 * time.Minute} {
			if waited := times[i+1].Sub(times[i]); waited < least || waited > least+least/5+2*time.Second {
				t.Errorf("waited %v after %q", waited, refused[i].Reason)
			}
		}
	})
}

func TestBackoffGrowsWithJitterAndIsBounded(t *testing.T) {
	for failures := 1; failures < 80; failures++ {
		most := min(backoffLeast<<min(failures-1, 6), backoffMost)
		for range 50 {
			if wait := backoff(failures, errors.New("no route")); wait < most/2 || wait > most {
				t.Fatalf("%v after %d failures, want %v to %v", wait, failures, most/2, most)
			}
		}
	}
}

// TestUnwritableTapeStopsTheRecorder requires an error, and what was published before to stay.
func TestUnwritableTapeStopsTheRecorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, evenRows("BTCUSDT", 1200, 100*time.Millisecond))
		first := true
		opt := Options{Symbols: fixedSymbols("BTCUSDT"), FlushInterval: 20 * time.Second}
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, opt, func(r *rig, e Event) {
			if e.Kind == Flushed && first {
				first = false
				removeStaging(t, r.dir)
			}
		})
		<-r.ended
		if !errors.Is(r.err, ErrNotPublished) || !strings.Contains(r.err.Error(), "not published") {
			t.Fatalf("error %v", r.err)
		}
		failed := r.summary
		if failed.Flushes != 1 || failed.Trades <= failed.Rows {
			t.Errorf("summary %+v", failed)
		}
		restoreStaging(t, r.dir)
		if got := len(tapeRows(t, r.dir)); int64(got) != failed.Rows {
			t.Errorf("%d on the tape, %d were published", got, failed.Rows)
		}
	})
}

func TestShortDiskOutageLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, evenRows("BTCUSDT", 600, 100*time.Millisecond))
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: fixedSymbols("BTCUSDT"), FlushInterval: 20 * time.Second})
		time.Sleep(30 * time.Second)
		removeStaging(t, r.dir)
		time.Sleep(12 * time.Second) // the batch is due 40 s after the first trade; two attempts fail
		restoreStaging(t, r.dir)
		<-r.server.Done()
		time.Sleep(time.Second)
		summary := r.stop()
		r.requireComplete(source, map[string]int{"BTCUSDT": 600})
		if summary.Gaps != 0 {
			t.Errorf("summary %+v", summary)
		}
	})
}

// TestRunEndsByItself covers For, and Once with an unreachable exchange.
func TestRunEndsByItself(t *testing.T) {
	t.Run("for", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			source := exchange.NewMemory(nil, evenRows("BTCUSDT", 1200, 100*time.Millisecond))
			began := time.Now()
			r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: fixedSymbols("BTCUSDT"), For: 30 * time.Second})
			<-r.ended
			if took := time.Since(began); r.err != nil || took < 30*time.Second || took > 33*time.Second {
				t.Errorf("ended after %v with %v", took, r.err)
			}
			if got := int64(len(tapeRows(t, r.dir))); got != r.summary.Trades || got < 290 {
				t.Errorf("%d on the tape, summary %+v", got, r.summary)
			}
		})
	})
	t.Run("once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			dial := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no route to host") }
			_, err := runRecorder(t.Context(), newTape(t, tape.AggTrade), Options{URL: "ws://exchange", Symbols: fixedSymbols("BTCUSDT"), Once: true, DialContext: dial})
			if err == nil || !strings.Contains(err.Error(), "no route to host") {
				t.Errorf("error %v", err)
			}
		})
	})
}

func TestStopDuringTheFirstSymbolLookup(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	lookup := func(ctx context.Context) ([]symbol.Name, error) {
		cancel()
		return nil, ctx.Err()
	}
	if summary, err := runRecorder(ctx, newTape(t, tape.AggTrade), Options{Symbols: lookup}); err != nil || summary.Trades != 0 {
		t.Errorf("%+v, %v", summary, err)
	}
}

// TestFirstSymbolLookupIsRetried until it succeeds, or until GiveUpAfter.
func TestFirstSymbolLookupIsRetried(t *testing.T) {
	refused := fmt.Errorf("get the symbols: %w", &binance.FirewallError{Bytes: 6})
	for _, giveUpAfter := range []time.Duration{0, 10 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			lookups := 0
			lookup := func(context.Context) ([]symbol.Name, error) {
				if lookups++; lookups < 20 {
					return nil, refused
				}
				return namesOf("BTCUSDT"), nil
			}
			source := exchange.NewMemory(nil, evenRows("BTCUSDT", 100, time.Second))
			r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: lookup, GiveUpAfter: giveUpAfter, RefreshEvery: 24 * time.Hour})
			if giveUpAfter > 0 {
				if <-r.ended; !errors.Is(r.err, refused) || lookups > 15 {
					t.Errorf("%d lookups, then %v", lookups, r.err)
				}
				return
			}
			<-r.server.Done()
			time.Sleep(time.Second)
			if summary := r.stop(); summary.Trades != 100 || lookups != 20 {
				t.Errorf("%d lookups, summary %+v", lookups, summary)
			}
		})
	}
}

// TestPriceTooSmallForADoubleIsMalformed: such a trade must not reach the tape, which would refuse
// its whole batch.
func TestPriceTooSmallForADoubleIsMalformed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := evenRows("BTCUSDT", 300, 100*time.Millisecond)
		rows[100].Price = "0." + strings.Repeat("0", 400) + "1"
		rows[200].Qty = "1" + strings.Repeat("0", 400)
		rows[210].Price = "12345.12345678901234567891"
		source := exchange.NewMemory(nil, rows)
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: fixedSymbols("BTCUSDT"), FlushInterval: time.Second})
		<-r.server.Done()
		time.Sleep(2 * time.Second)
		summary := r.stop()
		if summary.Malformed != 2 || summary.Trades != 298 || summary.Rows != 298 || summary.Missing != 2 || summary.Inexact != 1 {
			t.Errorf("summary %+v", summary)
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	for want, opt := range map[string]Options{
		"no symbols to record":                          {},
		"look up the symbols to record: there are none": {Symbols: fixedSymbols()},
		"look up the symbols to record: banned":         {Symbols: func(context.Context) ([]symbol.Name, error) { return nil, errors.New("banned") }},
		"the scheme is not ws or wss":                   {Symbols: fixedSymbols("A"), URL: "ftp://x"},
		"no host":                                       {Symbols: fixedSymbols("A"), URL: "wss:"},
		"not between 1 and 8":                           {Symbols: fixedSymbols("A"), Connections: 9},
		"not between 1 and 1024":                        {Symbols: fixedSymbols("A"), StreamsPerConnection: 2000},
		"negative":                                      {Symbols: fixedSymbols("A"), FlushInterval: -1},
	} {
		_, err := runRecorder(t.Context(), newTape(t, tape.AggTrade), opt)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
