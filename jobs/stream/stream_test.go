package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/tape"
)

// wire is a listener and its dialer in memory, so that a test's clock runs with the run's.
type wire struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
	down  atomic.Bool // nobody can be reached; what is connected stays so
}

func newWire() *wire { return &wire{conns: make(chan net.Conn), done: make(chan struct{})} }

func (w *wire) Accept() (net.Conn, error) {
	select {
	case conn := <-w.conns:
		return conn, nil
	case <-w.done:
		return nil, net.ErrClosed
	}
}

func (w *wire) Close() error {
	w.once.Do(func() { close(w.done) })
	return nil
}

func (w *wire) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (w *wire) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if w.down.Load() {
		return nil, errors.New("no route to host")
	}
	client, server := net.Pipe()
	select {
	case w.conns <- server:
		return client, nil
	case <-w.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// rig is a run against a stand-in exchange under a clock of their own.
type rig struct {
	t      *testing.T
	wire   *wire
	server *exchange.Server
	dir    *tape.Dir
	opt    Options
	cancel context.CancelFunc
	ended  chan struct{}
	ctx    context.Context
	excuse exchange.Offence // not held against the client

	mu      sync.Mutex
	events  []seenEvent
	summary Summary
	err     error
}

type seenEvent struct {
	Event
	at time.Time
}

// newRig must be called inside a bubble. Offences of the client fail the test.
func newRig(t *testing.T, source exchange.Source, served exchange.Options, opt Options, observe ...func(*rig, Event)) *rig {
	t.Helper()
	server, err := exchange.New(source, served)
	if err != nil {
		t.Fatal(err)
	}
	w := newWire()
	serving := make(chan struct{})
	go func() {
		defer close(serving)
		if err := server.Serve(w); err != nil {
			t.Errorf("serve: %v", err)
		}
	}()
	r := &rig{t: t, wire: w, server: server, dir: newTape(t, tape.AggTrade), opt: opt, ended: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(t.Context())
	r.opt.URL, r.opt.DialContext, r.opt.Logger = "ws://exchange", w.dial, testLog(t)
	r.opt.Observe = func(e Event) {
		r.mu.Lock()
		r.events = append(r.events, seenEvent{e, time.Now()})
		r.mu.Unlock()
		for _, f := range observe {
			f(r, e)
		}
	}
	t.Cleanup(func() {
		r.cancel()
		<-r.ended
		if err := server.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		_ = w.Close()
		<-serving
		offences := server.Offences()
		delete(offences, r.excuse)
		if len(offences) > 0 {
			t.Errorf("the client broke the exchange's rules: %v", offences)
		}
	})
	go func() {
		defer close(r.ended)
		r.summary, r.err = Run(r.ctx, r.dir, r.opt)
	}()
	return r
}

// end cancels the run, which must succeed.
func (r *rig) end() Summary {
	r.t.Helper()
	r.cancel()
	<-r.ended
	if r.err != nil {
		r.t.Fatal(r.err)
	}
	return r.summary
}

func (r *rig) seen(kind EventKind) []seenEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []seenEvent
	for _, e := range r.events {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

// complete fails where a symbol's rows on the tape are not the source's from its first to its last.
func (r *rig) complete(source exchange.Source, want map[string]int) {
	r.t.Helper()
	rows := tapeRows(r.t, r.dir)
	if got := bySymbol(r.t, rows); fmt.Sprint(got) != fmt.Sprint(want) {
		r.t.Errorf("on the tape %v, want %v", got, want)
	}
	sent := map[string][]exchange.Row{}
	for _, row := range rows {
		if sent[row.Symbol] == nil {
			sent[row.Symbol] = source.Rows(nil, row.Symbol, exchange.AggTrade, row.ID, 1<<30)
		}
		if err := same(row, row.Symbol, sent[row.Symbol][0]); err != nil {
			r.t.Fatal(err)
		}
		sent[row.Symbol] = sent[row.Symbol][1:]
	}
}

// steady is n aggTrades of a symbol, one every so often; they begin an hour after the source's start.
func steady(symbol string, n int, every time.Duration) []exchange.MemoryRow {
	const start = 1_700_000_000_000_000
	rows := make([]exchange.MemoryRow, n)
	for i := range rows {
		id := int64(i) + 1000
		rows[i] = exchange.MemoryRow{Symbol: symbol, Kind: exchange.AggTrade, Row: exchange.Row{
			ID: id, FirstTradeID: id, LastTradeID: id, Price: "0.00000102", Qty: "1500.5", TradedAt: start + int64(i)*every.Microseconds(),
		}}
	}
	return rows
}

func inject(t *testing.T, s *exchange.Server, f exchange.Fault) {
	t.Helper()
	if _, err := s.Inject(f); err != nil {
		t.Fatal(err)
	}
}

// A connection that is about to end is replaced by one that is up first, and no trade is lost.
func TestMakeBeforeBreak(t *testing.T) {
	const n = 6000 // ten minutes
	for name, test := range map[string]struct {
		opt    Options
		fault  *exchange.Fault
		reason string
		within time.Duration // from the fault to the replacement's being up
	}{
		"age":             {opt: Options{MaxAge: 4 * time.Minute}, reason: reasonAge},
		"server shutdown": {fault: &exchange.Fault{Kind: exchange.Shutdown, For: 30 * time.Second}, reason: reasonShutdown, within: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := exchange.NewMemory(nil, steady("BTCUSDT", n, 100*time.Millisecond))
				test.opt.Symbols = List("BTCUSDT")
				r := newRig(t, source, exchange.Options{WaitForStreams: 1}, test.opt)
				time.Sleep(2 * time.Minute)
				at := time.Now()
				if test.fault != nil {
					inject(t, r.server, *test.fault)
				}
				<-r.server.Done()
				time.Sleep(time.Second)
				summary := r.end()
				r.complete(source, map[string]int{"BTCUSDT": n})
				replaced, connected := r.seen(Replaced), r.seen(Connected)
				if len(replaced) == 0 || replaced[0].Reason != test.reason || summary.Replaced != int64(len(replaced)) {
					t.Fatalf("replaced %+v, summary %+v", replaced, summary)
				}
				if len(r.seen(Lost)) > 0 || summary.Reconnects > 0 || summary.Gaps > 0 {
					t.Errorf("lost %+v, summary %+v", r.seen(Lost), summary)
				}
				if summary.Duplicates == 0 {
					t.Error("the connections did not overlap")
				}
				if left := replaced[0].at.Sub(connected[1].at); left < overlap {
					t.Errorf("the old connection was left %v after the new one was up", left)
				}
				if took := connected[1].at.Sub(at); test.within > 0 && took > test.within {
					t.Errorf("the new connection was up after %v", took)
				}
			})
		})
	}
}

