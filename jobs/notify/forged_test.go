package notify

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestForgedMessageSendsNoOtherFile puts messages into the outbox that name files which the outbox did
// not write, in every way: none of them arrives in the chat.
func TestForgedMessageSendsNoOtherFile(t *testing.T) {
	const secret = "the private key of the machine"
	content := []byte("a report")
	own := fileName(content)
	for name, forge := range map[string]func(t *testing.T, o *Outbox, victim string) (file string){
		"absolute path": func(_ *testing.T, _ *Outbox, victim string) string { return victim },
		"path upwards": func(t *testing.T, o *Outbox, victim string) string {
			relative, err := filepath.Rel(o.store.Path(outboxDir), victim)
			if err != nil {
				t.Fatal(err)
			}
			return relative
		},
		"another file of the state": func(t *testing.T, o *Outbox, _ string) string {
			if err := o.store.WriteBytes("budget.json", []byte(secret)); err != nil {
				t.Fatal(err)
			}
			return "../budget.json"
		},
		"symbolic link": func(t *testing.T, o *Outbox, victim string) string {
			if err := os.Symlink(victim, o.path(own)); err != nil {
				t.Fatal(err)
			}
			return own
		},
		"hard link": func(t *testing.T, o *Outbox, victim string) string {
			if err := os.Link(victim, o.path(own)); err != nil {
				t.Fatal(err)
			}
			return own
		},
		"pipe": func(t *testing.T, o *Outbox, _ string) string {
			if err := syscall.Mkfifo(o.path(own), 0o644); err != nil {
				t.Fatal(err)
			}
			return own
		},
		"another content": func(t *testing.T, o *Outbox, _ string) string {
			if err := os.WriteFile(o.path(own), []byte(secret), 0o644); err != nil {
				t.Fatal(err)
			}
			return own
		},
	} {
		t.Run(name, func(t *testing.T) {
			victim := filepath.Join(t.TempDir(), "id_ed25519")
			if err := os.WriteFile(victim, []byte(secret), 0o600); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t)
				o := h.outbox(Chat{ID: "7"})
				h.enqueueNotice(o, "forged")
				file := forge(t, o, victim)
				h.rewrite(h.messageFiles()[0], func(m *message) {
					m.Parts = append(m.Parts, part{Form: documentForm, File: file, FileName: "report.csv"})
				})
				h.enqueueNotice(o, "next")
				h.send(h.outbox(Chat{ID: "7"}))
				for _, sent := range h.standIn.Messages() {
					if len(sent.File) > 0 || strings.Contains(sent.Text, secret) {
						t.Errorf("sent %q with %q", sent.Text, sent.File)
					}
				}
				if got := h.received("7"); len(got) == 0 || got[len(got)-1] != "next" {
					t.Errorf("received %q", got)
				}
			})
		})
	}
}

// TestFileOfAMessageIsWrittenOverALink enqueues a file whose name in the outbox is a link to another.
func TestFileOfAMessageIsWrittenOverALink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		victim := filepath.Join(t.TempDir(), "victim")
		if err := os.WriteFile(victim, []byte("12345678"), 0o600); err != nil {
			t.Fatal(err)
		}
		h := newHarness(t)
		o := h.outbox(Chat{ID: "7"})
		h.enqueueNotice(o, "first")
		content := []byte("a report") // as long as the victim's
		if err := os.Symlink(victim, o.path(fileName(content))); err != nil {
			t.Fatal(err)
		}
		report := Report{Key: "k", Title: "Daily", Documents: []File{{Name: "a.csv", Content: content}}}
		if _, err := o.EnqueueReport(t.Context(), report, time.Now()); err != nil {
			t.Fatal(err)
		}
		h.send(o)
		messages := h.standIn.Messages()
		if last := messages[len(messages)-1]; string(last.File) != string(content) {
			t.Errorf("sent %q", last.File)
		}
		if text, err := os.ReadFile(victim); err != nil || string(text) != "12345678" {
			t.Errorf("the link's target: %q, %v", text, err)
		}
	})
}

// TestMessageThatIsALinkIsSetAside puts a link and a pipe in the place of messages.
func TestMessageThatIsALinkIsSetAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		o := h.outbox(Chat{ID: "7"})
		for _, text := range []string{"a", "b", "c"} {
			h.enqueueNotice(o, text)
		}
		names := h.messageFiles()
		moved := filepath.Join(t.TempDir(), "message")
		if err := os.Rename(o.path(names[0]), moved); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(moved, o.path(names[0])); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(o.path(names[1])); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(o.path(names[1]), 0o644); err != nil {
			t.Fatal(err)
		}
		h.send(h.outbox(Chat{ID: "7"}))
		if got := h.received("7"); len(got) != 1 || got[0] != "c" {
			t.Errorf("received %q", got)
		}
	})
}

// TestWaitInTheOutboxEnds: a message that an earlier version, a wrong clock or somebody else has put off for
// decades is sent within a day.
func TestWaitInTheOutboxEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		o := h.outbox(Chat{ID: "7"})
		h.enqueueNotice(o, "x")
		h.rewrite(h.messageFiles()[0], func(m *message) { m.Parts[0].NotBefore = time.Now().AddDate(32, 0, 0) })
		h.whileRunning(o, func() { time.Sleep(25 * time.Hour) })
		if got := h.received("7"); len(got) != 1 {
			t.Errorf("received %q", got)
		}
	})
}
