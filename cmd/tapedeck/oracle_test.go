package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/window"
)

var (
	oracleHistories = flag.Int("oracle", 0, "how many random histories TestOracle checks; 0 means a few that are always the same")
	oracleSeed      = flag.Uint64("oracle-seed", 0, "check only the history of this seed")
)

// TestOracle lives through random histories of a tape, and asks the commands in between what is true. They
// must never claim more than what an oracle knows that sees everything, and where nothing is wrong no
// less.
func TestOracle(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long with the race detector; make test-all runs it")
	}
	if *oracleSeed != 0 {
		newChronicle(t, *oracleSeed).live()
		return
	}
	histories, seed := *oracleHistories, rand.Uint64()>>20&^3 // every fourth history is calm
	if histories == 0 {
		histories, seed = 4, 4 // the same ones each time
	}
	fmt.Printf("oracle: %d histories from seed %d\n", histories, seed)
	var sum claims
	missed := func() bool { return sum.Complete == 0 || sum.Incomplete == 0 || sum.Quiet == 0 }
	for i := 0; !t.Failed() && (i < histories || missed()); i++ {
		if i == histories+40 {
			t.Fatalf("no window was complete, incomplete or quiet in %d histories: %+v", i, sum)
		}
		seed := seed + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			h := newChronicle(t, seed)
			sum.add(h.live())
		})
	}
	fmt.Printf("oracle: %+v\n", sum)
}

// claims counts what was judged.
type claims struct{ Reports, Complete, Incomplete, Quiet, Verified, Judged int }

func (c *claims) add(more claims) {
	c.Reports += more.Reports
	c.Complete += more.Complete
	c.Incomplete += more.Incomplete
	c.Quiet += more.Quiet
	c.Verified += more.Verified
	c.Judged += more.Judged
}

// live lives through a history.
func (h *chronicle) live() (sum claims) {
	for range 4 + h.random.IntN(8) {
		kind := h.random.IntN(18)
		if h.calm {
			kind = 0
		}
		switch kind {
		case 0, 1, 2, 3, 4:
			h.record(time.Second + h.upTo(2*time.Hour))
		case 5, 6, 7:
			h.backfill()
		case 8, 9:
			h.importFile()
		case 10:
			h.disagree()
		case 11:
			h.run("compact", "--force")
		case 12:
			h.drop()
		case 13:
			if h.chance(3) {
				h.forget()
			}
		case 14, 15:
			h.detect()
		default:
			h.wait(h.upTo(40 * time.Minute))
		}
		if !h.calm && h.chance(3) {
			h.wait(h.upTo(30 * time.Minute))
		}
		h.look()
		if h.chance(2) {
			sum.add(h.report())
		}
		if h.chance(4) {
			sum.add(h.verify())
		}
	}
	if h.calm { // there are windows of which everything is known, and of which nothing is
		begin := h.watched[h.symbols[0]][0].Start
		h.placed = []window.Window{{Start: begin, End: h.now}, {Start: h.now, End: h.now.Add(time.Hour)}}
		h.detect()
	}
	for range 4 {
		sum.add(h.report())
	}
	sum.add(h.verify())
	h.health()
	return sum
}

// reported is what the oracle reads of report --format json.
type reported struct {
	Complete bool `json:"complete"`
	Empty    bool `json:"empty"`
	Judged   struct {
		Minutes       int64 `json:"minutes"`
		JudgedMinutes int64 `json:"judged_minutes"`
	} `json:"judged"`
	Missing    int64 `json:"missing"`
	Statements []struct {
		Mood string `json:"mood"`
		Text string `json:"text"`
	} `json:"statements"`
	Sections []struct {
		Name string `json:"name"`
		Rows []struct {
			Symbol    string `json:"symbol"`
			Verdict   string `json:"verdict"`
			Rows      int64  `json:"rows"`
			Missing   int64  `json:"missing"`
			Conflicts int64  `json:"conflicts"`
		} `json:"rows"`
	} `json:"sections"`
}

