// Package deliver owns the outbox: messages to Telegram's chats, written down on the volume before anything is sent.
//
// Its one guarantee: a message that was enqueued arrives, in its chat's order and within Telegram's limits, whatever dies in
// between; and it arrives once, but where the answer to it was lost. Then nobody knows whether it was accepted, it is sent again, and
// that is counted (Status.MaybeTwice). What is given up, after three days of trying or because Telegram refuses it, is kept with the
// reason and counted too. Several processes may enqueue at once, and one of them sends.
//
// The files are described in record.go, the protocol in https://core.telegram.org/bots/api.
package notify

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"tapedeck/internal/telegram"
)

const (
	// keepClosed is how long messages that were sent or given up are remembered. It must be longer than tellWithin, or an alert could be told again.
	keepClosed = 7 * 24 * time.Hour
	// tellWithin is how old an alert may be to be told: a detection over history is no news.
	tellWithin = 24 * time.Hour
	// keepTrying is how long a message is tried that cannot be delivered.
	keepTrying = 72 * time.Hour
	// waitingLimit bounds the messages that wait for one chat: above it the oldest alerts are given up.
	waitingLimit = 1000
)

// Store is where the outbox lies. Its writes are durable when they return, and a reader sees the old content or the new one: *tape.Dir.
type Store interface {
	StatePath(name string) string
	WriteState(name string, v any) error
	WriteStateBytes(name string, content []byte) error
	ReadState(name string, v any) error
}

// Outbox is an opened outbox. Its methods may be called from many goroutines, and many processes may open the same one.
type Outbox struct {
	store  Store
	config Config
	log    *slog.Logger
	limit  int // of messages that wait for one chat

	mu    sync.Mutex // guards known
	known map[string]*entry
}

// Open gives the outbox in store. It writes nothing. An outbox without chats tells everything to the log and keeps nothing.
func Open(store Store, config Config, log *slog.Logger) (*Outbox, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	config.Cooldown = cmp.Or(config.Cooldown, DefaultCooldown)
	config.DigestAbove = cmp.Or(config.DigestAbove, DefaultDigestAbove)
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Outbox{store: store, config: config, log: log, limit: waitingLimit, known: map[string]*entry{}}, nil
}

// Token is a bot's password; it prints as ***.
type Token = telegram.Token

// ReadToken takes the bot's token from TAPEDECK_TELEGRAM_TOKEN, or from the file that TAPEDECK_TELEGRAM_TOKEN_FILE names; get looks a
// variable up and gives "" where it is not set. Neither set is no token and no error.
func ReadToken(get func(name string) string) (Token, error) { return telegram.ReadToken(get) }

// NewSender makes the Sender that speaks to Telegram, or to what stands in for it at server. It asks the server nothing.
func NewSender(server string, token Token, log *slog.Logger) (Sender, error) {
	return telegram.NewClient(server, token, telegram.Options{Logger: log})
}

// Status is what an outbox holds, as its files say.
type Status struct {
	// Waiting are the messages to be sent, and WaitingSince when the oldest of them was written down; zero for none.
	Waiting      int
	WaitingSince time.Time
	// Sent and GaveUp are the messages of the last week that went out, and those that did not and will not.
	Sent, GaveUp int
	// MaybeTwice are the messages of the last week with a part that was sent again after its answer had been lost, by why it was.
	MaybeTwice map[LostReason]int
	// Damaged files were put aside.
	Damaged int
	Chats   []ChatStatus
}

// ChatStatus is about one chat of the configuration.
type ChatStatus struct {
	// Chat is its name, or its id where it has none.
	Chat    string
	Waiting int
	// LastError is what came of the last attempt at the first message that waits; empty where there was none.
	LastError string
}

// Status reads what the outbox holds.
func (o *Outbox) Status() (Status, error) {
	status := Status{MaybeTwice: map[LostReason]int{}}
	entries, _, err := o.scan()
	if err != nil {
		return status, err
	}
	byChat := map[string]*ChatStatus{}
	status.Chats = make([]ChatStatus, len(o.config.Chats))
	for i, chat := range o.config.Chats {
		status.Chats[i].Chat = chat.label()
		byChat[chat.ID] = &status.Chats[i]
	}
	for _, e := range entries {
		switch chat := byChat[e.m.Chat]; {
		case !e.m.open() && e.m.GaveUp != "":
			status.GaveUp++
		case !e.m.open():
			status.Sent++
		default:
			status.Waiting++
			if status.WaitingSince.IsZero() || e.m.QueuedAt.Before(status.WaitingSince) {
				status.WaitingSince = e.m.QueuedAt
			}
			if chat != nil {
				if chat.Waiting == 0 {
					for _, p := range e.m.Parts {
						chat.LastError = cmp.Or(chat.LastError, p.LastError)
					}
				}
				chat.Waiting++
			}
		}
		reasons := map[LostReason]bool{}
		for _, p := range e.m.Parts {
			for _, lost := range p.Lost {
				reasons[lost.Why] = true
			}
		}
		for why := range reasons {
			status.MaybeTwice[why]++
		}
	}
	listed, err := os.ReadDir(o.store.StatePath(outboxDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return status, fmt.Errorf("list the outbox: %w", err)
	}
	for _, file := range listed {
		if strings.HasSuffix(file.Name(), damagedEnding) {
			status.Damaged++
		}
	}
	return status, nil
}

// prune takes away closed messages whose time is over, files that no waiting message carries, and, where they can no longer be delivered, messages
// to chats that are not in the configuration any more.
func (o *Outbox) prune(now time.Time) error {
	unlock, err := o.lock(enqueueLock, doWait)
	if err != nil {
		return err
	}
	defer unlock()
	entries, _, err := o.scan()
	if err != nil {
		return err
	}
	type subject struct{ chat, topic string }
	last := map[subject]*entry{}
	for _, e := range entries {
		if e.m.Topic != "" {
			last[subject{e.m.Chat, e.m.Topic}] = e
		}
	}
	carried := map[string]bool{}
	for _, e := range entries {
		if e.m.open() {
			for _, p := range e.m.Parts {
				carried[p.File] = true
			}
			continue
		}
		// That a trouble is not over is known from the last message about it.
		current := e.m.Topic != "" && !e.m.Over && last[subject{e.m.Chat, e.m.Topic}] == e
		if now.Sub(e.m.ClosedAt) > keepClosed && !current {
			if err := os.Remove(o.path(e.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("prune the outbox: %w", err)
			}
		}
	}
	listed, err := os.ReadDir(o.store.StatePath(outboxDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list the outbox: %w", err)
	}
	for _, file := range listed {
		if strings.HasSuffix(file.Name(), fileEnding) && !carried[file.Name()] {
			if err := os.Remove(o.path(file.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("prune the outbox: %w", err)
			}
		}
	}
	return nil
}
