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
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/tape"
)

// told lists the rows in the order they were written: job, when due, window, attempt where it is not the first, outcome.
func told(rows []tape.Run) []string {
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

// lives runs schedulers one after the other on one ledger, in the bubble's time from midnight on: each is there from one minute to
// another. A run takes as long as its command line says after "takes", and fails while its time is between those after "fails".
func lives(t *testing.T, crontab string, spans ...[2]string) []string {
	t.Helper()
	var rows []tape.Run
	synctest.Test(t, func(t *testing.T) {
		book := &notes{}
		midnight := time.Now()
		instant := func(clock string) time.Time {
			at, err := time.Parse("15:04", clock)
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
			if i := slices.Index(args, "fails"); i >= 0 && !time.Now().Before(instant(args[i+1])) && time.Now().Before(instant(args[i+2])) {
				return Exit{Code: 1}
			}
			return Exit{}
		}
		for _, span := range spans {
			time.Sleep(time.Until(instant(span[0])))
			ctx, cancel := context.WithDeadline(t.Context(), instant(span[1]))
			if err := Run(ctx, options(mustParse(t, crontab), book, start)); err != nil {
				t.Error(err)
			}
			cancel()
		}
		rows = book.runs
	})
	return told(rows)
}

// TestWindows: what each way of catching up and of overlapping makes of a scheduler that was away, of runs that fail and of runs that
// take too long.
func TestWindows(t *testing.T) {
	away := [][2]string{{"00:30", "02:30"}, {"05:30", "07:30"}}
	for name, c := range map[string]struct {
		entry string
		spans [][2]string
		want  []string
	}{
		"last takes the night as one": {"schedule: '0 * * * *', run: backfill", away,
			[]string{"a 01:00 [00:00 01:00) ok", "a 02:00 [01:00 02:00) ok", "a 05:00 [02:00 05:00) ok", "a 06:00 [05:00 06:00) ok", "a 07:00 [06:00 07:00) ok"}},
		"all takes it hour by hour": {"schedule: '0 * * * *', run: backfill, catch_up: all", away,
			[]string{"a 01:00 [00:00 01:00) ok", "a 02:00 [01:00 02:00) ok", "a 03:00 [02:00 03:00) ok", "a 04:00 [03:00 04:00) ok", "a 05:00 [04:00 05:00) ok",
				"a 06:00 [05:00 06:00) ok", "a 07:00 [06:00 07:00) ok"}},
		"all with a limit takes the rest with the first": {"schedule: '0 * * * *', run: backfill, catch_up: all, catch_up_limit: 2", away,
			[]string{"a 01:00 [00:00 01:00) ok", "a 02:00 [01:00 02:00) ok", "a 04:00 [02:00 04:00) ok", "a 05:00 [04:00 05:00) ok", "a 06:00 [05:00 06:00) ok", "a 07:00 [06:00 07:00) ok"}},
		"none says what it leaves out": {"schedule: '0 * * * *', run: backfill, catch_up: none", away,
			[]string{"a 01:00 [00:00 01:00) ok", "a 02:00 [01:00 02:00) ok", "a 05:00 [02:00 05:00) skipped", "a 06:00 [05:00 06:00) ok", "a 07:00 [06:00 07:00) ok"}},
		"a restart of half a minute misses nothing": {"schedule: '0 * * * *', run: backfill, catch_up: none", [][2]string{{"00:30", "00:59"}, {"01:00", "02:30"}},
			[]string{"a 01:00 [00:00 01:00) ok", "a 02:00 [01:00 02:00) ok"}},
		"without a window: last": {"schedule: '0 * * * *', run: detect", away,
			[]string{"a 01:00 ok", "a 02:00 ok", "a 05:00 ok", "a 06:00 ok", "a 07:00 ok"}},
		"without a window: all": {"schedule: '0 * * * *', run: detect, catch_up: all, catch_up_limit: 2", away,
			[]string{"a 01:00 ok", "a 02:00 ok", "a 03:00 skipped", "a 04:00 ok", "a 05:00 ok", "a 06:00 ok", "a 07:00 ok"}},
		"without a window: none": {"schedule: '0 * * * *', run: detect, catch_up: none", away,
			[]string{"a 01:00 ok", "a 02:00 ok", "a 05:00 skipped", "a 06:00 ok", "a 07:00 ok"}},
		"a failed window is the next run's": {"schedule: '0 * * * *', run: backfill fails 01:30 03:30", [][2]string{{"00:30", "05:30"}},
			[]string{"a 01:00 [00:00 01:00) ok", "a 02:00 [01:00 02:00) failed", "a 03:00 [01:00 03:00) failed", "a 04:00 [01:00 04:00) ok", "a 05:00 [04:00 05:00) ok"}},
		"failed windows one by one, the oldest first": {"schedule: '0 * * * *', run: backfill fails 01:30 03:30, catch_up: all", [][2]string{{"00:30", "05:30"}},
			[]string{"a 01:00 [00:00 01:00) ok", "a 02:00 [01:00 02:00) failed", "a 02:00 [01:00 02:00) failed", "a 02:00 [01:00 02:00) ok", "a 03:00 [02:00 03:00) ok",
				"a 04:00 [03:00 04:00) ok", "a 05:00 [04:00 05:00) ok"}},
		"retries": {"schedule: '0 * * * *', run: backfill fails 01:30 02:02, retries: 3, backoff: 1m", [][2]string{{"00:30", "03:30"}},
			[]string{"a 01:00 [00:00 01:00) ok", "a 02:00 [01:00 02:00) failed", "a 02:00 [01:00 02:00) attempt 2 failed", "a 02:00 [01:00 02:00) attempt 3 ok", "a 03:00 [02:00 03:00) ok"}},
		"a run without a window that failed is over": {"schedule: '0 * * * *', run: detect fails 01:30 02:30", [][2]string{{"00:30", "02:10"}, {"02:50", "03:30"}},
			[]string{"a 01:00 ok", "a 02:00 failed", "a 03:00 ok"}},
		"a run that was ended is made up": {"schedule: '0 * * * *', run: detect takes 20m", [][2]string{{"00:30", "01:10"}, {"01:20", "01:50"}},
			[]string{"a 01:00 killed", "a 01:00 ok"}},
		"overlap skip": {"schedule: '0 * * * *', run: backfill takes 90m", [][2]string{{"00:30", "04:40"}},
			[]string{"a 02:00 skipped", "a 01:00 [00:00 01:00) ok", "a 04:00 skipped", "a 03:00 [01:00 03:00) ok"}},
		"overlap queue": {"schedule: '0 * * * *', run: backfill takes 90m, overlap: queue", [][2]string{{"00:30", "04:10"}},
			[]string{"a 01:00 [00:00 01:00) ok", "a 02:00 [01:00 02:00) ok", "a 03:00 [02:00 03:00) killed"}},
		"overlap replace": {"schedule: '0 * * * *', run: backfill takes 90m, overlap: replace", [][2]string{{"00:30", "03:10"}},
			[]string{"a 01:00 [00:00 01:00) killed", "a 02:00 [00:00 02:00) killed", "a 03:00 [00:00 03:00) killed"}},
		"a timeout": {"schedule: '0 * * * *', run: backfill takes 90m, timeout: 10m, retries: 1, backoff: 1m", [][2]string{{"00:30", "01:40"}},
			[]string{"a 01:00 [00:00 01:00) timeout", "a 01:00 [00:00 01:00) attempt 2 timeout"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, lives(t, "jobs:\n- {name: a, "+c.entry+"}\n", c.spans...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheWindowIsOnTheCommandLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book := &notes{}
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
		jobs := mustParse(t, "jobs:\n- {name: a, schedule: '0 * * * *', run: backfill --symbols X}\n- {name: b, schedule: '0 * * * *', run: report --since 24h}\n- {name: c, schedule: '0 * * * *', run: verify}\n")
		if err := Run(ctx, options(jobs, book, start)); err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{"backfill --symbols X --from 2000-01-01T00:00:00Z --to 2000-01-01T01:00:00Z": true, "report --since 24h --to 2000-01-01T01:00:00Z": true, "verify": true}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// TestALedgerThatCannotBeWritten: rows wait, in order, and a row whose writing was in doubt does not stand there twice.
func TestALedgerThatCannotBeWritten(t *testing.T) {
	for _, ambiguous := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			book := &notes{}
			opt := options(mustParse(t, "jobs:\n- {name: a, schedule: '* * * * *', run: backfill}\n"), book, func(context.Context, []string, string, func(string)) Exit { return Exit{} })
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute+30*time.Second)
			defer cancel()
			go func() {
				time.Sleep(3*time.Minute + 30*time.Second)
				book.mu.Lock()
				book.refuse, book.ambiguous = errors.New("no space left on device"), ambiguous
				book.mu.Unlock()
				time.Sleep(4 * time.Minute)
				book.mu.Lock()
				book.refuse = nil
				if !book.state.DoneUntil["a"].Equal(time.Date(2000, 1, 1, 0, 3, 0, 0, time.UTC)) && !ambiguous {
					t.Errorf("the state says done until %v, which the ledger does not", book.state.DoneUntil["a"])
				}
				book.mu.Unlock()
			}()
			if err := Run(ctx, opt); err != nil {
				t.Fatal(err)
			}
			var want []string
			for i := range 10 {
				want = append(want, fmt.Sprintf("a 00:%02d [00:%02d 00:%02d) ok", i+1, i, i+1))
			}
			if diff := cmp.Diff(want, told(book.runs)); diff != "" {
				t.Errorf("ambiguous %v:\n%s", ambiguous, diff)
			}
		})
	}
}

// TestReload: a changed file is taken over while what runs goes on; a broken one leaves the old one in force and says so.
func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "crontab.yaml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Error(err)
		}
	}
	write("jobs:\n- {name: a, schedule: '*/10 * * * *', run: detect takes}\n- {name: b, schedule: '*/10 * * * *', run: detect}\n")
	synctest.Test(t, func(t *testing.T) {
		book := &notes{}
		opt := options(nil, book, func(ctx context.Context, args []string, _ string, _ func(string)) Exit {
			if len(args) > 1 {
				time.Sleep(8 * time.Minute)
			}
			return Exit{}
		})
		reload := make(chan struct{})
		opt.Crontab, opt.Reload = &Crontab{Path: path, Validate: windowed}, reload
		var err error
		if opt.Jobs, err = opt.Crontab.Load(time.Now()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 31*time.Minute)
		defer cancel()
		crontabError := func() string {
			book.mu.Lock()
			defer book.mu.Unlock()
			return book.state.CrontabError
		}
		go func() {
			time.Sleep(12 * time.Minute) // a runs
			write("jobs:\n- {name: b, schedule: '*/5 * * * *'}\n")
			time.Sleep(lookEvery + time.Second)
			if got, want := crontabError(), path+":2: the entry has no run"; got != want {
				t.Errorf("the state says %q, want %q", got, want)
			}
			time.Sleep(10 * time.Minute) // 00:22
			write("jobs:\n- {name: b, schedule: '*/5 * * * *', run: detect}\n")
			reload <- struct{}{}
			synctest.Wait()
			if got := crontabError(); got != "" {
				t.Errorf("the state still says %q", got)
			}
		}()
		if err := Run(ctx, opt); err != nil {
			t.Fatal(err)
		}
		rows := told(book.runs)
		slices.Sort(rows)
		want := []string{"a 00:10 ok", "a 00:20 ok", "b 00:10 ok", "b 00:20 ok", "b 00:25 ok", "b 00:30 ok"}
		if diff := cmp.Diff(want, rows); diff != "" {
			t.Error(diff)
		}
		if len(book.state.Jobs) != 1 {
			t.Errorf("the state still has %d jobs", len(book.state.Jobs))
		}
	})
}

