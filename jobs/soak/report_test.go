package soak

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"tapedeck/internal/standin/exchange"
)

func (s *soak) printCounts(what string, counts map[string]int) {
	var parts []string
	total := 0
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s: %d", key, counts[key]))
		total += counts[key]
	}
	fmt.Printf("%-34s %d (%s)\n", what, total, strings.Join(parts, ", "))
}

// report prints the results and fails the test if a guarantee was violated.
func (s *soak) report(found comparison) {
	t := s.t
	fmt.Printf("%-34s %d\n%-34s %d\n", "trades of the exchange", found.expected, "trades on the tape", found.tape)
	fmt.Printf("missing %d, twice %d, altered %d, unknown %d\n", found.missing, found.twice, found.altered, found.unknown)
	c := s.conflicts
	fmt.Printf("conflicts found %d of the %d served under faults (the others were lost with the killed processes), %d of %d served without, strange %d\n",
		c.foundUnderFaults, c.servedUnderFaults, c.found, c.served, c.strange)
	s.printCounts("killed with kill -9", s.kills)
	s.printCounts("ended by themselves, by status", s.exits)
	s.printCounts("failed because the volume was full", s.noSpace)
	served := s.server.Served()
	faults := map[string]int{}
	for kind, n := range served.Faults {
		faults[string(kind)] = int(n)
	}
	s.printCounts("faults served", faults)
	fmt.Printf("connections %d, messages %d, peak weight in a minute %d of %d, offences %v\n", served.Connections, served.Messages, served.PeakWeight, served.WeightLimit, s.server.Offences())
	r := &s.reads
	fmt.Printf("reads %d, with duplicates %d, with fewer rows than an earlier read %d, successful after a retry %d, failed %d\n", r.done, r.twice, r.fewer, r.retried, r.failed)

	for _, problem := range s.problems {
		t.Error(problem)
	}
	if found.missing+found.twice+found.altered+found.unknown > 0 || found.tape != found.expected {
		t.Errorf("the tape differs from the exchange, first: %s", found.first)
	}
	if c.found != c.served || c.served == 0 || c.strange > 0 {
		t.Errorf("conflicts: %+v, first: %s", c, c.first)
	}
	if r.twice+r.fewer+r.failed > 0 || r.done == 0 {
		t.Errorf("readers: %+v, %s", r.counts, r.first)
	}
	if missing := s.missingCases(); len(missing) > 0 {
		t.Errorf("these cases did not occur within %s: %s", s.length+extension, strings.Join(missing, ", "))
	}
	if s.limited && s.noSpace["stream"] == 0 {
		t.Error("no stream failed because of the full volume")
	}
	if offences := s.server.Offences(); offences[exchange.BudgetExceeded] > 0 {
		t.Errorf("the request budget was exceeded: %v", offences)
	}
	if t.Failed() {
		fmt.Printf("seed %d failed; SOAK_LOGS=directory keeps the processes' logs\n", s.seed)
		if keep := os.Getenv("SOAK_LOGS"); keep != "" {
			if err := os.CopyFS(keep, os.DirFS(s.logs)); err != nil && !errors.Is(err, os.ErrExist) {
				t.Log(err)
			}
		}
	}
}
