package analytics

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

// TestEmbeddedSummaryNames compares the names that are known before any file is parsed with the files.
func TestEmbeddedSummaryNames(t *testing.T) {
	var names []string
	for _, summary := range embeddedSummaries() {
		names = append(names, summary.Name)
	}
	if known := embeddedSummaryNames[:]; !slices.Equal(names, known) {
		t.Errorf("the files are %v, the names %v", names, known)
	}
}

// TestQueriesOfTradesSayWhy checks that what reads trades where it might read summaries says why.
func TestQueriesOfTradesSayWhy(t *testing.T) {
	queries, problems := Load("", Report, Detect, Cookbook)
	for _, problem := range problems {
		t.Fatal(problem)
	}
	for _, query := range queries {
		says := strings.Contains(strings.Join(strings.Fields(query.Doc), " "), "not summaries:")
		if reads := query.ReadsRelation("trades") && !query.ReadsSummary(); reads != says {
			t.Errorf("%s: it reads trades and no summary: %v, and its header says why: %v", query.Path, reads, says)
		}
	}
}

// randomTrades returns trades of some symbols over four days from noon, with ids missing, quiet hours,
// trades of one millisecond, and times that run back by milliseconds.
func randomTrades(random *rand.Rand) (trades []tape.Trade) {
	for i, symbol := range []string{"BTCUSDT", "ETHUSDT", "LATEBTC", "币安人生USDT"} {
		at, price, raw := noon.Add(time.Duration(i*7)*time.Hour), 100.0, int64(1)
		id := random.Int64N(1000)
		for end := noon.Add(96 * time.Hour); at.Before(end); {
			id++
			switch random.IntN(60) {
			case 0:
				id += 1 + random.Int64N(20) // a gap
			case 1:
				at = at.Add(time.Duration(random.IntN(180)) * time.Minute)
			}
			at = at.Add(time.Duration(random.IntN(600)) * time.Second)
			traded := at
			if random.IntN(4) == 0 {
				at = at.Truncate(time.Minute)
				traded = at.Add(-time.Duration(random.IntN(3)) * time.Millisecond)
			}
			price = math.Round(price*(0.99+0.02*random.Float64())*100) / 100
			fills := 1 + random.Int64N(3)
			trades = append(trades, tape.Trade{Symbol: symbol, ID: id, Price: price, Qty: float64(1+random.IntN(2000)) / 1000,
				FirstTradeID: raw, LastTradeID: raw + fills - 1, TradedAt: traded.UnixMicro(), IsBuyerMaker: random.IntN(2) == 0})
			raw += fills
		}
	}
	return trades
}

// summaryArgs are arguments with which sections take all of their branches.
var summaryArgs = map[string][]map[string]any{
	"candles":        {{"step_seconds": 3600}, {"step_seconds": 900}, {"step_seconds": 86400}, {"step_seconds": 5400}},
	"largest_trades": {{"top": 3}, {"top": 5}, {"top": 9}},
	"wash_signs":     {{"min_rows": 1}},
	"illiquidity":    {{"min_minutes": 2}},
}

// inWindowOf returns the arguments of a section for a window, at least once.
func inWindowOf(name string, from, to time.Time) (out []map[string]any) {
	for _, given := range append(slices.Clone(summaryArgs[name]), map[string]any{})[:max(len(summaryArgs[name]), 1)] {
		args := map[string]any{"window_start": from, "window_end": to}
		for key, value := range given {
			args[key] = value
		}
		out = append(out, args)
	}
	return out
}

// overTrades returns the sections that are computed from trades alone, as they were before summaries.
func overTrades(t *testing.T, kind Kind) map[string]Query {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata/over_trades", string(kind), "*.sql"))
	if err != nil || len(paths) == 0 {
		t.Fatal(err, len(paths))
	}
	out := map[string]Query{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		query, err := ParseQuery(path, string(text))
		if err != nil {
			t.Fatal(err)
		}
		out[query.Name] = query
	}
	return out
}

