package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// attacker is a chronicle in which people, clocks, disks and files misbehave.
type attacker struct {
	*chronicle
	attacks []namedAttack
	backup  string // a copy of trades/ from earlier, or ""
	outside map[string]string

	// wrong are the files under trades/ that no number may be made of, by path, and why.
	wrong map[string]string
	// broken are files that were damaged, with their content of before.
	broken map[string][]byte
	// foreign are files of another feed.
	foreign map[string]bool
	// copied are files of another tape, which repair adds.
	copied map[string]bool
	// denied are files that commands may not read.
	denied  map[string]bool
	kept    map[tradeKey]string // what must stay on the tape
	counts  map[string]int
	spoiler *spoiler // nil until it is needed
	faulted bool     // faults of the stream were requested
	// contradicted are symbols of which the stream sent other contents.
	contradicted map[string]bool
}

type namedAttack struct {
	name string
	run  func()
}

type tradeKey struct {
	symbol string
	id     int64
}

// content is a row with its content as text.
type content struct {
	tradeKey
	content string
}

func contentText(row tape.Trade) string {
	return fmt.Sprintf("%v %v at %d, %t", row.Price, row.Qty, row.TradedAt, row.IsBuyerMaker)
}

func newAttacker(t *testing.T, seed uint64) *attacker {
	a := &attacker{
		chronicle: newChronicle(t, seed), wrong: map[string]string{}, broken: map[string][]byte{},
		foreign: map[string]bool{}, copied: map[string]bool{}, kept: map[tradeKey]string{}, counts: map[string]int{},
		contradicted: map[string]bool{}, denied: map[string]bool{},
	}
	a.calm, a.attacked = false, true
	a.attacks = []namedAttack{
		{"a backup is restored over the tape", a.restoreBackup},
		{"a segment is moved to another date", a.moveSegment},
		{"a segment is copied", a.copySegment},
		{"another tape is merged in", a.mergeTape},
		{"a tape of the other feed is merged in", a.mergeOtherFeed},
		{"a segment is deleted", a.deleteSegment},
		{"an end of the record is lost", a.loseEnd},
		{"a segment is damaged", a.damageSegment},
		{"a byte of a segment changes", a.flipByte},
		{"the state is lost", a.loseState},
		{"the state is damaged", a.damageState},
		{"the clock steps", a.stepClock},
		{"symbols of a file are hostile", a.importHostile},
		{"a file has rows of tomorrow", a.importTomorrow},
		{"tape.json is lost", a.loseManifest},
		{"strange files lie in the tape", a.strayFiles},
		{"a command is killed", a.killCommand},
		{"a removal is killed", a.killDrop},
		{"an import is killed", a.killImport},
		{"nobody reads a recorder's log and metrics", a.recordUnread},
		{"the stream repeats, reorders and contradicts itself", a.recordFaults},
		{"the exchange's answers are hostile", a.spoilAnswers},
		{"the archive is hostile", a.spoilArchive},
	}
	a.attacks = append(a.attacks, a.rootAttacks()...)
	if *attackOnly != "" {
		a.attacks = slices.DeleteFunc(a.attacks, func(attack namedAttack) bool {
			return !slices.ContainsFunc(strings.Split(*attackOnly, "|"), func(text string) bool { return strings.Contains(attack.name, text) })
		})
	}
	parent := filepath.Dir(a.dir.Path())
	for _, name := range []string{"outside/file", "tape.json", "AAA"} {
		path := filepath.Join(parent, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		a.write(path, []byte("this is none of tapedeck's files"))
	}
	a.outside = a.listOutside()
	return a
}

func (a *attacker) write(path string, content []byte) {
	if err := os.WriteFile(path, content, 0o644); err != nil {
		a.t.Fatal(err)
	}
}

// listOutside returns the content of all files beside the data directory.
func (a *attacker) listOutside() map[string]string {
	files := map[string]string{}
	err := filepath.WalkDir(filepath.Dir(a.dir.Path()), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && path == a.dir.Path() {
			return filepath.SkipDir
		}
		if err == nil && !entry.IsDir() {
			text, err := os.ReadFile(path)
			files[path] = string(text)
			return err
		}
		return err
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return files
}

func (a *attacker) checkOutside() {
	if now := a.listOutside(); !maps.Equal(now, a.outside) {
		a.fail("files outside of the data directory changed: %v, before %v", now, a.outside)
	}
}

func (a *attacker) sick() bool { return len(a.wrong) > 0 }

func (a *attacker) sickness() string {
	if !a.sick() {
		return "nothing is wrong with its files"
	}
	var texts []string
	for _, path := range slices.Sorted(maps.Keys(a.wrong)) {
		texts = append(texts, path+" "+a.wrong[path])
	}
	return strings.Join(texts, ", ")
}

// touched reports whether a file that is wrong can have rows of a window.
func (a *attacker) touched(w window.Window) bool {
	for path := range a.wrong {
		if _, damaged := a.broken[path]; damaged {
			return true
		}
		rows, err := a.dir.ReadTrades(path)
		if err != nil {
			a.t.Fatal(err)
		}
		if slices.ContainsFunc(rows, func(row tape.Trade) bool { return contains(w, row) }) {
			return true
		}
	}
	return false
}

// segments returns the files under trades/, relative to the data directory.
func (a *attacker) segments() []string {
	files, err := filepath.Glob(filepath.Join(a.dir.Path(), "trades", "*", "*.parquet"))
	if err != nil {
		a.t.Fatal(err)
	}
	for i := range files {
		if files[i], err = filepath.Rel(a.dir.Path(), files[i]); err != nil {
			a.t.Fatal(err)
		}
	}
	return files
}

func (a *attacker) path(relative string) string { return filepath.Join(a.dir.Path(), relative) }

// look reads what is on the tape, without the index, and which of its files are wrong.
func (a *attacker) look() {
	a.on, a.wrong = map[string]map[int64]tape.Trade{}, map[string]string{}
	for _, symbol := range a.symbols {
		a.on[symbol] = map[int64]tape.Trade{}
	}
	in := map[tradeKey]string{} // the file that has the row
	for _, path := range a.segments() {
		if _, damaged := a.broken[path]; damaged {
			a.wrong[path] = "is damaged"
			continue
		}
		if a.denied[path] {
			a.wrong[path] = "may not be read"
		}
		if a.foreign[path] {
			a.wrong[path] = "has another feed"
			continue
		}
		rows, err := a.dir.ReadTrades(path)
		if err != nil {
			a.fail("read %s: %v", path, err)
		}
		if a.copied[path] {
			a.wrong[path] = "was copied from another tape"
		}
		for _, row := range rows {
			key := tradeKey{row.Symbol, row.ID}
			if !strings.Contains(path, "date="+time.UnixMicro(row.TradedAt).UTC().Format(time.DateOnly)) {
				a.wrong[path] = "lies in another date's directory"
			}
			if a.on[row.Symbol] == nil {
				a.fail("%s has the symbol %q", path, row.Symbol)
			}
			if other, twice := in[key]; twice {
				a.wrong[path], a.wrong[other] = "has rows of "+other, "has rows of "+path
				continue
			}
			in[key] = path
			a.on[row.Symbol][row.ID], a.had[row.Symbol][row.ID] = row, true
			delete(a.dropped[row.Symbol], row.ID)
		}
	}
	for key := range in {
		if _, known := a.kept[key]; !known {
			a.kept[key] = contentText(a.on[key.symbol][key.id])
		}
	}
}

func (a *attacker) contents() map[content]bool {
	out := map[content]bool{}
	for symbol, rows := range a.on {
		for id, row := range rows {
			out[content{tradeKey{symbol, id}, contentText(row)}] = true
		}
	}
	return out
}

func (a *attacker) counted(symbol string, w window.Window) (n int64) {
	for _, row := range a.on[symbol] {
		if contains(w, row) {
			n++
		}
	}
	return n
}

func (a *attacker) conflicting(symbol string, id int64) bool { return len(a.altered[symbol][id]) > 0 }

func (a *attacker) loseState() {
	if err := os.RemoveAll(a.path(".state")); err != nil {
		a.t.Fatal(err)
	}
	clear(a.watched)
	a.forgetDrops()
}

// damageState changes a file of the state.
func (a *attacker) damageState() {
	var files []string
	err := filepath.WalkDir(a.path(".state"), func(path string, entry fs.DirEntry, err error) error {
		// Without its budget, backfill waits for a minute.
		if err == nil && entry.Type().IsRegular() && strings.HasSuffix(path, ".json") && entry.Name() != "budget.json" {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		return
	}
	path := files[a.random.IntN(len(files))]
	texts := []string{"", "null", "[]", "{}", "{", `"text"`, "99999999999999999999", strings.Repeat("[", 100000), "\x00\xff\xfe", `{"spot":{"first_id":-1}}`}
	a.write(path, []byte(texts[a.random.IntN(len(texts))]))
	a.note("damaged %s", path)
	a.forgetDrops()
	for _, symbol := range a.symbols { // less may be known
		a.disturbed[symbol] = true
	}
}

// forgetDrops is called when the file that lists the dropped ids may be lost.
func (a *attacker) forgetDrops() {
	for _, ids := range a.dropped {
		clear(ids)
	}
}

func (a *attacker) stepClock() {
	steps := []time.Duration{0, time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour, 400 * 24 * time.Hour, 90 * time.Second}
	a.skew = steps[a.random.IntN(len(steps))]
	a.note("this machine's clock is now %v ahead", a.skew)
}

// importHostile imports a file whose symbols are paths, patterns and control characters.
func (a *attacker) importHostile() {
	hostile := []string{
		"../../tape.json", "../outside/file", "../../../AAA", "..", ".", "", "/etc/passwd", "!BTC*", "*", "BTC\nComplete: all", "\x1b[2J",
		"A\x00B", strings.Repeat("A", 300), "=1+1", "<b>", "A/B", `A\B`, "A'B", "\u202eTDSU", "\xff\xfe",
	}
	row := a.market[a.symbols[0]][0]
	row.TradedAt = min(row.TradedAt, a.now.Add(-time.Hour).UnixMicro())
	row.Symbol = hostile[a.random.IntN(len(hostile))]
	file := filepath.Join(a.t.TempDir(), "hostile.parquet")
	out, err := os.Create(file)
	if err != nil {
		a.t.Fatal(err)
	}
	w := parquet.NewGenericWriter[tape.Trade](out)
	if _, err := w.Write([]tape.Trade{row}); err != nil {
		a.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		a.t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		a.t.Fatal(err)
	}
	status, stdout, stderr := a.run("import", file)
	if status == exitDone {
		a.fail("a file with the symbol %q was imported", row.Symbol)
	}
	if strings.ContainsAny(stdout+stderr, "\x1b\x00\u202e") || strings.Contains(stdout+stderr, "\nComplete") {
		a.fail("the symbol %q reaches the terminal: %q", row.Symbol, stdout+stderr)
	}
	a.checkOutside()
}

func (a *attacker) importTomorrow() {
	if a.skew != 0 || a.sick() {
		return
	}
	symbol := a.symbols[0]
	row := a.market[symbol][len(a.market[symbol])-1]
	at := a.now // the machine's own clock counts too, if it is ahead of --now
	if clock := time.Now(); clock.After(at) {
		at = clock
	}
	at = at.Add(time.Hour + a.upTo(48*time.Hour))
	file := filepath.Join(a.t.TempDir(), symbol+"-aggTrades-tomorrow.csv")
	a.write(file, fmt.Appendf(nil, "%d,%s,%s,%d,%d,%d,%t,True\n", row.ID, decimal(row.Price), decimal(row.Qty), row.FirstTradeID, row.LastTradeID, at.UnixMicro(), row.IsBuyerMaker))
	if status, stdout, stderr := a.run("import", "--symbol", symbol, file); status == exitDone {
		a.fail("rows of %s were imported: %s%s", at.Format(time.DateTime), stdout, stderr)
	}
}

// loseManifest takes tape.json away, asks, and puts it back.
func (a *attacker) loseManifest() {
	if _, ok := a.someSegment(); !ok {
		return // then this is as good as an empty directory
	}
	path := a.path("tape.json")
	text, err := os.ReadFile(path)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.chance(2) {
		err = os.Remove(path)
	} else {
		err = os.Truncate(path, a.random.Int64N(int64(len(text)-1))) // without its last brace at least
	}
	if err != nil {
		a.t.Fatal(err)
	}
	for _, command := range []string{"report", "verify", "health", "backfill", "compact"} {
		status, stdout, stderr := a.run(command)
		if status == exitDone {
			a.fail("%s exits with 0 without tape.json: %s%s", command, stdout, stderr)
		}
		if !strings.Contains(stdout+stderr, "tape.json") {
			a.fail("%s does not name tape.json: %s%s", command, stdout, stderr)
		}
	}
	a.write(path, text)
}

func (a *attacker) strayFiles() {
	dates, err := filepath.Glob(a.path("trades/date=*"))
	if err != nil || len(dates) == 0 {
		return
	}
	date := dates[a.random.IntN(len(dates))]
	for _, name := range []string{".DS_Store", "notes.txt", "x.parquet.part", "._x.parquet.swp"} {
		a.write(filepath.Join(date, name), []byte("stray"))
	}
	if err := os.MkdirAll(a.path("trades/date=2026-13-45"), 0o755); err != nil {
		a.t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(date, "old"), 0o755); err != nil {
		a.t.Fatal(err)
	}
}
