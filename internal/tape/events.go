package tape

import (
	"context"
	"time"

	"tapedeck/internal/idset"
)

// Conflict is one row of conflicts: a row that was refused because its id is on the tape with
// another content. The fields without Other are about the row on the tape. Times are in
// microseconds since the epoch, UTC.
type Conflict struct {
	Symbol       string  `parquet:"symbol,dict,id(1)"`
	ID           int64   `parquet:"id,id(2)"`
	Price        float64 `parquet:"price,id(3)"`
	Qty          float64 `parquet:"qty,id(4)"`
	FirstTradeID int64   `parquet:"first_trade_id,id(5)"`
	LastTradeID  int64   `parquet:"last_trade_id,id(6)"`
	TradedAt     int64   `parquet:"traded_at,timestamp(microsecond:local),id(7)"`
	IsBuyerMaker bool    `parquet:"is_buyer_maker,id(8)"`
	// Source and RunID are the origin of the row on the tape.
	Source Source `parquet:"source,dict,id(9)"`
	RunID  string `parquet:"run_id,dict,id(10)"`

	OtherPrice        float64 `parquet:"other_price,id(11)"`
	OtherQty          float64 `parquet:"other_qty,id(12)"`
	OtherFirstTradeID int64   `parquet:"other_first_trade_id,id(13)"`
	OtherLastTradeID  int64   `parquet:"other_last_trade_id,id(14)"`
	OtherTradedAt     int64   `parquet:"other_traded_at,timestamp(microsecond:local),id(15)"`
	OtherIsBuyerMaker bool    `parquet:"other_is_buyer_maker,id(16)"`
	OtherSource       Source  `parquet:"other_source,dict,id(17)"`
	OtherRunID        string  `parquet:"other_run_id,dict,id(18)"`
	// FoundAt is when it was refused.
	FoundAt int64 `parquet:"found_at,timestamp(microsecond:local),id(19)"`
}

// PublishConflicts adds conflicts to the tape, in the partitions of their TradedAt. One that is
// there already, whenever it was found, is repeated in the call or was given up with Drop, is left
// out. When it returns without an error, all of the others are durable.
func (d *Dir) PublishConflicts(ctx context.Context, conflicts []Conflict) (Published, error) {
	unlock, err := d.publisher.lockUntil(ctx)
	if err != nil {
		return Published{}, err
	}
	defer unlock()
	return d.publishConflicts(ctx, conflicts)
}

// publishConflicts is PublishConflicts for a caller that holds the writers' lock.
func (d *Dir) publishConflicts(ctx context.Context, conflicts []Conflict) (Published, error) {
	content, err := d.dropped.read()
	if err != nil {
		return Published{}, err
	}
	givenUp := setOf(content.Conflicts)
	isNewRow := newRecord(d.catalog, Conflicts, conflictKey)
	isNew := func(date string, c Conflict) (bool, error) {
		if givenUp[conflictKey(c)] {
			return false, nil
		}
		return isNewRow(date, c)
	}
	return publishRecordsLocked(ctx, d.publisher, Conflicts, conflicts, func(c Conflict) int64 { return c.TradedAt }, isNew)
}

// ReadConflicts reads conflicts as ReadAlerts reads alerts.
func (d *Dir) ReadConflicts(fromDate, toDate string) ([]Conflict, error) {
	return readTable[Conflict](d.catalog, Conflicts, fromDate, toDate)
}

// The events of a recorder.
const (
	EventStarted   = "started"
	EventConnected = "connected"
	EventLost      = "lost"    // a connection; the message says why
	EventResumed   = "resumed" // a connection that was lost
	EventGap       = "gap"     // ids that no connection delivered, or that are missing before the start
	EventHealed    = "healed"  // ids of a gap that were fetched later
	EventStopped   = "stopped"
	EventKilled    = "killed" // noticed at the next start; At is the last sign of life
)

