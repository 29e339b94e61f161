package schedule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/outbound"
	"tapedeck/internal/tape"
)

// summarize returns the rows in the order in which they were written: job, when due, window,
// attempt if it is not the first, outcome.
func summarize(rows []tape.Run) []string {
	clock := func(at int64) string { return time.UnixMicro(at).UTC().Format("15:04") }
	var out []string
	for _, row := range rows {
		line := row.Job + " " + clock(row.ScheduledAt)
		if row.WindowEnd != 0 {
			line += " [" + clock(row.WindowStart) + " " + clock(row.WindowEnd) + ")"
		}
		if row.Attempt > 1 {
			line += fmt.Sprint(" attempt ", row.Attempt)
		}
		out = append(out, line+" "+string(row.Outcome))
	}
	return out
}

// runSchedulers runs one scheduler after another on one ledger, each from one time of day to
// another on the clock of synctest, which starts at midnight. A run takes as long as its command
// line says after "takes", and fails from the first time after "fails" until the second.
func runSchedulers(t *testing.T, crontab string, lifetimes ...[2]string) []string {
	t.Helper()
	var rows []tape.Run
	synctest.Test(t, func(t *testing.T) {
		ledger := &memoryLedger{}
		midnight := time.Now()
		clock := func(text string) time.Time {
			at, err := time.Parse("15:04", text)
			if err != nil {
				t.Fatal(err)
			}
			return midnight.Add(time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute)
		}
		start := func(ctx context.Context, args []string, _ string, _ func(string)) Exit {
			if i := slices.Index(args, "takes"); i >= 0 {
				length, err := time.ParseDuration(args[i+1])
				if err != nil {
					t.Error(err)
				}
				select {
				case <-time.After(length):
				case <-ctx.Done():
					return Exit{Code: 143, Signal: "terminated"}
				}
			}
			if i := slices.Index(args, "fails"); i >= 0 && !time.Now().Before(clock(args[i+1])) && time.Now().Before(clock(args[i+2])) {
				return Exit{Code: 1}
			}
			return Exit{}
		}
		for _, lifetime := range lifetimes {
			time.Sleep(time.Until(clock(lifetime[0])))
			ctx, cancel := context.WithDeadline(t.Context(), clock(lifetime[1]))
			if err := Run(ctx, options(parseJobs(t, crontab), ledger, start)); err != nil {
				t.Error(err)
			}
			cancel()
		}
		rows = ledger.runs
	})
	return summarize(rows)
}

