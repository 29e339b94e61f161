package backfill

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/idset"
	"tapedeck/internal/tape"
)

// publishChanged puts some ids of a symbol on the tape, with the changes of another source.
func (h *harness) publishChanged(symbol string, ids idset.Range, change func(*tape.Trade)) {
	h.t.Helper()
	var trades []tape.Trade
	for _, row := range h.rows[symbol] {
		if row.ID >= ids.First && row.ID <= ids.Last {
			trade := h.trade(row)
			change(&trade)
			trades = append(trades, trade)
		}
	}
	if _, err := h.dir.Publish(h.t.Context(), trades, tape.Origin{Source: tape.FromStream}); err != nil {
		h.t.Fatal(err)
	}
}

// The rows beside a gap are compared with those on the tape.
func TestConflictBesideAGapIsFoundAndNotStored(t *testing.T) {
	h := newHarness(t, tape.AggTrade, market("BTCUSDT", 0, 500, day0, now))
	h.publishChanged("BTCUSDT", idset.Range{First: 0, Last: 99}, func(trade *tape.Trade) {
		if trade.ID == 99 {
			trade.Price = 7
		}
	})
	h.publish("BTCUSDT", idset.Range{First: 200, Last: 299})
	summary := h.mustBackfill(nil)
	total := summary.Total()
	if total.Conflicts != 1 || total.Fetched != 100 || !summary.Complete() || len(total.ConflictRows) != 1 {
		t.Fatalf("%+v", total)
	}
	if got := summary.String(); !strings.HasPrefix(got, "100 trades fetched, with 1 request (weight 4); 1 conflict with the tape; 0 still missing") {
		t.Errorf("%q", got)
	}
	if c := total.ConflictRows[0]; c.ID != 99 || c.Price != 7 || c.OtherPrice == 7 || c.OtherSource != tape.FromREST {
		t.Errorf("%v", c)
	}
	for _, trade := range h.readTape()["BTCUSDT"] {
		if trade.ID == 99 && trade.Price != 7 {
			t.Errorf("the tape's row was replaced: %v", trade)
		}
	}
	recorded, err := h.dir.ReadConflicts("", "")
	if err != nil || len(recorded) != 1 || recorded[0].FoundAt != now.UnixMicro() {
		t.Errorf("recorded %v, %v", recorded, err)
	}
}

// An exchange whose trades beside a gap are not those on the tape is another market, whatever the
// length of the gap.
func TestAnotherMarketIsRefused(t *testing.T) {
	for _, gap := range []int64{1, 900, 1000, 2000} {
		t.Run(fmt.Sprint(gap), func(t *testing.T) {
			h := newHarness(t, tape.AggTrade, market("BTCUSDT", 0, 3000, day0, now))
			other := func(trade *tape.Trade) { trade.Price++ }
			h.publishChanged("BTCUSDT", idset.Range{First: 0, Last: 499}, other)
			h.publishChanged("BTCUSDT", idset.Range{First: 500 + gap, Last: 2999}, other)
			summary, err := h.run(nil)
			var disagreement *tape.DisagreementError
			if !errors.As(err, &disagreement) || !strings.Contains(err.Error(), h.exchange.URL()+": BTCUSDT: ") {
				t.Errorf("error: %v", err)
			}
			if total := summary.Total(); total.Fetched != 0 || int64(len(h.readTape()["BTCUSDT"])) != 3000-gap {
				t.Errorf("something was published: %+v", total)
			}
		})
	}
}

// The ids of another market can be so different that none meet those on the tape.
func TestAnotherMarketWithOtherIDsIsRefused(t *testing.T) {
	for _, first := range []int64{10, 1_000_000} { // the tape's are 5000 to 5099
		h := newHarness(t, tape.AggTrade, market("BTCUSDT", first, 100, day0, now))
		h.rows["BTCUSDT"] = market("BTCUSDT", 5000, 100, day0, day0.Add(24*time.Hour))
		h.publish("BTCUSDT", idset.Range{First: 5000, Last: 5099})
		_, err := h.run(func(opt *Options) { opt.Window.Start, opt.Window.End = day0.Add(time.Hour), now })
		var disagreement *tape.DisagreementError
		if !errors.As(err, &disagreement) {
			t.Errorf("ids from %d: %v", first, err)
		}
		if trades := h.readTape()["BTCUSDT"]; len(trades) != 100 {
			t.Errorf("ids from %d: %d trades on the tape", first, len(trades))
		}
	}
}

// A day's file that was published again differs in a row that is on the tape: that is a conflict, and
// the rows that the tape lacks are taken.
func TestRevisedArchiveFileIsCompared(t *testing.T) {
	h, ids := newDayHarness(t)
	h.publish("BTCUSDT", idset.Range{First: ids.First, Last: ids.First + 999})
	h.serveChangedFile(func(lines []string) []string {
		lines[500] = setField(lines[500], 2, "7.00000000")
		lines[600] = setField(lines[600], 1, "7.00000000")
		return lines
	})
	summary := h.mustBackfill(wholeDay)
	h.checkTape("BTCUSDT", ids)
	total := summary.Total()
	if total.Conflicts != 2 || len(total.ConflictRows) != 2 || total.FromArchive == 0 || !summary.Complete() {
		t.Errorf("%+v\n%s", total, h.log)
	}
	if c := total.ConflictRows[0]; c.ID != ids.First+500 || c.OtherQty != 7 || c.OtherSource != tape.FromArchive {
		t.Errorf("%v", c)
	}
}

// Dropped ids are not fetched, unless that is asked for.
func TestDroppedIDsAreNotFetched(t *testing.T) {
	h := newHarness(t, tape.AggTrade, market("BTCUSDT", 0, 300, day0, now))
	h.publish("BTCUSDT", idset.Range{First: 0, Last: 99}, idset.Range{First: 200, Last: 299})
	at := func(id int64) int64 { return h.rows["BTCUSDT"][id].TradedAt }
	if err := h.dir.RecordDropped("BTCUSDT", tape.IDRun{Range: idset.Range{First: 120, Last: 199}, FirstAt: at(120), LastAt: at(199)}); err != nil {
		t.Fatal(err)
	}
	summary := h.mustBackfill(nil)
	h.checkTape("BTCUSDT", idset.Range{First: 0, Last: 119}, idset.Range{First: 200, Last: 299})
	if got := summary.String(); !strings.HasSuffix(got, "; 80 ids were dropped on purpose and are not fetched") || summary.Total().Fetched != 20 {
		t.Errorf("%q", got)
	}
	again := h.mustBackfill(nil)
	if got := again.String(); !strings.HasPrefix(got, "no gaps inside") || !strings.HasSuffix(got, "; 80 ids were dropped on purpose and are not fetched") {
		t.Errorf("%q", got)
	}
	summary = h.mustBackfill(func(opt *Options) { opt.RestoreDropped = true })
	h.checkTape("BTCUSDT", idset.Range{First: 0, Last: 299})
	if total := summary.Total(); total.Fetched != 80 || total.Dropped != 0 {
		t.Errorf("%+v", total)
	}
}