// A connection that only pings, or does not even that, is replaced within 30 s where its symbols usually
// trade.
func TestSilentConnectionIsReplaced(t *testing.T) {
	for name, kind := range map[string]exchange.FaultKind{"pings but no trades": exchange.Mute, "half open": exchange.Silence} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := exchange.NewMemory(nil, append(steady("BTCUSDT", 3000, 100*time.Millisecond), steady("ETHUSDT", 600, 500*time.Millisecond)...))
				r := newRig(t, source, exchange.Options{WaitForStreams: 2}, Options{Symbols: List("BTCUSDT", "ETHUSDT")})
				time.Sleep(2 * time.Minute)
				at := time.Now()
				inject(t, r.server, exchange.Fault{Kind: kind})
				time.Sleep(30 * time.Second)
				synctest.Wait()
				connected := r.seen(Connected)
				if len(connected) != 2 {
					t.Fatalf("%d connections within 30 s", len(connected)-1)
				}
				t.Logf("replaced after %v", connected[1].at.Sub(at))
				<-r.server.Done()
				time.Sleep(time.Second)
				summary := r.end()
				// The silence is a gap, one for each symbol, and nothing else is.
				if summary.Gaps != 2 || summary.Trades+summary.Missing != 3600 || summary.Replaced != 1 {
					t.Errorf("summary %+v", summary)
				}
			})
		})
	}
}

