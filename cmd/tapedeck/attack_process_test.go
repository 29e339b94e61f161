package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// patience is how long a test waits for what must happen.
const patience = 5 * time.Minute

// process is tapedeck in a process of its own.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	ended          chan struct{} // closed when the process has ended
	err            error         // of Wait
}

// start starts a command. attr may be nil. If log is not nil, it is the standard error.
func (a *attacker) start(attr *syscall.SysProcAttr, log *os.File, args ...string) *process {
	p := &process{cmd: exec.Command("tapedeck", args...), ended: make(chan struct{})}
	p.cmd.Env = append(a.environ(), "PATH="+os.Getenv("PATH"), "TMPDIR="+os.TempDir(), "GORACE=atexit_sleep_ms=0")
	if attr != nil { // another user may not enter the directory of the command
		p.cmd.Path = "/proc/self/exe"
	}
	p.cmd.SysProcAttr, p.cmd.Stdout, p.cmd.Stderr = attr, &p.stdout, &p.stderr
	if log != nil {
		p.cmd.Stderr = log
	}
	if err := p.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	a.t.Cleanup(func() { // of a test that failed
		_ = p.cmd.Process.Kill()
		<-p.ended
	})
	return p
}

// status returns the exit status of a process that has ended; negative if it was killed.
func (p *process) status() int { return p.cmd.ProcessState.ExitCode() }

