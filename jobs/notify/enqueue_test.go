package notify

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/tape"
	"tapedeck/internal/telegram"
)

// newAlerts returns one alert.
func newAlerts(at time.Time, detector, symbol, severity string) []tape.Alert {
	return []tape.Alert{{
		Detector: detector, Symbol: symbol, At: at.UnixMicro(), Severity: severity, Score: 9.5, Message: "rose 5 % <fast> & far", FoundAt: at.UnixMicro(), Extra: `{}`,
	}}
}

// recovered marks an alert as a recovery.
func recovered(alerts []tape.Alert) []tape.Alert {
	alerts[0].Extra = `{"recovered": true, "price": 3}`
	return alerts
}

// slowSender replies after a delay.
type slowSender struct {
	Sender
	delay time.Duration
}

func (s slowSender) Send(ctx context.Context, m telegram.Message) (int, error) {
	timer := time.NewTimer(s.delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-timer.C:
	}
	return s.Sender.Send(ctx, m)
}

// recordingSender accepts and records every message.
type recordingSender struct {
	mu       sync.Mutex
	messages []telegram.Message
}

func (s *recordingSender) Send(_ context.Context, m telegram.Message) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, m)
	return len(s.messages), nil
}

func TestChatFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		o := h.outbox(Chat{ID: "1"}, Chat{ID: "2", Severity: "medium"}, Chat{ID: "3", Symbols: []string{"*BTC", "SOLUSDT"}},
			Chat{ID: "4", Detectors: []string{"pump"}}, Chat{ID: "5", Send: []Kind{ReportKind}})
		now := time.Now()
		all := slices.Concat(newAlerts(now, "whale", "BTCUSDT", "low"), newAlerts(now, "pump", "ETHBTC", "medium"), newAlerts(now, "whale", "SOLUSDT", "high"))
		queued, err := o.EnqueueAlerts(t.Context(), all, nil, now)
		if err != nil || queued.Messages != 3+2+2+1 || queued.Filtered != 1+1+2 {
			t.Errorf("%+v, %v", queued, err)
		}
		if _, err := o.EnqueueReport(t.Context(), Report{Key: "r", Title: "Daily"}, now); err != nil {
			t.Fatal(err)
		}
		h.send(o)
		got := map[string]int{}
		for _, m := range h.standIn.Messages() {
			got[m.Chat]++
		}
		if diff := cmp.Diff(map[string]int{"1": 4, "2": 3, "3": 3, "4": 2, "5": 1}, got); diff != "" {
			t.Error(diff)
		}
		if text := h.received("4")[0]; text != "🟠 ETHBTC pump, medium\nrose 5 % <fast> & far\n2000-01-01 00:00:00 UTC, score 9.5" {
			t.Errorf("the text is %q", text)
		}
		h.checkOffences()
	})
}

func TestAlertIsEnqueuedOnce(t *testing.T) {
	h := newHarness(t)
	now := time.Now()
	alert := newAlerts(now, "whale", "BTCUSDT", "low")
	chats := []Chat{{ID: "1"}, {ID: "2"}}
	for i := range 3 {
		queued, err := h.outbox(chats...).EnqueueAlerts(t.Context(), alert, nil, now)
		if err != nil || i == 0 && queued.Messages != 2 || i > 0 && (queued.Messages != 0 || queued.Known != 2) {
			t.Errorf("call %d: %+v, %v", i, queued, err)
		}
	}
	// Alerts of a digest are known one by one. Of known alerts and a new one, only the new one is
	// enqueued.
	var many []tape.Alert
	for i := range 10 {
		many = append(many, newAlerts(now.Add(time.Second), "whale", fmt.Sprintf("S%dUSDT", i), "low")...)
	}
	if queued, err := h.outbox(chats...).EnqueueAlerts(t.Context(), many, nil, now); err != nil || queued.Messages != 2 {
		t.Errorf("digest: %+v, %v", queued, err)
	}
	if queued, err := h.outbox(chats...).EnqueueAlerts(t.Context(), many[3:4], nil, now); err != nil || queued.Known != 2 || queued.Messages != 0 {
		t.Errorf("one of the digest: %+v, %v", queued, err)
	}
	queued, err := h.outbox(chats...).EnqueueAlerts(t.Context(), append(many, newAlerts(now, "whale", "NEWUSDT", "low")...), nil, now)
	if err != nil || queued.Messages != 2 || queued.Known != 20 {
		t.Errorf("digest and one more: %+v, %v", queued, err)
	}
}

