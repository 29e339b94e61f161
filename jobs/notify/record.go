package notify

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What the outbox keeps among the data directory's state files:
//
//	outbox/<seq>-<hash>.json     a message to one chat; seq gives the order, hash is of chat and identity
//	outbox/<sha256>.file         a file that messages carry, once for all of them
//	outbox/<name>.damaged        what could not be read, put aside
//	outbox.lock                  held while messages are written down or taken away
//	outbox-sender.lock           held by the one process that sends
//	telegram-chats.json          groups that have moved: configured id to present one
const (
	outboxDir     = "outbox"
	enqueueLock   = "outbox.lock"
	senderLock    = "outbox-sender.lock"
	movedName     = "telegram-chats.json"
	messageEnding = ".json"
	fileEnding    = ".file"
	damagedEnding = ".damaged"
)

// messageFormat is the version of a message's file.
const messageFormat = 1

// kind of a message.
type kind string

const (
	alertKind  kind = "alert"
	reportKind kind = "report"
	noticeKind kind = "notice"
)

// message is the content of a message's file. It is written by whoever enqueues it, and from then on by the sender alone.
type message struct {
	Format int    `json:"format"`
	Chat   string `json:"chat"`
	Kind   kind   `json:"kind"`
	// Key identifies it within the chat: what has the same is the same message.
	Key      string    `json:"key"`
	QueuedAt time.Time `json:"queued_at"`
	// Alerts are those that it tells of; with them and the Topic the outbox knows what a chat has been told.
	Alerts []toldAlert `json:"alerts,omitempty"`
	Topic  string      `json:"topic,omitempty"`
	// Over says that the trouble of the Topic is over.
	Over bool `json:"over,omitempty"`
	// Parts are sent in this order, each as a message of its own.
	Parts []part `json:"parts"`
	// ClosedAt is when all of it was sent, or when it was given up, and GaveUp says why. Zero while it waits.
	ClosedAt time.Time `json:"closed_at,omitzero"`
	GaveUp   string    `json:"gave_up,omitempty"`
}

// toldAlert is an alert by its identity, with what a later one is compared with.
type toldAlert struct {
	Detector string    `json:"detector"`
	Symbol   string    `json:"symbol"`
	At       time.Time `json:"at"`
	Severity string    `json:"severity"`
	Over     bool      `json:"over,omitempty"`
	Market   bool      `json:"market,omitempty"` // told as part of an incident of the whole market
}

// form of a part.
type form string

const (
	textForm     form = "text"
	photoForm    form = "photo"
	documentForm form = "document"
)

// part is one message as Telegram counts them.
type part struct {
	Form form `json:"form"`
	// HTML is the text, or the caption. With Plain its markup was refused and it is sent without.
	HTML  string `json:"html,omitempty"`
	Plain bool   `json:"plain,omitempty"`
	// File is the name in the outbox, FileName the one that people see.
	File     string `json:"file,omitempty"`
	FileName string `json:"file_name,omitempty"`

	Attempts int `json:"attempts,omitempty"`
	// BegunAt is set before an attempt and taken away after it: where it stands at a start, the process died in between.
	BegunAt time.Time `json:"begun_at,omitzero"`
	// TriedAt is when the last attempt was over, and NotBefore when the next may begin.
	TriedAt   time.Time `json:"tried_at,omitzero"`
	NotBefore time.Time `json:"not_before,omitzero"`
	// Lost are the attempts after which nobody knows whether the message was accepted, the last few of them, and LostCount all.
	Lost      []lostAnswer `json:"lost,omitempty"`
	LostCount int          `json:"lost_count,omitempty"`
	LastError string       `json:"last_error,omitempty"`
	GaveUp    string       `json:"gave_up,omitempty"`
	SentAt    time.Time    `json:"sent_at,omitzero"`
	MessageID int          `json:"message_id,omitempty"`
}

// lostAnswer is an attempt whose answer was lost.
type lostAnswer struct {
	Why LostReason `json:"why"`
	At  time.Time  `json:"at"`
}

// LostReason says why it is not known whether Telegram accepted a message. Only such a message can arrive twice.
type LostReason string

// The reasons.
const (
	LostKilled LostReason = "killed" // the process died between the request and the note of its answer
	LostCut    LostReason = "cut"    // the connection ended, or no answer came in time
	LostServer LostReason = "server" // an answer of 500 or more, or one that was not Telegram's
)

// lostKept bounds the list: a server that is down for days would make a file that is written anew at each attempt ever longer.
const lostKept = 20

func (p *part) lose(why LostReason, at time.Time) {
	p.LostCount++
	p.Lost = append(p.Lost, lostAnswer{why, at})
	p.Lost = p.Lost[max(0, len(p.Lost)-lostKept):]
}

func (m *message) open() bool { return m.ClosedAt.IsZero() }