// report asks for the report of a window and judges it.
func (h *chronicle) report() (sum claims) {
	sum.Reports = 1
	w := h.someWindow()
	args := []string{"report", "--format", "json", "--sections", "completeness",
		"--from", w.Start.Format(time.RFC3339Nano), "--to", w.End.Format(time.RFC3339Nano)}
	symbols := h.recorded()
	var named []string
	if h.chance(3) {
		symbols, named = h.symbols[:1], h.symbols[:1]
		args = append(args, "--symbols", symbols[0])
	}
	status, stdout, stderr := h.run(args...)
	var got reported
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		h.fail("report: status %d, %v: %s%s", status, err, stdout, stderr)
	}
	h.note("%+v", got)
	if got.Complete != (status == exitDone) {
		h.fail("report says complete: %t, and exits with %d", got.Complete, status)
	}
	for _, s := range got.Statements {
		if strings.HasPrefix(s.Text, "Complete") && !got.Complete {
			h.fail("report says %q, and complete: false", s.Text)
		}
	}
	if got.Judged.JudgedMinutes > 0 {
		sum.Judged = 1
	}
	if most := h.mostJudged(named, w); got.Judged.JudgedMinutes > most {
		h.fail("report says that %d minutes were judged, no detect saw all trades of more than %d", got.Judged.JudgedMinutes, most)
	}
	verdicts := map[string]string{}
	for _, section := range got.Sections {
		for _, row := range section.Rows {
			verdicts[row.Symbol] = row.Verdict
			on := int64(0)
			for _, trade := range h.on[row.Symbol] {
				if contains(w, trade) {
					on++
				}
			}
			if row.Rows != on {
				h.fail("report counts %d rows of %s, the tape has %d", row.Rows, row.Symbol, on)
			}
		}
	}
	quiet := len(symbols) > 0
	for _, symbol := range h.symbols { // the report of all symbols names one of which all was dropped
		quiet = quiet && (named != nil || len(h.dropped[symbol]) == 0)
	}
	for _, symbol := range symbols {
		verdict := verdicts[symbol]
		claimed := got.Complete || verdict == "complete" || verdict == "no trades"
		if why := h.falsifies(symbol, w); claimed && why != "" {
			h.fail("report says of %s %q, complete: %t, but %s", symbol, verdict, got.Complete, why)
		}
		if h.provable(symbol, w) {
			if verdict != "complete" && verdict != "no trades" {
				h.fail("report says of %s %q, but everything is on the tape and proven", symbol, verdict)
			}
		} else {
			quiet = false
		}
	}
	if quiet {
		sum.Quiet = 1
		if !got.Complete {
			h.fail("report says complete: false, but everything is on the tape and proven")
		}
	}
	if got.Complete {
		sum.Complete = 1
	} else {
		sum.Incomplete = 1
	}
	return sum
}

// oracleDetector needs no history, and finds several trades an hour.
const oracleDetector = `-- large_trade lists the trades of two thousand units of quote asset.
--
-- reads:   trades        from window_start
-- param:   window_start  TIMESTAMP  UTC, inclusive
-- param:   window_end    TIMESTAMP  UTC, exclusive
-- column:  symbol        VARCHAR    as the exchange spells it
-- column:  at            TIMESTAMP  UTC, just after the trade
-- column:  score         DOUBLE     quote asset
-- column:  severity      VARCHAR    low
-- column:  message       VARCHAR    one sentence
-- column:  first_id      BIGINT     the trade
-- column:  last_id       BIGINT     the trade
-- key:     symbol, at
SELECT
    symbol,
    traded_at + INTERVAL 1 MICROSECOND AS at,
    max(price * qty) AS score,
    'low' AS severity,
    'a large trade' AS message,
    min(id) AS first_id,
    max(id) AS last_id,
FROM trades
WHERE
    traded_at >= $window_start::TIMESTAMP
    AND traded_at < $window_end::TIMESTAMP
    AND price * qty >= 2000
GROUP BY
    symbol,
    traded_at
ORDER BY
    symbol,
    "at"
`

// detect runs a detector that needs no history, or all of them.
func (h *chronicle) detect() {
	args := []string{"detect"}
	if h.calm || !h.chance(4) {
		args = append(args, "--detector", "large_trade")
	}
	if status, _, stderr := h.run(args...); status == exitFailed || status == exitMisuse {
		h.fail("detect: status %d: %s", status, stderr)
	}
}