// pingBook takes pings; notices takes notices.
type notices struct {
	mu  sync.Mutex
	all []string
}

func (n *notices) Notify(_ context.Context, notice Notice) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, fmt.Sprintf("%s %s recovered %v: %s", notice.ScheduledAt.UTC().Format("15:04"), notice.Job, notice.Recovered, notice.Message))
	return nil
}

func TestPeopleAreToldOnceAndWhenItIsWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book, heard := &notes{}, &notices{}
		opt := options(mustParse(t, "jobs:\n- {name: a, schedule: '* * * * *', run: detect, on_failure: notify}\n- {name: b, schedule: '* * * * *', run: detect}\n"), book,
			func(_ context.Context, _ []string, _ string, output func(string)) Exit {
				if minute := time.Now().Minute(); minute >= 2 && minute <= 4 {
					output("tapedeck: no route to host")
					return Exit{Code: 1}
				}
				return Exit{}
			})
		opt.Notifier = heard
		for range 2 { // a restart in between tells nobody anything again
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute+30*time.Second)
			if err := Run(ctx, opt); err != nil {
				t.Fatal(err)
			}
			cancel()
		}
		want := []string{"00:02 a recovered false: no route to host", "00:05 a recovered true: "}
		if diff := cmp.Diff(want, heard.all); diff != "" {
			t.Error(diff)
		}
	})
}

func TestPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book := &notes{}
		opt := options(mustParse(t, "jobs:\n- {name: a, schedule: '* * * * *', run: detect, ping_url: 'https://example.com/x/'}\n"), book,
			func(context.Context, []string, string, func(string)) Exit {
				return Exit{Code: map[int]int{1: 0, 2: 1, 3: 3}[time.Now().Minute()]}
			})
		var mu sync.Mutex
		var got []string
		refusals := 1
		opt.Ping = func(_ context.Context, address, text string) error {
			mu.Lock()
			defer mu.Unlock()
			if refusals > 0 { // it is tried again
				refusals--
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

func TestPingOverHTTP(t *testing.T) {
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.URL.Path)
		if strings.HasSuffix(r.URL.Path, "/fail") {
			http.Error(w, "no", http.StatusNotFound)
		}
	}))
	ping := HTTPPing(server.Client())
	if err := ping(t.Context(), server.URL+"/secret", "all is well"); err != nil {
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

func TestJitter(t *testing.T) {
	job := mustParse(t, "jobs:\n- {name: a, schedule: '0 * * * *', run: detect, jitter: 10m}\n")[0]
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	buckets := [10]int{}
	for range 1000 {
		at = job.Next(at)
		delay := delayOf(job, at)
		if delay != delayOf(job, at) {
			t.Fatal("it differs between two looks")
		}
		buckets[delay/time.Minute]++
	}
	for i, n := range buckets {
		if n < 60 || n > 140 {
			t.Errorf("minute %d was drawn %d times of 1000", i, n)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		book := &notes{}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Minute)
		defer cancel()
		if err := Run(ctx, options([]Job{job}, book, func(context.Context, []string, string, func(string)) Exit { return Exit{} })); err != nil {
			t.Fatal(err)
		}
		due := time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)
		if len(book.runs) != 1 || book.runs[0].StartedAt != due.Add(delayOf(job, due)).UnixMicro() || book.runs[0].ScheduledAt != due.UnixMicro() {
			t.Errorf("%+v", book.runs)
		}
	})
}

func TestOnceDoesNotTouchWhatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book := &notes{}
		job := mustParse(t, "jobs:\n- {name: a, schedule: '0 * * * *', run: backfill}\n")
		var args []string
		opt := options(job, book, func(_ context.Context, given []string, _ string, _ func(string)) Exit { args = given; return Exit{} })
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
		if row := book.runs[2]; row.WindowStart != time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() {
			t.Errorf("the scheduled run got another window: %+v", row)
		}
	})
}

func TestOnlyOneScheduler(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	release, err := Claim(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Claim(path); !errors.Is(err, ErrClaimed) {
		t.Errorf("a second one: %v", err)
	}
	release()
	release, err = Claim(path)
	if err != nil {
		t.Fatal(err)
	}
	release()
}
