package main

import (
	"fmt"
	"slices"
	"time"

	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// noteJudgeable notes the minutes that a detect of this instant may judge: those that are over, of which the
// tape has all trades, and of which that is known. They stay judged, whatever becomes of the trades later.
func (h *chronicle) noteJudgeable() {
	for _, symbol := range h.symbols {
		if len(h.had[symbol]) == 0 {
			continue // the tape never had anything of it
		}
		lacking := map[int64]bool{}
		for _, row := range h.market[symbol] {
			if _, ok := h.on[symbol][row.ID]; !ok {
				lacking[row.TradedAt/time.Minute.Microseconds()] = true
			}
		}
		first := oracleDay // or before: a file can have older trades
		for _, row := range h.market[symbol] {
			if at := time.UnixMicro(row.TradedAt).UTC().Truncate(time.Minute); at.Before(first) {
				first = at
			}
		}
		for at := first; !at.Add(time.Minute).After(h.now); at = at.Add(time.Minute) {
			minute := at.UnixMicro() / time.Minute.Microseconds()
			w := window.Window{Start: at, End: at.Add(time.Minute)}
			if !lacking[minute] && !h.judgeable[symbol][minute] && h.unknown(symbol, w) == "" {
				h.judgeable[symbol][minute] = true
			}
		}
	}
}

// mostJudged counts the minutes of a window that can have been judged. Of no symbols are all of them.
func (h *chronicle) mostJudged(symbols []string, w window.Window) (minutes int64) {
	if len(symbols) == 0 {
		symbols = h.symbols
	}
	for _, symbol := range symbols {
		for at := w.Start.Truncate(time.Minute); at.Before(w.End); at = at.Add(time.Minute) {
			if h.judgeable[symbol][at.UnixMicro()/time.Minute.Microseconds()] {
				minutes++
			}
		}
	}
	return minutes
}

func contains(w window.Window, trade tape.Trade) bool {
	return trade.TradedAt >= w.Start.UnixMicro() && trade.TradedAt < w.End.UnixMicro()
}

// recorded returns the symbols of which the tape has rows.
func (h *chronicle) recorded() (symbols []string) {
	for _, symbol := range h.symbols {
		if len(h.on[symbol]) > 0 {
			symbols = append(symbols, symbol)
		}
	}
	return symbols
}

// falsifies returns why the record of a symbol in a window is not complete, or not known to be, or "".
func (h *chronicle) falsifies(symbol string, w window.Window) string {
	at := func(row tape.Trade) string {
		return fmt.Sprintf("id %d of %s", row.ID, time.UnixMicro(row.TradedAt).UTC().Format("02 15:04:05.000000"))
	}
	if len(h.on[symbol]) == 0 && !h.attacked { // what a recorder watched is known, also if its files were removed
		return "the tape has nothing of it"
	}
	for _, row := range h.between(symbol, w) {
		if _, ok := h.on[symbol][row.ID]; !ok {
			return at(row) + " is not on the tape"
		}
		if len(h.altered[symbol][row.ID]) > 0 {
			return at(row) + " has two contents"
		}
	}
	if w.End.After(h.now) {
		return "the window ends in the future"
	}
	return h.unknown(symbol, w)
}

// unknown returns why it is not known that nothing of a window without missing ids is missing, or "".
func (h *chronicle) unknown(symbol string, w window.Window) string {
	// It may be known by trades before and after, by a recorder or by the exchange.
	if !h.asked[symbol].Before(w.End) {
		return ""
	}
	for at := w.Start; at.Before(w.End); {
		next := h.knownFrom(symbol, at)
		if !next.After(at) {
			return fmt.Sprintf("nobody knows what traded from %s on", at.Format("02 15:04:05.000000"))
		}
		at = next
	}
	return ""
}

// knownFrom returns until when everything from an instant on is known to be on the tape.
func (h *chronicle) knownFrom(symbol string, at time.Time) time.Time {
	until := at
	later := func(t time.Time) {
		if t.After(until) {
			until = t
		}
	}
	if !h.asked[symbol].Before(at) {
		later(h.asked[symbol])
	}
	for _, span := range h.watched[symbol] {
		if !span.Start.After(at) && at.Before(span.End) {
			later(span.End)
		}
	}
	rows := h.market[symbol]
	for i, row := range rows {
		if !h.has(symbol, row.ID) || row.TradedAt < at.UnixMicro() {
			continue
		}
		// A trade proves what is before it, back to the one with the id before.
		if i == 0 && row.ID == 0 || i > 0 && rows[i-1].TradedAt <= at.UnixMicro() && h.has(symbol, row.ID-1) {
			later(time.UnixMicro(row.TradedAt))
		}
		if row.TradedAt == at.UnixMicro() {
			if i+1 < len(rows) && h.has(symbol, row.ID+1) {
				later(time.UnixMicro(rows[i+1].TradedAt))
			}
		}
	}
	return until
}

func (h *chronicle) has(symbol string, id int64) bool { return h.had[symbol][id] }

// provable reports whether everything of a symbol in a window is on the tape and proven to be: by a record
// without any gap, drop or conflict that trades and recorders extend to both ends of the window.
func (h *chronicle) provable(symbol string, w window.Window) bool {
	on := h.on[symbol]
	if len(on) == 0 || h.disturbed[symbol] || len(h.altered[symbol]) > 0 || h.attacked {
		return false
	}
	first, last := int64(1)<<62, int64(-1)
	for id := range on {
		first, last = min(first, id), max(last, id)
	}
	if int64(len(on)) != last-first+1 {
		return false
	}
	since, until := time.UnixMicro(on[first].TradedAt), time.UnixMicro(on[last].TradedAt)
	if first == 0 {
		since = time.Unix(0, 0)
	}
	spans := slices.Clone(h.watched[symbol])
	for range spans {
		for _, span := range spans {
			if !span.Start.After(until) && span.End.After(until) {
				until = span.End
			}
			if !span.End.Before(since) && span.Start.Before(since) {
				since = span.Start
			}
		}
	}
	return !w.Start.Before(since) && !w.End.After(until)
}
