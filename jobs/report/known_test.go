package report_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/idset"
	"tapedeck/internal/state"
	"tapedeck/internal/tape"
	"tapedeck/jobs/report"
)

// quietMarket trades every two hours: at 08:45, 10:45 and 12:45.
var quietMarket = markets[4]

// TestCompleteNeedsProofOfBothEnds builds reports of one tape with different evidence about its ends.
func TestCompleteNeedsProofOfBothEnds(t *testing.T) {
	before, after := sampleStart.Add(-time.Minute), sampleEnd.Add(time.Minute)
	for _, c := range []struct {
		name     string
		evidence func(*testing.T, *tape.Dir)
		window   [2]time.Time // zero: that of the samples
		complete bool
		want     string
	}{
		{
			name: "trades alone",
			want: "QUIETEUR is known only until 2026-01-15 12:45:00, by its last trade: 15 min before the window's end.",
		},
		{
			name:   "a window before the first trade",
			window: [2]time.Time{sampleStart.Add(-15*time.Minute - time.Millisecond), sampleStart},
			want:   "QUIETEUR is known only from 2026-01-15 08:45:00, by its first trade: less than 1 s after the window's start.",
		},
		{
			name:     "a window from the first trade up to the last one",
			window:   [2]time.Time{sampleStart.Add(-15 * time.Minute), sampleEnd.Add(-15 * time.Minute)},
			complete: true,
			want:     "Complete: every id of QUIETEUR in this window is on the tape; known until 2026-01-15 12:45:00, by the last trade.",
		},
		{
			name:     "a live stream",
			evidence: func(t *testing.T, dir *tape.Dir) { watch(t, dir, before, after, "QUIETEUR") },
			complete: true,
			want:     "Complete: every id of QUIETEUR in this window is on the tape; known until 2026-01-15 13:01:00, by the live stream.",
		},
		{
			name:     "a stream that died",
			evidence: func(t *testing.T, dir *tape.Dir) { watch(t, dir, before, sampleEnd.Add(-time.Microsecond), "QUIETEUR") },
			want:     "QUIETEUR is known only until 2026-01-15 12:59:59, by the live stream: less than 1 s before the window's end.",
		},
		{
			name: "a stream that began after the last trade",
			evidence: func(t *testing.T, dir *tape.Dir) {
				watch(t, dir, sampleEnd.Add(-14*time.Minute), after, "QUIETEUR")
			},
			want: "QUIETEUR is known only until 2026-01-15 12:45:00, by its last trade: 15 min before the window's end.",
		},
		{
			name: "an answer of the exchange",
			evidence: func(t *testing.T, dir *tape.Dir) {
				answers := state.Answers{"QUIETEUR": {LastBefore: []state.Answer{{At: after, ID: 1002}}}}
				if err := state.RecordAnswers(dir.State(), answers); err != nil {
					t.Fatal(err)
				}
			},
			complete: true,
			want:     "Complete: every id of QUIETEUR in this window is on the tape; known until 2026-01-15 13:01:00, by the exchange's answer.",
		},
		{
			name:     "a quiet window on a live stream",
			evidence: func(t *testing.T, dir *tape.Dir) { watch(t, dir, before, after, "QUIETEUR") },
			window:   [2]time.Time{sampleEnd.Add(-10 * time.Minute), sampleEnd},
			complete: true,
			want:     "No trades of QUIETEUR in this window, and none is missing; known until 2026-01-15 13:01:00, by the live stream.",
		},
		{
			name:     "a quiet window, half of it on a live stream",
			evidence: func(t *testing.T, dir *tape.Dir) { watch(t, dir, before, sampleEnd.Add(-5*time.Minute), "QUIETEUR") },
			window:   [2]time.Time{sampleEnd.Add(-10 * time.Minute), sampleEnd},
			want:     "No trades in this window; the record of QUIETEUR is known from 2026-01-15 08:45:00, by the first trade, until 2026-01-15 12:55:00, by the live stream.",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := newTape(t, tape.AggTrade, sampleTrades([]market{quietMarket}, nil))
			if c.evidence != nil {
				c.evidence(t, dir)
			}
			built := build(t, dir, func(o *report.Options) {
				o.Sections = []string{"overview"}
				if !c.window[0].IsZero() {
					o.Window.Start, o.Window.End = c.window[0], c.window[1]
				}
			})
			if built.Complete != c.complete || built.Partial() == c.complete || built.Known[0].Complete != c.complete {
				t.Errorf("complete %v, partial %v, known %+v; want complete %v", built.Complete, built.Partial(), built.Known, c.complete)
			}
			if !slices.ContainsFunc(built.Statements, func(s report.Statement) bool { return s.Text == c.want }) {
				t.Errorf("no statement %q among %v", c.want, built.Statements)
			}
			for _, statement := range built.Statements {
				if strings.HasPrefix(statement.Text, "Complete") && !c.complete || statement.Level == report.Good && !c.complete {
					t.Errorf("an incomplete report says %q", statement.Text)
				}
			}
		})
	}
}

