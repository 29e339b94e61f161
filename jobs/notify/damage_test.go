package notify

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"tapedeck/internal/tape"
)

// removeFile removes a file that messages carry.
func removeFile(o *Outbox, content []byte) error { return os.Remove(o.path(fileName(content))) }

func TestDamagedFilesAreSetAsideAndBlockNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		o := h.outbox(Chat{ID: "7"})
		for i := range 7 {
			h.enqueueNotice(o, fmt.Sprint(i))
		}
		names := h.messageFiles()
		damage := func(i int, content string) {
			if err := os.WriteFile(o.path(names[i]), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		whole, err := os.ReadFile(o.path(names[5]))
		if err != nil {
			t.Fatal(err)
		}
		damage(0, "")
		damage(2, "{\"format\": 1, \"chat\": \"7\"")
		damage(3, strings.Repeat("\x00", 4096))
		damage(4, strings.Replace(string(whole), `"format": 1`, `"format": 99`, 1))
		damage(5, strings.Replace(string(whole), `"chat": "7"`, `"chat": "8"`, 1)) // another chat than the hash
		if err := os.WriteFile(o.path("README"), []byte("someone's"), 0o644); err != nil {
			t.Fatal(err)
		}
		fresh := h.outbox(Chat{ID: "7"})
		summary := h.send(fresh)
		if got := h.received("7"); summary.Sent != 2 || !slices.Equal(got, []string{"1", "6"}) {
			t.Errorf("%+v, received %q", summary, got)
		}
		status, err := fresh.Status()
		if err != nil || status.Damaged != 5 {
			t.Errorf("%+v, %v", status, err)
		}
		h.enqueueNotice(fresh, "next") // its seq is greater than those of the damaged files
		h.send(fresh)
		if got := h.received("7"); got[len(got)-1] != "next" {
			t.Errorf("received %q", got)
		}
	})
}

func TestEnqueueSurvivesFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		o := h.outbox(Chat{ID: "1"}, Chat{ID: "2"})
		report := Report{Key: "k", Title: "Daily", Documents: []File{{Name: "a.csv", Content: []byte("1")}}}
		// Each write fails once: that of the file, and those of the messages to both chats.
		for n := 1; n <= 3; n++ {
			writes := 0
			h.store.setFault(func(string, any) error {
				if writes++; writes == n {
					return errDiskFull
				}
				return nil
			})
			if _, err := o.EnqueueReport(t.Context(), report, time.Now()); n < 3 && !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("write %d: %v", n, err)
			}
		}
		h.store.setFault(nil)
		if _, err := o.EnqueueReport(t.Context(), report, time.Now()); err != nil {
			t.Error(err)
		}
		if summary := h.send(o); summary.Sent != 2 {
			t.Errorf("%+v", summary)
		}
		if len(h.standIn.Messages()) != 4 {
			t.Errorf("%d messages", len(h.standIn.Messages()))
		}
	})
}

func TestNothingIsSentWhileDiskIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		o := h.outbox(Chat{ID: "7"})
		h.enqueueNotice(o, "x")
		h.store.setFault(func(string, any) error { return errDiskFull })
		h.whileRunning(o, func() {
			time.Sleep(5 * time.Minute)
			if n := h.standIn.Requests(); n != 0 {
				t.Errorf("%d requests although their start was not stored", n)
			}
			h.store.setFault(nil)
			time.Sleep(time.Minute)
		})
		if got := h.received("7"); len(got) != 1 {
			t.Errorf("received %q", got)
		}
	})
}

// failAfterReply fails the writes that store a reply.
func failAfterReply(_ string, v any) error {
	if m, ok := v.(*message); ok && m.Parts[0].StartedAt.IsZero() && m.Parts[0].Attempts > 0 {
		return errDiskFull
	}
	return nil
}

func TestResultIsStoredOnceDiskHasRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		o := h.outbox(Chat{ID: "7"})
		h.enqueueNotice(o, "x")
		h.enqueueNotice(o, "y")
		h.store.setFault(failAfterReply)
		h.whileRunning(o, func() {
			time.Sleep(5 * time.Minute)
			if got := h.received("7"); !slices.Equal(got, []string{"x"}) {
				t.Errorf("while the reply cannot be stored: %q", got)
			}
			h.store.setFault(nil)
			time.Sleep(time.Minute)
		})
		if got := h.received("7"); !slices.Equal(got, []string{"x", "y"}) {
			t.Errorf("received %q", got)
		}
	})
}

