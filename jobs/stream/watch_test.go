package stream

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

// A healthy stream is known until now less this: the margin, the flush interval, the wait for a ping's
// answer and some.
const knownLag = watchMargin + defaultFlushInterval + pingEvery + 2*time.Second

// rowsAt returns aggTrades of a symbol at some seconds after the start of evenRows.
func rowsAt(symbol string, seconds ...float64) []exchange.MemoryRow {
	rows := evenRows(symbol, len(seconds), time.Second)
	for i, second := range seconds {
		rows[i].TradedAt = 1_700_000_000_000_000 + int64(second*1e6)
	}
	return rows
}

// known returns what the tape on the disk, as kill -9 would leave it, knows about a symbol.
func known(t *testing.T, dir *tape.Dir, symbol string) (k tape.Known, b tape.Bounds, ok bool) {
	t.Helper()
	index := dir.Index()
	if err := index.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	k, ok = index.Known(symbol)
	b, _ = index.Bounds(symbol)
	return k, b, ok
}

// requireKnown requires a symbol to be known until about an instant of the exchange, by a kind of
// evidence.
func requireKnown(t *testing.T, dir *tape.Dir, symbol string, from, to time.Time, by tape.Evidence) {
	t.Helper()
	k, b, _ := known(t, dir, symbol)
	if k.UntilBy != by || k.Until.Before(from) || k.Until.After(to) {
		t.Errorf("%s is known until %v by %s, want %v to %v by %s; the last trade was at %v",
			symbol, k.Until, k.UntilBy, from, to, by, b.LastAt)
	}
}

func TestQuietSymbolOnALiveStreamIsKnownUntilNow(t *testing.T) {
	for name, c := range map[string]struct {
		busy        bool
		connections int
	}{
		"beside a busy symbol": {true, 1}, "alone": {false, 1}, "alone on two connections": {false, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rows, names := append(rowsAt("QUIETUSDT", 10, 12), rowsAt("UNRECORDEDUSDT", 0)...), []string{"QUIETUSDT"}
				if c.busy {
					rows, names = append(rows, evenRows("BTCUSDT", 6000, 100*time.Millisecond)...), append(names, "BTCUSDT")
				}
				r := newRig(t, exchange.NewMemory(nil, rows), exchange.Options{WaitForStreams: 1}, Options{Symbols: fixedSymbols(names...), Connections: c.connections})
				began := time.Now()
				for range 8 { // the connection is replaced meanwhile
					time.Sleep(time.Minute)
					synctest.Wait()
					now := r.server.Now()
					requireKnown(t, r.dir, "QUIETUSDT", now.Add(-knownLag), now.Add(-watchMargin), tape.ByStream)
				}
				k, _, _ := known(t, r.dir, "QUIETUSDT")
				if subscribed := r.server.Now().Add(time.Since(began) * -1).Add(watchMargin + time.Second); k.SinceBy != tape.ByStream || k.Since.After(subscribed) {
					t.Errorf("known since %v by %s, want %v", k.Since, k.SinceBy, subscribed)
				}
				r.stop()
				stopped := r.server.Now()
				time.Sleep(10 * time.Minute)
				requireKnown(t, r.dir, "QUIETUSDT", stopped.Add(-knownLag), stopped.Add(-watchMargin), tape.ByStream)
			})
		})
	}
}

// TestReplacedConnectionIsNoBreak: the new connection is up before the old one is closed.
func TestReplacedConnectionIsNoBreak(t *testing.T) {
	for _, rows := range [][]exchange.MemoryRow{
		rowsAt("QUIETUSDT", 10), append(rowsAt("QUIETUSDT", 10), evenRows("BTCUSDT", 6000, 100*time.Millisecond)...),
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, exchange.NewMemory(nil, rows), exchange.Options{WaitForStreams: 1},
				Options{Symbols: fixedSymbols("QUIETUSDT", "BTCUSDT"), MaxAge: time.Minute})
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			now := r.server.Now()
			requireKnown(t, r.dir, "QUIETUSDT", now.Add(-knownLag), now.Add(-watchMargin), tape.ByStream)
			if summary := r.stop(); summary.Replaced < 9 || summary.Reconnects > 0 {
				t.Errorf("%+v", summary)
			}
			spans, _, err := state.ReadWatched(r.dir.State())
			if err != nil || len(spans["QUIETUSDT"]) != 1 {
				t.Errorf("watched %v, %v", spans["QUIETUSDT"], err)
			}
		})
	}
}