// One symbol that falls silent while the others of its connection go on is noticed too; one that is
// always quiet is not.
func TestSilentSymbolIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := steady("BTCUSDT", 2400, 100*time.Millisecond)
		rows = append(rows, steady("DEADUSDT", 120, time.Second)...) // two minutes, then no more
		rows = append(rows, steady("QUIETUSDT", 4, time.Minute)...)
		source := exchange.NewMemory(nil, rows)
		r := newRig(t, source, exchange.Options{WaitForStreams: 3}, Options{Symbols: List("BTCUSDT", "DEADUSDT", "QUIETUSDT")})
		time.Sleep(2*time.Minute + 30*time.Second)
		synctest.Wait()
		if got := len(r.seen(Connected)); got != 2 {
			t.Errorf("%d connections after 30 s of silence", got)
		}
		<-r.server.Done()
		time.Sleep(time.Second)
		summary := r.end()
		// It stays silent on the new connection. The next limit is twice as long, and so on.
		if summary.Replaced < 2 || summary.Replaced > 3 {
			t.Errorf("%d replacements", summary.Replaced)
		}
		r.complete(source, map[string]int{"BTCUSDT": 2400, "DEADUSDT": 120, "QUIETUSDT": 4})
	})
}

// Connections that break are made again at once, and the hole they leave is told by its ids.
func TestLostConnectionComesBack(t *testing.T) {
	for name, test := range map[string]struct {
		fault exchange.Fault
		code  string
	}{
		"cut":    {fault: exchange.Fault{Kind: exchange.Cut}},
		"closed": {fault: exchange.Fault{Kind: exchange.Close, Code: 1008}, code: "1008"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := exchange.NewMemory(nil, steady("BTCUSDT", 1200, 100*time.Millisecond))
				r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: List("BTCUSDT")})
				time.Sleep(time.Minute)
				inject(t, r.server, test.fault)
				<-r.server.Done()
				time.Sleep(time.Second)
				summary := r.end()
				if summary.Reconnects != 1 || summary.Trades+summary.Missing != 1200 || summary.Missing > 5 {
					t.Errorf("summary %+v", summary)
				}
			})
		})
	}
}

// With two connections for each symbol the loss of one is no gap.
func TestRedundantConnectionsLoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, steady("BTCUSDT", 3000, 100*time.Millisecond))
		r := newRig(t, source, exchange.Options{WaitForStreams: 2}, Options{Symbols: List("BTCUSDT"), Connections: 2})
		for _, fault := range []exchange.Fault{
			{Kind: exchange.Cut}, {Kind: exchange.Mute}, {Kind: exchange.Close}, {Kind: exchange.Silence}, {Kind: exchange.Drop},
			{Kind: exchange.Duplicate, Count: 3}, {Kind: exchange.Reorder, Count: 3}, {Kind: exchange.Damage},
		} {
			time.Sleep(35 * time.Second)
			inject(t, r.server, fault)
		}
		<-r.server.Done()
		time.Sleep(time.Second)
		summary := r.end()
		r.complete(source, map[string]int{"BTCUSDT": 3000})
		if summary.Gaps != 0 || summary.Duplicates < 2000 || summary.Malformed+summary.Unknown+summary.Damaged == 0 {
			t.Errorf("summary %+v", summary)
		}
	})
}

// Whatever goes wrong at once, every trade is on the tape once and as it was sent, or its absence was told.
func TestEveryFaultAtOnce(t *testing.T) {
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
					rows = append(rows, steady(name, n, 100*time.Millisecond)...)
				}
				source := exchange.NewMemory(nil, rows)
				served := exchange.Options{WaitForStreams: 3, Faults: exchange.EveryFault(seed)}
				r := newRig(t, source, served, Options{Symbols: List(names...), Connections: 1 + int(seed%2), StreamsPerConnection: 2})
				<-r.server.Done()
				time.Sleep(5 * time.Second)
				summary := r.end()
				t.Logf("%+v", summary)
				on := tapeRows(t, r.dir)
				span := map[string]int64{}
				for i, row := range on {
					want := source.Rows(nil, row.Symbol, exchange.AggTrade, row.ID, 1)
					if len(want) == 0 {
						t.Fatalf("not from the exchange: %+v", row)
					}
					if err := same(row, row.Symbol, want[0]); err != nil {
						t.Fatal(err)
					}
					if i > 0 && on[i-1].Symbol == row.Symbol {
						span[row.Symbol] += row.ID - on[i-1].ID - 1
					}
				}
				if missing := span["AUSDT"] + span["BUSDT"] + span["CUSDT"]; missing > summary.Missing {
					t.Errorf("%d missing, told were %d", missing, summary.Missing)
				}
				if int64(len(on)) != summary.Trades || len(on) < 3*n*8/10 || summary.Connects < 3 {
					t.Errorf("%d on the tape, summary %+v", len(on), summary)
				}
			})
		})
	}
}

