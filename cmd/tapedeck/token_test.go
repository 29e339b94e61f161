package main

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/tape"
)

// TestOnlySendingJobsGetTheToken starts no job: it compares the environments that they would have.
func TestOnlySendingJobsGetTheToken(t *testing.T) {
	environ := []string{"HOME=/", "TAPEDECK_TELEGRAM_TOKEN=1:secret", "TAPEDECK_TELEGRAM_TOKEN_FILE=/run/secret", "TAPEDECK_TELEGRAM_URL=http://x"}
	a := &app{environ: environ, env: environment(environ), stdout: io.Discard, stderr: io.Discard}
	dir, err := tape.Create(t.TempDir(), "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	_, children, err := a.scheduleOptions(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(children.Env, []string{"HOME=/", "TAPEDECK_TELEGRAM_URL=http://x"}) {
		t.Errorf("every job gets %q", children.Env)
	}
	for line, want := range map[string]int{
		"backfill --since 2h": 0, "verify": 0, "report --since 1h": 0, "query FROM~trades": 0, "no-such-command": 0,
		"detect": 2, "report --since 1h --send": 2, "report --send=true": 2, "--log-level warn report --send": 2, "report --send=false": 0,
	} {
		if got := children.Secrets(strings.Fields(line)); len(got) != want {
			t.Errorf("%s gets %q", line, got)
		}
	}
}
