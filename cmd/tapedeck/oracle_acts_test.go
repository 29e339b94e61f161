package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// disagree sends the recorder a few trades again, with other contents.
func (h *chronicle) disagree() {
	h.look()
	symbol := h.symbols[h.random.IntN(len(h.symbols))]
	row, ok := h.someRow(symbol)
	if !ok {
		return
	}
	h.publish([]tape.Trade{h.alter(row)}, "stream-again")
	h.note("a recorder received %s %d with another content", symbol, row.ID)
}

// someRow returns a row that is on the tape.
func (h *chronicle) someRow(symbol string) (tape.Trade, bool) {
	for _, row := range h.market[symbol] {
		if _, ok := h.on[symbol][row.ID]; ok && h.chance(5) {
			return row, true
		}
	}
	return tape.Trade{}, false
}

func (h *chronicle) alter(row tape.Trade) tape.Trade {
	id := row.ID
	if h.chance(2) {
		row.Price *= 2
	} else {
		row.IsBuyerMaker = !row.IsBuyerMaker
	}
	if h.altered[row.Symbol][id] == nil {
		h.altered[row.Symbol][id] = map[tape.Trade]bool{}
	}
	h.altered[row.Symbol][id][row] = true
	return row
}

// importFile imports a file of the market's trades, in which an id that is on the tape may have another
// content.
func (h *chronicle) importFile() {
	h.look()
	symbol := h.symbols[h.random.IntN(len(h.symbols))]
	w := h.someWindow()
	w.End = earlier(w.End, h.now)
	rows := h.between(symbol, w)
	if len(rows) == 0 || len(rows) > 5000 {
		return
	}
	differs := int64(-1)
	if h.chance(3) {
		for i := range rows {
			if _, ok := h.on[symbol][rows[i].ID]; ok && h.chance(3) {
				rows[i] = h.alter(rows[i])
				differs = rows[i].ID
				break
			}
		}
	}
	file := h.writeCSV(symbol, rows)
	status, _, stderr := h.run("import", "--symbol", symbol, file)
	switch {
	case differs < 0 && status != exitDone && !h.attacked: // a merged tape may have brought another content first
		h.fail("the import failed")
	case differs >= 0 && status != exitPartial:
		h.fail("the import of a file in which %s %d differs exits with %d", symbol, differs, status)
	case differs >= 0 && !strings.Contains(stderr, fmt.Sprint(differs)):
		h.fail("the import does not name %s %d, which differs", symbol, differs)
	}
}

// writeCSV writes rows of a symbol to a file that import reads.
func (h *chronicle) writeCSV(symbol string, rows []tape.Trade) (file string) {
	var text strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&text, "%d,%s,%s,%d,%d,%d,%t,True\n", r.ID, decimal(r.Price), decimal(r.Qty), r.FirstTradeID, r.LastTradeID, r.TradedAt, r.IsBuyerMaker)
	}
	h.runs++
	file = filepath.Join(h.t.TempDir(), fmt.Sprintf("%s-aggTrades-%d.csv", symbol, h.runs))
	if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
		h.t.Fatal(err)
	}
	return file
}