// sectionsOf returns the results of all sections that have a reference, and of the macros, by what was run.
func sectionsOf(t *testing.T, s *Session, queries map[string]Query, from, to time.Time) map[string]string {
	t.Helper()
	out := map[string]string{}
	for name, query := range queries {
		for _, args := range inWindowOf(name, from, to) {
			result, err := s.Run(t.Context(), query, args)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			out[fmt.Sprint(name, " ", args)] = renderCSV(t, result)
		}
	}
	return out
}

// embeddedRecipes returns the queries of the cookbook that read summaries.
func embeddedRecipes(t *testing.T) map[string]Query {
	t.Helper()
	queries, problems := Load("", Cookbook)
	for _, problem := range problems {
		t.Fatal(problem)
	}
	out := map[string]Query{}
	for _, query := range queries {
		if query.ReadsSummary() {
			out[query.Name] = query
		}
	}
	return out
}

// recipesOf returns the results of queries of the cookbook, by what was run: in steps of whole hours and of others.
func recipesOf(t *testing.T, s *Session, recipes map[string]Query, from, to time.Time) map[string]string {
	t.Helper()
	out := map[string]string{}
	for name, query := range recipes {
		for _, step := range []string{"1 hour", "25 minutes", "1 day"} {
			args := map[string]any{}
			for key, value := range map[string]any{"since": from, "until": to, "moment": to, "step": step} {
				if _, ok := query.Param(key); ok {
					args[key] = value
				}
			}
			result, err := s.Run(t.Context(), query, args)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			out[fmt.Sprint(name, " ", args)] = renderCSV(t, result)
		}
	}
	return out
}

func macrosOf(t *testing.T, s *Session, from, to time.Time) map[string]string {
	t.Helper()
	out := map[string]string{}
	window := fmt.Sprintf("since := %s, until := %s", Timestamp(from), Timestamp(to))
	for _, call := range []string{
		"candles('1 hour', " + window + ")", "candles('20 minutes', " + window + ")", "candles('1 day')",
		"vwap('2 hours', " + window + ")", "vwap('1 minute', " + window + ")",
	} {
		out[call] = rowsOf(t, s, "FROM "+call)
	}
	return out
}

func embeddedSections(t *testing.T) map[string]Query {
	t.Helper()
	queries, problems := Load("", Report)
	for _, problem := range problems {
		t.Fatal(problem)
	}
	out := map[string]Query{}
	for _, query := range queries {
		if slices.ContainsFunc(query.Reads, func(r Read) bool { return isSummary(r.Relation, nil) }) {
			out[query.Name] = query
		}
	}
	return out
}