// RecorderEvent is one row of recorder: what happened to the recorder.
type RecorderEvent struct {
	// At is in microseconds since the epoch, UTC.
	At    int64  `parquet:"at,timestamp(microsecond:local),id(1)"`
	Event string `parquet:"event,dict,id(2)"`
	// Connection is the connection's name, or empty.
	Connection string `parquet:"connection,dict,id(3)"`
	// Symbol, FirstID and LastID are set for a gap and its healing.
	Symbol  string `parquet:"symbol,dict,id(4)"`
	FirstID *int64 `parquet:"first_id,optional,id(5)"`
	LastID  *int64 `parquet:"last_id,optional,id(6)"`
	// IDs is how many ids the event is about.
	IDs int64 `parquet:"ids,id(7)"`
	// Message says why, for a person.
	Message string `parquet:"message,id(8)"`
	RunID   string `parquet:"run_id,dict,id(9)"`
}

// PublishRecorderEvents adds events to the tape, in the partitions of their At. An event that is
// there already, or is repeated in the call, is dropped. When it returns without an error, all of
// them are durable.
func (d *Dir) PublishRecorderEvents(ctx context.Context, events []RecorderEvent) (Published, error) {
	type identity struct {
		at, firstID, lastID, ids                  int64
		event, connection, symbol, message, runID string
	}
	isNew := newRecord(d.catalog, Recorder, func(e RecorderEvent) identity {
		return identity{e.At, orMinusOne(e.FirstID), orMinusOne(e.LastID), e.IDs, e.Event, e.Connection, e.Symbol, e.Message, e.RunID}
	})
	return publishRecords(ctx, d.publisher, Recorder, events, func(e RecorderEvent) int64 { return e.At }, isNew)
}

// ReadRecorderEvents reads events as ReadAlerts reads alerts.
func (d *Dir) ReadRecorderEvents(fromDate, toDate string) ([]RecorderEvent, error) {
	return readTable[RecorderEvent](d.catalog, Recorder, fromDate, toDate)
}

// Drop is one row of drops: what was removed from the tape on purpose. Times are in microseconds
// since the epoch, UTC.
type Drop struct {
	At int64 `parquet:"at,timestamp(microsecond:local),id(1)"`
	// What is trades, alerts or conflicts.
	What string `parquet:"what,dict,id(2)"`
	// Symbol is empty for alerts of all symbols.
	Symbol  string `parquet:"symbol,dict,id(3)"`
	FirstID *int64 `parquet:"first_id,optional,id(4)"`
	LastID  *int64 `parquet:"last_id,optional,id(5)"`
	// WindowStart and WindowEnd are the command's window; zero is NULL.
	WindowStart int64  `parquet:"window_start,optional,timestamp(microsecond:local),id(6)"`
	WindowEnd   int64  `parquet:"window_end,optional,timestamp(microsecond:local),id(7)"`
	Detector    string `parquet:"detector,dict,id(8)"`
	// Origin is the import that was removed, or empty.
	Origin string `parquet:"origin,dict,id(9)"`
	Rows   int64  `parquet:"rows,id(10)"`
	// Reason is the command line.
	Reason string `parquet:"reason,id(11)"`
	RunID  string `parquet:"run_id,dict,id(12)"`
}

// PublishDrops adds drops to the tape, in the partitions of their At. One of the same run and ids
// that is there already, or is repeated in the call, is dropped. When it returns without an error,
// all of them are durable.
func (d *Dir) PublishDrops(ctx context.Context, drops []Drop) (Published, error) {
	type identity struct {
		firstID, lastID, start, end   int64
		what, symbol, detector, runID string
	}
	isNew := newRecord(d.catalog, Drops, func(p Drop) identity {
		return identity{orMinusOne(p.FirstID), orMinusOne(p.LastID), p.WindowStart, p.WindowEnd, p.What, p.Symbol, p.Detector, p.RunID}
	})
	return publishRecords(ctx, d.publisher, Drops, drops, func(p Drop) int64 { return p.At }, isNew)
}