// TestWindows checks the windows of runs for every value of catch_up and overlap, with a scheduler
// that was down for a while, runs that fail and runs that take too long.
func TestWindows(t *testing.T) {
	downAtNight := [][2]string{{"00:30", "02:30"}, {"05:30", "07:30"}}
	for name, c := range map[string]struct {
		entry     string
		lifetimes [][2]string
		want      []string
	}{
		"last: one run for the night": {"schedule: '0 * * * *', run: backfill", downAtNight,
			[]string{"a 01:00 [00:00 01:00) ok", "a 02:00 [01:00 02:00) ok", "a 05:00 [02:00 05:00) ok", "a 06:00 [05:00 06:00) ok", "a 07:00 [06:00 07:00) ok"}},
		"all: one run for each hour": {"schedule: '0 * * * *', run: backfill, catch_up: all", downAtNight,
			[]string{"a 01:00 [00:00 01:00) ok", "a 02:00 [01:00 02:00) ok", "a 03:00 [02:00 03:00) ok", "a 04:00 [03:00 04:00) ok", "a 05:00 [04:00 05:00) ok",
				"a 06:00 [05:00 06:00) ok", "a 07:00 [06:00 07:00) ok"}},
		"all with a limit: the first run also covers the rest": {"schedule: '0 * * * *', run: backfill, catch_up: all, catch_up_limit: 2", downAtNight,
			[]string{"a 01:00 [00:00 01:00) ok", "a 02:00 [01:00 02:00) ok", "a 04:00 [02:00 04:00) ok", "a 05:00 [04:00 05:00) ok", "a 06:00 [05:00 06:00) ok", "a 07:00 [06:00 07:00) ok"}},
		"none: the night is given up in a row": {"schedule: '0 * * * *', run: backfill, catch_up: none", downAtNight,
			[]string{"a 01:00 [00:00 01:00) ok", "a 02:00 [01:00 02:00) ok", "a 05:00 [02:00 05:00) skipped", "a 06:00 [05:00 06:00) ok", "a 07:00 [06:00 07:00) ok"}},
		"a short restart misses nothing": {"schedule: '0 * * * *', run: backfill, catch_up: none", [][2]string{{"00:30", "00:59"}, {"01:00", "02:30"}},
			[]string{"a 01:00 [00:00 01:00) ok", "a 02:00 [01:00 02:00) ok"}},
		"without a window: last": {"schedule: '0 * * * *', run: detect", downAtNight,
			[]string{"a 01:00 ok", "a 02:00 ok", "a 05:00 ok", "a 06:00 ok", "a 07:00 ok"}},
		"without a window: all": {"schedule: '0 * * * *', run: detect, catch_up: all, catch_up_limit: 2", downAtNight,
			[]string{"a 01:00 ok", "a 02:00 ok", "a 03:00 skipped", "a 04:00 ok", "a 05:00 ok", "a 06:00 ok", "a 07:00 ok"}},
		"without a window: none": {"schedule: '0 * * * *', run: detect, catch_up: none", downAtNight,
			[]string{"a 01:00 ok", "a 02:00 ok", "a 05:00 skipped", "a 06:00 ok", "a 07:00 ok"}},
		"a failed window becomes part of the next": {"schedule: '0 * * * *', run: backfill fails 01:30 03:30", [][2]string{{"00:30", "05:30"}},
			[]string{"a 01:00 [00:00 01:00) ok", "a 02:00 [01:00 02:00) failed", "a 03:00 [01:00 03:00) failed", "a 04:00 [01:00 04:00) ok", "a 05:00 [04:00 05:00) ok"}},
		"all: failed windows one by one, oldest first": {"schedule: '0 * * * *', run: backfill fails 01:30 03:30, catch_up: all", [][2]string{{"00:30", "05:30"}},
			[]string{"a 01:00 [00:00 01:00) ok", "a 02:00 [01:00 02:00) failed", "a 02:00 [01:00 02:00) failed", "a 02:00 [01:00 02:00) ok", "a 03:00 [02:00 03:00) ok",
				"a 04:00 [03:00 04:00) ok", "a 05:00 [04:00 05:00) ok"}},
		"retries": {"schedule: '0 * * * *', run: backfill fails 01:30 02:02, retries: 3, backoff: 1m", [][2]string{{"00:30", "03:30"}},
			[]string{"a 01:00 [00:00 01:00) ok", "a 02:00 [01:00 02:00) failed", "a 02:00 [01:00 02:00) attempt 2 failed", "a 02:00 [01:00 02:00) attempt 3 ok", "a 03:00 [02:00 03:00) ok"}},
		"a failed run without a window is not repeated": {"schedule: '0 * * * *', run: detect fails 01:30 02:30", [][2]string{{"00:30", "02:10"}, {"02:50", "03:30"}},
			[]string{"a 01:00 ok", "a 02:00 failed", "a 03:00 ok"}},
		"a killed run is repeated": {"schedule: '0 * * * *', run: detect takes 20m", [][2]string{{"00:30", "01:10"}, {"01:20", "01:50"}},
			[]string{"a 01:00 killed", "a 01:00 ok"}},
		"overlap skip": {"schedule: '0 * * * *', run: backfill takes 90m", [][2]string{{"00:30", "04:40"}},
			[]string{"a 02:00 skipped", "a 01:00 [00:00 01:00) ok", "a 04:00 skipped", "a 03:00 [01:00 03:00) ok"}},
		"overlap queue": {"schedule: '0 * * * *', run: backfill takes 90m, overlap: queue", [][2]string{{"00:30", "04:10"}},
			[]string{"a 01:00 [00:00 01:00) ok", "a 02:00 [01:00 02:00) ok", "a 03:00 [02:00 03:00) killed"}},
		"overlap replace": {"schedule: '0 * * * *', run: backfill takes 90m, overlap: replace", [][2]string{{"00:30", "03:10"}},
			[]string{"a 01:00 [00:00 01:00) killed", "a 02:00 [00:00 02:00) killed", "a 03:00 [00:00 03:00) killed"}},
		"timeout": {"schedule: '0 * * * *', run: backfill takes 90m, timeout: 10m, retries: 1, backoff: 1m", [][2]string{{"00:30", "01:40"}},
			[]string{"a 01:00 [00:00 01:00) timeout", "a 01:00 [00:00 01:00) attempt 2 timeout"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, runSchedulers(t, "jobs:\n- {name: a, "+c.entry+"}\n", c.lifetimes...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWindowIsAppendedToCommandLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := &memoryLedger{}
		var mu sync.Mutex
		got := map[string]bool{}
		start := func(_ context.Context, args []string, _ string, _ func(string)) Exit {
			mu.Lock()
			defer mu.Unlock()
			got[strings.Join(args, " ")] = true
			return Exit{}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour+time.Minute)
		defer cancel()
		jobs := parseJobs(t, "jobs:\n- {name: a, schedule: '0 * * * *', run: backfill --symbols X}\n- {name: b, schedule: '0 * * * *', run: report --since 24h}\n- {name: c, schedule: '0 * * * *', run: verify}\n")
		if err := Run(ctx, options(jobs, ledger, start)); err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{"backfill --symbols X --from 2000-01-01T00:00:00Z --to 2000-01-01T01:00:00Z": true, "report --since 24h --to 2000-01-01T01:00:00Z": true, "verify": true}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// TestRowsWaitForUnwritableLedger checks that rows are held in order while the ledger fails, and
// that a row whose write may have succeeded is not written twice.
func TestRowsWaitForUnwritableLedger(t *testing.T) {
	for _, ambiguous := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			ledger := &memoryLedger{}
			opt := options(parseJobs(t, "jobs:\n- {name: a, schedule: '* * * * *', run: backfill}\n"), ledger, func(context.Context, []string, string, func(string)) Exit { return Exit{} })
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute+30*time.Second)
			defer cancel()
			go func() {
				time.Sleep(3*time.Minute + 30*time.Second)
				ledger.mu.Lock()
				ledger.fail, ledger.ambiguous = errors.New("no space left on device"), ambiguous
				ledger.mu.Unlock()
				time.Sleep(4 * time.Minute)
				ledger.mu.Lock()
				ledger.fail = nil
				if !ledger.state.DoneUntil["a"].Equal(time.Date(2000, 1, 1, 0, 3, 0, 0, time.UTC)) && !ambiguous {
					t.Errorf("the state is done until %v, ahead of the ledger", ledger.state.DoneUntil["a"])
				}
				ledger.mu.Unlock()
			}()
			if err := Run(ctx, opt); err != nil {
				t.Fatal(err)
			}
			var want []string
			for i := range 10 {
				want = append(want, fmt.Sprintf("a 00:%02d [00:%02d 00:%02d) ok", i+1, i, i+1))
			}
			if diff := cmp.Diff(want, summarize(ledger.runs)); diff != "" {
				t.Errorf("ambiguous %v:\n%s", ambiguous, diff)
			}
		})
	}
}

// TestReload checks that a changed crontab is applied while active runs go on, and that a wrong one
// leaves the old one in force and sets the error in the state.
func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "crontab.yaml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Error(err)
		}
	}
	write("jobs:\n- {name: a, schedule: '*/10 * * * *', run: detect takes}\n- {name: b, schedule: '*/10 * * * *', run: detect}\n")
	synctest.Test(t, func(t *testing.T) {
		ledger := &memoryLedger{}
		opt := options(nil, ledger, func(ctx context.Context, args []string, _ string, _ func(string)) Exit {
			if len(args) > 1 {
				time.Sleep(8 * time.Minute)
			}
			return Exit{}
		})
		reload := make(chan os.Signal)
		opt.Crontab, opt.Reload = &Crontab{Path: path, Validate: validateWindows}, reload
		var err error
		if opt.Jobs, err = opt.Crontab.Read(time.Now()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 31*time.Minute)
		defer cancel()
		crontabError := func() string {
			ledger.mu.Lock()
			defer ledger.mu.Unlock()
			return ledger.state.CrontabError
		}
		go func() {
			time.Sleep(12 * time.Minute) // a is active
			write("jobs:\n- {name: b, schedule: '*/5 * * * *'}\n")
			time.Sleep(crontabInterval + time.Second)
			if got, want := crontabError(), path+":2: the entry has no run"; got != want {
				t.Errorf("crontab_error is %q, want %q", got, want)
			}
			time.Sleep(10 * time.Minute) // 00:22
			write("jobs:\n- {name: b, schedule: '*/5 * * * *', run: detect}\n")
			reload <- syscall.SIGHUP
			synctest.Wait()
			if got := crontabError(); got != "" {
				t.Errorf("crontab_error is still %q", got)
			}
		}()
		if err := Run(ctx, opt); err != nil {
			t.Fatal(err)
		}
		rows := summarize(ledger.runs)
		slices.Sort(rows)
		want := []string{"a 00:10 ok", "a 00:20 ok", "b 00:10 ok", "b 00:20 ok", "b 00:25 ok", "b 00:30 ok"}
		if diff := cmp.Diff(want, rows); diff != "" {
			t.Error(diff)
		}
		if len(ledger.state.Jobs) != 1 {
			t.Errorf("the state has %d jobs, want 1", len(ledger.state.Jobs))
		}
	})
}

