// Package soak proves what tapedeck promises of its tape while everything goes wrong at once. It has no code but tests: they build the real binary and run
// its processes against a stand-in exchange that serves every kind of fault, end them with kill -9 at random instants, fill the volume, and
// compact every few seconds, while readers list the files with plain DuckDB all the while. At the end the tape is held to what the exchange had, row by row.
//
//	go test -run Soak -soak 3m -seed random -v ./jobs/soak
//
// The seed decides the list of faults and the plan of kills; it is printed, so that a failure can be repeated as closely as time allows.
package soak

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tapedeck/internal/standin/exchange"
)

var (
	length   = flag.Duration("soak", 10*time.Second, "how long the processes are disturbed; everything is then healed")
	seedFlag = flag.String("seed", "1", "a number, or random; it is printed")
	verbose  = flag.Bool("log", false, "print what the processes log")
)

// speed is how much faster than the wall clock the exchange's runs, so that hours and days end during the run.
const speed = 300

// soak is one run.
type soak struct {
	t      *testing.T
	seed   uint64
	length time.Duration
	server *exchange.Server
	source *exchange.Steady
	names  []string // of the symbols
	// begin is the exchange's first trade; the truth is what it traded before end, when the last writer had ended.
	begin, end time.Time
	binary     string
	data       string // the data directory
	logs       string
	// limited says that the volume has a limited size.
	limited    bool
	reads      reads
	readersEnd func()

	mu        sync.Mutex
	processes int
	kills     map[string]int // by command
	exits     map[string]int // by command and status, of those that were not killed
	noSpace   map[string]int // processes that ended with an error because the volume was full, by command
	wrong     []string       // what no process may do
	filling   bool
	filled    int // times the volume was filled
}

func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	if inNamespace(t) {
		return
	}
	s := &soak{t: t, length: *length, kills: map[string]int{}, exits: map[string]int{}, noSpace: map[string]int{}}
	var err error
	if *seedFlag == "random" {
		s.seed = rand.Uint64() >> 1
	} else if s.seed, err = strconv.ParseUint(*seedFlag, 10, 64); err != nil {
		t.Fatalf("-seed %q is neither a number nor random", *seedFlag)
	}
	fmt.Printf("soak of %v, seed %d\n", s.length, s.seed)
	s.prepare()
	s.disturb()
	s.heal()
	s.report(s.compare())
}

// prepare builds the binary and starts the exchange.
func (s *soak) prepare() {
	s.binary = filepath.Join(s.t.TempDir(), "tapedeck")
	build := exec.Command("go", "build", "-o", s.binary, "tapedeck/cmd/tapedeck")
	if out, err := build.CombinedOutput(); err != nil {
		s.t.Fatalf("build tapedeck: %v\n%s", err, out)
	}
	s.logs = s.t.TempDir()
	volume := s.t.TempDir()
	s.mount(volume)
	s.data = filepath.Join(volume, "data")

	symbols, days := 8, 3
	if s.length < time.Minute {
		symbols, days = 3, 1
	}
	// Midnight strikes in the middle of the run.
	midnight := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -2)
	lasts := s.length * speed
	start := midnight.Add(-lasts / 2)
	s.begin = midnight.AddDate(0, 0, -days)
	var err error
	if s.source, err = exchange.NewSteady(symbols, 2, s.begin, 0); err != nil {
		s.t.Fatal(err)
	}
	for _, symbol := range s.source.Symbols() {
		s.names = append(s.names, symbol.Name)
	}
	faults := s.faults()
	s.server, err = exchange.Start(s.source, exchange.Options{Speed: speed, Start: start, Faults: faults, BanFor: 5 * time.Second, SpoolDir: s.t.TempDir()})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := s.server.Close(); err != nil {
			s.t.Errorf("close the exchange: %v", err)
		}
	})
	if status := s.live(s.t.Context(), 0, "db-migrate"); status != 0 {
		s.t.Fatalf("db-migrate: exit status %d", status)
	}
	for _, kind := range exchange.FaultKinds() {
		if faults.Rates[kind] == 0 || slices.Contains(connectionFaults(), kind) {
			continue
		}
		// Each kind once for certain, and then by chance.
		if _, err := s.server.Inject(exchange.Fault{Kind: kind}); err != nil {
			s.t.Fatal(err)
		}
	}
}

func connectionFaults() []exchange.FaultKind {
	return []exchange.FaultKind{exchange.Cut, exchange.Close, exchange.Silence, exchange.Mute, exchange.Shutdown}
}

