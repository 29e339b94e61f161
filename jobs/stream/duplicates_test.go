package stream

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/tape"
)

// twoConnections is a receiver that writes to a tape, and two connections of one group.
type twoConnections struct {
	t        *testing.T
	dir      *tape.Dir
	receiver receiver
	batcher  *batcher
	symbol   *trackedSymbol
	conns    [2]*trackedConnection
	publish  *publisher
}

func newTwoConnections(t *testing.T) *twoConnections {
	log, dups := slog.New(slog.DiscardHandler), newDuplicates()
	tr, stopping := newTracker(log, newClock(nil, nil)), make(chan struct{})
	tr.request(namesOf("AUSDT"))
	c := &twoConnections{t: t, dir: newTape(t, tape.AggTrade), batcher: newBatcher(time.Hour, 1<<20, stopping, func() {})}
	c.receiver = receiver{kind: binance.KindAggTrade, tracker: tr, watcher: newWatcher(tr.clock), batcher: c.batcher, dups: dups}
	c.symbol = tr.lookup([]byte("AUSDT"))
	c.publish = &publisher{dir: c.dir, runID: "run", log: log, stopping: stopping, agreed: dups.take}
	group := new(readers)
	for i := range c.conns {
		connector := tr.addConnector("1", func() int { return 1 }, group)
		c.conns[i] = tr.newConnection(connector, func() int64 { return 0 })
	}
	return c
}

// receive delivers an id at a price on one of the connections.
func (c *twoConnections) receive(conn int, id int64, price string) {
	at := time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC).UnixMicro() + id*1000
	m := binance.Message{
		Kind: binance.KindAggTrade, ID: id, FirstTradeID: 2 * id, LastTradeID: 2*id + 1,
		Price: []byte(price), Qty: []byte("1.5"), Time: at,
	}
	c.receiver.receive(c.conns[conn], c.receiver.watcher.connection(new(watchedReader)), c.symbol, &m, id)
}

// flush publishes what waits.
func (c *twoConnections) flush() (tape.Published, error) {
	c.t.Helper()
	rows, _ := c.batcher.filling.take(nil)
	return c.publish.publish(c.t.Context(), rows, 0)
}

// TestDuplicatesThatDifferAreConflicts delivers ids twice. Equal ones never reach the tape's
// publication, and one that differs becomes a conflict, in the batch of the trade that stays or later.
func TestDuplicatesThatDifferAreConflicts(t *testing.T) {
	c := newTwoConnections(t)
	for _, conn := range c.conns {
		c.receiver.dups.begin(conn.connector)
	}
	for id := range int64(100) {
		c.receive(int(id%2), id, "100.5")
		if id != 50 {
			c.receive(int(1-id%2), id, "100.50")
		}
	}
	if waiting, _ := c.batcher.waiting(); waiting != 100 {
		t.Errorf("%d trades wait, want each once", waiting)
	}
	c.receive(0, 50, "100.6")
	out, err := c.flush()
	if err != nil || out.Rows != 100 || out.Dropped != 1 || out.Conflicts != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	c.receive(1, 99, "100.7") // its trade is on the tape already
	if out, err = c.flush(); err != nil || out.Rows != 0 || out.Conflicts != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	conflicts, err := c.dir.ReadConflicts("", "")
	if err != nil || len(conflicts) != 2 || conflicts[0].ID+conflicts[1].ID != 149 || conflicts[0].Price != 100.5 {
		t.Errorf("%v, %v", conflicts, err)
	}
	if trades, _ := c.batcher.added(); trades != 100 {
		t.Errorf("%d trades were added", trades)
	}
}

// TestFewDuplicatesThatDifferAmongManyEqualOnes: the equal ones, which are not published again, count
// when it is decided whether two markets are mixed.
func TestFewDuplicatesThatDifferAmongManyEqualOnes(t *testing.T) {
	for name, differing := range map[string]int64{"few": 40, "most": 80} {
		t.Run(name, func(t *testing.T) {
			c := newTwoConnections(t)
			for _, conn := range c.conns {
				c.receiver.dups.begin(conn.connector)
			}
			for id := range int64(100) {
				c.receive(0, id, "100.5")
				price := "100.5"
				if id < differing {
					price = "99"
				}
				c.receive(1, id, price)
			}
			out, err := c.flush()
			var disagreement *tape.DisagreementError
			if disagree := errors.As(err, &disagreement); disagree != (name == "most") || !disagree && out.Conflicts != differing {
				t.Errorf("%+v, %v", out, err)
			}
		})
	}
}

// TestExchangeThatStartsAgainIsNoticed: one connection delivers ids again, with the trades of another
// market, because the exchange behind the address is another one.
func TestExchangeThatStartsAgainIsNoticed(t *testing.T) {
	c := newTwoConnections(t)
	c.receiver.dups.begin(c.conns[0].connector)
	for id := range int64(60) {
		c.receive(0, id, "100.5")
	}
	if out, err := c.flush(); err != nil || out.Rows != 60 {
		t.Fatal(out, err)
	}
	c.receiver.dups.end(c.conns[0].connector)
	c.receiver.dups.begin(c.conns[1].connector)
	for id := range int64(48) {
		c.receive(1, id, "88")
	}
	var disagreement *tape.DisagreementError
	if out, err := c.flush(); !errors.As(err, &disagreement) || disagreement.Compared != 48 || out.Rows != 0 {
		t.Errorf("%+v, %v", out, err)
	}
}

// What is remembered while connections overlap is given up afterwards.
func TestContentsAreForgotten(t *testing.T) {
	c := newTwoConnections(t)
	dups := c.receiver.dups
	dups.begin(c.conns[0].connector)
	c.receive(0, 1, "1")
	if len(dups.recent) != 0 {
		t.Error("one connection needs no memory")
	}
	dups.begin(c.conns[1].connector)
	c.receive(0, 2, "1")
	if len(dups.recent) != 1 {
		t.Error(len(dups.recent))
	}
	dups.end(c.conns[0].connector)
	if len(dups.recent) != 0 {
		t.Error(len(dups.recent))
	}
}