func TestManyUnknownEndsAreOneStatement(t *testing.T) {
	dir := newTape(t, tape.AggTrade, sampleTrades(manyMarkets(9), nil))
	built := build(t, dir, func(o *report.Options) { o.Window.End = sampleEnd.Add(time.Hour) })
	want := "9 symbols are known only until before the window's end: C000USDT, C001USDT, C002USDT, C003USDT, C004USDT, C005USDT, C006USDT, C007USDT, C008USDT."
	if built.Complete || len(built.Statements) == 0 || built.Statements[0].Text != want {
		t.Errorf("complete %v, statements %v; want %q first", built.Complete, built.Statements, want)
	}
}

// TestConflictsAreNamed: a window with an id that has two contents is never complete.
func TestConflictsAreNamed(t *testing.T) {
	dir := sampleTape(t, nil)
	at := sampleStart.Add(time.Hour).UnixMicro()
	var conflicts []tape.Conflict
	for id := range int64(5) {
		conflicts = append(conflicts, tape.Conflict{
			Symbol: "BTCUSDT", ID: 2000 + id, Price: 61837.64, Qty: 0.5, FirstTradeID: 1, LastTradeID: 1, TradedAt: at, Source: "stream",
			OtherPrice: 61837.65, OtherQty: 0.5, OtherFirstTradeID: 1, OtherLastTradeID: 1, OtherTradedAt: at + 1000,
			OtherIsBuyerMaker: true, OtherSource: "rest", FoundAt: at,
		})
	}
	if _, err := dir.PublishConflicts(t.Context(), conflicts); err != nil {
		t.Fatal(err)
	}
	built := build(t, dir, nil)
	want := "Conflict: id 2000 of BTCUSDT has two contents: 61837.64 × 0.5 (taker side buy) at 2026-01-15 10:00:00.000 from stream on the tape, " +
		"61837.65 × 0.5 (taker side sell) at 2026-01-15 10:00:00.001 from rest refused."
	if built.Complete || !built.Partial() || built.Statements[0].Text != want {
		t.Errorf("complete %v, first statement %q, want %q", built.Complete, built.Statements[0].Text, want)
	}
	if rest := "2 conflicts more; the section conflicts lists them."; built.Statements[3].Text != rest {
		t.Errorf("fourth statement %q, want %q", built.Statements[3].Text, rest)
	}
	if section := built.Section("conflicts"); section == nil || len(section.Result.Rows) != 5 {
		t.Errorf("the section conflicts is %v", section)
	}
	for _, c := range []struct {
		change   func(*report.Options)
		complete bool
	}{
		{func(o *report.Options) { o.Symbols = []string{"ETHUSDT"} }, true},
		{func(o *report.Options) { o.Window.Start = sampleStart.Add(2 * time.Hour) }, true},
		{func(o *report.Options) { o.Sections = []string{"overview"} }, false},
	} {
		if other := build(t, dir, c.change); other.Complete != c.complete {
			t.Errorf("complete %v, want %v: %v", other.Complete, c.complete, other.Statements)
		}
	}
}

// TestDroppedIDsAreNotComplete: ids that were removed on purpose are neither missing nor complete.
func TestDroppedIDsAreNotComplete(t *testing.T) {
	dir := sampleTape(t, func(trade tape.Trade) bool {
		return trade.Symbol == "ETHUSDT" && trade.ID >= 1400 && trade.ID < 1410
	})
	dropped := tape.IDRun{Range: idset.Range{First: 1400, Last: 1409}, FirstAt: sampleStart.UnixMicro(), LastAt: sampleEnd.UnixMicro()}
	if err := dir.RecordDropped("ETHUSDT", dropped); err != nil {
		t.Fatal(err)
	}
	built := build(t, dir, nil)
	if built.Complete || !built.Partial() || built.Missing != 0 {
		t.Errorf("complete %v, partial %v, missing %d", built.Complete, built.Partial(), built.Missing)
	}
	if want := "ETHUSDT lacks 10 ids that were dropped on purpose."; built.Statements[0].Text != want {
		t.Errorf("first statement %q, want %q", built.Statements[0].Text, want)
	}
	// What was restored is not dropped any more, even if it is not on the tape.
	if err := dir.RestoreDropped("ETHUSDT", idset.Set{dropped.Range}); err != nil {
		t.Fatal(err)
	}
	if built := build(t, dir, nil); built.Missing != 10 {
		t.Errorf("missing %d after it was restored and lost: %v", built.Missing, built.Statements)
	}
}

func TestKnownIsInTheJSON(t *testing.T) {
	built := build(t, sampleTape(t, nil), func(o *report.Options) { o.Sections = []string{"runs"} })
	text := write(t, built, report.JSON)
	for _, m := range markets {
		want := fmt.Sprintf(`"symbol": %q,`, m.symbol)
		if !strings.Contains(text, want) {
			t.Errorf("the JSON has no %s:\n%s", want, text)
		}
	}
	if n := strings.Count(text, `"known_until_by": "stream"`); n != len(markets) {
		t.Errorf("%d symbols are known by the stream, want %d", n, len(markets))
	}
}