// ReadDrops reads drops as ReadAlerts reads alerts.
func (d *Dir) ReadDrops(fromDate, toDate string) ([]Drop, error) {
	return readTable[Drop](d.catalog, Drops, fromDate, toDate)
}

func orMinusOne(id *int64) int64 {
	if id == nil {
		return -1
	}
	return *id
}

// Reasons of a gap, as in the message of its event.
const (
	GapInStream    = "no connection delivered these ids"
	GapBeforeStart = "before the start: no recorder ran, or it was killed before it wrote them"
)

// OpenGaps returns, by symbol, the ids of the gaps in the recorder's history of the last weeks that are
// not known to be on the tape by now, without those that the exchange lacks or that were dropped.
func (d *Dir) OpenGaps(now time.Time) (map[string]idset.Set, error) {
	events, err := d.ReadRecorderEvents(DateOf(now.AddDate(0, 0, -healedDays).UnixMicro()), "")
	if err != nil {
		return nil, err
	}
	gaps, healed := map[string]idset.Set{}, map[string]idset.Set{}
	for _, event := range events {
		if event.FirstID == nil || event.LastID == nil || *event.LastID < *event.FirstID {
			continue
		}
		ids := idset.Range{First: *event.FirstID, Last: *event.LastID}
		switch event.Event {
		case EventGap:
			gaps[event.Symbol] = gaps[event.Symbol].Add(ids)
		case EventHealed:
			healed[event.Symbol] = healed[event.Symbol].Add(ids)
		}
	}
	if len(gaps) == 0 {
		return nil, nil
	}
	absent, err := d.Absent()
	if err != nil {
		return nil, err
	}
	dropped, err := d.Dropped()
	if err != nil {
		return nil, err
	}
	for symbol, ids := range gaps {
		if ids = ids.Subtract(healed[symbol]).Subtract(absent[symbol]).Subtract(dropped[symbol]); len(ids) > 0 {
			gaps[symbol] = ids
		} else {
			delete(gaps, symbol)
		}
	}
	return gaps, nil
}

// healedDays is how old a gap can be when its healing is recorded. A backfill runs every few minutes
// and must not read all of the history each time.
const healedDays = 35

// RecordHealed adds an event to the history of the recorder for each gap of the last weeks whose ids
// are on the tape by now, and which was not recorded as healed before. index is refreshed, now is the
// time of the event, and runID the run that healed. It returns how many were healed.
func (d *Dir) RecordHealed(ctx context.Context, index *Index, now time.Time, runID string) (int, error) {
	events, err := d.ReadRecorderEvents(DateOf(now.AddDate(0, 0, -healedDays).UnixMicro()), "")
	if err != nil {
		return 0, err
	}
	type gap struct {
		symbol      string
		first, last int64
	}
	open := map[gap]bool{}
	for _, event := range events {
		if event.FirstID == nil || event.LastID == nil {
			continue
		}
		g := gap{event.Symbol, *event.FirstID, *event.LastID}
		switch event.Event {
		case EventGap:
			if _, known := open[g]; !known {
				open[g] = true
			}
		case EventHealed:
			open[g] = false
		}
	}
	var healed []RecorderEvent
	for g, isOpen := range open {
		if !isOpen || len(index.IDs(g.symbol).Missing(g.first, g.last)) > 0 {
			continue
		}
		healed = append(healed, RecorderEvent{
			At: now.UnixMicro(), Event: EventHealed, Symbol: g.symbol, FirstID: &g.first, LastID: &g.last,
			IDs: g.last - g.first + 1, Message: "all of these ids are on the tape", RunID: runID,
		})
	}
	if len(healed) == 0 {
		return 0, nil
	}
	_, err = d.PublishRecorderEvents(ctx, healed)
	return len(healed), err
}
