// Package soak tests the guarantees of the tape under many faults at the same time. It contains only
// tests. They build the real binary and run its processes against a stand-in exchange that injects
// every kind of fault, kill them with kill -9 at random times, fill the volume, and compact every few
// seconds, while readers query the files with plain DuckDB. At the end the tape is compared with the
// exchange's rows.
//
//	go test -run Soak -soak 3m -seed random -v ./jobs/soak
//
// The seed determines the rates of the faults and the times of the kills. It is printed, so that a
// failure can be repeated as closely as timing allows. A run continues until every kind of fault was
// served and enough processes were killed, so it never fails because chance did not produce a case.
package soak

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
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
	length   = flag.Duration("soak", 10*time.Second, "how long the processes run under faults before the tape is healed")
	seedFlag = flag.String("seed", "1", "a number, or random; it is printed")
	verbose  = flag.Bool("log", false, "print the logs of the processes")
)

// speed is how much faster than the wall clock the exchange's clock runs, so that hours and days end
// during the test.
const speed = 300

// fullLength is the length from which a run must serve every kind of fault.
const fullLength = 3 * time.Minute

// extension bounds how much longer a run takes to produce the cases that chance left out.
const extension = 5 * time.Minute

// soak is one run.
type soak struct {
	t      *testing.T
	seed   uint64
	length time.Duration
	server *exchange.Server
	source *exchange.Steady
	names  []string // of the symbols
	// The tape must have what was traded from begin to end. The exchange has a few older trades, because
	// it has no answer about a time before its first one.
	begin, end     time.Time
	binary         string
	data           string // the data directory
	logs           string
	limited        bool // the volume has a limited size
	reads          reads
	waitForReaders func()

	conflicts conflictCounts

	mu        sync.Mutex
	processes int
	kills     map[string]int // by command
	exits     map[string]int // of processes that were not killed, by command and status
	noSpace   map[string]int // processes that failed because the volume was full, by command
	problems  []string
	filling   bool
	filled    int // how often the volume was filled
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
	s.runUnderFaults()
	s.heal()
	s.serveConflicts()
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
	// Midnight is in the middle of the run.
	midnight := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -2)
	start := midnight.Add(-s.length * speed / 2)
	s.begin = midnight.AddDate(0, 0, -days)
	var err error
	if s.source, err = exchange.NewSteady(symbols, 2, s.begin.Add(-10*time.Second), 0); err != nil {
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
	if status := s.run(s.t.Context(), 0, "db-migrate"); status != 0 {
		s.t.Fatalf("db-migrate: exit status %d", status)
	}
	for _, kind := range exchange.FaultKinds() {
		if faults.Rates[kind] == 0 || slices.Contains(connectionFaults(), kind) {
			continue
		}
		// Request each kind once, in addition to the random schedule.
		if _, err := s.server.Inject(exchange.Fault{Kind: kind}); err != nil {
			s.t.Fatal(err)
		}
	}
}

func connectionFaults() []exchange.FaultKind {
	return []exchange.FaultKind{exchange.Cut, exchange.Close, exchange.Silence, exchange.Mute, exchange.Shutdown}
}

// faults draws the rates of all kinds: each is its default rate times a factor from a third to three.
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
			factor = min(factor, 1) // the shares of archive faults must not exceed 1 together; a ban takes two seconds
		}
		if s.length < time.Minute && (kind == exchange.REST418 || kind == exchange.RESTLater) {
			factor = .1 // they take too much time
		}
		faults.Rates[kind] = rate * factor
		lines = append(lines, fmt.Sprintf("%s=%.3g", kind, faults.Rates[kind]))
	}
	// An event's other content arrives after the event, so the tape must never have it. What the other
	// faults of content leave depends on what arrives first; conflicts_test.go injects them.
	faults.Rates[exchange.Conflict] = .0005
	fmt.Printf("faults: %s\n", strings.Join(lines, " "))
	return faults
}