// What is not a trade is counted and skipped; doubled and re-ordered trades are stored once.
func TestFaultyMessagesAreNeitherFatalNorStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, steady("BTCUSDT", 1200, 100*time.Millisecond))
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: List("BTCUSDT")})
		time.Sleep(10 * time.Second)
		const damaged = 40
		inject(t, r.server, exchange.Fault{Kind: exchange.Damage, Count: damaged})
		time.Sleep(30 * time.Second)
		inject(t, r.server, exchange.Fault{Kind: exchange.Duplicate, Count: 10})
		time.Sleep(10 * time.Second)
		inject(t, r.server, exchange.Fault{Kind: exchange.Reorder, Count: 10})
		<-r.server.Done()
		time.Sleep(time.Second)
		summary := r.end()
		if summary.Malformed+summary.Unknown+summary.Damaged != damaged || summary.Missing != damaged || summary.Trades != 1200-damaged {
			t.Errorf("summary %+v", summary)
		}
		if summary.Duplicates != 10 || summary.Reconnects != 0 {
			t.Errorf("summary %+v", summary)
		}
		for _, row := range tapeRows(t, r.dir) {
			if want := source.Rows(nil, "BTCUSDT", exchange.AggTrade, row.ID, 1); len(want) == 0 {
				t.Errorf("not from the exchange: %+v", row)
			} else if err := same(row, "BTCUSDT", want[0]); err != nil {
				t.Error(err)
			}
		}
	})
}

// A refused connection is tried again, later each time, and never before the exchange said.
func TestRefusalsAreObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, steady("BTCUSDT", 3000, 100*time.Millisecond))
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: List("BTCUSDT")})
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
		summary := r.end()
		refused, connected := r.seen(Refused), r.seen(Connected)
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

// A listing is subscribed to and a delisting unsubscribed from while the others go on undisturbed.
func TestSymbolsAreRefreshed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rows []exchange.MemoryRow
		for _, name := range []string{"AUSDT", "BUSDT", "CUSDT", "DUSDT", "币安人生USDT"} {
			rows = append(rows, steady(name, 1200, 500*time.Millisecond)...)
		}
		source := exchange.NewMemory(nil, rows)
		var asked atomic.Int64
		provider := func(context.Context) ([]string, error) {
			switch asked.Add(1) {
			case 1:
				return []string{"AUSDT", "BUSDT"}, nil
			case 2:
				return nil, errors.New("the exchange does not answer")
			case 3:
				return []string{"AUSDT", "CUSDT", "DUSDT", "币安人生USDT"}, nil
			default:
				return []string{"AUSDT"}, nil
			}
		}
		r := newRig(t, source, exchange.Options{WaitForStreams: 2},
			Options{Symbols: provider, RefreshEvery: 2 * time.Minute, StreamsPerConnection: 3})
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		changed, connected := r.seen(Changed), r.seen(Connected)
		if len(changed) != 1 || changed[0].Streams != 3 || len(connected) != 2 || connected[1].Streams != 1 {
			t.Fatalf("changed %+v, connected %+v", changed, connected)
		}
		var state State
		if err := r.dir.ReadState(StateName, &state); err != nil {
			t.Fatal(err)
		}
		if len(state.Symbols) != 4 || len(state.Connections) != 2 || state.Symbols["币安人生USDT"].Trades == 0 {
			t.Errorf("state %+v", state)
		}
		time.Sleep(90 * time.Second) // the fourth answer has come: one group is left, with one symbol
		synctest.Wait()
		if err := r.dir.ReadState(StateName, &state); err != nil {
			t.Fatal(err)
		}
		<-r.server.Done()
		time.Sleep(time.Second)
		summary := r.end()
		counts := bySymbol(t, tapeRows(t, r.dir))
		if counts["AUSDT"] != 1200 || counts["BUSDT"] < 470 || counts["BUSDT"] > 490 || counts["CUSDT"] < 230 || counts["币安人生USDT"] < 230 || counts["币安人生USDT"] > 250 {
			t.Errorf("on the tape %v", counts)
		}
		if summary.Symbols != 1 || summary.Reconnects+summary.Replaced != 0 || summary.Unknown != 0 {
			t.Errorf("summary %+v", summary)
		}
	})
}