func TestManyAlertsAreOneDigest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		o := h.outbox(Chat{ID: "1"})
		var many []tape.Alert
		now := time.Now()
		for i := range 200 {
			many = append(many, newAlerts(now.Add(time.Duration(i)*time.Second), "whale", fmt.Sprintf("S%dUSDT", i), severities[i%3])...)
		}
		if _, err := o.EnqueueAlerts(t.Context(), many, nil, now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		h.send(o)
		got := h.received("1")
		if len(got) != 1 || !strings.HasPrefix(got[0], "200 alerts: 66 high, 67 medium, 67 low\n2000-01-01 00:00 to 00:03 UTC\n\n🔴 00:00 S2USDT whale: rose") ||
			!strings.HasSuffix(got[0], "and 140 more, in the table alerts") {
			t.Errorf("%q", got)
		}
		h.checkOffences()
	})
}

func TestCooldownAndRecovery(t *testing.T) {
	h := newHarness(t)
	now := time.Now().Truncate(time.Second)
	o := h.outbox(Chat{ID: "1", Severity: "medium"})
	for i, step := range []struct {
		after            time.Duration
		symbol, severity string
		recovered        bool
		sent             bool
	}{
		{0, "BTCUSDT", "medium", false, true},
		{10 * time.Minute, "BTCUSDT", "medium", false, false},
		{12 * time.Minute, "ETHUSDT", "medium", false, true},  // another symbol
		{15 * time.Minute, "BTCUSDT", "high", false, true},    // worse
		{29 * time.Minute, "BTCUSDT", "medium", false, false}, // within 30 minutes of both
		{46 * time.Minute, "BTCUSDT", "medium", false, true},
		{50 * time.Minute, "BTCUSDT", "low", true, true},       // the recovery, whatever its severity
		{51 * time.Minute, "BTCUSDT", "low", true, false},      // only once
		{52 * time.Minute, "BTCUSDT", "medium", false, true},   // a new one after the recovery
		{53 * time.Minute, "SOLUSDT", "low", false, false},     // filtered
		{54 * time.Minute, "SOLUSDT", "low", true, false},      // its start was filtered, and so is its recovery
		{55 * time.Minute, "SOLUSDT", "medium", true, true},    // already over when it was detected
		{55 * time.Minute, "SOLUSDT", "medium", true, false},   // once
		{-15 * time.Minute, "ETHUSDT", "medium", false, false}, // found late, 27 minutes before one that was sent
	} {
		alerts := newAlerts(now.Add(step.after), "whale", step.symbol, step.severity)
		if step.recovered {
			alerts = recovered(alerts)
		}
		queued, err := o.EnqueueAlerts(t.Context(), alerts, nil, now.Add(time.Hour))
		if err != nil || (queued.Messages == 1) != step.sent {
			t.Errorf("step %d: %+v, %v", i, queued, err)
		}
	}
}

func TestOldAlertsAreNotSent(t *testing.T) {
	h := newHarness(t)
	now := time.Now()
	queued, err := h.outbox(Chat{ID: "1"}).EnqueueAlerts(t.Context(), newAlerts(now.Add(-25*time.Hour), "whale", "BTCUSDT", "high"), nil, now)
	if err != nil || queued.Old != 1 || queued.Messages != 0 {
		t.Errorf("%+v, %v", queued, err)
	}
}

