package state

import "testing"

// TestOutcomesAreOneOfFourKinds checks the kind of every outcome, and that none has two kinds.
func TestOutcomesAreOneOfFourKinds(t *testing.T) {
	want := map[Outcome]string{
		OK: "done", Incomplete: "done", Failed: "failed", Timeout: "failed", Killed: "interrupted", Lost: "interrupted", Skipped: "skipped",
	}
	if len(Outcomes()) != len(want) {
		t.Errorf("Outcomes() lists %d outcomes, want %d", len(Outcomes()), len(want))
	}
	for _, outcome := range Outcomes() {
		var kinds []string
		for kind, is := range map[string]bool{
			"done": outcome.Done(), "failed": outcome.Failed(), "interrupted": outcome.Interrupted(), "skipped": outcome == Skipped,
		} {
			if is {
				kinds = append(kinds, kind)
			}
		}
		if len(kinds) != 1 || kinds[0] != want[outcome] {
			t.Errorf("%s is %v, want %s", outcome, kinds, want[outcome])
		}
		if got, want := outcome.Unfinished(), kinds[0] == "failed" || kinds[0] == "interrupted"; got != want {
			t.Errorf("%s: Unfinished() = %v, want %v", outcome, got, want)
		}
	}
}

func TestTimed(t *testing.T) {
	for _, outcome := range Outcomes() {
		if got, want := outcome.Timed(), outcome != Skipped && outcome != Lost; got != want {
			t.Errorf("%s: Timed() = %v, want %v", outcome, got, want)
		}
	}
}