// TestSummariesEqualTrades compares every section and macro that reads summaries over random tapes, at window
// ends that cut hours and days: from stored days, from trades through the same SQL, and from trades through
// SQL that knows no summaries. Where only sums of rounded terms can be compared, twelve digits must agree.
func TestSummariesEqualTrades(t *testing.T) {
	rounds := 4
	if testing.Short() {
		rounds = 1
	}
	sections, reference := embeddedSections(t), overTrades(t, "report")
	recipes, recipesReference := embeddedRecipes(t), overTrades(t, "cookbook")
	for name := range recipes {
		if _, ok := recipesReference[name]; !ok && name != "hour_of_day" { // which always read hours
			t.Errorf("the cookbook query %s has no reference over trades", name)
		}
	}
	if len(sections) < len(reference) {
		t.Errorf("%d sections read summaries, but %d have a reference", len(sections), len(reference))
	}
	for seed := range uint64(rounds) {
		random := rand.New(rand.NewPCG(seed, 1))
		dir := newTape(t, randomTrades(random))
		at := func() time.Time {
			moment := noon.Add(time.Duration(random.Int64N(int64(100 * time.Hour)))).Truncate(time.Microsecond)
			return moment.Truncate([]time.Duration{time.Microsecond, time.Hour, 24 * time.Hour}[random.IntN(3)])
		}
		from, to := at(), at()
		if !from.Before(to) {
			from, to = to.Add(-time.Hour), from.Add(time.Hour)
		}
		window := Options{From: from, To: to, Macros: true, Threads: 2}
		plain := openSession(t, dir, window)
		window.Stored = embeddedSummaryNames[:]
		for _, stored := range []*Session{openSession(t, dir, window), openSession(t, dir, window)} { // the second finds what the first has stored
			want := sectionsOf(t, plain, sections, from, to)
			if diff := cmp.Diff(want, sectionsOf(t, stored, sections, from, to)); diff != "" {
				t.Fatalf("seed %d, [%s, %s): from trades (-) and from summaries (+):\n%s", seed, from, to, diff)
			}
			if diff := cmp.Diff(macrosOf(t, plain, from, to), macrosOf(t, stored, from, to)); diff != "" {
				t.Fatalf("seed %d, [%s, %s): macros from trades (-) and from summaries (+):\n%s", seed, from, to, diff)
			}
			cuts := from.Truncate(time.Minute) != from || to.Truncate(time.Minute) != to
			compareWithReference(t, want, sectionsOf(t, plain, reference, from, to), cuts)
			rows := recipesOf(t, plain, recipes, from, to)
			if diff := cmp.Diff(rows, recipesOf(t, stored, recipes, from, to)); diff != "" {
				t.Fatalf("seed %d, [%s, %s): cookbook from trades (-) and from summaries (+):\n%s", seed, from, to, diff)
			}
			for what, want := range recipesOf(t, plain, recipesReference, from, to) {
				if !sameNumbers(rows[what], want) { // sums of doubles became exact
					t.Errorf("seed %d, %s: got\n%s\nwant about\n%s", seed, what, rows[what], want)
				}
			}
		}
	}
}

// roundedSections sum terms that are rounded to decimals, and did not before.
var roundedSections = []string{"volatility", "illiquidity"}

// compareWithReference compares the results of sections with those over trades. If the window cuts a minute, a
// gap behind the cut now counts for that minute, so the sections that look at gaps may differ.
func compareWithReference(t *testing.T, got, want map[string]string, cuts bool) {
	t.Helper()
	for what, rows := range want {
		name, _, _ := strings.Cut(what, " ")
		if slices.Contains(roundedSections, name) {
			if !cuts && !sameNumbers(got[what], rows) {
				t.Errorf("%s: got\n%s\nwant about\n%s", what, got[what], rows)
			}
		} else if diff := cmp.Diff(rows, got[what]); diff != "" {
			t.Errorf("%s: over trades (-) and now (+):\n%s", what, diff)
		}
	}
}

// sameNumbers compares texts cell by cell; numbers may differ in the thirteenth digit.
func sameNumbers(a, b string) bool {
	split := func(text string) []string {
		return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' })
	}
	left, right := split(a), split(b)
	for i := range min(len(left), len(right)) {
		var x, y float64
		_, errX := fmt.Sscan(left[i], &x)
		_, errY := fmt.Sscan(right[i], &y)
		if left[i] != right[i] && (errX != nil || errY != nil || math.Abs(x-y) > 1e-12*math.Max(math.Abs(x), math.Abs(y))) {
			return false
		}
	}
	return len(left) == len(right)
}

