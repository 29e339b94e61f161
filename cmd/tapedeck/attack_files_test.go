package main

import (
	"cmp"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// someSegment returns the path of a segment with rows that is not wrong yet.
func (a *attacker) someSegment() (string, bool) {
	var candidates []string
	for _, path := range a.segments() {
		if a.wrong[path] == "" {
			if rows, err := a.dir.ReadTrades(path); err == nil && len(rows) > 0 {
				candidates = append(candidates, path)
			}
		}
	}
	if len(candidates) == 0 {
		return "", false
	}
	return candidates[a.random.IntN(len(candidates))], true
}

// restoreBackup puts back the files of an earlier copy, and leaves those that are there.
func (a *attacker) restoreBackup() {
	if a.sick() { // a backup is of a good tape
		return
	}
	if a.backup == "" {
		a.backup = filepath.Join(a.t.TempDir(), "trades")
		if err := os.CopyFS(a.backup, os.DirFS(a.path("trades"))); err != nil {
			a.t.Fatal(err)
		}
		a.run("compact", "--force")
	}
	for path := range a.wrong { // a backup is of a good tape
		if strings.HasPrefix(path, "trades/") {
			return
		}
	}
	source := os.DirFS(a.backup)
	err := fs.WalkDir(source, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(source, path)
		if err != nil {
			return err
		}
		to := filepath.Join(a.path("trades"), path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		a.write(to, text)
		return nil
	})
	if err != nil {
		a.t.Fatal(err)
	}
}

func (a *attacker) moveSegment() {
	path, ok := a.someSegment()
	if !ok {
		return
	}
	date := oracleDay.AddDate(0, 0, a.random.IntN(5)-2).Format(time.DateOnly)
	to := filepath.Join("trades", "date="+date, filepath.Base(path))
	if err := os.MkdirAll(filepath.Dir(a.path(to)), 0o755); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(a.path(path), a.path(to)); err != nil {
		a.t.Fatal(err)
	}
	a.note("%s → %s", path, to)
}

func (a *attacker) copySegment() {
	path, ok := a.someSegment()
	if !ok {
		return
	}
	text, err := os.ReadFile(a.path(path))
	if err != nil {
		a.t.Fatal(err)
	}
	to := strings.TrimSuffix(path, ".parquet") + " (1).parquet"
	a.write(a.path(to), text)
	a.note("%s → %s", path, to)
}

// otherTape makes a tape, and copies its segments to this one.
func (a *attacker) otherTape(feed tape.Feed, rows []tape.Trade) (copied []string) {
	other, err := tape.Create(filepath.Join(a.t.TempDir(), "data"), feed, a.now)
	if err != nil {
		a.t.Fatal(err)
	}
	if _, err := other.Publish(context.Background(), rows, tape.Origin{Source: tape.FromStream, Run: "other", At: a.now}); err != nil {
		a.t.Fatal(err)
	}
	segments, _, err := other.Segments(tape.Trades, "", "")
	if err != nil {
		a.t.Fatal(err)
	}
	for _, s := range segments {
		text, err := os.ReadFile(filepath.Join(other.Path(), s.Path))
		if err != nil {
			a.t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(a.path(s.Path)), 0o755); err != nil {
			a.t.Fatal(err)
		}
		a.write(a.path(s.Path), text)
		copied = append(copied, s.Path)
	}
	a.note("copied %v", copied)
	return copied
}

// someRows returns a few of the market's rows until now.
func (a *attacker) someRows() []tape.Trade {
	symbol := a.symbols[a.random.IntN(len(a.symbols))]
	w := a.someWindow()
	w.End = earlier(w.End, a.now)
	rows := slices.Clone(a.between(symbol, w))
	return rows[:min(len(rows), 500)]
}

func (a *attacker) mergeTape() {
	rows := a.someRows()
	for i, row := range rows {
		if _, ok := a.on[row.Symbol][row.ID]; ok && a.chance(20) {
			rows[i] = a.alter(row)
			a.note("the other tape has another content of %s %d", row.Symbol, row.ID)
		}
	}
	if len(rows) > 0 {
		for _, path := range a.otherTape(tape.AggTrade, rows) {
			a.copied[path] = true
		}
	}
}

func (a *attacker) mergeOtherFeed() {
	rows := a.someRows()
	for i := range rows {
		rows[i].FirstTradeID, rows[i].LastTradeID = rows[i].ID, rows[i].ID
	}
	if len(rows) == 0 {
		return
	}
	for _, path := range a.otherTape(tape.RawTrade, rows) {
		a.foreign[path] = true
	}
}

// remove deletes a file of the tape, as an operator may, and forgets what is no longer known.
func (a *attacker) remove(path string, rows []tape.Trade) {
	if err := os.Remove(a.path(path)); err != nil {
		a.t.Fatal(err)
	}
	for _, row := range rows {
		a.disturbed[row.Symbol] = true
		delete(a.kept, tradeKey{row.Symbol, row.ID})
	}
	a.note("removed %s", path)
}

func (a *attacker) deleteSegment() {
	if path, ok := a.someSegment(); ok {
		rows, err := a.dir.ReadTrades(path)
		if err != nil {
			a.t.Fatal(err)
		}
		a.remove(path, rows)
	}
}

// loseEnd removes the extent, which says what was ever published, and the first or the last segments.
func (a *attacker) loseEnd() {
	paths := a.segments()
	if len(paths) == 0 {
		return
	}
	if err := os.RemoveAll(a.path(".state/extent.json")); err != nil {
		a.t.Fatal(err)
	}
	slices.SortFunc(paths, func(p, q string) int { return cmp.Compare(a.begins(p), a.begins(q)) })
	if a.chance(2) {
		slices.Reverse(paths)
	}
	var lost []tape.Trade
	for _, path := range paths[:1+a.random.IntN(min(3, len(paths)))] {
		if rows, err := a.dir.ReadTrades(path); err == nil && len(rows) > 0 && a.wrong[path] == "" {
			a.remove(path, rows)
			lost = append(lost, rows...)
		}
	}
	a.look()
	if len(lost) > 0 {
		slices.SortFunc(lost, func(p, q tape.Trade) int { return cmp.Compare(p.TradedAt, q.TradedAt) })
		a.placed = []window.Window{{Start: time.UnixMicro(lost[0].TradedAt).UTC(), End: time.UnixMicro(lost[len(lost)-1].TradedAt + 1).UTC()}}
		a.judgeReport()
	}
}

// begins returns when the first row of a segment traded; 0 if it cannot be read.
func (a *attacker) begins(path string) (at int64) {
	rows, err := a.dir.ReadTrades(path)
	for _, row := range rows {
		if err == nil && (at == 0 || row.TradedAt < at) {
			at = row.TradedAt
		}
	}
	return at
}

func (a *attacker) damageSegment() {
	path, ok := a.someSegment()
	if !ok {
		return
	}
	text, err := os.ReadFile(a.path(path))
	if err != nil {
		a.t.Fatal(err)
	}
	a.broken[path] = text
	damaged := slices.Clone(text)
	switch a.random.IntN(4) {
	case 0:
		damaged = nil
	case 1:
		damaged = damaged[:a.random.IntN(len(damaged))]
	case 2:
		for i := range damaged {
			damaged[i] = byte(a.random.IntN(256))
		}
	default:
		copy(damaged[len(damaged)-200:], make([]byte, 150)) // in the footer
	}
	a.write(a.path(path), damaged)
	a.note("damaged %s", path)
}

// flipByte changes the data of a segment. Only reading everything can notice.
func (a *attacker) flipByte() {
	path, ok := a.someSegment()
	if !ok {
		return
	}
	text, err := os.ReadFile(a.path(path))
	if err != nil {
		a.t.Fatal(err)
	}
	before, err := a.dir.ReadTrades(path)
	if err != nil {
		a.t.Fatal(err)
	}
	damaged := slices.Clone(text)
	damaged[a.random.IntN(len(damaged))] ^= byte(1 + a.random.IntN(255))
	a.write(a.path(path), damaged)
	after, err := a.dir.ReadTrades(path)
	if err != nil || !slices.Equal(before, after) {
		status, stdout, stderr := a.run("verify", "--full", "--format", "json")
		if status == exitDone {
			a.fail("verify --full exits with 0, but a byte of %s changed (%v): %s%s", path, err, stdout, stderr)
		}
	}
	a.write(a.path(path), text)
}

// mendFiles does by hand what no command does: it restores or removes damaged files, and removes
// those of another feed.
func (a *attacker) mendFiles() {
	for path, text := range a.broken {
		a.write(a.path(path), text)
		if a.chance(3) {
			rows, err := a.dir.ReadTrades(path)
			if err != nil {
				a.t.Fatal(err)
			}
			a.remove(path, rows)
		}
	}
	for path := range a.foreign {
		_ = os.Remove(a.path(path))
	}
	clear(a.broken)
	clear(a.foreign)
	a.look()
}