// killAfter kills the process after a while, unless it ends before. It returns whether it was killed.
func (p *process) killAfter(length time.Duration) bool {
	select {
	case <-p.ended:
	case <-time.After(length):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	return p.status() < 0
}

// killCommand kills a command at a random instant. What it leaves is complete and true.
func (a *attacker) killCommand() {
	a.wait(time.Minute) // the exchange's limit is for each minute
	commands := [][]string{{"backfill"}, {"compact", "--force"}, {"repair", "--yes"}, {"verify"}, {"detect"}}
	args := commands[a.random.IntN(len(commands))]
	if args[0] == "backfill" {
		args = append(args, "--symbols", strings.Join(a.symbols, ","), "--from", oracleDay.Format(time.RFC3339))
		for _, symbol := range a.symbols {
			a.asked[symbol] = a.now
		}
	}
	if args[0] == "detect" {
		a.noteJudgeable()
	}
	before, sick := a.contents(), len(a.wrong)
	p := a.start(nil, nil, a.dated(args)...)
	killed := p.killAfter(a.upTo(400 * time.Millisecond))
	a.note("%s, killed: %t, status %d: %s", args[0], killed, p.status(), &p.stderr)
	a.counts[fmt.Sprintf("kills of %s", args[0])]++
	if !killed {
		a.ends(args[0], p.status(), p.stdout.String(), p.stderr.String())
	}
	a.look()
	if len(a.wrong) > sick {
		a.fail("%s was killed, and now %s", args[0], a.sickness())
	}
	after := a.contents()
	for row := range before {
		if !after[row] && sick == 0 {
			a.fail("%s was killed, and the tape has no longer %s %d: %s", args[0], row.symbol, row.id, row.content)
		}
	}
}

// killDrop kills a removal at a random instant. Each of its rows is on the tape or not, all others are. The
// same command finishes it.
func (a *attacker) killDrop() {
	if a.sick() {
		return
	}
	symbol, w := a.symbols[a.random.IntN(len(a.symbols))], a.someWindow()
	args := []string{"drop", "--symbols", symbol, "--from", w.Start.Format(time.RFC3339Nano), "--to", w.End.Format(time.RFC3339Nano), "--yes"}
	before := a.on[symbol]
	for id, row := range before {
		if contains(w, row) {
			delete(a.kept, tradeKey{symbol, id})
		}
	}
	a.disturbed[symbol] = true
	p := a.start(nil, nil, a.dated(args)...)
	killed := p.killAfter(a.upTo(400 * time.Millisecond))
	a.note("drop of %s, killed: %t, status %d: %s", symbol, killed, p.status(), &p.stderr)
	a.counts["kills of drop"]++
	checkRows := func(all bool) {
		a.look()
		for id, row := range before {
			if _, ok := a.on[symbol][id]; !ok && !contains(w, row) || ok && all && contains(w, row) {
				a.fail("after the drop of %s, %s %d is on the tape: %t", spansText([]window.Window{w}), symbol, id, ok)
			}
		}
		if a.sick() {
			a.fail("a drop was killed, and now %s", a.sickness())
		}
	}
	checkRows(false)
	a.judgeReport()
	switch status, _, stderr := a.run(args...); status {
	case exitDone:
		checkRows(true)
	case exitMisuse: // nothing is left to remove
	default:
		a.fail("drop exits with %d: %s", status, stderr)
	}
	for id := range before {
		if _, ok := a.on[symbol][id]; !ok {
			a.dropped[symbol][id] = true
		}
	}
}

// killImport kills an import at a random instant, again and again. All of its rows are on the tape or none, and the
// same command adds what is not there yet.
func (a *attacker) killImport() {
	if a.sick() || a.skew != 0 {
		return
	}
	symbol := a.symbols[a.random.IntN(len(a.symbols))]
	rows := a.between(symbol, window.Window{Start: oracleDay, End: a.now})
	if len(rows) == 0 {
		return
	}
	args := []string{"import", "--symbol", symbol, a.writeCSV(symbol, rows)}
	for range 1 + a.random.IntN(3) {
		before := a.contents()
		p := a.start(nil, nil, a.dated(args)...)
		killed := p.killAfter(a.upTo(300 * time.Millisecond))
		a.note("import of %d trades of %s, killed: %t, status %d: %s", len(rows), symbol, killed, p.status(), &p.stderr)
		a.counts["kills of import"]++
		a.look()
		if a.sick() {
			a.fail("an import was killed, and now %s", a.sickness())
		}
		added := 0
		for row := range a.contents() {
			if !before[row] {
				added++
			}
		}
		lacking := 0
		for _, row := range rows {
			if _, ok := a.on[symbol][row.ID]; !ok {
				lacking++
			}
		}
		for row := range before {
			if after, ok := a.on[row.symbol][row.id]; !ok || contentText(after) != row.content {
				a.fail("an import was killed, and the tape has no longer %s %d: %s", row.symbol, row.id, row.content)
			}
		}
		dates := map[string]bool{}
		for _, row := range rows {
			dates[tape.DateOf(row.TradedAt)] = true
		}
		if len(dates) == 1 && added > 0 && lacking > 0 {
			a.fail("an import was killed, and %d of its trades of one day are on the tape, %d are not", added, lacking)
		}
	}
	switch a.random.IntN(3) {
	case 0:
		a.wait(time.Minute)
		a.backfill()
	case 1:
		a.judgeVerify()
	}
	status, _, stderr := a.run(args...)
	a.look()
	if status != exitDone && status != exitPartial { // the tape may have other contents
		a.fail("the import fails after it was killed: %d: %s", status, stderr)
	}
	for _, row := range rows {
		if _, ok := a.on[symbol][row.ID]; !ok {
			a.fail("%s %d was imported, and is not on the tape: %s", symbol, row.ID, stderr)
		}
	}
}

// recordUnread runs a recorder whose log and whose metrics nobody reads. It records all the same, and ends
// when it should.
func (a *attacker) recordUnread() { a.recordReally(true, nil) }

// recordFaults runs a recorder that receives messages twice, in another order, damaged, and with other
// contents.
func (a *attacker) recordFaults() {
	var faults []exchange.Fault
	for _, kind := range []exchange.FaultKind{exchange.Duplicate, exchange.Reorder, exchange.Conflict} {
		if a.chance(2) {
			faults = append(faults, exchange.Fault{Kind: kind, Count: 1 + a.random.IntN(5)})
		}
	}
	a.recordReally(false, faults)
}

// recordReally records with a real process, which is killed or stopped in the end.
func (a *attacker) recordReally(unread bool, faults []exchange.Fault) {
	length := (time.Minute + a.upTo(20*time.Minute)).Truncate(time.Microsecond)
	begin, end := a.now, a.now.Add(length)
	if end.After(oracleDay.Add(38 * time.Hour)) {
		return
	}
	metrics, err := freeAddress()
	if err != nil {
		a.t.Fatal(err)
	}
	log, unreadLog, err := os.Pipe()
	if err != nil {
		a.t.Fatal(err)
	}
	defer log.Close()
	if !unread {
		go func() { _, _ = io.Copy(io.Discard, log) }()
	}
	p := a.start(nil, unreadLog, "stream", "--symbols", strings.Join(a.symbols, ","),
		"--flush-interval", "200ms", "--metrics-addr", metrics, "--log-level", "debug")
	unreadLog.Close()
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	go func() {
		<-p.ended
		cancel()
	}()
	if a.server.WaitSubscribed(ctx, len(a.symbols)) != nil {
		<-p.ended
		if p.status() < 0 {
			a.fail("the recorder did not subscribe in %v", patience)
		}
		if p.status() == exitMisuse {
			a.fail("the recorder's command line is wrong")
		}
		a.note("a recorder did not start: %d", p.status()) // another process may have taken the port
		a.counts["recorders that did not start"]++
		return
	}
	if unread {
		defer requestUnread(a.t, metrics)()
	}
	a.faulted = a.faulted || len(faults) > 0 // what does not happen now may happen to a later recorder
	for _, fault := range faults {
		if _, err := a.server.Inject(fault); err != nil {
			a.t.Fatal(err)
		}
	}
	a.wait(length)
	want, kill := a.received(window.Window{Start: begin, End: end}), a.chance(2)
	if kill {
		killed := p.killAfter(a.upTo(time.Second))
		a.note("a recorder received %d trades, killed: %t", len(want), killed)
	} else {
		most := patience
		if a.faulted {
			most = 2 * time.Second // the last trade may be one that is held back
		}
		if missing := a.await(p, want, most); missing != nil && !a.faulted {
			a.fail("the recorder did not write %s %d in %v", missing.Symbol, missing.ID, patience)
		}
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			a.t.Fatal(err)
		}
		select {
		case <-p.ended:
		case <-time.After(patience):
			a.fail("the recorder did not end within %v of a SIGTERM", patience)
		}
		if p.status() != exitDone {
			a.fail("the recorder exits with %d", p.status())
		}
		a.note("a recorder received %d trades, and was stopped", len(want))
	}
	ctx, cancel = context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	if err := a.server.WaitIdle(ctx); err != nil {
		a.t.Fatal(err)
	}
	for _, symbol := range a.symbols {
		a.watched[symbol] = append(a.watched[symbol], window.Window{Start: begin, End: end})
		if a.faulted { // there may be conflicts
			a.disturbed[symbol], a.contradicted[symbol] = true, true
		}
	}
	a.look()
}

