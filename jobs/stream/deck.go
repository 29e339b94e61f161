package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/tape"
)

// Counters count what happened since the run began.
type Counters struct {
	// Messages received in all, Trades the new ones among them.
	Messages int64 `json:"messages"`
	Trades   int64 `json:"trades"`
	// Duplicates were received before, by this connection or another.
	Duplicates int64 `json:"duplicates"`
	// Malformed are not messages; Unknown are messages of other streams, feeds or symbols; Damaged are trades
	// that the exchange voided. None is stored.
	Malformed int64 `json:"malformed"`
	Unknown   int64 `json:"unknown"`
	Damaged   int64 `json:"damaged"`
	// Inexact counts prices and quantities that a double does not hold exactly; they are stored and marked.
	Inexact int64 `json:"inexact"`
	// Gaps are runs of ids that no connection delivered in time, Missing the ids in them.
	Gaps    int64 `json:"gaps"`
	Missing int64 `json:"missing"`
	// Connects counts connections made, Reconnects those of them that followed one that failed, and Replaced
	// those that took over from one that still ran. Refused counts connections that could not be made.
	Connects   int64 `json:"connects"`
	Reconnects int64 `json:"reconnects"`
	Replaced   int64 `json:"replaced"`
	Refused    int64 `json:"refused"`
	// Flushes, and the Rows and Bytes published by them; Dropped were on the tape already.
	Flushes int64 `json:"flushes"`
	Rows    int64 `json:"rows"`
	Dropped int64 `json:"dropped"`
	Bytes   int64 `json:"bytes"`
	// Stalls counts how often reading had to wait because both batches were full.
	Stalls int64 `json:"stalls"`
}

// symbol is what a run knows of a symbol. All but name and index is guarded by deck.mu.
type symbol struct {
	name  string
	index int // place in connection.heard

	wanted       bool
	seen         seen
	holes        bool // seen has had more than one run since gaps were last looked for
	trades       int64
	lastID       int64
	lastTradedAt int64 // µs
	lastHeard    int64 // by deck.clock
	cadence      cadence
	strikes      int
}

// deck holds the trades that are not on the tape, and publishes them.
//
// Readers fill a batch while the flusher publishes the rows of the one before. When it is full before
// those are published, readers wait. The exchange then buffers for a while and at last closes
// the connection, which shows as a gap; memory does not grow.
type deck struct {
	dir     *tape.Dir
	opt     Options
	log     *slog.Logger
	observe func(Event)

	wake     chan struct{} // tells the flusher that a batch has begun or is full
	stopped  chan struct{} // closed: readers do not wait for room any more
	finished chan struct{} // closed: the readers have ended
	stopOnce sync.Once

	mu      sync.Mutex
	batch   batch
	inexact int64 // in the batch
	begunAt time.Time
	room    chan struct{} // closed and replaced when the batch was taken
	count   Counters
	links   []*link
	symbols []*symbol // those with holes to be looked for
	known   []*symbol // all, by index
	quiet   quietLog

	flushedAt time.Time
	stalledAt int64 // by clock, when last seen full
	began     time.Time
}

// clock gives the present in nanoseconds. It starts as the system's clock and then goes on steadily whoever sets that one: or else an hour's step would
// pass for an hour's silence, or hide one.
func (d *deck) clock() int64 { return d.began.UnixNano() + int64(time.Since(d.began)) }

// wall gives what the system's clock would have said at a time by clock, had it been right then as it is now; nil for 0.
func (d *deck) wall(at int64) *time.Time {
	if at == 0 {
		return nil
	}
	return moment(time.Now().Add(time.Duration(at - d.clock())))
}

func newDeck(dir *tape.Dir, opt Options, observe func(Event)) *deck {
	return &deck{
		dir: dir, opt: opt, log: opt.Logger, observe: observe, began: time.Now(),
		wake: make(chan struct{}, 1), stopped: make(chan struct{}), finished: make(chan struct{}), room: make(chan struct{}),
	}
}

func (d *deck) counters() Counters {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count
}

func (d *deck) want(wanted map[string]bool, known map[string]*symbol) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known = append(d.known, make([]*symbol, len(known)-len(d.known))...)
	for name, s := range known {
		s.wanted = wanted[name]
		d.known[s.index] = s
	}
}