// faults draws a list of faults: all kinds, each at its usual rate times a factor from a third to three.
func (s *soak) faults() *exchange.Faults {
	faults := exchange.EveryFault(s.seed)
	rnd := rand.New(rand.NewPCG(s.seed, 1))
	var lines []string
	for _, kind := range exchange.FaultKinds() {
		rate, ok := faults.Rates[kind]
		if !ok {
			continue
		}
		factor := []float64{1. / 3, .5, 1, 2, 3}[rnd.IntN(5)]
		if strings.HasPrefix(string(kind), "archive") || kind == exchange.REST418 {
			factor = min(factor, 1) // those of a file may not be more than one together; a ban costs two seconds
		}
		if s.length < time.Minute && (kind == exchange.REST418 || kind == exchange.RESTLater) {
			factor = .1 // what they cost is time
		}
		faults.Rates[kind] = rate * factor
		lines = append(lines, fmt.Sprintf("%s=%.3g", kind, faults.Rates[kind]))
	}
	fmt.Printf("faults: %s\n", strings.Join(lines, " "))
	return faults
}

// disturb lets the processes run, and ends them, for as long as was said and until the volume has been full.
func (s *soak) disturb() {
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	var writers sync.WaitGroup
	all := strings.Join(s.names, ",")
	random := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(s.seed, n)) }

	writers.Go(func() {
		rnd := random(2)
		for ctx.Err() == nil {
			end := draw(rnd, 500*time.Millisecond, 8*time.Second)
			if rnd.IntN(6) == 0 {
				end = -end // ended politely
			}
			s.live(ctx, end, "stream", "--symbols", all, "--flush-interval", "1s", "--flush-rows", "2000", "--connections", strconv.Itoa(1+rnd.IntN(2)))
			pause(ctx, draw(rnd, time.Millisecond, 300*time.Millisecond))
		}
	})
	writers.Go(func() {
		rnd := random(3)
		began := time.Now()
		for ctx.Err() == nil {
			end := draw(rnd, 200*time.Millisecond, 8*time.Second)
			if rnd.IntN(4) == 0 {
				end = 0 // it ends by itself
			}
			source := []string{"auto", "auto", "archive", "rest"}[rnd.IntN(4)]
			if time.Since(began) < s.length/3 {
				source = "archive" // while the past days are not there
			}
			s.backfill(ctx, end, "--source", source)
			pause(ctx, draw(rnd, 50*time.Millisecond, 500*time.Millisecond))
		}
	})
	writers.Go(func() {
		rnd := random(4)
		for ctx.Err() == nil {
			end := time.Duration(0)
			if rnd.IntN(3) == 0 {
				end = draw(rnd, time.Millisecond, 400*time.Millisecond)
			}
			args := []string{"compact"}
			if rnd.IntN(2) == 0 {
				args = append(args, "--force")
			}
			s.live(ctx, end, args...)
			pause(ctx, draw(rnd, 500*time.Millisecond, 3*time.Second))
		}
	})
	writers.Go(func() {
		rnd := random(5)
		for ctx.Err() == nil {
			end := time.Duration(0)
			if rnd.IntN(3) == 0 {
				end = draw(rnd, time.Millisecond, 400*time.Millisecond)
			}
			s.live(ctx, end, "verify")
			pause(ctx, draw(rnd, time.Second, 6*time.Second))
		}
	})
	s.startReaders(ctx)
	broken := make(chan struct{})
	writers.Go(func() {
		defer close(broken)
		s.breakConnections(ctx, random(6))
	})
	began := time.Now()
	if pause(ctx, s.length/2) {
		s.fillVolume(ctx)
	}
	pause(ctx, s.length-time.Since(began))
	select { // on a slow machine there may not have been a connection yet to break
	case <-broken:
	case <-time.After(2 * time.Minute):
	}
	cancel()
	writers.Wait()
	s.readersEnd()
	s.end = s.server.Now()
}

// breakConnections serves the kinds of fault that are rare by themselves.
func (s *soak) breakConnections(ctx context.Context, rnd *rand.Rand) {
	kinds := connectionFaults()
	rnd.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	for _, kind := range kinds {
		if !pause(ctx, s.length/time.Duration(len(kinds)+1)) {
			return
		}
		for {
			met, err := s.server.Inject(exchange.Fault{Kind: kind})
			if err != nil {
				s.fault("inject %s: %v", kind, err)
				return
			}
			if met > 0 {
				break
			}
			if !pause(ctx, 20*time.Millisecond) {
				return
			}
		}
	}
}