// received returns the trades of all symbols in a window that a recorder receives.
func (a *attacker) received(w window.Window) (rows []tape.Trade) {
	for _, symbol := range a.symbols {
		rows = append(rows, a.between(symbol, window.Window{Start: w.Start.Add(time.Microsecond), End: w.End.Add(time.Microsecond)})...)
	}
	return rows
}

// await waits until rows are on the tape, for a while at most. It returns one that was not written by then.
func (a *attacker) await(p *process, rows []tape.Trade, most time.Duration) (missing *tape.Trade) {
	timeout, again := time.After(most), time.NewTicker(50*time.Millisecond)
	defer again.Stop()
	for {
		if missing = nil; !a.sick() {
			a.look()
			for i, row := range rows {
				if _, ok := a.on[row.Symbol][row.ID]; !ok {
					missing = &rows[i]
					break
				}
			}
		}
		if missing == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-p.ended:
			a.fail("the recorder ended by itself with %d", p.status())
		case <-timeout:
			return missing
		}
	}
}

// requestUnread requests metrics on many connections, and reads no answer. The function that it returns closes
// the connections.
func requestUnread(t *testing.T, address string) func() {
	var open []net.Conn
	for range 20 {
		conn, err := net.Dial("tcp", address)
		if errors.Is(err, syscall.ECONNREFUSED) {
			break // another recorder may have taken the port
		}
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
		request := "GET /metrics HTTP/1.1\r\nHost: " + address + "\r\n\r\n"
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(conn, strings.Repeat(request, 500)) // blocks when the server's answers fill the buffers
	}
	return func() {
		for _, conn := range open {
			conn.Close()
		}
	}
}
