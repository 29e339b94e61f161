package notify

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/standin/botapi"
)

func TestRateLimitsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		person, group := Chat{ID: "7"}, Chat{ID: "-100"}
		o := h.outbox(person, group)
		for i := range 45 {
			h.enqueueNotice(o, fmt.Sprint(i))
		}
		began := time.Now()
		summary := h.send(o)
		if summary.Sent != 90 || summary.Parts != 90 || summary.Waiting != 0 {
			t.Errorf("%+v", summary)
		}
		last := map[string]time.Duration{}
		for _, m := range h.standIn.Messages() {
			last[m.Chat] = m.At.Sub(began)
		}
		// 44 intervals of one second; the 41st message to the group has to wait until two minutes
		// are over.
		if got := last["7"].Round(time.Second); got != 44*time.Second {
			t.Errorf("45 messages to a person took %v", got)
		}
		if got := last["-100"].Round(time.Second); got != 2*time.Minute+4*time.Second {
			t.Errorf("45 messages to a group took %v", got)
		}
		h.checkOffences()
	})
}

func TestRateLimitsSurviveRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		group := Chat{ID: "-100"}
		for i := range 25 {
			o := h.outbox(group) // one process per message
			h.enqueueNotice(o, fmt.Sprint(i))
			h.send(o)
		}
		if got := len(h.received("-100")); got != 25 {
			t.Errorf("%d received", got)
		}
		h.checkOffences()
	})
}

func TestSendStopsAtDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		o := h.outbox(Chat{ID: "7"})
		for i := range 10 {
			h.enqueueNotice(o, fmt.Sprint(i))
		}
		began := time.Now()
		opt := h.options()
		opt.For = 4500 * time.Millisecond
		summary, err := o.Send(t.Context(), h.client, opt)
		if err != nil || summary.Sent != 5 || summary.Waiting != 5 || time.Since(began) > opt.For {
			t.Errorf("%+v, %v, after %v", summary, err, time.Since(began))
		}
		h.send(o)
		if got := h.received("7"); !slices.Equal(got, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}) {
			t.Errorf("received: %q", got)
		}
	})
}

func TestSendSurvivesMixedFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.standIn.SetFaults(botapi.Faults{Limit: 0.1, Server: 0.1, CutBefore: 0.1, CutAfter: 0.1, Late: 0.1})
		o := h.outbox(Chat{ID: "7"}, Chat{ID: "-8"})
		for i := range 40 {
			h.enqueueNotice(o, fmt.Sprint(i))
		}
		summary := h.send(o)
		if summary.Sent != 80 || summary.GaveUp != 0 {
			t.Errorf("%+v", summary)
		}
		more := 0
		for _, chat := range []string{"7", "-8"} {
			got := h.received(chat)
			more += len(got)
			for i, text := range slices.Compact(got) {
				if text != fmt.Sprint(i) {
					t.Fatalf("chat %s: %q arrived at position %d: %q", chat, text, i, got)
				}
			}
		}
		lostAfter := 0
		for _, m := range h.standIn.Messages() {
			if m.Answer != "sent" {
				lostAfter++
			}
		}
		// Only messages whose reply was lost arrived again.
		if more != 80+lostAfter || lostAfter == 0 {
			t.Errorf("%d arrived, with %d lost replies", more, lostAfter)
		}
		status, err := o.Status()
		if err != nil || status.PossiblyTwice[LostConnection] == 0 || status.PossiblyTwice[LostServer] == 0 || status.PossiblyTwice[LostCrash] != 0 {
			t.Errorf("%+v, %v", status, err)
		}
		h.checkOffences()
	})
}

func TestBlockedChatDoesNotBlockOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		blocked, open := Chat{ID: "7"}, Chat{ID: "8"}
		o := h.outbox(blocked, open)
		h.standIn.Refuse("7", 403, "Forbidden: bot was blocked by the user")
		for i := range 5 {
			h.enqueueNotice(o, fmt.Sprint(i))
		}
		h.whileRunning(o, func() {
			time.Sleep(30 * time.Minute)
			if got := h.received("8"); len(got) != 5 {
				t.Errorf("the open chat received %q", got)
			}
			if n := h.standIn.Requests(); n > 15 {
				t.Errorf("%d requests: too many to the blocked chat", n)
			}
			entries, _, err := o.scan()
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.message.isPending() != (e.message.Chat == blocked.ID) {
					t.Errorf("chat %s: pending %v", e.message.Chat, e.message.isPending())
				}
			}
			if first := entries[0].message; !strings.Contains(first.Parts[0].LastError, "blocked") {
				t.Errorf("last error %q", first.Parts[0].LastError)
			}
			h.standIn.Refuse("7", 0, "")
			time.Sleep(lastAccessRetry + 10*time.Second)
		})
		if got := h.received("7"); !slices.Equal(got, []string{"0", "1", "2", "3", "4"}) {
			t.Errorf("once it was unblocked, the chat received %q", got)
		}
		if n := strings.Count(h.log.String(), "chat does not let the bot write"); n != 1 {
			t.Errorf("logged %d times", n)
		}
	})
}

func TestMessagesAreGivenUpAfterThreeDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		o := h.outbox(Chat{ID: "7"})
		h.down.Store(true)
		for i, ago := range []time.Duration{maxDeliveryTime - 5*time.Minute, maxDeliveryTime - 4*time.Minute, time.Hour} {
			if _, err := o.EnqueueNotice(t.Context(), Notice{Key: fmt.Sprint(i), Title: fmt.Sprint(i)}, time.Now().Add(-ago)); err != nil {
				t.Fatal(err)
			}
		}
		h.whileRunning(o, func() {
			time.Sleep(5*time.Minute + 4500*time.Millisecond) // the first has been tried for three days
			h.down.Store(false)
			time.Sleep(2 * time.Minute)
		})
		// The second is almost as old and is still delivered.
		if got := h.received("7"); !slices.Equal(got, []string{"1", "2"}) {
			t.Errorf("received: %q", got)
		}
		status, err := o.Status()
		if err != nil || status.GaveUp != 1 || status.Waiting != 0 {
			t.Errorf("%+v, %v", status, err)
		}
		if !strings.Contains(h.log.String(), "message given up") {
			t.Error("the log lacks the message that was given up")
		}
	})
}

func TestGroupMigrationIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		group := Chat{ID: "-5"}
		o := h.outbox(group)
		h.enqueueNotice(o, "before")
		h.send(o)
		h.standIn.Migrate("-5", -100500)
		h.enqueueNotice(o, "after")
		h.send(o)
		requests := h.standIn.Requests()
		again := h.outbox(group)
		h.enqueueNotice(again, "later")
		h.send(again)
		if diff := cmp.Diff([]string{"after", "later"}, h.received("-100500")); diff != "" {
			t.Error(diff)
		}
		if h.standIn.Requests() != requests+1 {
			t.Error("the new process used the old id")
		}
		h.checkOffences()
	})
}

func TestRefusedMarkupIsSentAsPlainText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		o := h.outbox(Chat{ID: "7"})
		h.enqueueNotice(o, "x")
		h.rewrite(h.messageFiles()[0], func(m *message) {
			m.Parts[0].HTML = "<b>fell</b> 5 % <wrong>1 &lt; 2</b>"
			m.Parts = append(m.Parts, part{Form: textForm, HTML: "<i>and</i> more"})
		})
		h.send(o)
		got := h.received("7")
		if diff := cmp.Diff([]string{"fell 5 % <wrong>1 < 2", "and more"}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRefusedMessageIsGivenUpAndLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		o := h.outbox(Chat{ID: "7"})
		h.enqueueNotice(o, "x")
		h.rewrite(h.messageFiles()[0], func(m *message) { m.Parts[0].HTML = "<b> </b>" })
		h.enqueueNotice(o, "y")
		summary := h.send(o)
		if summary.GaveUp != 1 || summary.Sent != 1 {
			t.Errorf("%+v", summary)
		}
		if !strings.Contains(h.log.String(), "message text is empty") {
			t.Errorf("the log lacks the reason: %s", h.log)
		}
	})
}

func TestWrongTokenLosesNoMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		o := h.outbox(Chat{ID: "7"}, Chat{ID: "8"})
		h.enqueueNotice(o, "x")
		wrong := h.newClient("987654321:AAanotheranotheranother")
		if _, err := o.Send(t.Context(), wrong, h.options()); err == nil || !strings.Contains(err.Error(), "token") || strings.Contains(err.Error(), "another") {
			t.Errorf("error: %v", err)
		}
		if summary := h.send(o); summary.Sent != 2 {
			t.Errorf("%+v", summary)
		}
	})
}

func TestStartedRequestFinishesAfterCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		o := h.outbox(Chat{ID: "7"})
		h.enqueueNotice(o, "x")
		slow := slowSender{h.client, 2 * time.Second}
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if _, err := o.Send(ctx, slow, h.options()); err != nil {
			t.Error(err)
		}
		status, err := o.Status()
		if err != nil || status.Sent != 1 || len(status.PossiblyTwice) != 0 {
			t.Errorf("%+v, %v", status, err)
		}
	})
}

func TestOnlyOneProcessSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		o := h.outbox(Chat{ID: "7"})
		h.whileRunning(o, func() {
			synctest.Wait()
			other := h.outbox(Chat{ID: "7"})
			h.enqueueNotice(other, "x")
			if summary := h.send(other); !summary.Busy {
				t.Errorf("%+v", summary)
			}
			time.Sleep(2 * pollInterval)
			if got := h.received("7"); len(got) != 1 {
				t.Errorf("the running sender, after %v: %q", 2*pollInterval, got)
			}
		})
	})
}

func TestClockSetBack(t *testing.T) {
	for name, back := range map[string]time.Duration{"an hour": time.Hour, "a year": 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t)
				o := h.outbox(Chat{ID: "-7"})
				for i := range 20 {
					h.enqueueNotice(o, fmt.Sprint(i))
				}
				h.send(o)
				h.down.Store(true)
				h.enqueueNotice(o, "20")
				opt := h.options()
				opt.For = 90 * time.Second
				if _, err := o.Send(t.Context(), h.client, opt); err != nil { // stores when to try again
					t.Fatal(err)
				}
				h.down.Store(false)
				// The next process starts with a clock that is behind.
				behind := func() time.Time { return time.Now().Add(-back) }
				next := h.outbox(Chat{ID: "-7"})
				if _, err := next.EnqueueNotice(t.Context(), Notice{Key: "21", Title: "21"}, behind()); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				summary, err := next.Send(t.Context(), h.client, SendOptions{Now: behind})
				if err != nil || summary.Sent != 2 || time.Since(began) > 3*time.Minute {
					t.Errorf("%+v, %v, after %v", summary, err, time.Since(began))
				}
				if got := h.received("-7"); len(got) != 22 || got[20] != "20" || got[21] != "21" {
					t.Errorf("received: %q", got)
				}
				h.checkOffences()
			})
		})
	}
}

func TestUrgentMessagesAreNotSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		sender := &recordingSender{}
		o := h.outbox(Chat{ID: "7", Silent: true})
		for _, severity := range []string{"low", "high"} {
			if _, err := o.EnqueueAlerts(t.Context(), newAlerts(time.Now(), "d", severity+"USDT", severity), nil, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := o.Send(t.Context(), sender, h.options()); err != nil {
			t.Fatal(err)
		}
		if len(sender.messages) != 2 || !sender.messages[0].Silent || sender.messages[1].Silent {
			t.Errorf("%+v", sender.messages)
		}
	})
}

func TestTokenIsNeverWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.standIn.SetFaults(botapi.Faults{Limit: 0.15, Server: 0.15, CutBefore: 0.15, CutAfter: 0.15, Late: 0.15})
		o := h.outbox(Chat{ID: "7"})
		for i := range 20 {
			h.enqueueNotice(o, fmt.Sprint(i))
		}
		h.whileRunning(o, func() {
			h.down.Store(true)
			time.Sleep(time.Minute)
			h.down.Store(false)
			time.Sleep(10 * time.Minute)
		})
		_, err := o.Send(t.Context(), h.newClient("123456789:AAwrongwrongwrong"), h.options())
		written := h.log.String() + fmt.Sprint(err)
		for _, name := range h.files() {
			content, err := os.ReadFile(o.path(name))
			if err != nil {
				t.Fatal(err)
			}
			written += string(content)
		}
		for _, secret := range []string{testToken, strings.TrimPrefix(testToken, "123456789:"), "AAwrong"} {
			if strings.Contains(written, secret) {
				t.Errorf("%q was written", secret)
			}
		}
		if len(written) < 1000 {
			t.Errorf("too little was written: %q", written)
		}
	})
}

func TestWithoutChatsMessagesAreLogged(t *testing.T) {
	h := newHarness(t)
	o := h.outbox()
	now := time.Now()
	if _, err := o.EnqueueAlerts(t.Context(), newAlerts(now, "whale_order", "BTCUSDT", "high"), nil, now); err != nil {
		t.Fatal(err)
	}
	if _, err := o.EnqueueReport(t.Context(), Report{Key: "r", Title: "Daily", HTML: "<b>bold</b> words"}, now); err != nil {
		t.Fatal(err)
	}
	h.enqueueNotice(o, "heal failed")
	if summary := h.send(o); summary != (Summary{}) {
		t.Errorf("%+v", summary)
	}
	for _, want := range []string{"whale_order", "BTCUSDT", "Daily", "bold words", "heal failed"} {
		if !strings.Contains(h.log.String(), want) {
			t.Errorf("the log does not have %q: %s", want, h.log)
		}
	}
	if len(h.files()) != 0 {
		t.Errorf("files: %q", h.files())
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := o.Run(ctx, h.client, h.options()); err != nil {
		t.Errorf("run: %v", err)
	}
}
