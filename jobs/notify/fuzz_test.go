package notify

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// FuzzMessage puts a file of any content into the outbox, under the name of the message that it is if it is
// one: it is sent to the chats of the configuration or set aside, sends no file of the machine, and the
// messages after it arrive.
func FuzzMessage(f *testing.F) {
	if testing.Short() {
		f.Skip("each run lives through a day")
	}
	for _, seed := range []string{
		`{"format":1,"chat":"7","key":"k","parts":[{"form":"text","html":"<b>x</b>","begun_at":"2000-01-01T00:00:00Z","lost":[{}]}]}`,
		`{"format":1,"chat":"7","key":"k","parts":[{"form":"document","file":"../budget.json","file_name":"x"}]}`,
		`{"format":1,"chat":"7","key":"k","parts":[{"form":"photo","file":"/etc/passwd","not_before":"9999-01-01T00:00:00Z"},{}]}`,
		`{"format":1,"chat":"-9","key":"k","parts":[{"form":"text","html":"\u0000<b"}],"closed_at":"2026-01-15T00:00:00Z"}`,
		"null", "{",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var named struct {
			Chat string `json:"chat"`
			Key  string `json:"key"`
		}
		_ = json.Unmarshal([]byte(text), &named)
		synctest.Test(t, func(t *testing.T) {
			h := newHarness(t)
			const secret = "the private key of the machine"
			if err := h.dir.State().WriteBytes("budget.json", []byte(secret)); err != nil {
				t.Fatal(err)
			}
			o := h.outbox(Chat{ID: "7"})
			h.enqueueNotice(o, "before")
			name := messageName(2, messageHash(named.Chat, named.Key))
			if err := h.dir.State().WriteBytes(filepath.Join(outboxDir, name), []byte(text)); err != nil {
				t.Fatal(err)
			}
			h.enqueueNotice(o, "after")
			if _, err := o.Status(); err != nil {
				t.Fatal(err)
			}
			o = h.outbox(Chat{ID: "7"})
			h.whileRunning(o, func() { time.Sleep(25 * time.Hour) })
			if got := h.received("7"); !slices.Contains(got, "before") || !slices.Contains(got, "after") {
				t.Fatalf("received %q", got)
			}
			for _, m := range h.standIn.Messages() {
				if strings.Contains(string(m.File), secret) || strings.Contains(m.Text, secret) {
					t.Fatalf("sent %q with %q", m.Text, m.File)
				}
			}
		})
	})
}
