package tape

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/window"
)

// second returns an instant after day0.
func second(n int) time.Time { return day0.Add(time.Duration(n) * time.Second) }

func watchedSpans(pairs ...int) (out []window.Window) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, window.Window{Start: second(pairs[i]), End: second(pairs[i+1])})
	}
	return out
}

func TestKnownFromEvidence(t *testing.T) {
	// The tape has the ids 10 to 20, from second 100 to 200.
	bounds := Bounds{FirstID: 10, LastID: 20, FirstAt: second(100), LastAt: second(200)}
	answers := func(ids ...int64) (out []state.Answer) {
		for i := 0; i < len(ids); i += 2 {
			out = append(out, state.Answer{At: second(int(ids[i])), ID: ids[i+1]})
		}
		return out
	}
	for _, c := range []struct {
		name         string
		watched      []window.Window
		answers      state.SymbolAnswers
		since, until int
		by           [2]Evidence
	}{
		{name: "only trades", since: 100, until: 200, by: [2]Evidence{ByTrade, ByTrade}},
		{name: "a live stream", watched: watchedSpans(50, 260), since: 50, until: 260, by: [2]Evidence{ByStream, ByStream}},
		{name: "a stream that stopped before the last trade", watched: watchedSpans(90, 150), since: 90, until: 200, by: [2]Evidence{ByStream, ByTrade}},
		{name: "a stream from the last trade on", watched: watchedSpans(200, 230), since: 100, until: 230, by: [2]Evidence{ByTrade, ByStream}},
		{name: "a break after the last trade", watched: watchedSpans(150, 210, 211, 300), since: 100, until: 210, by: [2]Evidence{ByTrade, ByStream}},
		{name: "a break, then the exchange answers inside the second span", watched: watchedSpans(150, 210, 220, 300), answers: state.SymbolAnswers{LastBefore: answers(240, 20)}, since: 100, until: 300, by: [2]Evidence{ByTrade, ByStream}},
		{name: "an answer that ends before the second span", watched: watchedSpans(150, 210, 220, 300), answers: state.SymbolAnswers{LastBefore: answers(215, 20)}, since: 100, until: 215, by: [2]Evidence{ByTrade, ByExchange}},
		{name: "an answer that names an id the tape lacks", answers: state.SymbolAnswers{LastBefore: answers(240, 21)}, since: 100, until: 200, by: [2]Evidence{ByTrade, ByTrade}},
		{name: "an older answer that the tape satisfies", answers: state.SymbolAnswers{LastBefore: answers(230, 20, 240, 21)}, since: 100, until: 230, by: [2]Evidence{ByTrade, ByExchange}},
		{name: "the first id from an instant", answers: state.SymbolAnswers{FirstFrom: answers(40, 10)}, since: 40, until: 200, by: [2]Evidence{ByExchange, ByTrade}},
		{name: "the first id from an instant is not on the tape", answers: state.SymbolAnswers{FirstFrom: answers(40, 9)}, since: 100, until: 200, by: [2]Evidence{ByTrade, ByTrade}},
		{name: "a span before the first trade attaches to an answer", watched: watchedSpans(10, 50, 20, 30), answers: state.SymbolAnswers{FirstFrom: answers(40, 10)}, since: 10, until: 200, by: [2]Evidence{ByStream, ByTrade}},
		{name: "spans that do not reach the trades", watched: watchedSpans(10, 99, 201, 300), since: 100, until: 200, by: [2]Evidence{ByTrade, ByTrade}},
	} {
		want := Known{Since: second(c.since), Until: second(c.until), SinceBy: c.by[0], UntilBy: c.by[1]}
		if got := knownFrom(bounds, c.watched, c.answers); got != want {
			t.Errorf("%s: %v, want %v", c.name, got, want)
		}
	}
	first := knownFrom(Bounds{FirstID: 0, LastID: 20, FirstAt: second(100), LastAt: second(200)}, nil, state.SymbolAnswers{})
	if first.Since.After(time.Unix(0, 0)) || first.SinceBy != ByTrade {
		t.Errorf("a record from id 0 is known since %v by %s", first.Since, first.SinceBy)
	}
}