func TestSymbolIsNotKnownAfterABreak(t *testing.T) {
	for name, fault := range map[string]exchange.Fault{
		"cut": {Kind: exchange.Cut}, "half open": {Kind: exchange.Silence}, "muted": {Kind: exchange.Mute},
		"a damaged message": {Kind: exchange.Damage, Match: "btcusdt"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rows := append(rowsAt("QUIETUSDT", 10, 300), evenRows("BTCUSDT", 6000, 100*time.Millisecond)...)
				rows = append(rows, rowsAt("OTHERUSDT", 11)...)
				r := newRig(t, exchange.NewMemory(nil, rows), exchange.Options{WaitForStreams: 3},
					Options{Symbols: fixedSymbols("QUIETUSDT", "BTCUSDT", "OTHERUSDT")})
				time.Sleep(100 * time.Second)
				at := r.server.Now()
				inject(t, r.server, fault)
				time.Sleep(150 * time.Second)
				for _, symbol := range []string{"QUIETUSDT", "OTHERUSDT"} { // without a trade, the break is not bridged
					requireKnown(t, r.dir, symbol, at.Add(-watchMargin-pingEvery), at, tape.ByStream)
				}
				if k, _, _ := known(t, r.dir, "BTCUSDT"); k.Until.Before(r.server.Now().Add(-knownLag)) {
					t.Errorf("BTCUSDT is known until %v", k.Until)
				}
				time.Sleep(100 * time.Second) // a trade bridges it
				requireKnown(t, r.dir, "QUIETUSDT", r.server.Now().Add(-knownLag), r.server.Now().Add(-watchMargin), tape.ByStream)
				requireKnown(t, r.dir, "OTHERUSDT", at.Add(-watchMargin-pingEvery), at, tape.ByStream)
				answer := state.Answer{At: r.server.Now().Add(-time.Minute), ID: 1000} // so does the exchange
				if err := state.RecordAnswers(r.dir.State(), state.Answers{"OTHERUSDT": {LastBefore: []state.Answer{answer}}}); err != nil {
					t.Fatal(err)
				}
				requireKnown(t, r.dir, "OTHERUSDT", r.server.Now().Add(-knownLag), r.server.Now().Add(-watchMargin), tape.ByStream)
				r.stop()
			})
		})
	}
}

// TestUnpublishedTradesAreNotClaimed requires the claim to wait for the disk.
func TestUnpublishedTradesAreNotClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := append(rowsAt("QUIETUSDT", 10), evenRows("BTCUSDT", 600, 100*time.Millisecond)...)
		release := make(chan struct{})
		opt := Options{Symbols: fixedSymbols("QUIETUSDT", "BTCUSDT"), FlushInterval: 20 * time.Second}
		r := newRig(t, exchange.NewMemory(nil, rows), exchange.Options{WaitForStreams: 2}, opt, func(_ *rig, e Event) {
			if e.Kind == Flushed && e.Trades > 250 {
				<-release
			}
		})
		time.Sleep(25 * time.Second)
		k, _, _ := known(t, r.dir, "QUIETUSDT")
		time.Sleep(25 * time.Second) // the second batch is published, but not yet recorded as such
		if again, _, _ := known(t, r.dir, "QUIETUSDT"); again.Until != k.Until || k.UntilBy != tape.ByStream {
			t.Errorf("known until %v, then until %v", k, again)
		}
		close(release)
		time.Sleep(time.Second)
		_, btc, _ := known(t, r.dir, "BTCUSDT")
		if again, _, _ := known(t, r.dir, "QUIETUSDT"); again.Until.After(btc.LastAt) {
			t.Errorf("known until %v, but only what traded until %v is on the tape", again, btc.LastAt)
		}
		if again, _, _ := known(t, r.dir, "QUIETUSDT"); !again.Until.After(k.Until.Add(10 * time.Second)) {
			t.Errorf("known until %v, then until %v", k, again)
		}
		r.stop()
	})
}

// TestKnownNeverClaimsMoreThanWasRecorded lets connections break in all the ways that a recorder can
// notice, and recorders start and stop, at random. It compares what the disk claims at random instants,
// as kill -9 would leave it, with all trades of the exchange.
func TestKnownNeverClaimsMoreThanWasRecorded(t *testing.T) {
	histories := 10
	if testing.Short() {
		histories = 1
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	claims := 0
	for i := 0; !t.Failed() && (i < histories || claims < 5*histories); i++ {
		if i == 10*histories {
			t.Fatalf("seed %d: %d claims in %d histories", seed, claims, i)
		}
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { claims += randomHistory(t, rand.New(rand.NewPCG(seed, uint64(i)))) })
		})
	}
}

