// Package notify owns the outbox: messages to Telegram chats, stored in the data directory before
// any of them is sent.
//
// It guarantees that an enqueued message is delivered in its chat's order and within Telegram's
// limits, also if a process dies in between. It is delivered once, unless Telegram's reply is lost:
// then the message may have been accepted, so it is sent again, and Status.PossiblyTwice counts it.
// A message that is given up, after three days of attempts or because Telegram refuses it, is kept
// with the reason and counted, too. Several processes may enqueue at the same time; one of them
// sends.
//
// files.go describes the files; the protocol is https://core.telegram.org/bots/api.
package notify

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"tapedeck/internal/durable"
	"tapedeck/internal/telegram"
)

const (
	// retention is how long closed messages are kept. It must be longer than maxAlertAge, or an
	// alert could be sent again.
	retention = 7 * 24 * time.Hour
	// maxAlertAge is how old an alert may be to be sent. Detection over history is not news.
	maxAlertAge = 24 * time.Hour
	// maxDeliveryTime is how long delivery of a message is attempted.
	maxDeliveryTime = 72 * time.Hour
	// maxPending is the most messages that wait for one chat. Above it, the oldest alerts are given
	// up.
	maxPending = 1000
)

// Store holds the outbox's files; *state.Dir implements it. Writes are durable when they return, and
// readers see the old content or the new content.
type Store interface {
	Path(name string) string
	Write(name string, v any) error
	WriteBytes(name string, content []byte) error
	Read(name string, v any) error
}

// Outbox is an open outbox. Its methods are safe for concurrent use, and several processes may open
// the same outbox.
type Outbox struct {
	store      Store
	config     Config
	log        *slog.Logger
	maxPending int

	mu    sync.Mutex // guards known
	known map[string]*entry
}

// Open opens the outbox in store. It writes nothing. An outbox without chats logs every message and
// stores none.
func Open(store Store, config Config, log *slog.Logger) (*Outbox, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	config.Cooldown = cmp.Or(config.Cooldown, DefaultCooldown)
	config.DigestAbove = cmp.Or(config.DigestAbove, DefaultDigestAbove)
	log = cmp.Or(log, slog.New(slog.DiscardHandler))
	return &Outbox{store: store, config: config, log: log, maxPending: maxPending, known: map[string]*entry{}}, nil
}

// HasChats reports whether the configuration has any chats.
func (o *Outbox) HasChats() bool { return len(o.config.Chats) > 0 }

// Accepts reports whether a chat receives messages of the kind.
func (o *Outbox) Accepts(kind Kind) bool {
	return slices.ContainsFunc(o.config.Chats, func(chat Chat) bool { return chat.accepts(kind) })
}

// NewSender returns a Sender for the Bot API at server, without connecting to it. It returns nil if
// the outbox has no chats or if there is no token.
func (o *Outbox) NewSender(server string, token telegram.Token) (Sender, error) {
	if !o.HasChats() || !token.Given() {
		return nil, nil
	}
	client, err := telegram.NewClient(server, token, telegram.Options{Logger: o.log})
	if err != nil {
		return nil, err
	}
	return client, nil
}

// Status is what an outbox holds.
type Status struct {
	// Waiting counts the messages that are still to be sent. WaitingSince is when the oldest of
	// them was enqueued; it is zero if there is none.
	Waiting      int
	WaitingSince time.Time
	// Sent and GaveUp count the messages of the last week that were sent and that were given up.
	Sent, GaveUp int
	// PossiblyTwice counts the messages of the last week that were sent again because a reply was
	// lost, by the reason of the loss.
	PossiblyTwice map[LostReason]int
	// Damaged counts the files that could not be read and were set aside.
	Damaged int
}

// Status reads the outbox.
func (o *Outbox) Status() (Status, error) {
	status := Status{PossiblyTwice: map[LostReason]int{}}
	entries, _, err := o.scan()
	if err != nil {
		return status, err
	}
	for _, e := range entries {
		switch {
		case e.message.GaveUp != "":
			status.GaveUp++
		case !e.message.isPending():
			status.Sent++
		default:
			status.Waiting++
			if status.WaitingSince.IsZero() || e.message.QueuedAt.Before(status.WaitingSince) {
				status.WaitingSince = e.message.QueuedAt
			}
		}
		reasons := map[LostReason]bool{}
		for _, p := range e.message.Parts {
			for _, lost := range p.Lost {
				reasons[lost.Reason] = true
			}
		}
		for reason := range reasons {
			status.PossiblyTwice[reason]++
		}
	}
	files, err := o.listFiles()
	for _, file := range files {
		if strings.HasSuffix(file.Name(), damagedSuffix) {
			status.Damaged++
		}
	}
	return status, err
}

// listFiles lists the outbox's directory. A directory that does not exist is empty.
func (o *Outbox) listFiles() ([]os.DirEntry, error) {
	files, err := os.ReadDir(o.store.Path(outboxDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the outbox: %w", err)
	}
	return files, nil
}

// prune removes messages that were closed longer than retention ago, and files that no pending
// message carries.
func (o *Outbox) prune(now time.Time) error {
	unlock, err := durable.Lock(o.store.Path(enqueueLock))
	if err != nil {
		return err
	}
	defer unlock()
	entries, _, err := o.scan()
	if err != nil {
		return err
	}
	remove := func(name string) error {
		if err := os.Remove(o.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("prune the outbox: %w", err)
		}
		return nil
	}
	type subject struct{ chat, topic string }
	latest := map[subject]*entry{}
	for _, e := range entries {
		if e.message.Topic != "" {
			latest[subject{e.message.Chat, e.message.Topic}] = e
		}
	}
	carried := map[string]bool{}
	for _, e := range entries {
		m := e.message
		if m.isPending() {
			for _, p := range m.Parts {
				carried[p.File] = true
			}
			continue
		}
		// The last message about a problem shows that it is not over.
		ongoing := m.Topic != "" && !m.Recovered && latest[subject{m.Chat, m.Topic}] == e
		if now.Sub(m.ClosedAt) > retention && !ongoing {
			if err := remove(e.name); err != nil {
				return err
			}
		}
	}
	files, err := o.listFiles()
	if err != nil {
		return err
	}
	for _, file := range files {
		if strings.HasSuffix(file.Name(), fileSuffix) && !carried[file.Name()] {
			if err := remove(file.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}