// backfill asks the exchange, and judges what the command says.
func (h *chronicle) backfill() {
	args := []string{"backfill"}
	w, windowed := h.someWindow(), !h.chance(3)
	symbols := h.symbols
	if windowed {
		args = append(args, "--from", w.Start.Format(time.RFC3339Nano), "--to", w.End.Format(time.RFC3339Nano))
		if h.chance(3) {
			symbols = symbols[:1]
		}
		args = append(args, "--symbols", strings.Join(symbols, ","))
	}
	status, _, stderr := h.run(args...)
	dropped := map[string]map[int64]bool{}
	for _, symbol := range h.symbols {
		dropped[symbol] = maps.Clone(h.dropped[symbol])
	}
	for _, symbol := range symbols {
		h.asked[symbol] = h.now
	}
	h.look()
	for symbol, ids := range dropped {
		for id := range ids {
			if _, ok := h.on[symbol][id]; ok {
				h.fail("backfill has fetched %s %d, which was dropped on purpose", symbol, id)
			}
		}
	}
	if status != exitDone || !windowed {
		return
	}
	defer h.reportOn(w, symbols, stderr)
	claimed := strings.Contains(stderr, "nothing was missing") || strings.Contains(stderr, " 0 still missing")
	for _, symbol := range symbols {
		if h.disturbed[symbol] {
			continue
		}
		for _, row := range h.between(symbol, w) {
			if _, ok := h.on[symbol][row.ID]; ok {
				continue
			}
			if row.TradedAt < h.now.UnixMicro() || claimed && !namesLimit(stderr) {
				h.fail("backfill of %s says %q with status 0, but %s %d of %s is not on the tape", spansText([]window.Window{w}),
					strings.TrimSpace(stderr), symbol, row.ID, time.UnixMicro(row.TradedAt).UTC().Format(time.DateTime))
			}
			break
		}
	}
	if !w.Start.Before(h.now) && strings.Contains(stderr, "nothing was missing") && !namesLimit(stderr) {
		h.fail("backfill of a window in the future says %q", stderr)
	}
}

// reportOn asks for the report of what a backfill has just answered for: it must be complete, unless
// something else is wrong.
func (h *chronicle) reportOn(w window.Window, symbols []string, answer string) {
	if w.End.After(h.now.Add(h.skew)) {
		return // to this machine, whose clock is behind, it ends in the future
	}
	for _, symbol := range symbols {
		// A window without trades may lie outside of what a record is known for.
		if h.disturbed[symbol] || len(h.altered[symbol]) > 0 || len(h.between(symbol, w)) == 0 ||
			h.market[symbol][0].TradedAt > w.Start.UnixMicro() { // or begin before all trades
			return
		}
	}
	status, stdout, _ := h.run("report", "--format", "json", "--sections", "completeness", "--symbols", strings.Join(symbols, ","),
		"--from", w.Start.Format(time.RFC3339Nano), "--to", w.End.Format(time.RFC3339Nano))
	if status != exitDone {
		h.fail("backfill says %q about %s, and the report of that says\n%s", strings.TrimSpace(answer), spansText([]window.Window{w}), stdout)
	}
}

// namesLimit reports whether a summary of backfill says what its window lacks an answer for.
func namesLimit(text string) bool {
	return strings.Contains(text, "future") || strings.Contains(text, "no answer") || strings.Contains(text, "not over") ||
		strings.Contains(text, "before") || strings.Contains(text, "until") || strings.Contains(text, "from ")
}

// drop removes rows on purpose.
func (h *chronicle) drop() {
	h.look()
	symbol := h.symbols[h.random.IntN(len(h.symbols))]
	w := h.someWindow()
	status, _, stderr := h.run("drop", "--symbols", symbol, "--from", w.Start.Format(time.RFC3339Nano), "--to", w.End.Format(time.RFC3339Nano), "--yes")
	if status == exitMisuse {
		return
	}
	if status != exitDone {
		h.fail("drop failed: %s", stderr)
	}
	h.disturbed[symbol] = true
	before := h.on[symbol]
	h.look()
	for id, row := range before {
		if _, ok := h.on[symbol][id]; ok == contains(w, row) {
			h.fail("drop of %s: %s %d of %s is on the tape: %t", spansText([]window.Window{w}), symbol, id,
				time.UnixMicro(row.TradedAt).UTC().Format(time.DateTime), ok)
		} else if !ok {
			h.dropped[symbol][id] = true
		}
	}
}

// forget deletes what proves more than the trades do.
func (h *chronicle) forget() {
	state := filepath.Join(h.dir.Path(), ".state")
	for _, name := range []string{"watched", "answers.json"} {
		if err := os.RemoveAll(filepath.Join(state, name)); err != nil {
			h.t.Fatal(err)
		}
	}
	clear(h.watched)
	h.note("the files in .state were lost")
}