// trade takes one trade that c received at a time by clock. It does not allocate.
func (d *deck) trade(c *connection, s *symbol, m *binance.Message, at int64) {
	price, exactPrice, err := tape.ParseDecimal(m.Price)
	if err == nil {
		var exactQty bool
		var qty float64
		if qty, exactQty, err = tape.ParseDecimal(m.Qty); err == nil && !(price > 0 && qty > 0) {
			err = errors.New("price or quantity too small for a double")
		}
		if err == nil {
			d.add(c, s, m, tape.Trade{
				Symbol: s.name, ID: m.ID, Price: price, Qty: qty, FirstTradeID: m.FirstTradeID, LastTradeID: m.LastTradeID,
				TradedAt: m.Time, IsBuyerMaker: m.BuyerMaker,
			}, at, !exactPrice, !exactQty)
			return
		}
	}
	d.malformed(c, fmt.Errorf("symbol %q, id %d: %w", s.name, m.ID, err))
}

func (d *deck) add(c *connection, s *symbol, m *binance.Message, t tape.Trade, at int64, inexactPrice, inexactQty bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count.Messages++
	c.hear(s, at)
	if !s.seen.add(t.ID, at) {
		d.count.Duplicates++
		return
	}
	for len(d.batch.rows) >= d.opt.FlushRows && !d.isStopped() {
		d.wait()
	}
	if len(s.seen.runs) > 1 && !s.holes {
		s.holes = true
		d.symbols = append(d.symbols, s)
	}
	s.trades++
	if t.ID > s.lastID || s.trades == 1 {
		s.lastID, s.lastTradedAt = t.ID, t.TradedAt
	}
	d.count.Trades++
	if inexactPrice || inexactQty {
		d.note(m, t.Symbol, inexactPrice, inexactQty)
	}
	d.batch.append(t, s.index, d.opt.FlushRows)
	if len(d.batch.rows) == 1 {
		d.begunAt = time.Now()
		d.signal()
	} else if len(d.batch.rows) == d.opt.FlushRows {
		d.signal()
	}
}

// wait lets go of mu until the batch was taken, or the run ends. Readers that end the run may overfill the
// batch by the one trade that each of them holds.
func (d *deck) wait() {
	d.count.Stalls++
	room := d.room
	d.mu.Unlock()
	select {
	case <-room:
	case <-d.stopped:
	}
	d.mu.Lock()
}

func (d *deck) isStopped() bool {
	select {
	case <-d.stopped:
		return true
	default:
		return false
	}
}

func (d *deck) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// note counts values that a double does not hold.
func (d *deck) note(m *binance.Message, symbol string, price, qty bool) {
	for _, value := range []struct {
		inexact bool
		column  string
		text    []byte
	}{{price, "price", m.Price}, {qty, "qty", m.Qty}} {
		if !value.inexact {
			continue
		}
		d.count.Inexact++
		d.inexact++
		if d.quiet.may("inexact", time.Now()) {
			d.log.Warn("value not exact as a double", "symbol", symbol, "id", m.ID, "column", value.column, "text", string(value.text), "so_far", d.count.Inexact)
		}
	}
}

func (d *deck) malformed(c *connection, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	d.count.Messages++
	d.count.Malformed++
	if d.quiet.may("malformed", now) {
		d.log.Warn("message not understood", "link", c.link.name, "error", err, "so_far", d.count.Malformed)
	}
}

// other counts a message that is not a trade to be recorded.
func (d *deck) other(c *connection, m *binance.Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count.Messages++
	switch {
	case m.Damaged:
		d.count.Damaged++
	case m.Kind == binance.KindAnswer || m.Kind == binance.KindError || m.Kind == binance.KindServerShutdown:
	default:
		d.count.Unknown++
		if d.quiet.may("unknown", time.Now()) {
			d.log.Warn("message skipped: not a trade of a symbol asked for", "link", c.link.name, "stream", string(m.Stream), "symbol", string(m.Symbol), "so_far", d.count.Unknown)
		}
	}
}

// stop lets readers go that wait for room; finish tells the flusher that no trade comes any more.
func (d *deck) stop()   { d.stopOnce.Do(func() { close(d.stopped) }) }
func (d *deck) finish() { close(d.finished) }

// errPublish is wrapped by the error that ends a run because the tape can't be written.
var errPublish = errors.New("stream stopped")

// publishPauses are the waits before a failed publishing is tried again. Readers go on meanwhile, as far
// as there is room.
var publishPauses = [...]time.Duration{time.Second, 2 * time.Second, 4 * time.Second}

