package health

import (
	"strings"
	"testing"
	"time"

	"tapedeck/internal/durable"
	"tapedeck/internal/state"
)

func TestHealthSaysUntilWhenTheExchangeRefuses(t *testing.T) {
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		until  time.Time
		banned bool
		want   string
	}{
		"a ban":             {now.Add(time.Hour), true, "has banned this address (418) until 2026-01-15T13:00:00Z"},
		"a limit":           {now.Add(time.Minute), false, "limits this address (429) until 2026-01-15T12:01:00Z"},
		"a ban of 32 years": {now.AddDate(32, 0, 0), true, "has banned this address (418) until 2026-01-18T12:00:00Z"},
		"a ban that ended":  {now.Add(-time.Second), true, ""},
	} {
		path := t.TempDir()
		dir := state.Open(path, durable.OS{})
		for _, sub := range []string{"", ".staging"} {
			if err := (durable.OS{}).Mkdir(path + "/" + sub); err != nil {
				t.Fatal(err)
			}
		}
		if err := (durable.OS{}).Mkdir(dir.Path("")); err != nil {
			t.Fatal(err)
		}
		if err := dir.Write(state.BudgetFile, state.Blocked{Until: c.until, Banned: c.banned}); err != nil {
			t.Fatal(err)
		}
		got := blockedWarning(dir, now)
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		verdict, err := Check(dir, now, nil)
		if err != nil || verdict.Warning != got {
			t.Errorf("%s: %+v, %v", name, verdict, err)
		}
	}
}