// TestKnownNeverClaimsMoreThanTheTruth compares Known with an oracle that sees all trades of a random
// symbol, which of them are on the tape, and when the stream was up.
func TestKnownNeverClaimsMoreThanTheTruth(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	const length = 120
	extended := 0
	for range 3000 {
		var tradeAt []int // by id
		for at := range length {
			if random.IntN(12) == 0 {
				tradeAt = append(tradeAt, at)
			}
		}
		stored := map[int]bool{} // ids
		var spans []window.Window
		for at := random.IntN(30); at < length; at += 1 + random.IntN(10) {
			end := min(at+1+random.IntN(40), length)
			spans = append(spans, watchedSpans(at, end)...)
			for id, tradedAt := range tradeAt {
				if tradedAt >= at && tradedAt < end {
					stored[id] = true
				}
			}
			at = end
		}
		var answers state.SymbolAnswers
		for range random.IntN(3) {
			at, before := random.IntN(length), -1
			for id, tradedAt := range tradeAt {
				if tradedAt < at {
					before = id
				}
			}
			if before >= 0 && before < len(tradeAt)-1 {
				answers.LastBefore = append(answers.LastBefore, state.Answer{At: second(at), ID: int64(before) + 1})
				answers.FirstFrom = append(answers.FirstFrom, state.Answer{At: second(at), ID: int64(before) + 2})
			}
			if random.IntN(2) == 0 && before >= 0 { // and it is fetched
				stored[before] = true
			}
		}
		if len(stored) == 0 {
			continue
		}
		first, last := len(tradeAt), -1
		for id := range stored {
			first, last = min(first, id), max(last, id)
		}
		bounds := Bounds{FirstID: int64(first) + 1, LastID: int64(last) + 1, FirstAt: second(tradeAt[first]), LastAt: second(tradeAt[last])}
		got := knownFrom(bounds, window.Merge(spans), answers)
		for id, at := range tradeAt {
			outside := id < first || id > last // inside, it would be a gap
			if outside && !second(at).Before(got.Since) && second(at).Before(got.Until) {
				t.Fatalf("seed %d: %v, but the trade of second %d is not on the tape: trades %v, stored %v, spans %v, answers %v",
					seed, got, at, tradeAt, stored, spans, answers)
			}
		}
		if got.UntilBy != ByTrade && got.SinceBy != ByTrade {
			extended++
		}
	}
	if extended < 100 {
		t.Errorf("seed %d: both ends were extended in %d histories only", seed, extended)
	}
}

func TestIndexKnowsWhatWasWatchedAndAnswered(t *testing.T) {
	d := newTape(t)
	publish(t, d, trades("BTCUSDT", 5, 10, second(100)))
	publish(t, d, trades("ETHUSDT", 5, 10, second(100)))
	watched := map[string][]window.Window{"BTCUSDT": watchedSpans(90, 150), "XRPUSDT": watchedSpans(0, 10)}
	if err := d.RecordWatched("run", watched); err != nil {
		t.Fatal(err)
	}
	err := state.RecordAnswers(d.State(), state.Answers{"ETHUSDT": {LastBefore: []state.Answer{{At: second(200), ID: 10}}}})
	if err != nil {
		t.Fatal(err)
	}
	index := d.Index()
	if err := index.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for symbol, want := range map[string]Known{
		"BTCUSDT": {second(90), second(150), ByStream, ByStream},
		"ETHUSDT": {second(100), second(200), ByTrade, ByExchange},
	} {
		if got, ok := index.Known(symbol); !ok || got != want {
			t.Errorf("%s: %v, %v, want %v", symbol, got, ok, want)
		}
	}
	if known, ok := index.Known("XRPUSDT"); ok {
		t.Errorf("a symbol without a trade is known: %v", known)
	}
}