// runUnderFaults runs and kills processes for the length of the test, and longer until all cases have
// occurred.
func (s *soak) runUnderFaults() {
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
				end = -end // interrupted instead of killed
			}
			s.run(ctx, end, "stream", "--symbols", all, "--flush-interval", "1s", "--flush-rows", "2000", "--connections", strconv.Itoa(1+rnd.IntN(2)))
			pause(ctx, draw(rnd, time.Millisecond, 300*time.Millisecond))
		}
	})
	writers.Go(func() {
		rnd := random(3)
		started := time.Now()
		for ctx.Err() == nil {
			end := draw(rnd, 200*time.Millisecond, 8*time.Second)
			if rnd.IntN(4) == 0 {
				end = 0 // not killed
			}
			source := []string{"auto", "auto", "archive", "rest"}[rnd.IntN(4)]
			if time.Since(started) < s.length/3 {
				source = "archive" // until the past days are on the tape
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
			s.run(ctx, end, args...)
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
			s.run(ctx, end, "verify")
			pause(ctx, draw(rnd, time.Second, 6*time.Second))
		}
	})
	s.startReaders(ctx)
	broken := make(chan struct{})
	writers.Go(func() {
		defer close(broken)
		s.breakConnections(ctx, random(6))
	})
	started := time.Now()
	if pause(ctx, s.length/2) {
		s.fillVolume(ctx)
	}
	pause(ctx, s.length-time.Since(started))
	select { // on a slow machine there may have been no connection to break yet
	case <-broken:
	case <-time.After(2 * time.Minute):
	}
	for deadline := time.Now().Add(extension); len(s.missingCases()) > 0 && time.Now().Before(deadline); {
		pause(ctx, 100*time.Millisecond)
	}
	cancel()
	writers.Wait()
	s.waitForReaders()
	s.end = s.server.Now()
}

// missingCases lists the cases that have not occurred yet. All fault kinds were requested, so each
// occurs as soon as a process makes a request that it applies to.
func (s *soak) missingCases() (missing []string) {
	if s.length >= fullLength {
		served := s.server.Served().Faults
		for _, kind := range exchange.FaultKinds() {
			if served[kind] == 0 && (kind == exchange.Conflict || !kind.ChangesContent()) {
				missing = append(missing, "fault "+string(kind))
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	kills := 0
	for _, n := range s.kills {
		kills += n
	}
	if wanted := max(1, int(20*s.length/fullLength)); kills < wanted {
		missing = append(missing, fmt.Sprintf("%d of %d kills", wanted-kills, wanted))
	}
	return missing
}

// breakConnections injects each connection fault once, spread over the run.
func (s *soak) breakConnections(ctx context.Context, rnd *rand.Rand) {
	kinds := connectionFaults()
	rnd.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	for _, kind := range kinds {
		if !pause(ctx, s.length/time.Duration(len(kinds)+1)) {
			return
		}
		for {
			connections, err := s.server.Inject(exchange.Fault{Kind: kind})
			if err != nil {
				s.problem("inject %s: %v", kind, err)
				return
			}
			if connections > 0 {
				break
			}
			if !pause(ctx, 20*time.Millisecond) {
				return
			}
		}
	}
}

// heal backfills until nothing is missing, while faults continue, and compacts and verifies the tape.
func (s *soak) heal() {
	started := time.Now()
	for attempt := 1; ; attempt++ {
		status := s.backfill(s.t.Context(), 0)
		if status == 0 {
			break
		}
		if time.Since(started) > 3*time.Minute || s.t.Context().Err() != nil {
			s.problem("gaps remain after %d backfills", attempt)
			return
		}
	}
	if status := s.run(s.t.Context(), 0, "compact", "--force"); status != 0 {
		s.problem("compact --force: exit status %d", status)
	}
	want := 0
	if len(s.recordedConflicts()) > 0 {
		want = 3
	}
	if status := s.run(s.t.Context(), 0, "verify", "--full"); status != want {
		s.problem("verify --full: exit status %d, want %d", status, want)
	}
	fmt.Printf("healed in %v\n", time.Since(started).Round(time.Millisecond))
}

// backfill backfills everything that the exchange has traded until now, or until end if it is set.
func (s *soak) backfill(ctx context.Context, end time.Duration, args ...string) (status int) {
	to := s.end
	if to.IsZero() {
		to = s.server.Now()
	}
	now := to.Format(time.RFC3339Nano)
	return s.run(ctx, end, append([]string{"backfill", "--now", now, "--from", s.begin.Format(time.RFC3339), "--to", now, "--symbols", strings.Join(s.names, ",")}, args...)...)
}

func draw(rnd *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rnd.Int64N(int64(most-least)))
}

// pause waits. It returns false if ctx ends first.
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

func (s *soak) problem(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

// killed is the status that run returns for a killed process.
const killed = -1