// Two thousand streams are spread over connections, subscribed to within the exchange's limits, and all
// of them deliver.
func TestManySymbolsKeepTheExchangesLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rows []exchange.MemoryRow
		var names []string
		want := map[string]int{}
		for i := range 2000 {
			name := fmt.Sprintf("LONGNAMEDTOKEN%04dUSDT", i)
			names = append(names, name)
			rows = append(rows, steady(name, 2, time.Second)...)
			want[name] = 2
		}
		source := exchange.NewMemory(nil, rows)
		r := newRig(t, source, exchange.Options{WaitForStreams: len(names)}, Options{Symbols: List(names...), StreamsPerConnection: 1024})
		<-r.server.Done()
		time.Sleep(time.Second)
		summary := r.end()
		r.complete(source, want)
		if summary.Connects != 2 || summary.Reconnects != 0 {
			t.Errorf("summary %+v", summary)
		}
	})
}

// An exchange that does not answer requests still delivers what the address named.
func TestUnansweredRequestsAreNoReasonToStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, steady("BTCUSDT", 600, 100*time.Millisecond))
		r := newRig(t, source, exchange.Options{WaitForStreams: 1, MaxFrame: 1}, Options{Symbols: List("BTCUSDT")})
		r.excuse = exchange.FrameTooLarge
		<-r.server.Done()
		time.Sleep(time.Second)
		if summary := r.end(); summary.Connects != 1 || summary.Refused+summary.Replaced != 0 {
			t.Errorf("summary %+v", summary)
		}
		r.complete(source, map[string]int{"BTCUSDT": 600})
	})
}

// A batch is handed on by symbol and id, however it arrived.
func TestBatchIsSortedByItsSymbols(t *testing.T) {
	var known []*symbol
	for i, name := range []string{"CUSDT", "AUSDT", "NEVERUSDT", "币USDT", "BUSDT"} {
		known = append(known, &symbol{name: name, index: i})
	}
	random := rand.New(rand.NewPCG(1, 2))
	var b batch
	var sorted []tape.Trade
	for _, n := range []int{5000, 0, 1, 3000, 7000} {
		var want []tape.Trade
		for i := range n {
			s := known[[]int{0, 1, 3, 4}[random.IntN(4)]]
			id := int64(i)
			if s.index == 3 {
				id = int64(random.IntN(1 << 30)) // out of order
			}
			want = append(want, tape.Trade{Symbol: s.name, ID: id})
			b.append(want[i], s.index, 7000)
		}
		slices.SortFunc(want, func(a, b tape.Trade) int { return cmp.Or(cmp.Compare(a.Symbol, b.Symbol), cmp.Compare(a.ID, b.ID)) })
		if sorted = b.take(sorted, known); !slices.Equal(sorted, want) {
			t.Fatalf("%d rows are not sorted", n)
		}
		if len(b.rows)+len(b.owners) != 0 || cap(b.rows) > 7000 {
			t.Errorf("left %d rows, room for %d", len(b.rows), cap(b.rows))
		}
	}
}

// The flush interval bounds how long a trade waits, whatever comes.
func TestFlushInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, steady("BTCUSDT", 20, 7*time.Second))
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: List("BTCUSDT"), FlushInterval: 15 * time.Second})
		<-r.server.Done()
		time.Sleep(20 * time.Second)
		r.end()
		flushed := r.seen(Flushed)
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

// While a batch is being published the next one fills; when that is full too, reading waits and nothing
// is lost, and the connection is not mistaken for a silent one.
func TestFullBatchesHoldUpReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, steady("BTCUSDT", 1200, 100*time.Millisecond))
		release := make(chan struct{})
		opt := Options{Symbols: List("BTCUSDT"), FlushRows: 400, FlushInterval: time.Hour}
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, opt, func(_ *rig, e Event) {
			if e.Kind == Flushed && e.Rows == 400 {
				<-release
			}
		})
		// Full after 40 s, and again after 80. The exchange waits a minute for a pong.
		time.Sleep(110 * time.Second)
		synctest.Wait()
		var state State
		if err := r.dir.ReadState(StateName, &state); err != nil {
			t.Fatal(err)
		}
		if state.UnflushedTrades != 400 || state.Counters.Stalls != 1 || state.Counters.Trades != 800 {
			t.Errorf("held up with %+v", state)
		}
		close(release)
		<-r.server.Done()
		time.Sleep(time.Second)
		summary := r.end()
		r.complete(source, map[string]int{"BTCUSDT": 1200})
		if summary.Replaced+summary.Reconnects != 0 {
			t.Errorf("summary %+v", summary)
		}
	})
}