// randomHistory returns how often a symbol was known after its last trade.
func randomHistory(t *testing.T, random *rand.Rand) (claims int) {
	const seconds = 500
	var rows []exchange.MemoryRow
	names := []string{"BTCUSDT", "ETHUSDT", "SLOWUSDT", "RAREUSDT"}
	for i, name := range names {
		var at []float64
		for s := 1 + 5*random.Float64(); s < seconds; s += random.ExpFloat64() * []float64{0.3, 2, 20, 60}[i] {
			at = append(at, s)
		}
		rows = append(rows, rowsAt(name, at...)...)
	}
	bySymbol := map[string][]exchange.MemoryRow{}
	for _, row := range rows {
		bySymbol[row.Symbol] = append(bySymbol[row.Symbol], row)
	}
	opt := Options{
		Symbols: fixedSymbols(names...), MaxAge: time.Duration(1+random.IntN(5)) * time.Minute, RunID: "run0",
		Connections: 1 + random.IntN(2), StreamsPerConnection: 1 + random.IntN(4), FlushInterval: time.Duration(1+random.IntN(15)) * time.Second,
	}
	r := newRig(t, exchange.NewMemory(nil, rows), exchange.Options{WaitForStreams: 1}, opt)
	check := func() {
		index := r.dir.Index()
		if err := index.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		for name, all := range bySymbol {
			k, ok := index.Known(name)
			bounds, _ := index.Bounds(name)
			if !ok {
				continue
			}
			if k.UntilBy == tape.ByStream {
				claims++
			}
			for _, row := range all {
				at := time.UnixMicro(row.TradedAt)
				if (row.ID < bounds.FirstID || row.ID > bounds.LastID) && !at.Before(k.Since) && at.Before(k.Until) {
					t.Fatalf("%s is known from %v (%s) to %v (%s), but id %d of %v is not on the tape; it has the ids %d to %d; now %v",
						name, k.Since, k.SinceBy, k.Until, k.UntilBy, row.ID, at, bounds.FirstID, bounds.LastID, r.server.Now())
				}
			}
		}
	}
	for run, until := 1, time.Now().Add(seconds*time.Second); time.Now().Before(until); {
		time.Sleep(time.Duration(random.Int64N(int64(25 * time.Second))))
		check()
		switch n := random.IntN(10); n {
		case 0, 1:
			inject(t, r.server, exchange.Fault{Kind: exchange.Cut})
		case 2:
			inject(t, r.server, exchange.Fault{Kind: exchange.Close})
		case 3:
			inject(t, r.server, exchange.Fault{Kind: exchange.Silence})
		case 4:
			inject(t, r.server, exchange.Fault{Kind: exchange.Damage, Count: 1 + random.IntN(3)})
		case 5:
			inject(t, r.server, exchange.Fault{Kind: exchange.Shutdown, For: time.Duration(random.Int64N(int64(10 * time.Second)))})
		case 6:
			r.wire.down.Store(true)
			inject(t, r.server, exchange.Fault{Kind: exchange.Cut, Count: -1})
			time.Sleep(time.Duration(random.Int64N(int64(20 * time.Second))))
			check()
			r.wire.down.Store(false)
		case 7:
			r.restart(fmt.Sprint("run", run), time.Duration(random.Int64N(int64(20*time.Second))))
			run++
		}
	}
	check()
	r.stop()
	check()
	return claims
}

// restart stops the recorder, and starts another one after a while.
func (r *rig) restart(runID string, pause time.Duration) {
	r.t.Helper()
	r.stop()
	time.Sleep(pause)
	// The next recorder belongs to a new context; the rig's cleanup stops it.
	r.opt.RunID = runID
	r.start()
}

// TestWatchedFileSurvivesItsLoss: the recorder writes the file again with the next flush.
func TestWatchedFileSurvivesItsLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := rowsAt("QUIETUSDT", 10)
		r := newRig(t, exchange.NewMemory(nil, rows), exchange.Options{WaitForStreams: 1}, Options{Symbols: fixedSymbols("QUIETUSDT"), RunID: "a"})
		time.Sleep(time.Minute)
		if err := os.RemoveAll(r.dir.State().Path("watched")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		now := r.server.Now()
		requireKnown(t, r.dir, "QUIETUSDT", now.Add(-knownLag), now.Add(-watchMargin), tape.ByStream)
		r.stop()
	})
}