// recordingNotifier keeps the notices that it gets.
type recordingNotifier struct {
	mu      sync.Mutex
	notices []string
}

func (n *recordingNotifier) Notify(_ context.Context, notice Notice) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.notices = append(n.notices, fmt.Sprintf("%s %s recovered %v: %s", notice.FinishedAt.UTC().Format("15:04"), notice.Job, notice.Recovered, notice.Message))
	return nil
}

func TestNotifiesFirstFailureAndRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger, notifier := &memoryLedger{}, &recordingNotifier{}
		opt := options(parseJobs(t, "jobs:\n- {name: a, schedule: '* * * * *', run: detect, on_failure: notify}\n- {name: b, schedule: '* * * * *', run: detect}\n"), ledger,
			func(_ context.Context, _ []string, _ string, output func(string)) Exit {
				if minute := time.Now().UTC().Minute(); minute >= 2 && minute <= 4 {
					output("tapedeck: no route to host")
					return Exit{Code: 1}
				}
				return Exit{}
			})
		opt.Notifier = notifier
		for range 2 { // the restart in between repeats no notice
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute+30*time.Second)
			if err := Run(ctx, opt); err != nil {
				t.Fatal(err)
			}
			cancel()
		}
		want := []string{"00:02 a recovered false: no route to host", "00:05 a recovered true: "}
		if diff := cmp.Diff(want, notifier.notices); diff != "" {
			t.Error(diff)
		}
	})
}

func TestPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := &memoryLedger{}
		opt := options(parseJobs(t, "jobs:\n- {name: a, schedule: '* * * * *', run: detect, ping_url: 'https://example.com/x/'}\n"), ledger,
			func(context.Context, []string, string, func(string)) Exit {
				return Exit{Code: map[int]int{1: 0, 2: 1, 3: 3}[time.Now().UTC().Minute()]}
			})
		var mu sync.Mutex
		var got []string
		failures := 1
		opt.Ping = func(_ context.Context, address, text string) error {
			mu.Lock()
			defer mu.Unlock()
			if failures > 0 { // the ping is retried
				failures--
				return errors.New("connection refused")
			}
			got = append(got, time.Now().UTC().Format("04:05 ")+address+" "+strings.Fields(text + " -")[0])
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute+30*time.Second)
		defer cancel()
		if err := Run(ctx, opt); err != nil {
			t.Fatal(err)
		}
		want := []string{"01:02 https://example.com/x/start -", "01:02 https://example.com/x a", "02:00 https://example.com/x/start -", "02:00 https://example.com/x/fail a",
			"03:00 https://example.com/x/start -", "03:00 https://example.com/x a"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestHTTPPing(t *testing.T) {
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.URL.Path)
		if strings.HasSuffix(r.URL.Path, "/fail") {
			http.Error(w, "no", http.StatusNotFound)
		}
	}))
	ping := HTTPPing(outbound.NewClient(nil))
	if err := ping(t.Context(), server.URL+"/secret", "ok"); err != nil {
		t.Error(err)
	}
	err := ping(t.Context(), server.URL+"/secret/fail", "")
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
	server.Close()
	if err = ping(t.Context(), server.URL+"/secret", ""); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{"POST /secret", "POST /secret/fail"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestPingIsNotRedirected: a job's output is not sent to another server, and what a server answers does
// not get into the log.
func TestPingIsNotRedirected(t *testing.T) {
	followed := 0
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed++ }))
	defer target.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fail" {
			http.Error(w, "topsecret", http.StatusInternalServerError)
			return
		}
		http.Redirect(w, r, target.URL+"/topsecret", http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	ping := HTTPPing(outbound.NewClient(nil))
	for path, want := range map[string]string{"/redirect": "redirect (307)", "/fail": "500 Internal Server Error"} {
		err := ping(t.Context(), server.URL+path, "a job's output")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if followed > 0 {
		t.Error("the output was sent to where the redirect goes")
	}
}

func TestJitter(t *testing.T) {
	job := parseJobs(t, "jobs:\n- {name: a, schedule: '0 * * * *', run: detect, jitter: 10m}\n")[0]
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	buckets := [10]int{}
	for range 1000 {
		at = job.Next(at)
		delay := startDelay(job, at)
		if delay != startDelay(job, at) {
			t.Fatal("the delay of a run changes")
		}
		buckets[delay/time.Minute]++
	}
	for i, n := range buckets {
		if n < 60 || n > 140 {
			t.Errorf("minute %d was drawn %d times in 1000", i, n)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		ledger := &memoryLedger{}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Minute)
		defer cancel()
		if err := Run(ctx, options([]Job{job}, ledger, func(context.Context, []string, string, func(string)) Exit { return Exit{} })); err != nil {
			t.Fatal(err)
		}
		due := time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)
		if len(ledger.runs) != 1 || ledger.runs[0].StartedAt != due.Add(startDelay(job, due)).UnixMicro() || ledger.runs[0].ScheduledAt != due.UnixMicro() {
			t.Errorf("%+v", ledger.runs)
		}
	})
}

func TestOnceDoesNotAffectDueRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := &memoryLedger{}
		job := parseJobs(t, "jobs:\n- {name: a, schedule: '0 * * * *', run: backfill}\n")
		var args []string
		opt := options(job, ledger, func(_ context.Context, given []string, _ string, _ func(string)) Exit { args = given; return Exit{} })
		for range 2 {
			time.Sleep(20 * time.Minute)
			if _, err := Once(t.Context(), job[0], opt); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := strings.Join(args, " "), "backfill --from 2000-01-01T00:00:00Z --to 2000-01-01T00:40:00Z"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
		defer cancel()
		if err := Run(ctx, opt); err != nil {
			t.Fatal(err)
		}
		if row := ledger.runs[2]; row.WindowStart != time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() {
			t.Errorf("the window of the scheduled run changed: %+v", row)
		}
	})
}

func TestLockExcludesSecondScheduler(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(path); !errors.Is(err, ErrLocked) {
		t.Errorf("second lock: %v, want ErrLocked", err)
	}
	unlock()
	unlock, err = Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}
