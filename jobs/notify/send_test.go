package notify

import (
	"context"
	"errors"
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

func TestMessagesKeepTelegramsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		person, group := Chat{ID: "7"}, Chat{ID: "-100"}
		o := p.outbox(person, group)
		for i := range 45 {
			p.notice(o, fmt.Sprint(i))
		}
		began := time.Now()
		summary := p.send(o)
		if summary.Sent != 90 || summary.Parts != 90 || summary.Waiting != 0 {
			t.Errorf("%+v", summary)
		}
		last := map[string]time.Duration{}
		for _, m := range p.standIn.Messages() {
			last[m.Chat] = m.At.Sub(began)
		}
		// 44 spaces of a second; the group's 41st message has to wait for two minutes to be over.
		if got := last["7"].Round(time.Second); got != 44*time.Second {
			t.Errorf("45 messages to a person took %v", got)
		}
		if got := last["-100"].Round(time.Second); got != 2*time.Minute+4*time.Second {
			t.Errorf("45 messages to a group took %v", got)
		}
		p.wellBehaved()
	})
}

func TestPaceOutlivesTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		group := Chat{ID: "-100"}
		for i := range 25 {
			o := p.outbox(group) // a process for each message
			p.notice(o, fmt.Sprint(i))
			p.send(o)
		}
		if got := len(p.arrived("-100")); got != 25 {
			t.Errorf("%d arrived", got)
		}
		p.wellBehaved()
	})
}

func TestSendStopsAtItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		o := p.outbox(Chat{ID: "7"})
		for i := range 10 {
			p.notice(o, fmt.Sprint(i))
		}
		began := time.Now()
		opt := p.options()
		opt.For = 4500 * time.Millisecond
		summary, err := o.Send(t.Context(), p.client, opt)
		if err != nil || summary.Sent != 5 || summary.Waiting != 5 || time.Since(began) > opt.For {
			t.Errorf("%+v, %v, after %v", summary, err, time.Since(began))
		}
		p.send(o)
		if got := p.arrived("7"); !slices.Equal(got, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}) {
			t.Errorf("arrived: %q", got)
		}
	})
}

func TestAllFaultsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		p.standIn.SetFaults(botapi.Faults{Limit: 0.1, Server: 0.1, CutBefore: 0.1, CutAfter: 0.1, Late: 0.1})
		o := p.outbox(Chat{ID: "7"}, Chat{ID: "-8"})
		for i := range 40 {
			p.notice(o, fmt.Sprint(i))
		}
		summary := p.send(o)
		if summary.Sent != 80 || summary.GaveUp != 0 {
			t.Errorf("%+v", summary)
		}
		more := 0
		for _, chat := range []string{"7", "-8"} {
			got := p.arrived(chat)
			more += len(got)
			for i, text := range slices.Compact(got) {
				if text != fmt.Sprint(i) {
					t.Fatalf("chat %s: %q came at place %d: %q", chat, text, i, got)
				}
			}
		}
		lostAfter := 0
		for _, m := range p.standIn.Messages() {
			if m.Answer != "sent" {
				lostAfter++
			}
		}
		// Each message whose answer was lost came once more, and nothing else did.
		if more != 80+lostAfter || lostAfter == 0 {
			t.Errorf("%d arrived, with %d lost answers", more, lostAfter)
		}
		status, err := o.Status()
		if err != nil || status.MaybeTwice[LostCut] == 0 || status.MaybeTwice[LostServer] == 0 || status.MaybeTwice[LostKilled] != 0 {
			t.Errorf("%+v, %v", status, err)
		}
		p.wellBehaved()
	})
}

func TestABlockedChatHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		blocked, open := Chat{ID: "7"}, Chat{ID: "8"}
		o := p.outbox(blocked, open)
		p.standIn.Refuse("7", 403, "Forbidden: bot was blocked by the user")
		for i := range 5 {
			p.notice(o, fmt.Sprint(i))
		}
		p.during(o, func() {
			time.Sleep(30 * time.Minute)
			if got := p.arrived("8"); len(got) != 5 {
				t.Errorf("the open chat got %q", got)
			}
			if n := p.standIn.Requests(); n > 15 {
				t.Errorf("%d requests: the blocked chat is hammered", n)
			}
			status, err := o.Status()
			if err != nil || status.Waiting != 5 || !strings.Contains(status.Chats[0].LastError, "blocked") || status.Chats[1].Waiting != 0 {
				t.Errorf("%+v, %v", status, err)
			}
			p.standIn.Refuse("7", 0, "")
			time.Sleep(accessMost + 10*time.Second)
		})
		if got := p.arrived("7"); !slices.Equal(got, []string{"0", "1", "2", "3", "4"}) {
			t.Errorf("once it was let in again, the chat got %q", got)
		}
		if n := strings.Count(p.log.String(), "chat does not let the bot write"); n != 1 {
			t.Errorf("told %d times in the log", n)
		}
	})
}

func TestAnOutageOfDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		o := p.outbox(Chat{ID: "7"})
		p.down.Store(true)
		for i, ago := range []time.Duration{keepTrying - 5*time.Minute, keepTrying - 4*time.Minute, time.Hour} {
			if _, err := o.EnqueueNotice(t.Context(), Notice{Key: fmt.Sprint(i), Title: fmt.Sprint(i)}, time.Now().Add(-ago)); err != nil {
				t.Fatal(err)
			}
		}
		p.during(o, func() {
			time.Sleep(5*time.Minute + 4500*time.Millisecond) // the first has been tried for three days
			p.down.Store(false)
			time.Sleep(2 * time.Minute)
		})
		// The second is as old, and gets its chance all the same.
		if got := p.arrived("7"); !slices.Equal(got, []string{"1", "2"}) {
			t.Errorf("arrived: %q", got)
		}
		status, err := o.Status()
		if err != nil || status.GaveUp != 1 || status.Waiting != 0 {
			t.Errorf("%+v, %v", status, err)
		}
		if !strings.Contains(p.log.String(), "message given up") {
			t.Error("the log does not say that a message was given up")
		}
	})
}

func TestGroupMigrationIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		group := Chat{ID: "-5"}
		o := p.outbox(group)
		p.notice(o, "before")
		p.send(o)
		p.standIn.Migrate("-5", -100500)
		p.notice(o, "after")
		p.send(o)
		requests := p.standIn.Requests()
		again := p.outbox(group)
		p.notice(again, "later")
		p.send(again)
		if diff := cmp.Diff([]string{"after", "later"}, p.arrived("-100500")); diff != "" {
			t.Error(diff)
		}
		if p.standIn.Requests() != requests+1 {
			t.Error("the new process asked at the old id")
		}
		p.wellBehaved()
	})
}

func TestRefusedMarkupIsSentAsPlainText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		o := p.outbox(Chat{ID: "7"})
		p.notice(o, "x")
		p.rewrite(p.messageFiles()[0], func(m *message) {
			m.Parts[0].HTML = "<b>fell</b> 5 % <wrong>1 &lt; 2</b>"
			m.Parts = append(m.Parts, part{Form: textForm, HTML: "<i>and</i> more"})
		})
		p.send(o)
		got := p.arrived("7")
		if diff := cmp.Diff([]string{"fell 5 % <wrong>1 < 2", "and more"}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestARefusedMessageIsGivenUpAndSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		o := p.outbox(Chat{ID: "7"})
		p.notice(o, "x")
		p.rewrite(p.messageFiles()[0], func(m *message) { m.Parts[0].HTML = "<b> </b>" })
		p.notice(o, "y")
		summary := p.send(o)
		if summary.GaveUp != 1 || summary.Sent != 1 {
			t.Errorf("%+v", summary)
		}
		if !strings.Contains(p.log.String(), "message text is empty") {
			t.Errorf("the log does not say why: %s", p.log)
		}
	})
}

func TestAWrongTokenLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		o := p.outbox(Chat{ID: "7"}, Chat{ID: "8"})
		p.notice(o, "x")
		wrong := p.newClient("987654321:AAanotheranotheranother")
		if _, err := o.Send(t.Context(), wrong, p.options()); err == nil || !strings.Contains(err.Error(), "token") || strings.Contains(err.Error(), "another") {
			t.Errorf("error: %v", err)
		}
		if summary := p.send(o); summary.Sent != 2 {
			t.Errorf("%+v", summary)
		}
	})
}

func TestARequestUnderWayIsFinishedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		o := p.outbox(Chat{ID: "7"})
		p.notice(o, "x")
		slow := slowSender{p.client, 2 * time.Second}
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if _, err := o.Send(ctx, slow, p.options()); err != nil {
			t.Error(err)
		}
		status, err := o.Status()
		if err != nil || status.Sent != 1 || len(status.MaybeTwice) != 0 {
			t.Errorf("%+v, %v", status, err)
		}
	})
}

func TestOneProcessSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		o := p.outbox(Chat{ID: "7"})
		p.during(o, func() {
			synctest.Wait()
			other := p.outbox(Chat{ID: "7"})
			p.notice(other, "x")
			if summary := p.send(other); !summary.Busy {
				t.Errorf("%+v", summary)
			}
			time.Sleep(2 * pollEvery)
			if got := p.arrived("7"); len(got) != 1 {
				t.Errorf("the service, %v after: %q", 2*pollEvery, got)
			}
		})
	})
}