// heal lets the last stream end politely and backfills until nothing is missing, while faults go on.
func (s *soak) heal() {
	began := time.Now()
	for attempt := 1; ; attempt++ {
		status := s.backfill(s.t.Context(), 0)
		if status == 0 {
			break
		}
		if time.Since(began) > 3*time.Minute || s.t.Context().Err() != nil {
			s.fault("the tape is not healed after %d backfills", attempt)
			return
		}
	}
	if status := s.live(s.t.Context(), 0, "compact", "--force"); status != 0 {
		s.fault("compact --force: exit status %d", status)
	}
	if status := s.live(s.t.Context(), 0, "verify", "--full"); status != 0 {
		s.fault("verify --full: exit status %d", status)
	}
	fmt.Printf("healed in %v\n", time.Since(began).Round(time.Millisecond))
}

// backfill runs a backfill of everything that the exchange has by now.
func (s *soak) backfill(ctx context.Context, end time.Duration, args ...string) (status int) {
	to := s.end
	if to.IsZero() {
		to = s.server.Now()
	}
	now := to.Format(time.RFC3339Nano)
	return s.live(ctx, end, append([]string{"backfill", "--now", now, "--from", s.begin.Format(time.RFC3339), "--to", now, "--symbols", strings.Join(s.names, ",")}, args...)...)
}

func draw(rnd *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rnd.Int64N(int64(most-least)))
}

// pause is false where ctx ended before it was over.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *soak) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

// killed is the exit status that live gives for a process that was.
const killed = -1

// live runs tapedeck until it ends by itself or end is over: then it is killed, or asked to end where end is below 0. It gives the exit status.
func (s *soak) live(ctx context.Context, end time.Duration, args ...string) int {
	command := args[0]
	s.mu.Lock()
	s.processes++
	name := filepath.Join(s.logs, fmt.Sprintf("%04d-%s.log", s.processes, command))
	s.mu.Unlock()
	log, err := os.Create(name)
	if err != nil {
		s.fault("%v", err)
		return killed
	}
	defer log.Close()
	fmt.Fprintf(log, "tapedeck %s\n", strings.Join(args, " "))
	p := exec.Command(s.binary, append([]string{"--data-dir", s.data}, args...)...)
	p.Stdout, p.Stderr, p.Dir = log, log, s.logs
	p.Env = append(slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "TAPEDECK_") }),
		"TAPEDECK_STREAM_URL="+s.server.StreamURL(), "TAPEDECK_REST_URL="+s.server.URL(), "TAPEDECK_ARCHIVE_URL="+s.server.URL(), "TAPEDECK_LOG_LEVEL=info")
	if err := p.Start(); err != nil {
		s.fault("start tapedeck: %v", err)
		return killed
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	var timer <-chan time.Time
	if end != 0 {
		timer = time.After(end.Abs())
	}
	stopping := ctx.Done()
	for {
		select {
		case err = <-ended:
			return s.ended(command, p, err, name, stopping == nil || end < 0 && timer == nil)
		case <-timer:
			timer = nil
			if s.isFilling() && command == "stream" {
				continue // it is to find out by itself
			}
			if end < 0 {
				_ = p.Process.Signal(os.Interrupt)
				continue
			}
			_ = p.Process.Kill()
			<-ended
			s.mu.Lock()
			s.kills[command]++
			s.mu.Unlock()
			return killed
		case <-stopping:
			stopping = nil
			_ = p.Process.Signal(os.Interrupt)
		}
	}
}

// ended books the end of a process that was not killed; asked says that it was asked to end.
func (s *soak) ended(command string, p *exec.Cmd, err error, log string, asked bool) int {
	status := p.ProcessState.ExitCode()
	text, readErr := os.ReadFile(log)
	if readErr != nil {
		s.fault("%v", readErr)
	}
	if *verbose {
		fmt.Printf("%s\n", text)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case status == 0 || status == 3:
	case strings.Contains(string(text), "no space left on device"):
		s.noSpace[command]++
		if status != 1 || s.filled == 0 {
			s.wrong = append(s.wrong, fmt.Sprintf("%s ended with %v for want of space", command, err))
		}
	case asked && (status < 0 || command != "stream" && strings.Contains(string(text), "interrupt signal received")):
		// A process that has not come so far as to mind signals is ended by them.
	default:
		s.wrong = append(s.wrong, fmt.Sprintf("%s ended with %v:\n%s", command, err, tail(string(text), 8)))
	}
	s.exits[fmt.Sprintf("%s %d", command, status)]++
	return status
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func (s *soak) isFilling() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.filling
}