func TestPruneWatchedKeepsWhatReachesBeyondTheTape(t *testing.T) {
	d := newTape(t)
	publish(t, d, trades("BTCUSDT", 5, 105, second(100))) // until second 200
	spans := watchedSpans(50, 110, 120, 130, 140, 150, 190, 210, 220, 230)
	for run, watched := range map[string][]window.Window{"a": spans[:3], "b": spans[2:]} {
		if err := d.RecordWatched(run, map[string][]window.Window{"BTCUSDT": watched, "NEWUSDT": watched}); err != nil {
			t.Fatal(err)
		}
	}
	knownNow := func() Known {
		index := d.Index()
		if err := index.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		known, _ := index.Known("BTCUSDT")
		return known
	}
	before := knownNow()
	for range 2 {
		if err := d.PruneWatched(); err != nil {
			t.Fatal(err)
		}
	}
	if after := knownNow(); after != before || after != (Known{second(50), second(210), ByStream, ByStream}) {
		t.Errorf("known %v, before the pruning %v", after, before)
	}
	got, _, err := state.ReadWatched(d.State())
	if err != nil || len(got["NEWUSDT"]) != len(spans) || len(got["BTCUSDT"]) != 3 {
		t.Errorf("left %v, %v", got, err)
	}
	if files, err := os.ReadDir(d.State().Path("watched")); err != nil || len(files) != 1 {
		t.Errorf("files %v, %v", files, err)
	}
}

// TestLostEndsAreMissing removes the extent, and the first or the last segment. Whatever evidence is left, no
// window in which rows were lost is claimed; if it names the ids, they count as missing.
func TestLostEndsAreMissing(t *testing.T) {
	const symbol = "BTCUSDT"
	for _, evidence := range []string{"none", "watched", "watched, pruned", "watched again after the loss", "answers", "watched, without ids", "watched, without ids, pruned"} {
		for _, lost := range [][]int{{0}, {2}, {0, 2}, {0, 1, 2}} {
			d := newTape(t)
			var paths []string
			for i := range int64(3) {
				paths = append(paths, publish(t, d, trades(symbol, 10+10*i, 19+10*i, second(int(100+10*i)))).Segments...) // one a second
			}
			spans := map[string][]window.Window{symbol: watchedSpans(50, 200)}
			answers := state.SymbolAnswers{FirstFrom: []state.Answer{{At: second(50), ID: 10}}, LastBefore: []state.Answer{{At: second(200), ID: 39}}}
			var err error
			switch evidence {
			case "watched, without ids", "watched, without ids, pruned":
				err = state.NewWatched("run", spans, nil).Write(d.State())
			case "answers":
				err = d.RecordAnswers(state.Answers{symbol: answers})
			case "none":
			default:
				err = d.RecordWatched("run", spans)
			}
			if err == nil && strings.HasSuffix(evidence, "pruned") {
				err = d.PruneWatched()
			}
			for _, i := range lost {
				err = errors.Join(err, os.Remove(filepath.Join(d.Path(), paths[i])))
			}
			if err = errors.Join(err, os.Remove(d.State().Path(extentName))); err != nil {
				t.Fatal(err)
			}
			if evidence == "watched again after the loss" {
				publish(t, d, trades("ETHUSDT", 5, 10, second(100)))
				if err := errors.Join(d.RecordWatched("run", spans), d.PruneWatched(), d.RecordWatched("next", spans)); err != nil {
					t.Fatal(err)
				}
			}
			index := d.Index()
			if err := index.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			certificate, err := d.Certify(t.Context(), second(1000), false)
			if err != nil {
				t.Fatal(err)
			}
			want := int64(10 * len(lost))
			if evidence == "none" || evidence == "watched, without ids" {
				want = 0
			}
			var missing, certified int64
			for _, gap := range index.Gaps(symbol) {
				missing += gap.Count()
			}
			for _, s := range certificate.Symbols {
				certified += s.Missing
			}
			if missing != want || certified != want || certificate.Complete() != (want == 0) {
				t.Errorf("%s, lost %v: missing %d, by the certificate %d, want %d", evidence, lost, missing, certified, want)
			}
			if known, ok := index.Known(symbol); evidence == "none" && ok && (known.SinceBy != ByTrade || known.UntilBy != ByTrade) {
				t.Errorf("%s, lost %v: known %v", evidence, lost, known)
			}
			last, err := d.LastIDs()
			if err != nil || want > 0 && last[symbol] != 39 {
				t.Errorf("%s, lost %v: the last ids are %v, %v", evidence, lost, last, err)
			}
		}
	}
}