// A tape that can't be written ends the run with an error that says so; what was published stays.
func TestUnwritableTapeEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, steady("BTCUSDT", 1200, 100*time.Millisecond))
		first := true
		opt := Options{Symbols: List("BTCUSDT"), FlushInterval: 20 * time.Second}
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, opt, func(r *rig, e Event) {
			if e.Kind == Flushed && first {
				first = false
				breakStaging(t, r.dir)
			}
		})
		<-r.ended
		if !errors.Is(r.err, errPublish) || !strings.Contains(r.err.Error(), "not published") {
			t.Fatalf("error %v", r.err)
		}
		failed := r.summary
		if failed.Flushes != 1 || failed.Trades <= failed.Rows {
			t.Errorf("summary %+v", failed)
		}
		mendStaging(t, r.dir)
		if got := len(tapeRows(t, r.dir)); int64(got) != failed.Rows {
			t.Errorf("%d on the tape, %d were published", got, failed.Rows)
		}
	})
}

// An outage of the disk that is over within the retries loses nothing.
func TestPublishIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, steady("BTCUSDT", 600, 100*time.Millisecond))
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: List("BTCUSDT"), FlushInterval: 20 * time.Second})
		time.Sleep(30 * time.Second)
		breakStaging(t, r.dir)
		time.Sleep(12 * time.Second) // the batch is due 40 s after the first trade; two attempts fail
		mendStaging(t, r.dir)
		<-r.server.Done()
		time.Sleep(time.Second)
		summary := r.end()
		r.complete(source, map[string]int{"BTCUSDT": 600})
		if summary.Gaps != 0 {
			t.Errorf("summary %+v", summary)
		}
	})
}

// A rest that ends by itself: For, and Once against an exchange that is not there.
func TestRunEndsByItself(t *testing.T) {
	t.Run("for", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			source := exchange.NewMemory(nil, steady("BTCUSDT", 1200, 100*time.Millisecond))
			began := time.Now()
			r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: List("BTCUSDT"), For: 30 * time.Second})
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
			dial := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("nobody there") }
			_, err := Run(t.Context(), newTape(t, tape.AggTrade), Options{URL: "ws://exchange", Symbols: List("BTCUSDT"), Once: true, DialContext: dial})
			if err == nil || !strings.Contains(err.Error(), "nobody there") {
				t.Errorf("error %v", err)
			}
		})
	})
}

// A run that is told to end while it asks for its symbols has nothing to lose.
func TestToldToEndBeforeItBegan(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ask := func(ctx context.Context) ([]string, error) {
		cancel()
		return nil, ctx.Err()
	}
	if summary, err := Run(ctx, newTape(t, tape.AggTrade), Options{Symbols: ask}); err != nil || summary.Trades != 0 {
		t.Errorf("%+v, %v", summary, err)
	}
}

// An exchange that does not say which symbols it has is asked again until it does, unless it is to be given up.
func TestSymbolsAreAskedForUntilThereIsAnAnswer(t *testing.T) {
	refused := fmt.Errorf("get the symbols: %w", &binance.FirewallError{Body: "<html>"})
	for _, giveUpAfter := range []time.Duration{0, 10 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			ask := func(context.Context) ([]string, error) {
				if asked++; asked < 20 {
					return nil, refused
				}
				return []string{"BTCUSDT"}, nil
			}
			source := exchange.NewMemory(nil, steady("BTCUSDT", 100, time.Second))
			r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: ask, GiveUpAfter: giveUpAfter, RefreshEvery: 24 * time.Hour})
			if giveUpAfter > 0 {
				if <-r.ended; !errors.Is(r.err, refused) || asked > 15 {
					t.Errorf("asked %d times, then %v", asked, r.err)
				}
				return
			}
			<-r.server.Done()
			time.Sleep(time.Second)
			if summary := r.end(); summary.Trades != 100 || asked != 20 {
				t.Errorf("asked %d times, summary %+v", asked, summary)
			}
		})
	}
}