// storedSummaryFiles returns the paths of the stored files, relative to the directory of summaries.
func storedSummaryFiles(t *testing.T, dir *tape.Dir) (names []string) {
	t.Helper()
	paths, err := filepath.Glob(dir.State().Path(state.SummaryDir) + "/*/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		name, err := filepath.Rel(dir.State().Path(state.SummaryDir), path)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

// TestSummariesFollowTheTape checks that a stored day is used only as long as the day has the content that it
// was made of: after a heal, with a damaged file and with an empty one the numbers are those of the trades.
func TestSummariesFollowTheTape(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a dozen sessions; make test-all runs it")
	}
	all := randomTrades(rand.New(rand.NewPCG(3, 1)))
	late := all[len(all)/3 : len(all)/3+40]
	dir := newTape(t, slices.Concat(all[:len(all)/3], all[len(all)/3+40:]))
	sections := embeddedSections(t)
	from, to := noon, noon.Add(96*time.Hour)
	options := Options{From: from, To: to, Threads: 2}
	check := func(what string) {
		t.Helper()
		want := sectionsOf(t, openSession(t, dir, options), sections, from, to)
		stored := options
		stored.Stored = embeddedSummaryNames[:]
		for range 2 {
			if diff := cmp.Diff(want, sectionsOf(t, openSession(t, dir, stored), sections, from, to)); diff != "" {
				t.Fatalf("%s: from trades (-) and from summaries (+):\n%s", what, diff)
			}
		}
	}
	check("new")
	files := storedSummaryFiles(t, dir)
	if want := 4 * len(embeddedSummaryNames); len(files) != want { // the last of five dates is not over
		t.Errorf("%d files are stored, want %d: %v", len(files), want, files)
	}
	if _, err := dir.Publish(t.Context(), late, testOrigin); err != nil {
		t.Fatal(err)
	}
	check("healed")
	if again := storedSummaryFiles(t, dir); len(again) <= len(files) {
		t.Errorf("after the heal there are %d files, as before: %v", len(again), again)
	}
	for i, name := range storedSummaryFiles(t, dir) {
		content := []byte("PAR1 not a Parquet file PAR1")
		if i%2 == 0 {
			content = nil
		}
		if err := os.WriteFile(filepath.Join(dir.State().Path(state.SummaryDir), name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check("damaged")
	if err := os.RemoveAll(dir.State().Path(state.SummaryDir)); err != nil {
		t.Fatal(err)
	}
	check("removed")
}

// TestSummariesOfSomeSymbols checks that a session of one symbol stores days of all symbols, and shows one.
func TestSummariesOfSomeSymbols(t *testing.T) {
	dir := newTape(t, randomTrades(rand.New(rand.NewPCG(4, 1))))
	one := openSession(t, dir, Options{Symbols: []string{"ETHUSDT"}, Stored: embeddedSummaryNames[:]})
	count := "SELECT count(DISTINCT symbol), sum(rows)::BIGINT FROM hours(NULL, NULL)"
	want := rowsOf(t, openSession(t, dir, Options{}), "SELECT count(DISTINCT symbol), count(*) FROM trades WHERE symbol = 'ETHUSDT'")
	if got := rowsOf(t, one, count); got != want {
		t.Errorf("one symbol: %s, want %s", got, want)
	}
	stored := len(storedSummaryFiles(t, dir))
	all := openSession(t, dir, Options{Stored: embeddedSummaryNames[:]})
	if got, want := rowsOf(t, all, count), rowsOf(t, all, "SELECT count(DISTINCT symbol), count(*) FROM trades"); got != want {
		t.Errorf("all symbols: %s, want %s", got, want)
	}
	if again := len(storedSummaryFiles(t, dir)); stored == 0 || again != stored {
		t.Errorf("%d files, then %d", stored, again)
	}
}

// TestSessionWithoutSummariesOpens opens a session that reads none of them, as detect does.
func TestSessionWithoutSummariesOpens(t *testing.T) {
	s := openSession(t, newTape(t, seconds("BTCUSDT", 1, 10)), Options{Summaries: []Query{}})
	if got := rowsOf(t, s, "SELECT symbol, rate FROM usdt_rates(NULL, NULL)"); got != "BTCUSDT,1" {
		t.Errorf("the rates are %q", got)
	}
}

// TestSummariesOfManySessions opens sessions at the same time that store the same days.
func TestSummariesOfManySessions(t *testing.T) {
	dir := newTape(t, randomTrades(rand.New(rand.NewPCG(5, 1))))
	var group sync.WaitGroup
	counts := make([]string, 4)
	for i := range counts {
		group.Go(func() {
			s, err := Open(t.Context(), dir, Options{Stored: embeddedSummaryNames[:], Threads: 1})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			result, err := s.SQL(t.Context(), "SELECT sum(rows)::BIGINT FROM hours(NULL, NULL)")
			if err != nil {
				t.Error(err)
				return
			}
			counts[i] = fmt.Sprint(result.Rows)
		})
	}
	group.Wait()
	if slices.ContainsFunc(counts, func(count string) bool { return count != counts[0] || count == "" }) {
		t.Errorf("the sessions count %q", counts)
	}
}

// TestSummariesOfAReadOnlyTape checks that a session that cannot store a summary computes it.
func TestSummariesOfAReadOnlyTape(t *testing.T) {
	dir := newTape(t, seconds("BTCUSDT", 1, 10), seconds("BTCUSDT", 86400, 86410))
	if err := os.WriteFile(dir.State().Path(state.SummaryDir), nil, 0o644); err != nil { // where the directory would be
		t.Fatal(err)
	}
	s := openSession(t, dir, Options{Stored: embeddedSummaryNames[:]})
	if got := rowsOf(t, s, "SELECT sum(rows)::BIGINT FROM hours(NULL, NULL)"); got != "21" {
		t.Errorf("%s rows, want 21", got)
	}
}

// TestDropForgetsSummaries checks that nothing that was computed from dropped trades stays on the disk.
func TestDropForgetsSummaries(t *testing.T) {
	dir := newTape(t, seconds("BTCUSDT", 1, 10), seconds("ETHUSDT", 1, 10), seconds("BTCUSDT", 86400, 86410))
	openSession(t, dir, Options{Stored: embeddedSummaryNames[:]})
	if got := len(storedSummaryFiles(t, dir)); got != len(embeddedSummaryNames) {
		t.Fatalf("%d files are stored, want one of each summary", got)
	}
	plan, err := dir.PlanDrop(t.Context(), tape.DropQuery{What: tape.DropsTrades, Symbols: []string{"ETHUSDT"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.Drop(t.Context(), plan, tape.DropRecord{At: noon.UnixMicro()}, nil); err != nil {
		t.Fatal(err)
	}
	if got := storedSummaryFiles(t, dir); len(got) > 0 {
		t.Errorf("after the drop these are stored: %v", got)
	}
	s := openSession(t, dir, Options{Stored: embeddedSummaryNames[:]})
	if got := rowsOf(t, s, "SELECT DISTINCT symbol FROM hours(NULL, NULL)"); got != "BTCUSDT" {
		t.Errorf("after the drop there are hours of %s", got)
	}
}

// TestSummariesLeaveOutDamagedSegments damages a segment before and after its day is stored: both times it is
// left out and named, and the numbers are those without summaries.
func TestSummariesLeaveOutDamagedSegments(t *testing.T) {
	for _, isStored := range []bool{false, true} {
		dir := newTape(t, seconds("BTCUSDT", 1, 5000), seconds("ETHUSDT", 1, 5000), seconds("BTCUSDT", 86400, 86410))
		options := Options{From: noon, To: noon.Add(48 * time.Hour), Stored: embeddedSummaryNames[:]}
		if isStored {
			openSession(t, dir, options)
		}
		broken := segments(t, dir)[0]
		damage(t, dir, broken)
		const count = "SELECT symbol, sum(rows)::BIGINT FROM hours(NULL, NULL) GROUP BY symbol ORDER BY symbol"
		s, plain := openSession(t, dir, options), openSession(t, dir, Options{From: options.From, To: options.To})
		if diff := cmp.Diff(rowsOf(t, plain, count), rowsOf(t, s, count)); diff != "" {
			t.Errorf("stored %v: from trades (-) and from summaries (+):\n%s", isStored, diff)
		}
		if left := s.Broken(); len(left) != 1 || left[0].Path != broken.Path {
			t.Errorf("stored %v: left out are %v, want %s", isStored, left, broken.Path)
		}
	}
}