// verify asks for the certificate and judges it.
func (h *chronicle) verify() (sum claims) {
	sum.Verified = 1
	status, stdout, stderr := h.run("verify", "--format", "json")
	var got struct {
		Complete bool `json:"complete"`
		Symbols  []struct {
			Symbol    string `json:"symbol"`
			Trades    int64  `json:"trades"`
			Missing   int64  `json:"missing"`
			Dropped   int64  `json:"dropped"`
			Twice     int64  `json:"twice"`
			Conflicts int64  `json:"conflicts"`
		} `json:"symbols"`
		Gone map[string]int64 `json:"gone"`
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		h.fail("verify: status %d, %v: %s%s", status, err, stdout, stderr)
	}
	if (status == exitDone) != got.Complete {
		h.fail("verify says complete: %t, and exits with %d", got.Complete, status)
	}
	for _, symbol := range h.symbols {
		least, most := int64(0), int64(0) // ids that were missing among those dropped count, too
		if ids := slices.Sorted(maps.Keys(h.dropped[symbol])); len(h.on[symbol]) == 0 && len(ids) > 0 {
			least, most = int64(len(ids)), ids[len(ids)-1]-ids[0]+1
		}
		if _, isNamed := got.Gone[symbol]; h.attacked && !isNamed { // ids that are known to be missing are named instead
			least = 0
		}
		if n := got.Gone[symbol]; n < least || n > most {
			h.fail("verify says that %d ids of %s were dropped and nothing is left, want %d to %d", n, symbol, least, most)
		}
	}
	for _, s := range got.Symbols {
		on := h.on[s.Symbol]
		if s.Trades != int64(len(on)) || s.Twice != 0 {
			h.fail("verify counts %d rows of %s and %d twice, the tape has %d", s.Trades, s.Symbol, s.Twice, len(on))
		}
		first, last := int64(1)<<62, int64(-1)
		for id := range on {
			first, last = min(first, id), max(last, id)
		}
		holes := max(0, last-first+1-int64(len(on)))
		if !h.disturbed[s.Symbol] && s.Missing < holes {
			h.fail("verify misses %d ids of %s, %d are not on the tape", s.Missing, s.Symbol, holes)
		}
		if s.Missing+s.Dropped < holes {
			h.fail("verify says that %d ids of %s are missing and %d were dropped, %d are not on the tape", s.Missing, s.Symbol, s.Dropped, holes)
		}
		if got.Complete && holes > 0 {
			h.fail("verify says complete, but %d ids of %s are not on the tape", holes, s.Symbol)
		}
		conflicts := 0
		for _, contents := range h.altered[s.Symbol] {
			conflicts += len(contents)
		}
		if s.Conflicts != int64(conflicts) && !h.disturbed[s.Symbol] {
			h.fail("verify counts %d conflicts of %s, there are %d", s.Conflicts, s.Symbol, conflicts)
		}
		if got.Complete && len(h.altered[s.Symbol]) > 0 && !h.disturbed[s.Symbol] {
			h.fail("verify says complete, but ids of %s have two contents", s.Symbol)
		}
		if !got.Complete && holes == 0 && !h.attacked && len(got.Symbols) == 1 && len(h.altered[s.Symbol]) == 0 && !h.disturbed[s.Symbol] {
			h.fail("verify says not complete, but nothing is missing: %s", stdout)
		}
	}
	return sum
}

// health must not call a tape healthy that no recorder writes, and must warn of conflicts that are open.
func (h *chronicle) health() {
	status, stdout, stderr := h.run("health")
	if status == exitDone {
		h.fail("health says %q, but no recorder runs", stdout)
	}
	conflicts, sure := 0, true
	for _, symbol := range h.symbols {
		for _, contents := range h.altered[symbol] {
			conflicts += len(contents)
		}
		sure = sure && !h.disturbed[symbol]
	}
	if warned := strings.Contains(stderr, "with two contents"); sure && warned != (conflicts > 0) {
		h.fail("health says %q, there are %d conflicts", stderr, conflicts)
	}
}
