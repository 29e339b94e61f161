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
	attackHistories = flag.Int("attack", 0, "how many random attacks TestAttack makes; 0 means a few that are always the same")
	attackOnly      = flag.String("attack-only", "", "make only attacks whose name contains one of these texts, with | between them")
	attackSeed      = flag.Uint64("attack-seed", 0, "make only the attack of this seed")
)

// TestAttack lives through random histories of a tape in which the operator, the clock, the disk and the
// exchange's content misbehave as well: copies, moves, merges and deletions of files, lost and damaged
// state, clock steps, hostile names, files, streams and answers, kills, readers that do not read, and, for root, files
// that may not be read or written and a full disk. No command may claim more than the oracle of TestOracle
// knows, print numbers from rows that are on the tape twice, write outside of the data directory, or
// panic. What can be healed is healed by `repair` and `backfill`.
func TestAttack(t *testing.T) {
	if testing.Short() && *attackHistories == 0 && *attackSeed == 0 {
		t.Skip("takes long with the race detector; runs in make test-all and make attack")
	}
	if *attackSeed != 0 {
		newAttacker(t, *attackSeed).live()
		return
	}
	histories, seed := *attackHistories, rand.Uint64()>>20
	if histories == 0 {
		histories, seed = 6, 1 // the same ones each time
	}
	fmt.Printf("attack: %d histories from seed %d\n", histories, seed)
	sum := map[string]int{}
	for i := range uint64(histories) {
		if t.Failed() {
			return
		}
		t.Run(fmt.Sprint(seed+i), func(t *testing.T) {
			a := newAttacker(t, seed+i)
			a.live()
			for what, n := range a.counts {
				sum[what] += n
			}
		})
	}
	for _, what := range slices.Sorted(maps.Keys(sum)) {
		fmt.Printf("  %6d %s\n", sum[what], what)
	}
}

// live lives through a history.
func (a *attacker) live() {
	a.record(30*time.Minute + a.upTo(time.Hour))
	for range 5 + a.random.IntN(6) {
		a.usual()
		attack := a.attacks[a.random.IntN(len(a.attacks))]
		a.counts["attack: "+attack.name]++
		a.note("attack: %s", attack.name)
		attack.run()
		a.look()
		for range 1 + a.random.IntN(3) {
			a.judge()
		}
		if a.chance(2) {
			a.heal()
		}
	}
	a.heal()
	a.skew = 0
	a.look()
	a.judgeVerify()
	for range 2 {
		a.judgeReport()
	}
	a.checkOutside()
}

// usual is what happens without an attack.
func (a *attacker) usual() {
	switch a.random.IntN(6) {
	case 0, 1:
		a.record(time.Minute + a.upTo(time.Hour))
	case 2:
		a.wait(time.Minute)
		if !a.sick() {
			a.backfill()
		}
	case 3:
		if !a.sick() {
			a.importFile()
		}
	case 4:
		a.run("compact", "--force")
	default:
		a.wait(a.upTo(20 * time.Minute))
	}
	a.look()
}

// judge asks one command and compares what it says with the oracle.
func (a *attacker) judge() {
	judges := []func(){a.judgeReport, a.judgeReport, a.judgeVerify, a.judgeTable, a.judgeBackfill, a.judgeCompact, a.judgeDetect, a.judgeHealth}
	judges[a.random.IntN(len(judges))]()
	a.look()
}

// judgeReport is chronicle.report, for a tape whose files may be wrong.
func (a *attacker) judgeReport() {
	a.counts["reports judged"]++
	w := a.someWindow()
	if !a.touched(w) {
		a.placed = []window.Window{w}
		a.report()
		return
	}
	status, stdout, stderr := a.run("report", "--format", "json", "--sections", "completeness,overview",
		"--from", w.Start.Format(time.RFC3339Nano), "--to", w.End.Format(time.RFC3339Nano))
	a.named("report", status, stdout, stderr)
	if status == exitDone {
		a.fail("report exits with 0, but %s", a.sickness())
	}
	var got reported
	if stdout == "" {
		return // refused
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		a.fail("report: status %d, %v: %s%s", status, err, stdout, stderr)
	}
	if got.Complete {
		a.fail("report says complete: true, but %s", a.sickness())
	}
	for _, section := range got.Sections {
		for _, row := range section.Rows {
			if on := a.counted(row.Symbol, w); row.Symbol != "" && row.Rows > on {
				a.fail("report counts %d rows of %s, the tape has %d", row.Rows, row.Symbol, on)
			}
		}
	}
}