func TestUnstoredResultCausesOneResend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		o := h.outbox(Chat{ID: "7"})
		h.enqueueNotice(o, "x")
		h.store.setFault(failAfterReply)
		h.whileRunning(o, func() { time.Sleep(time.Minute) })
		h.store.setFault(nil)
		// The next process cannot know that the message was accepted, so it sends it again and
		// counts it.
		next := h.outbox(Chat{ID: "7"})
		if summary := h.send(next); summary.Resent != 1 {
			t.Errorf("%+v", summary)
		}
		if got := h.received("7"); !slices.Equal(got, []string{"x", "x"}) {
			t.Errorf("received %q", got)
		}
		status, err := next.Status()
		if err != nil || status.PossiblyTwice[LostCrash] != 1 {
			t.Errorf("%+v, %v", status, err)
		}
	})
}

func TestPruneKeepsOngoingProblems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		o := h.outbox(Chat{ID: "7"})
		h.enqueueNotice(o, "x")
		if _, err := o.EnqueueNotice(t.Context(), Notice{Topic: "job/heal", Title: "heal failed"}, time.Now()); err != nil {
			t.Fatal(err)
		}
		h.send(o)
		time.Sleep(retention - time.Hour)
		h.send(o)
		if left := h.messageFiles(); len(left) != 2 {
			t.Errorf("kept within a week: %q", left)
		}
		time.Sleep(2 * time.Hour)
		h.send(o)
		if left := h.messageFiles(); len(left) != 1 || !strings.HasPrefix(left[0], "0000000000000002-") {
			t.Errorf("only the ongoing problem should be kept: %q", left)
		}
		// A month later its recovery is sent.
		time.Sleep(30 * 24 * time.Hour)
		if queued, err := o.EnqueueNotice(t.Context(), Notice{Topic: "job/heal", Recovered: true, Title: "heal recovered", At: time.Now()}, time.Now()); err != nil || queued.Messages != 1 {
			t.Errorf("%+v, %v", queued, err)
		}
	})
}

func TestMessagesToRemovedChatAreGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		o := h.outbox(Chat{ID: "7"}, Chat{ID: "8"})
		h.enqueueNotice(o, "x")
		fewer := h.outbox(Chat{ID: "8"})
		if summary := h.send(fewer); summary.Sent != 1 || summary.Waiting != 1 || len(h.received("7")) != 0 {
			t.Errorf("%+v, received %q", summary, h.received("7"))
		}
		time.Sleep(maxDeliveryTime + time.Hour)
		if summary := h.send(fewer); summary.GaveUp != 1 || summary.Waiting != 0 {
			t.Errorf("%+v", summary)
		}
	})
}

func TestOldestAlertsAreGivenUpAboveTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		o := h.outbox(Chat{ID: "7"})
		o.config.DigestAbove, o.maxPending = 1000, 20
		h.enqueueNotice(o, "notice")
		now := time.Now()
		var alerts []tape.Alert
		for i := range o.maxPending + 4 {
			alerts = append(alerts, newAlerts(now, "whale", fmt.Sprintf("S%d", i), "low")...)
		}
		if _, err := o.EnqueueAlerts(t.Context(), alerts, nil, now); err != nil {
			t.Fatal(err)
		}
		opt := h.options()
		opt.For = time.Second / 2
		summary, err := o.Send(t.Context(), h.client, opt)
		if err != nil || summary.GaveUp != 5 || summary.Sent != 1 || h.received("7")[0] != "notice" {
			t.Errorf("%+v, %v", summary, err)
		}
	})
}

func TestOutboxIsInStateDirectory(t *testing.T) {
	h := newHarness(t)
	o := h.outbox(Chat{ID: "7"})
	h.enqueueNotice(o, "x")
	if got := filepath.Dir(o.path(h.messageFiles()[0])); got != filepath.Join(h.dir.Path(), ".state", "outbox") {
		t.Errorf("the outbox is in %q", got)
	}
}
