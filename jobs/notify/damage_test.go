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

func removeFile(o *Outbox, content []byte) error { return os.Remove(o.path(fileName(content))) }

func TestDamagedFilesArePutAsideAndHoldNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		o := p.outbox(Chat{ID: "7"})
		for i := range 7 {
			p.notice(o, fmt.Sprint(i))
		}
		names := p.messageFiles()
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
		damage(5, strings.Replace(string(whole), `"chat": "7"`, `"chat": "8"`, 1)) // not to whom it was addressed
		if err := os.WriteFile(o.path("README"), []byte("someone's"), 0o644); err != nil {
			t.Fatal(err)
		}
		fresh := p.outbox(Chat{ID: "7"})
		summary := p.send(fresh)
		if got := p.arrived("7"); summary.Sent != 2 || !slices.Equal(got, []string{"1", "6"}) {
			t.Errorf("%+v, arrived %q", summary, got)
		}
		status, err := fresh.Status()
		if err != nil || status.Damaged != 5 {
			t.Errorf("%+v, %v", status, err)
		}
		p.notice(fresh, "next") // its number is above those of the damaged ones
		p.send(fresh)
		if got := p.arrived("7"); got[len(got)-1] != "next" {
			t.Errorf("arrived %q", got)
		}
	})
}

func TestAFullDiskAtTheEnqueuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		o := p.outbox(Chat{ID: "1"}, Chat{ID: "2"})
		report := Report{Key: "k", Title: "Daily", Documents: []File{{Name: "a.csv", Content: []byte("1")}}}
		// Each write fails once: the file's, and the message's to either chat.
		for n := 1; n <= 3; n++ {
			writes := 0
			p.store.setFault(func(string, any) error {
				if writes++; writes == n {
					return errFull
				}
				return nil
			})
			if _, err := o.EnqueueReport(t.Context(), report, time.Now()); n < 3 && !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("write %d: %v", n, err)
			}
		}
		p.store.setFault(nil)
		if _, err := o.EnqueueReport(t.Context(), report, time.Now()); err != nil {
			t.Error(err)
		}
		if summary := p.send(o); summary.Sent != 2 {
			t.Errorf("%+v", summary)
		}
		if len(p.standIn.Messages()) != 4 {
			t.Errorf("%d messages", len(p.standIn.Messages()))
		}
	})
}

func TestAFullDiskBeforeTheAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		o := p.outbox(Chat{ID: "7"})
		p.notice(o, "x")
		p.store.setFault(func(string, any) error { return errFull })
		p.during(o, func() {
			time.Sleep(5 * time.Minute)
			if n := p.standIn.Requests(); n != 0 {
				t.Errorf("%d requests that nothing would know of", n)
			}
			p.store.setFault(nil)
			time.Sleep(time.Minute)
		})
		if got := p.arrived("7"); len(got) != 1 {
			t.Errorf("arrived %q", got)
		}
	})
}

// afterTheAnswer fails the writes that mark an answer.
func afterTheAnswer(_ string, v any) error {
	if m, ok := v.(*message); ok && m.Parts[0].BegunAt.IsZero() && m.Parts[0].Attempts > 0 {
		return errFull
	}
	return nil
}

func TestAFullDiskAfterTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		o := p.outbox(Chat{ID: "7"})
		p.notice(o, "x")
		p.notice(o, "y")
		p.store.setFault(afterTheAnswer)
		p.during(o, func() {
			time.Sleep(5 * time.Minute)
			if got := p.arrived("7"); !slices.Equal(got, []string{"x"}) {
				t.Errorf("while the answer cannot be marked: %q", got)
			}
			p.store.setFault(nil)
			time.Sleep(time.Minute)
		})
		if got := p.arrived("7"); !slices.Equal(got, []string{"x", "y"}) {
			t.Errorf("arrived %q", got)
		}
	})
}

func TestADiskThatStaysFullAfterTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		o := p.outbox(Chat{ID: "7"})
		p.notice(o, "x")
		p.store.setFault(afterTheAnswer)
		p.during(o, func() { time.Sleep(time.Minute) })
		p.store.setFault(nil)
		// The next process cannot know that it was accepted: that is what is counted.
		next := p.outbox(Chat{ID: "7"})
		if summary := p.send(next); summary.Again != 1 {
			t.Errorf("%+v", summary)
		}
		if got := p.arrived("7"); !slices.Equal(got, []string{"x", "x"}) {
			t.Errorf("arrived %q", got)
		}
		status, err := next.Status()
		if err != nil || status.MaybeTwice[LostKilled] != 1 {
			t.Errorf("%+v, %v", status, err)
		}
	})
}

func TestPruning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		o := p.outbox(Chat{ID: "7"})
		p.notice(o, "x")
		if _, err := o.EnqueueNotice(t.Context(), Notice{Topic: "job/heal", Title: "heal failed"}, time.Now()); err != nil {
			t.Fatal(err)
		}
		p.send(o)
		time.Sleep(keepClosed - time.Hour)
		p.send(o)
		if left := p.messageFiles(); len(left) != 2 {
			t.Errorf("remembered within a week: %q", left)
		}
		time.Sleep(2 * time.Hour)
		p.send(o)
		if left := p.messageFiles(); len(left) != 1 || !strings.HasPrefix(left[0], "0000000000000002-") {
			t.Errorf("the trouble that lasts should be remembered alone: %q", left)
		}
		// A month later its end is told.
		time.Sleep(30 * 24 * time.Hour)
		if queued, err := o.EnqueueNotice(t.Context(), Notice{Topic: "job/heal", Over: true, Title: "heal is well", At: time.Now()}, time.Now()); err != nil || queued.Messages != 1 {
			t.Errorf("%+v, %v", queued, err)
		}
	})
}

func TestAChatThatIsTakenOutOfTheConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		o := p.outbox(Chat{ID: "7"}, Chat{ID: "8"})
		p.notice(o, "x")
		fewer := p.outbox(Chat{ID: "8"})
		if summary := p.send(fewer); summary.Sent != 1 || summary.Waiting != 1 || len(p.arrived("7")) != 0 {
			t.Errorf("%+v, arrived %q", summary, p.arrived("7"))
		}
		time.Sleep(keepTrying + time.Hour)
		if summary := p.send(fewer); summary.GaveUp != 1 || summary.Waiting != 0 {
			t.Errorf("%+v", summary)
		}
	})
}

func TestTooManyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		o := p.outbox(Chat{ID: "7"})
		o.config.DigestAbove, o.limit = 1000, 20
		p.notice(o, "notice")
		now := time.Now()
		var alerts []tape.Alert
		for i := range o.limit + 4 {
			alerts = append(alerts, alertsOf(now, "whale", fmt.Sprintf("S%d", i), "low")...)
		}
		if _, err := o.EnqueueAlerts(t.Context(), alerts, nil, now); err != nil {
			t.Fatal(err)
		}
		opt := p.options()
		opt.For = time.Second / 2
		summary, err := o.Send(t.Context(), p.client, opt)
		if err != nil || summary.GaveUp != 5 || summary.Sent != 1 || p.arrived("7")[0] != "notice" {
			t.Errorf("%+v, %v", summary, err)
		}
	})
}

func TestTheOutboxIsUnderTheState(t *testing.T) {
	p := newPlace(t)
	o := p.outbox(Chat{ID: "7"})
	p.notice(o, "x")
	if got := filepath.Dir(o.path(p.messageFiles()[0])); got != filepath.Join(p.dir.Path(), ".state", "outbox") {
		t.Errorf("it is at %q", got)
	}
}
