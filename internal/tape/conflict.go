package tape

import (
	"fmt"
	"strconv"
	"time"
)

const (
	// disagreeLeast is from how many compared ids of one symbol a publication can be refused as a whole.
	// An overlap of two connections or a repeated page has more; the handful of ids that the archive
	// uses twice has fewer.
	disagreeLeast = 20
	// disagreeMost bounds the conflicts of one publication, and so the memory for them. A day of the
	// archive that was published again differs in far fewer rows.
	disagreeMost = 200_000
	// maxBackwards is how far back time may run between two ids that meet for the first time. Clocks of
	// the exchange differ by less than a second; another market differs by minutes.
	maxBackwards = 10 * time.Second
	// conflictSamples is how many conflicts Published has.
	conflictSamples = 5
)

// sameContent reports whether two rows of one id have the same content. Times are compared at the
// coarser precision of both: sources with milliseconds cut off what others have. Raw trades are
// compared if both rows know them.
func sameContent(a, b *Trade) bool {
	return a.Price == b.Price && a.Qty == b.Qty && a.IsBuyerMaker == b.IsBuyerMaker &&
		sameTime(a.TradedAt, b.TradedAt) &&
		(a.FirstTradeID == b.FirstTradeID && a.LastTradeID == b.LastTradeID || !a.knowsRawTrades() || !b.knowsRawTrades())
}

// sameTime reports whether two times in microseconds are equal at the coarser precision of both. A
// whole number of milliseconds is taken for a time in milliseconds.
func sameTime(a, b int64) bool {
	return a == b || (a%1000 == 0 || b%1000 == 0) && a/1000 == b/1000
}

// knowsRawTrades reports whether FirstTradeID and LastTradeID say more than ID. Both are set to ID in
// the trade feed and by sources that do not have them.
func (t *Trade) knowsRawTrades() bool { return t.FirstTradeID != t.ID || t.LastTradeID != t.ID }

// content describes what two rows of one id can differ in.
func (t *Trade) content() string {
	text := fmt.Sprintf("price %s, qty %s, taker %s, %s", number(t.Price), number(t.Qty), takerVerb(t.IsBuyerMaker),
		timeOf(t.TradedAt).Format("2006-01-02 15:04:05.999999"))
	if t.knowsRawTrades() {
		text += fmt.Sprintf(", raw trades %d to %d", t.FirstTradeID, t.LastTradeID)
	}
	return text
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func takerVerb(isBuyerMaker bool) string {
	if isBuyerMaker {
		return "sold"
	}
	return "bought"
}

// newConflict returns the conflict of a row on the tape and another with its id, which was refused.
func newConflict(kept *Trade, keptOrigin Origin, other *Trade, otherOrigin Origin) Conflict {
	foundAt := other.TradedAt
	if !otherOrigin.At.IsZero() {
		foundAt = otherOrigin.At.UnixMicro()
	}
	return Conflict{
		Symbol: kept.Symbol, ID: kept.ID, Price: kept.Price, Qty: kept.Qty, FirstTradeID: kept.FirstTradeID,
		LastTradeID: kept.LastTradeID, TradedAt: kept.TradedAt, IsBuyerMaker: kept.IsBuyerMaker,
		Source: keptOrigin.Source, RunID: keptOrigin.Run,
		OtherPrice: other.Price, OtherQty: other.Qty, OtherFirstTradeID: other.FirstTradeID,
		OtherLastTradeID: other.LastTradeID, OtherTradedAt: other.TradedAt, OtherIsBuyerMaker: other.IsBuyerMaker,
		OtherSource: otherOrigin.Source, OtherRunID: otherOrigin.Run, FoundAt: foundAt,
	}
}

// Kept returns the row on the tape.
func (c Conflict) Kept() Trade {
	return Trade{c.Symbol, c.ID, c.Price, c.Qty, c.FirstTradeID, c.LastTradeID, c.TradedAt, c.IsBuyerMaker}
}

// Other returns the row that was refused.
func (c Conflict) Other() Trade {
	return Trade{
		c.Symbol, c.ID, c.OtherPrice, c.OtherQty, c.OtherFirstTradeID, c.OtherLastTradeID, c.OtherTradedAt,
		c.OtherIsBuyerMaker,
	}
}

// String names the id, both contents and where they came from, in one line.
func (c Conflict) String() string {
	kept, other := c.Contents()
	return fmt.Sprintf("%s id %d: %s; %s", c.Symbol, c.ID, kept, other)
}

// Contents describes the row on the tape and the one that was refused, and where they came from.
func (c Conflict) Contents() (kept, other string) {
	on, refused := c.Kept(), c.Other()
	return fmt.Sprintf("on the tape (%s): %s", sourceName(c.Source), on.content()),
		fmt.Sprintf("refused (%s): %s", sourceName(c.OtherSource), refused.content())
}

// sourceName names a source; the rows of a file of another program have none.
func sourceName(s Source) string {
	if s == "" {
		return "another program"
	}
	return string(s)
}

// DisagreementError is returned for a publication that is not of the tape's market: more than half of
// its ids that are on the tape have another content there, or time runs back by more than 10 s
// between its ids and those on the tape. Nothing of it was published.
type DisagreementError struct {
	Symbol string
	// Kept is a row on the tape, and KeptSource where it came from. Other is one of the publication:
	// with the same id, or, if time runs back, with one before or after it; then only their ids and times
	// are set.
	Kept, Other             Trade
	KeptSource, OtherSource Source
	// Compared is how many ids of the symbol were compared, Differing how many of them have another
	// content. Both are zero if time runs back.
	Compared, Differing int64
	// Backwards is by how much time runs back, or zero.
	Backwards time.Duration
}

func (e *DisagreementError) Error() string {
	const cause = "most likely another market answers at the same address"
	if e.Backwards > 0 {
		first, second, firstOrigin, secondOrigin := e.Kept, e.Other, "on the tape", "from "+sourceName(e.OtherSource)
		if first.ID > second.ID {
			first, second, firstOrigin, secondOrigin = second, first, secondOrigin, firstOrigin
		}
		return fmt.Sprintf("%s: time runs back by %s from id %d (%s, %s) to id %d (%s, %s): %s; nothing was published",
			e.Symbol, e.Backwards.Round(time.Millisecond), first.ID, clockTime(first.TradedAt), firstOrigin,
			second.ID, clockTime(second.TradedAt), secondOrigin, cause)
	}
	return fmt.Sprintf("%s: %d of %d ids have another content on the tape, such as id %d: on the tape (%s): %s; from %s: %s: "+
		"%s; nothing was published", e.Symbol, e.Differing, e.Compared, e.Kept.ID, sourceName(e.KeptSource),
		e.Kept.content(), sourceName(e.OtherSource), e.Other.content(), cause)
}

func clockTime(micros int64) string { return timeOf(micros).Format("2006-01-02 15:04:05.000") }