// clone gives a message of one's own: what scan gives is shared.
func (m *message) clone() *message {
	own := *m
	own.Parts = slices.Clone(m.Parts)
	for i := range own.Parts {
		own.Parts[i].Lost = slices.Clone(own.Parts[i].Lost)
	}
	return &own
}

// entry is a message's file as it was last seen.
type entry struct {
	name string // of the file
	seq  uint64
	hash string
	info fs.FileInfo
	m    *message
}

// hashOf names a message's identity in its file's name.
func hashOf(chat, key string) string {
	sum := sha256.Sum256([]byte(chat + "\x00" + key))
	return hex.EncodeToString(sum[:12])
}

func messageName(seq uint64, hash string) string {
	return fmt.Sprintf("%016d-%s%s", seq, hash, messageEnding)
}

func parseMessageName(name string) (seq uint64, hash string, ok bool) {
	stem, ok := strings.CutSuffix(name, messageEnding)
	number, hash, dashed := strings.Cut(stem, "-")
	if !ok || !dashed {
		return 0, "", false
	}
	seq, err := strconv.ParseUint(number, 10, 64)
	return seq, hash, err == nil
}

// scan lists the messages by seq. What cannot be read is put aside and told in the log; it holds nothing up. A file that was seen
// before and has not changed is not read again. next is a seq above all that were ever given out and are still known.
func (o *Outbox) scan() (entries []*entry, next uint64, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	listed, err := os.ReadDir(o.store.StatePath(outboxDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 1, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("list the outbox: %w", err)
	}
	next = 1
	seen := map[string]*entry{}
	for _, file := range listed {
		if number, _, dashed := strings.Cut(file.Name(), "-"); dashed {
			if seq, err := strconv.ParseUint(number, 10, 64); err == nil { // damaged ones count too
				next = max(next, seq+1)
			}
		}
		seq, hash, ok := parseMessageName(file.Name())
		if !ok {
			continue
		}
		info, err := file.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // taken away meanwhile
		}
		if err != nil {
			return nil, 0, fmt.Errorf("look at the outbox: %w", err)
		}
		known := o.known[file.Name()]
		if known == nil || !os.SameFile(known.info, info) || !known.info.ModTime().Equal(info.ModTime()) || known.info.Size() != info.Size() {
			m, err := o.read(file.Name())
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				o.putAside(file.Name(), err)
				continue
			}
			known = &entry{file.Name(), seq, hash, info, m}
		}
		seen[file.Name()] = known
	}
	o.known = seen
	entries = slices.SortedFunc(maps.Values(seen), func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.seq, b.seq), strings.Compare(a.name, b.name))
	})
	return entries, next, nil
}

// read gives the message in a file, or says what is wrong with it.
func (o *Outbox) read(name string) (*message, error) {
	text, err := os.ReadFile(o.path(name))
	if err != nil {
		return nil, err
	}
	var m message
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("read %q: %w", o.path(name), err)
	}
	_, hash, _ := parseMessageName(name)
	switch {
	case m.Format > messageFormat:
		return nil, fmt.Errorf("read %q: format %d, made by a newer tapedeck", o.path(name), m.Format)
	case m.Format < 1 || m.Chat == "" || len(m.Parts) == 0 || hash != hashOf(m.Chat, m.Key):
		return nil, fmt.Errorf("read %q: not a message", o.path(name))
	}
	return &m, nil
}

// putAside takes a file that cannot be read out of the way, and keeps it for a person to look at.
func (o *Outbox) putAside(name string, why error) {
	if errors.Is(why, syscall.EMFILE) || errors.Is(why, syscall.ENFILE) || errors.Is(why, syscall.ENOMEM) {
		o.log.Warn("outbox file not read now", "file", name, "error", why)
		return
	}
	if err := os.Rename(o.path(name), o.path(name+damagedEnding)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		o.log.Error("damaged outbox file cannot be put aside", "file", name, "error", err)
		return
	}
	o.log.Error("damaged outbox file put aside", "file", name+damagedEnding, "error", why)
}

func (o *Outbox) path(name string) string { return o.store.StatePath(filepath.Join(outboxDir, name)) }

// lock takes one of the outbox's locks among all processes on the data directory; the system releases that of a process that dies. Where it does
// not wait and another has it, unlock is nil.
func (o *Outbox) lock(name string, wait waiting) (unlock func(), err error) {
	path := o.store.StatePath(name)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	how := syscall.LOCK_EX
	if wait == dontWait {
		how |= syscall.LOCK_NB
	}
	for {
		if err = syscall.Flock(int(file.Fd()), how); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		file.Close()
		return nil, nil
	case err != nil:
		file.Close()
		return nil, fmt.Errorf("lock %q: %w", path, err)
	}
	return func() { file.Close() }, nil
}

type waiting string

const (
	doWait   waiting = "wait"
	dontWait waiting = "do not wait"
)