// A price that no double holds is a message that cannot be understood: it must not reach the tape, which would refuse the batch that it is in.
func TestAPriceTooSmallForADouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := steady("BTCUSDT", 300, 100*time.Millisecond)
		rows[100].Price = "0." + strings.Repeat("0", 400) + "1"
		rows[200].Qty = "1" + strings.Repeat("0", 400)
		rows[210].Price = "12345678901234567890.12345678901234567891"
		source := exchange.NewMemory(nil, rows)
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: List("BTCUSDT"), FlushInterval: time.Second})
		<-r.server.Done()
		time.Sleep(2 * time.Second)
		summary := r.end()
		if summary.Malformed != 2 || summary.Trades != 298 || summary.Rows != 298 || summary.Missing != 2 || summary.Inexact != 1 {
			t.Errorf("summary %+v", summary)
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	for want, opt := range map[string]Options{
		"no symbols to record":                    {},
		"which symbols to record: there are none": {Symbols: List()},
		"which symbols to record: banned":         {Symbols: func(context.Context) ([]string, error) { return nil, errors.New("banned") }},
		"the scheme is not ws or wss":             {Symbols: List("A"), URL: "ftp://x"},
		"no host":                                 {Symbols: List("A"), URL: "wss:"},
		"not between 1 and 8":                     {Symbols: List("A"), Connections: 9},
		"not between 1 and 1024":                  {Symbols: List("A"), StreamsPerConnection: 2000},
		"below 0":                                 {Symbols: List("A"), FlushInterval: -1},
	} {
		_, err := Run(t.Context(), newTape(t, tape.AggTrade), opt)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestSeen(t *testing.T) {
	var s seen
	add := func(now int64, ids ...int64) (fresh []int64) {
		for _, id := range ids {
			if s.add(id, now) {
				fresh = append(fresh, id)
			}
		}
		return fresh
	}
	if got := add(0, 10, 11, 11, 10, 12, 9, 9); !slices.Equal(got, []int64{10, 11, 12, 9}) {
		t.Errorf("fresh %v", got)
	}
	if got := s.gaps(1e18, 0); len(got) != 0 {
		t.Errorf("gaps %v", got)
	}
	add(int64(time.Second), 20, 15)
	if got := s.gaps(int64(3*time.Second), 5*time.Second); len(got) != 0 {
		t.Errorf("told too early: %v", got)
	}
	if got := s.gaps(int64(6*time.Second), 5*time.Second); !slices.Equal(got, []gap{{13, 14}, {16, 19}}) {
		t.Errorf("gaps %v", got)
	}
	if got := s.gaps(int64(60*time.Second), 5*time.Second); len(got) != 0 {
		t.Errorf("told twice: %v", got)
	}
	if got := add(0, 13, 14, 16, 17, 18, 19, 14, 16, 9, 20, 21); !slices.Equal(got, []int64{13, 14, 16, 17, 18, 19, 21}) {
		t.Errorf("fresh %v", got)
	}
	if len(s.runs) != 1 {
		t.Errorf("runs %+v", s.runs)
	}
	for id := int64(100); id < 100+4*maxRuns; id += 2 {
		s.add(id, 0)
		if len(s.runs) > maxRuns {
			t.Fatalf("%d runs", len(s.runs))
		}
	}
	if last := s.runs[len(s.runs)-1].last; s.add(last, 0) || !s.add(last-1, 0) || !s.add(1, 0) || len(s.runs) > maxRuns {
		t.Errorf("after the oldest were forgotten: %+v", s.runs)
	}
}

// FuzzSeen compares seen with a plain set.
func FuzzSeen(f *testing.F) {
	f.Add([]byte{1, 2, 3, 9, 5, 4, 4, 200, 8, 7, 6})
	f.Fuzz(func(t *testing.T, ids []byte) {
		var s seen
		set := map[byte]bool{}
		for _, id := range ids {
			if s.add(int64(id), 0) == set[id] {
				t.Fatalf("id %d of %v", id, ids)
			}
			set[id] = true
		}
		total := int64(0)
		for i, r := range s.runs {
			total += r.last - r.first + 1
			if r.first > r.last || i > 0 && s.runs[i-1].last+1 >= r.first {
				t.Fatalf("runs %+v", s.runs)
			}
		}
		if total != int64(len(set)) {
			t.Fatalf("runs %+v of %v", s.runs, ids)
		}
	})
}