// judgeTable reads the report as a person does.
func (a *attacker) judgeTable() {
	a.counts["tables judged"]++
	now := a.now.Add(a.skew)
	touched := a.touched(window.Window{Start: now.Add(-6 * time.Hour), End: now})
	status, stdout, stderr := a.run("report", "--since", "6h", "--symbols", strings.Join(a.symbols, ","))
	a.ends("report", status, stdout, stderr)
	if touched {
		a.named("report", status, stdout, stderr)
	}
	complete := strings.Contains(stdout, "✓ Complete") || strings.Contains(stdout, "Complete: ")
	if complete && (status != exitDone || touched) {
		a.fail("report says Complete, exits with %d, and %s:\n%s", status, a.sickness(), stdout)
	}
}

func (a *attacker) judgeVerify() {
	a.counts["certificates judged"]++
	if !a.sick() {
		a.verify()
		return
	}
	args := []string{"verify", "--format", "json"}
	if a.chance(2) {
		args = append(args, "--full")
	}
	status, stdout, stderr := a.run(args...)
	a.named("verify", status, stdout, stderr)
	var got struct {
		Complete bool `json:"complete"`
	}
	_ = json.Unmarshal([]byte(stdout), &got)
	if status == exitDone || got.Complete {
		a.fail("verify says complete: %t, status %d, but %s", got.Complete, status, a.sickness())
	}
}

func (a *attacker) judgeBackfill() {
	a.counts["backfills judged"]++
	a.wait(time.Minute) // the exchange's limit is for each minute
	if !a.sick() {
		a.backfill()
		return
	}
	status, stdout, stderr := a.run("backfill")
	if status == exitFailed { // a symbol is not listed yet, for example
		a.ends("backfill", status, stdout, stderr)
		return
	}
	a.named("backfill", status, stdout, stderr)
	if status == exitDone {
		a.fail("backfill exits with 0, but %s: %s", a.sickness(), stderr)
	}
}

func (a *attacker) judgeCompact() {
	a.counts["compactions judged"]++
	before := a.contents()
	status, stdout, stderr := a.run("compact", "--force")
	a.named("compact", status, stdout, stderr)
	a.look()
	if a.sick() && status == exitDone {
		a.fail("compact exits with 0, but %s", a.sickness())
	}
	for row := range before {
		if after := a.contents(); !after[row] && !a.conflicting(row.symbol, row.id) {
			a.fail("after compact the tape has no longer %s %d: %s", row.symbol, row.id, row.content)
		}
	}
}

func (a *attacker) judgeDetect() {
	a.counts["detections judged"]++
	w := window.Window{Start: a.now.Add(-2 * time.Hour).Truncate(time.Minute), End: a.now.Add(-time.Hour).Truncate(time.Minute)}
	touched := a.touched(w)
	status, stdout, stderr := a.run("detect", "--from", w.Start.Format(time.RFC3339), "--to", w.End.Format(time.RFC3339))
	a.ends("detect", status, stdout, stderr)
	if touched && status != exitMisuse {
		a.named("detect", status, stdout, stderr)
	}
	if touched && status == exitDone {
		a.fail("detect exits with 0, but %s", a.sickness())
	}
}

func (a *attacker) judgeHealth() {
	a.counts["health judged"]++
	if status, stdout, _ := a.run("health"); status == exitDone {
		a.fail("health says %q, but no recorder runs", stdout)
	}
}

// ends fails if a command panicked or ended with a status that it does not have.
func (a *attacker) ends(command string, status int, stdout, stderr string) {
	said := stdout + stderr
	if strings.Contains(said, "panic") || strings.Contains(said, "goroutine ") {
		a.fail("%s panicked: %s", command, said)
	}
	if status != exitDone && status != exitPartial && status != exitFailed && status != exitMisuse {
		a.fail("%s exits with %d", command, status)
	}
}

// named fails if a command said nothing about files that are wrong.
func (a *attacker) named(command string, status int, stdout, stderr string) {
	a.ends(command, status, stdout, stderr)
	if !a.sick() {
		return
	}
	said := stdout + stderr
	for path := range a.wrong {
		if strings.Contains(said, path) || strings.Contains(said, path[strings.LastIndex(path, "/")+1:]) {
			return
		}
	}
	a.fail("%s names none of the files that are wrong (%s): status %d\n%s%s", command, a.sickness(), status, stdout, stderr)
}

// heal does what the commands advise: repair, and a backfill of what is missing.
func (a *attacker) heal() {
	a.mendFiles()
	if a.sick() {
		status, stdout, stderr := a.run("repair", "--yes")
		a.look()
		if a.sick() {
			a.fail("repair exits with %d, and still %s\n%s%s", status, a.sickness(), stdout, stderr)
		}
		a.counts["repairs"]++
	}
	a.checkContents()
	for key, content := range a.kept {
		row, ok := a.on[key.symbol][key.id]
		if !ok && !a.disturbed[key.symbol] {
			a.fail("%s %d was on the tape and was not removed by anybody, but is gone", key.symbol, key.id)
		}
		if ok && contentText(row) != content && !a.conflicting(key.symbol, key.id) {
			a.fail("%s %d has changed from %s to %s", key.symbol, key.id, content, contentText(row))
		}
	}
}