// flush publishes batches until finish was called and the last is on the tape, or until one can't be.
func (d *deck) flush(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	var sorted []tape.Trade
	for last := false; ; {
		select {
		case <-d.wake:
		case <-timer.C:
		case <-d.finished:
			last = true
		}
		d.mu.Lock()
		due := d.opt.FlushInterval - time.Since(d.begunAt)
		if n := len(d.batch.rows); !last && (n == 0 || n < d.opt.FlushRows && due > 0) {
			d.mu.Unlock()
			if n > 0 {
				timer.Reset(due)
			}
			continue
		}
		sorted = d.batch.take(sorted, d.known)
		inexact := d.inexact
		d.inexact = 0
		close(d.room)
		d.room = make(chan struct{})
		d.mu.Unlock()

		if len(sorted) > 0 {
			if lost, err := d.publish(ctx, sorted, inexact); err != nil {
				d.mu.Lock()
				lost += int64(len(d.batch.rows)) // those that came meanwhile
				d.mu.Unlock()
				return fmt.Errorf("%w: %d trades received and not published: %w", errPublish, lost, err)
			}
		}
		d.tellGaps(last)
		if last {
			return nil
		}
	}
}

// publish gives, with an error, how many of the rows are not on the tape.
func (d *deck) publish(ctx context.Context, rows []tape.Trade, inexact int64) (lost int64, err error) {
	began := time.Now()
	origin := tape.Origin{Source: tape.FromStream, Run: d.opt.RunID, Inexact: inexact}
	var done tape.Published
	for attempt := 0; ; attempt++ {
		published, err := d.dir.Publish(ctx, rows, origin)
		done.Rows += published.Rows
		done.Bytes += published.Bytes
		done.Segments = append(done.Segments, published.Segments...)
		if err == nil {
			done.Dropped = int64(len(rows)) - done.Rows
			break
		}
		if attempt == len(publishPauses) || ctx.Err() != nil || d.isStopped() && attempt > 0 {
			// What the attempts put there before they failed is there.
			d.mu.Lock()
			d.count.Rows += done.Rows
			d.count.Bytes += done.Bytes
			d.mu.Unlock()
			return int64(len(rows)) - done.Rows, err
		}
		d.log.Error("batch not published, trying again", "rows", len(rows), "attempt", attempt+1, "error", err)
		pause := time.NewTimer(publishPauses[attempt])
		select {
		case <-pause.C:
		case <-d.stopped:
		case <-ctx.Done():
		}
		pause.Stop()
	}
	now := time.Now()
	d.mu.Lock()
	d.count.Flushes++
	d.count.Rows += done.Rows
	d.count.Dropped += done.Dropped
	d.count.Bytes += done.Bytes
	d.flushedAt = now
	trades := d.count.Trades
	d.mu.Unlock()
	d.log.Info("segment published", "rows", done.Rows, "dropped", done.Dropped, "bytes", done.Bytes, "segments", len(done.Segments), "elapsed_ms", now.Sub(began).Milliseconds())
	d.observe(Event{Kind: Flushed, Rows: done.Rows, Dropped: done.Dropped, Trades: trades})
	return 0, nil
}

// gapPatience is how long another connection may take to deliver an id before its absence is reported.
const gapPatience = 5 * time.Second

// tellGaps logs the holes in the ids that stayed open, each once; at the end also those that are young.
func (d *deck) tellGaps(last bool) {
	patience := gapPatience
	if last {
		patience = 0
	}
	type finding struct {
		symbol string
		gap
	}
	var found []finding
	d.mu.Lock()
	now := d.clock()
	kept := d.symbols[:0]
	for _, s := range d.symbols {
		for _, g := range s.seen.gaps(now, patience) {
			found = append(found, finding{s.name, g})
			d.count.Gaps++
			d.count.Missing += g.last - g.first + 1
		}
		if s.holes = len(s.seen.runs) > 1; s.holes {
			kept = append(kept, s)
		}
	}
	clear(d.symbols[len(kept):])
	d.symbols = kept
	d.mu.Unlock()
	const most = 20 // lines at once
	for i, f := range found {
		if i == most {
			d.log.Warn("more gaps in the stream", "gaps", len(found)-most)
			break
		}
		d.log.Warn("gap in the stream", "symbol", f.symbol, "first_id", f.first, "last_id", f.last, "missing", f.last-f.first+1)
	}
}

// quietLog lets one line of a kind through a minute. The line carries the count so far.
type quietLog struct{ last map[string]time.Time }

func (q *quietLog) may(kind string, now time.Time) bool {
	if last, ok := q.last[kind]; ok && now.Sub(last) < time.Minute {
		return false
	}
	if q.last == nil {
		q.last = map[string]time.Time{}
	}
	q.last[kind] = now
	return true
}