// fillVolume takes all the room there is, until a stream has ended for want of it.
func (s *soak) fillVolume(ctx context.Context) {
	ballast := filepath.Join(filepath.Dir(s.data), "ballast")
	s.mu.Lock()
	s.filling = s.filled == 0 && s.limited
	if s.filling {
		s.filled++
	}
	filling := s.filling
	s.mu.Unlock()
	if !filling {
		return
	}
	defer func() {
		if err := os.Remove(ballast); err != nil {
			s.fault("%v", err)
		}
		s.mu.Lock()
		s.filling = false
		s.mu.Unlock()
	}()
	file, err := os.Create(ballast)
	if err != nil {
		s.fault("%v", err)
		return
	}
	defer file.Close()
	block := make([]byte, 64<<10)
	for began := time.Now(); ; {
		// What others free meanwhile is taken too.
		if _, err := file.Write(block); err == nil {
			continue
		}
		s.mu.Lock()
		noticed := s.noSpace["stream"] > 0
		s.mu.Unlock()
		if noticed {
			return
		}
		if time.Since(began) > 2*time.Minute {
			s.fault("no stream ended in two minutes on a full volume")
			return
		}
		if !pause(ctx, 20*time.Millisecond) {
			return
		}
	}
}

func (s *soak) printCounts(what string, counts map[string]int) {
	var parts []string
	total := 0
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s: %d", key, counts[key]))
		total += counts[key]
	}
	fmt.Printf("%-34s %d (%s)\n", what, total, strings.Join(parts, ", "))
}

// report prints what was found and holds it to the promise.
func (s *soak) report(found comparison) {
	t := s.t
	fmt.Printf("%-34s %d\n%-34s %d\n", "trades in the truth", found.truth, "trades in the tape", found.tape)
	fmt.Printf("missing %d, twice %d, altered %d, unknown %d\n", found.missing, found.twice, found.altered, found.unknown)
	s.printCounts("killed with kill -9", s.kills)
	s.printCounts("ended by themselves, by status", s.exits)
	s.printCounts("ended because the volume was full", s.noSpace)
	served := s.server.Served()
	faults := map[string]int{}
	var never []string
	for _, kind := range exchange.FaultKinds() {
		if n := served.Faults[kind]; n > 0 {
			faults[string(kind)] = int(n)
		} else {
			never = append(never, string(kind))
		}
	}
	s.printCounts("faults served", faults)
	if len(never) > 0 {
		fmt.Printf("never served: %s\n", strings.Join(never, ", "))
	}
	fmt.Printf("connections %d, messages %d, peak weight in a minute %d of %d, offences %v\n", served.Connections, served.Messages, served.PeakWeight, served.WeightLimit, s.server.Offences())
	r := &s.reads
	fmt.Printf("reads %d, that saw a duplicate %d, that saw less than an earlier read had %d, that failed and were right when repeated %d, that stayed wrong %d\n", r.done, r.twice, r.less, r.repeated, r.failed)

	for _, wrong := range s.wrong {
		t.Error(wrong)
	}
	if found.missing+found.twice+found.altered+found.unknown > 0 || found.tape != found.truth {
		t.Errorf("the tape is not what the exchange had; first: %s", found.first)
	}
	if r.twice+r.less+r.failed > 0 || r.done == 0 {
		t.Errorf("readers: %+v, %s", r.counts, r.first)
	}
	kills := 0
	for _, n := range s.kills {
		kills += n
	}
	if wanted := int(20 * s.length / (3 * time.Minute)); kills < max(wanted, 1) {
		t.Errorf("only %d processes were killed, %d wanted", kills, wanted)
	}
	if s.limited && s.noSpace["stream"] == 0 {
		t.Error("no stream met the full volume")
	}
	if offences := s.server.Offences(); offences[exchange.BudgetExceeded] > 0 {
		t.Errorf("the request budget was exceeded: %v", offences)
	}
	if len(never) > 0 && s.length >= 3*time.Minute {
		t.Errorf("faults that were never served: %v", never)
	}
	if t.Failed() {
		fmt.Printf("seed %d failed; the processes' logs are in %s until the test ends\n", s.seed, s.logs)
		if keep := os.Getenv("SOAK_LOGS"); keep != "" {
			if err := os.CopyFS(keep, os.DirFS(s.logs)); err != nil && !errors.Is(err, os.ErrExist) {
				t.Log(err)
			}
		}
	}
}