func TestAClockSetBack(t *testing.T) {
	for name, back := range map[string]time.Duration{"an hour": time.Hour, "a year": 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlace(t)
				o := p.outbox(Chat{ID: "-7"})
				for i := range 20 {
					p.notice(o, fmt.Sprint(i))
				}
				p.send(o)
				p.down.Store(true)
				p.notice(o, "20")
				opt := p.options()
				opt.For = 90 * time.Second
				if _, err := o.Send(t.Context(), p.client, opt); err != nil { // leaves a note of when to try again
					t.Fatal(err)
				}
				p.down.Store(false)
				// The process after that starts with a clock that is behind.
				behind := func() time.Time { return time.Now().Add(-back) }
				next := p.outbox(Chat{ID: "-7"})
				if _, err := next.EnqueueNotice(t.Context(), Notice{Key: "21", Title: "21"}, behind()); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				summary, err := next.Send(t.Context(), p.client, SendOptions{Now: behind})
				if err != nil || summary.Sent != 2 || time.Since(began) > 3*time.Minute {
					t.Errorf("%+v, %v, after %v", summary, err, time.Since(began))
				}
				if got := p.arrived("-7"); len(got) != 22 || got[20] != "20" || got[21] != "21" {
					t.Errorf("arrived: %q", got)
				}
				p.wellBehaved()
			})
		})
	}
}

func TestSilentChatsHearOfWhatMatters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		seen := &recordingSender{}
		o := p.outbox(Chat{ID: "7", Silent: true})
		for _, severity := range []string{"low", "high"} {
			if _, err := o.EnqueueAlerts(t.Context(), alertsOf(time.Now(), "d", severity+"USDT", severity), nil, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := o.Send(t.Context(), seen, p.options()); err != nil {
			t.Fatal(err)
		}
		if len(seen.messages) != 2 || !seen.messages[0].Silent || seen.messages[1].Silent {
			t.Errorf("%+v", seen.messages)
		}
	})
}

func TestTheTokenIsNowhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		p.standIn.SetFaults(botapi.Faults{Limit: 0.15, Server: 0.15, CutBefore: 0.15, CutAfter: 0.15, Late: 0.15})
		o := p.outbox(Chat{ID: "7"})
		for i := range 20 {
			p.notice(o, fmt.Sprint(i))
		}
		p.during(o, func() {
			p.down.Store(true)
			time.Sleep(time.Minute)
			p.down.Store(false)
			time.Sleep(10 * time.Minute)
		})
		_, err := o.Send(t.Context(), p.newClient("123456789:AAwrongwrongwrong"), p.options())
		said := p.log.String() + fmt.Sprint(err)
		for _, name := range p.files() {
			content, err := os.ReadFile(o.path(name))
			if err != nil {
				t.Fatal(err)
			}
			said += string(content)
		}
		for _, secret := range []string{testToken, strings.TrimPrefix(testToken, "123456789:"), "AAwrong"} {
			if strings.Contains(said, secret) {
				t.Errorf("%q was told", secret)
			}
		}
		if len(said) < 1000 {
			t.Errorf("little was told at all: %q", said)
		}
	})
}

func TestWithoutChatsAllGoesToTheLog(t *testing.T) {
	p := newPlace(t)
	o := p.outbox()
	now := time.Now()
	if _, err := o.EnqueueAlerts(t.Context(), alertsOf(now, "whale_order", "BTCUSDT", "high"), nil, now); err != nil {
		t.Fatal(err)
	}
	if _, err := o.EnqueueReport(t.Context(), Report{Key: "r", Title: "Daily", HTML: "<b>bold</b> words"}, now); err != nil {
		t.Fatal(err)
	}
	p.notice(o, "heal failed")
	if summary := p.send(o); summary != (Summary{}) {
		t.Errorf("%+v", summary)
	}
	for _, want := range []string{"whale_order", "BTCUSDT", "Daily", "bold words", "heal failed"} {
		if !strings.Contains(p.log.String(), want) {
			t.Errorf("the log does not have %q: %s", want, p.log)
		}
	}
	if len(p.files()) != 0 {
		t.Errorf("files: %q", p.files())
	}
	if err := o.Run(t.Context(), p.client, p.options()); err != nil || errors.Is(t.Context().Err(), context.Canceled) {
		t.Errorf("run: %v", err)
	}
}