func TestEnqueueRecordedCompletesACrashedRun(t *testing.T) {
	h := newHarness(t)
	now := time.Now()
	o := h.outbox(Chat{ID: "1"})
	published := slices.Concat(newAlerts(now, "whale", "BTCUSDT", "high"), newAlerts(now, "whale", "ETHUSDT", "high"))
	if _, err := h.dir.PublishAlerts(t.Context(), slices.Clone(published)); err != nil {
		t.Fatal(err)
	}
	if _, err := o.EnqueueAlerts(t.Context(), published[:1], nil, now); err != nil { // only the first
		t.Fatal(err)
	}
	recorded, err := h.dir.ReadAlerts("", "")
	if err != nil {
		t.Fatal(err)
	}
	queued, err := o.EnqueueRecorded(t.Context(), recorded, nil, now.Add(time.Minute))
	if err != nil || queued.Messages != 1 || queued.Known != 1 {
		t.Errorf("%+v, %v", queued, err)
	}
	if queued, err = o.EnqueueRecorded(t.Context(), recorded, nil, now.Add(2*time.Minute)); err != nil || queued.Messages != 0 {
		t.Errorf("%+v, %v", queued, err)
	}
}

// picture starts like a PNG.
var picture = []byte("\x89PNG\r\n\x1a\n and so on")

func TestReportWithPictureAndWorkbook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		chats := []Chat{{ID: "1"}, {ID: "2"}}
		o := h.outbox(chats...)
		report := Report{
			Key: "report/daily/2026-01-15", Title: "Daily <15 January>", HTML: "<b>BTCUSDT</b> up 5 %\n<pre>a &amp; b</pre>",
			Pictures: []File{{Name: "chart.png", Content: picture}}, Documents: []File{{Name: "report.xlsx", Caption: "all of it", Content: []byte("PK workbook")}},
		}
		if _, err := o.EnqueueReport(t.Context(), report, time.Now()); err != nil {
			t.Fatal(err)
		}
		if queued, err := o.EnqueueReport(t.Context(), report, time.Now()); err != nil || queued.Known != 2 {
			t.Errorf("again: %+v, %v", queued, err)
		}
		if n := len(h.files()); n != 2+2 {
			t.Errorf("%d files, want two messages that share two files: %q", n, h.files())
		}
		summary := h.send(o)
		if summary.Sent != 2 || summary.Parts != 4 {
			t.Errorf("%+v", summary)
		}
		var got []string
		for _, m := range h.standIn.Messages() {
			if m.Chat == "1" {
				got = append(got, fmt.Sprintf("%s %q %s %d", m.Method, m.Text, m.FileName, len(m.File)))
			}
		}
		want := []string{
			fmt.Sprintf("sendphoto %q chart.png %d", "Daily <15 January>\nBTCUSDT up 5 %\na & b", len(picture)),
			`senddocument "all of it" report.xlsx 11`,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if _, err := o.Send(t.Context(), h.client, h.options()); err != nil { // prunes first
			t.Fatal(err)
		}
		if n := len(h.files()); n != 2 {
			t.Errorf("files that were sent are still there: %q", h.files())
		}
		h.checkOffences()
	})
}

func TestReportStateIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for state, want := range map[ReportState]string{
			Empty:   "Daily\nNothing to report: no <trades>",
			Failed:  "Daily\n⛔ The report failed: no <trades>",
			Partial: "Daily, incomplete\nrubbish",
		} {
			h := newHarness(t)
			o := h.outbox(Chat{ID: "1"})
			report := Report{Key: "k", Title: "Daily", HTML: "rubbish", State: state, Reason: "no <trades>", Documents: []File{{Name: "a.xlsx", Content: []byte("x")}}}
			if _, err := o.EnqueueReport(t.Context(), report, time.Now()); err != nil {
				t.Fatal(err)
			}
			h.send(o)
			got := h.received("1")
			if got[0] != want || (len(got) == 2) != (state == Partial) {
				t.Errorf("%s: %q", state, got)
			}
		}
	})
}

func TestFilesThatTelegramRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		o := h.outbox(Chat{ID: "1"})
		report := Report{
			Key: "k", Title: "Daily",
			Pictures:  []File{{Name: "large.png", Content: append(bytes.Clone(picture), make([]byte, telegram.PhotoLimit)...)}, {Name: "not.png", Content: []byte("not a picture")}},
			Documents: []File{{Name: "huge.xlsx", Content: make([]byte, telegram.DocumentLimit+1)}, {Name: "none.csv"}, {Name: "gone.csv", Caption: "gone", Content: []byte("gone")}, {Name: "fine.csv", Content: []byte("1,2")}},
		}
		if _, err := o.EnqueueReport(t.Context(), report, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := removeFile(o, []byte("gone")); err != nil {
			t.Fatal(err)
		}
		if summary := h.send(o); summary.Sent != 1 || summary.GaveUp != 0 {
			t.Errorf("%+v", summary)
		}
		var got []string
		for _, m := range h.standIn.Messages() {
			got = append(got, fmt.Sprintf("%s %q %s", m.Method, m.Text, m.FileName))
		}
		want := []string{
			`sendmessage "Daily" `, `senddocument "" large.png`, `senddocument "" not.png`,
			`sendmessage "huge.xlsx has 51 MB and was not sent: Telegram accepts at most 50 MB from a bot." `,
			`sendmessage "none.csv is empty and was not sent." `,
			`sendmessage "gone\ngone.csv was not sent: the file is missing." `, `senddocument "" fine.csv`,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLongReportIsSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		o := h.outbox(Chat{ID: "1"})
		var body strings.Builder
		for i := range 400 {
			fmt.Fprintf(&body, "<b>line %d</b> with <a href=\"https://x.y/?a=1&amp;b=2\">more &amp; more</a> 😀\n", i)
		}
		report := Report{Key: "k", Title: "Daily", HTML: body.String(), Documents: []File{{Name: "a.csv", Content: []byte("1"), Caption: strings.Repeat("long & ", 300)}}}
		if _, err := o.EnqueueReport(t.Context(), report, time.Now()); err != nil {
			t.Fatal(err)
		}
		h.send(o)
		all := strings.Join(h.received("1"), "\n")
		for i := range 400 {
			if !strings.Contains(all, fmt.Sprintf("line %d with more & more 😀", i)) {
				t.Errorf("line %d is not complete", i)
			}
		}
		if strings.Count(all, "long &") != 300 {
			t.Error("the caption is not complete")
		}
		h.checkOffences()
	})
}

func TestProblemNoticeAndRecovery(t *testing.T) {
	h := newHarness(t)
	now := time.Now()
	o := h.outbox(Chat{ID: "1"})
	for i, step := range []struct {
		after     time.Duration
		recovered bool
		sent      bool
	}{
		{0, true, false}, // there was no problem
		{0, false, true},
		{time.Minute, false, false}, // it is ongoing
		{31 * time.Minute, false, true},
		{32 * time.Minute, true, true},
		{33 * time.Minute, true, false},
		{34 * time.Minute, false, true}, // again
	} {
		at := now.Add(step.after)
		queued, err := o.EnqueueNotice(t.Context(), Notice{Topic: "job/heal", Title: "heal", Recovered: step.recovered, At: at}, at)
		if err != nil || (queued.Messages == 1) != step.sent {
			t.Errorf("step %d: %+v, %v", i, queued, err)
		}
	}
}

func TestConcurrentProcessesEnqueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		var all sync.WaitGroup
		for i := range 8 {
			o := h.outbox(Chat{ID: "1"})
			all.Go(func() {
				for j := range 10 {
					key := fmt.Sprintf("%d", 10*(i/2)+j) // each key by two processes
					if _, err := o.EnqueueNotice(t.Context(), Notice{Key: key, Title: key}, time.Now()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		seqs := map[string]bool{}
		for _, name := range h.messageFiles() {
			seq, _, _ := strings.Cut(name, "-")
			seqs[seq] = true
		}
		if len(seqs) != 40 || len(h.messageFiles()) != 40 {
			t.Errorf("%d numbers for %d messages", len(seqs), len(h.messageFiles()))
		}
	})
}