// TestDroppedEndsAreNotMissing: what was dropped on purpose is not lost, whatever the evidence names.
func TestDroppedEndsAreNotMissing(t *testing.T) {
	d := newTape(t)
	first, middle, last := trades("BTCUSDT", 10, 19, second(100)), trades("BTCUSDT", 20, 29, second(110)), trades("BTCUSDT", 30, 39, second(120))
	paths := [][]string{publish(t, d, first).Segments, publish(t, d, middle).Segments, publish(t, d, last).Segments}
	if err := d.RecordWatched("run", map[string][]window.Window{"BTCUSDT": watchedSpans(50, 200)}); err != nil {
		t.Fatal(err)
	}
	dropIDs(t, d, slices.Concat(first, last))
	for _, path := range []string{paths[0][0], paths[2][0]} {
		if err := os.Remove(filepath.Join(d.Path(), path)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(d.State().Path(extentName)); err != nil {
		t.Fatal(err)
	}
	certificate, err := d.Certify(t.Context(), second(1000), false)
	if err != nil || len(certificate.Symbols) != 1 {
		t.Fatalf("%v, %v", certificate.Symbols, err)
	}
	if s := certificate.Symbols[0]; s.Missing != 0 || s.Trades != 10 || s.Dropped != 10 {
		t.Errorf("%d missing, %d trades, %d dropped", s.Missing, s.Trades, s.Dropped)
	}
}

// TestAnswersNarrowAGap moves the ends of a gap to where the exchange says that the missing ids begin and
// end.
func TestAnswersNarrowAGap(t *testing.T) {
	gap := Gap{Symbol: "A", First: 10, Last: 20, After: second(100), Before: second(200)}
	answer := func(at int, id int64) []state.Answer { return []state.Answer{{At: second(at), ID: id}} }
	micro := time.Microsecond
	for _, c := range []struct {
		name          string
		answers       state.SymbolAnswers
		after, before time.Time
	}{
		{"none", state.SymbolAnswers{}, second(100), second(200)},
		{"the last id before is the one before the gap", state.SymbolAnswers{LastBefore: answer(150, 9)}, second(150), second(200)},
		{"the last id before is in the gap", state.SymbolAnswers{LastBefore: answer(150, 10)}, second(100), second(200)},
		{"the first id from is the one after the gap", state.SymbolAnswers{FirstFrom: answer(150, 21)}, second(100), second(150).Add(-micro)},
		{"the first id from is in the gap", state.SymbolAnswers{FirstFrom: answer(150, 20)}, second(100), second(200)},
		{"answers about other times", state.SymbolAnswers{LastBefore: answer(90, 8), FirstFrom: answer(230, 22)}, second(100), second(200)},
		{"both", state.SymbolAnswers{LastBefore: answer(120, 9), FirstFrom: answer(150, 21)}, second(120), second(150).Add(-micro)},
		{"answers that contradict", state.SymbolAnswers{LastBefore: answer(160, 9), FirstFrom: answer(150, 21)}, second(100), second(200)},
	} {
		got := gap
		if got.narrow(c.answers); !got.After.Equal(c.after) || !got.Before.Equal(c.before) {
			t.Errorf("%s: %v to %v, want %v to %v", c.name, got.After, got.Before, c.after, c.before)
		}
	}
}
