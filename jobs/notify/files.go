package notify

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tapedeck/internal/durable"
)

// The outbox's files in the state directory:
//
//	outbox/<seq>-<hash>.json     one message to one chat; seq gives the order, hash is of chat and key
//	outbox/<sha256>.file         a file that messages carry; messages with the same file share it
//	outbox/<name>.damaged        a file that could not be read
//	outbox.lock                  held while messages are added or removed
//	outbox-sender.lock           held by the process that sends
//	telegram-chats.json          groups that have migrated: configured id to current id
const (
	outboxDir      = "outbox"
	enqueueLock    = "outbox.lock"
	senderLock     = "outbox-sender.lock"
	migrationsName = "telegram-chats.json"
	messageSuffix  = ".json"
	fileSuffix     = ".file"
	damagedSuffix  = ".damaged"
)

// messageFormat is the version of a message's file.
const messageFormat = 1

// message is the content of a message's file. The process that enqueues it writes it first; from
// then on only the sender does.
type message struct {
	Format int    `json:"format"`
	Chat   string `json:"chat"`
	Kind   Kind   `json:"kind"`
	// Key identifies the message within its chat.
	Key      string    `json:"key"`
	QueuedAt time.Time `json:"queued_at"`
	// Alerts are the alerts that it reports. They and Topic show what a chat has already received.
	Alerts []sentAlert `json:"alerts,omitempty"`
	Topic  string      `json:"topic,omitempty"`
	// Recovered means that the problem of Topic is over.
	Recovered bool `json:"over,omitempty"`
	// Parts are sent in this order, each as one Telegram message.
	Parts []part `json:"parts"`
	// ClosedAt is when the message was sent or given up; zero while it is pending. GaveUp is why it
	// was given up.
	ClosedAt time.Time `json:"closed_at,omitzero"`
	GaveUp   string    `json:"gave_up,omitempty"`
}

// sentAlert identifies an alert and holds what later alerts are compared with.
type sentAlert struct {
	Detector   string    `json:"detector"`
	Symbol     string    `json:"symbol"`
	At         time.Time `json:"at"`
	Severity   string    `json:"severity"`
	Recovered  bool      `json:"over,omitempty"`
	MarketWide bool      `json:"market,omitempty"` // reported as part of a market-wide incident
}

// form is how a part is sent.
type form string

const (
	textForm     form = "text"
	photoForm    form = "photo"
	documentForm form = "document"
)

// part is one Telegram message.
type part struct {
	Form form `json:"form"`
	// HTML is the text or the caption. With Plain it is sent without markup, because Telegram
	// refused the markup.
	HTML  string `json:"html,omitempty"`
	Plain bool   `json:"plain,omitempty"`
	// File is the name in the outbox, FileName the name that people see.
	File     string `json:"file,omitempty"`
	FileName string `json:"file_name,omitempty"`

	Attempts int `json:"attempts,omitempty"`
	// StartedAt is set only during an attempt. If a process finds it when it starts, the sender
	// died during the attempt.
	StartedAt time.Time `json:"begun_at,omitzero"`
	// TriedAt is when the last attempt ended, NotBefore when the next one may start.
	TriedAt   time.Time `json:"tried_at,omitzero"`
	NotBefore time.Time `json:"not_before,omitzero"`
	// Lost are the last attempts after which it is unknown whether Telegram accepted the part;
	// LostCount counts all of them.
	Lost      []lostReply `json:"lost,omitempty"`
	LostCount int         `json:"lost_count,omitempty"`
	LastError string      `json:"last_error,omitempty"`
	GaveUp    string      `json:"gave_up,omitempty"`
	SentAt    time.Time   `json:"sent_at,omitzero"`
	MessageID int         `json:"message_id,omitempty"`
}

// lostReply is an attempt whose reply was lost.
type lostReply struct {
	Reason LostReason `json:"why"`
	At     time.Time  `json:"at"`
}

// LostReason is why it is unknown whether Telegram accepted a message. Only such a message can
// arrive twice.
type LostReason string

const (
	LostCrash      LostReason = "killed" // the process died before it stored the reply
	LostConnection LostReason = "cut"    // the connection ended, or the reply did not arrive in time
	LostServer     LostReason = "server" // the status was 500 or above, or the reply was not Telegram's
)

// keptLostReplies limits part.Lost, because the file is written again at every attempt, and a
// server may be down for days.
const keptLostReplies = 20

func (p *part) addLostReply(reason LostReason, at time.Time) {
	p.LostCount++
	p.Lost = append(p.Lost, lostReply{reason, at})
	p.Lost = p.Lost[max(0, len(p.Lost)-keptLostReplies):]
}

func (p *part) isPending() bool { return p.SentAt.IsZero() && p.GaveUp == "" }

func (m *message) isPending() bool { return m.ClosedAt.IsZero() }

// clone copies a message. The messages that scan returns are shared and must not be changed.
func (m *message) clone() *message {
	copied := *m
	copied.Parts = slices.Clone(m.Parts)
	for i := range copied.Parts {
		copied.Parts[i].Lost = slices.Clone(copied.Parts[i].Lost)
	}
	return &copied
}

// entry is a message's file as it was last read.
type entry struct {
	name    string // of the file
	seq     uint64
	hash    string
	info    fs.FileInfo
	message *message
}

// messageHash returns the hash that names a message's file.
func messageHash(chat, key string) string {
	sum := sha256.Sum256([]byte(chat + "\x00" + key))
	return hex.EncodeToString(sum[:12])
}

func messageName(seq uint64, hash string) string {
	return fmt.Sprintf("%016d-%s%s", seq, hash, messageSuffix)
}

// parseSeq returns the sequence number at the start of a file's name. Damaged files have one, too.
func parseSeq(name string) (seq uint64, rest string, ok bool) {
	number, rest, ok := strings.Cut(name, "-")
	if !ok {
		return 0, "", false
	}
	seq, err := strconv.ParseUint(number, 10, 64)
	return seq, rest, err == nil
}

// scan returns the messages in the order of seq. Files that cannot be read are set aside and
// logged, so that they do not block others. Files that have not changed since the last scan are not
// read again. next is greater than every seq in use.
func (o *Outbox) scan() (entries []*entry, next uint64, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	files, err := o.listFiles()
	if err != nil {
		return nil, 0, err
	}
	next = 1
	found := map[string]*entry{}
	for _, file := range files {
		seq, rest, ok := parseSeq(file.Name())
		if !ok {
			continue
		}
		next = max(next, seq+1)
		hash, ok := strings.CutSuffix(rest, messageSuffix)
		if !ok {
			continue
		}
		info, err := file.Info()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, 0, fmt.Errorf("read the outbox: %w", err)
		}
		known := o.known[file.Name()]
		if err == nil && (known == nil || !os.SameFile(known.info, info) ||
			!known.info.ModTime().Equal(info.ModTime()) || known.info.Size() != info.Size()) {
			var m *message
			m, err = o.read(file.Name(), hash)
			known = &entry{file.Name(), seq, hash, info, m}
		}
		switch {
		case err == nil:
			found[file.Name()] = known
		case !errors.Is(err, fs.ErrNotExist):
			o.setAside(file.Name(), err)
		}
	}
	o.known = found
	entries = slices.SortedFunc(maps.Values(found), func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.seq, b.seq), strings.Compare(a.name, b.name))
	})
	return entries, next, nil
}

// read reads and checks the message in a file.
func (o *Outbox) read(name, hash string) (*message, error) {
	var m message
	if err := o.store.Read(filepath.Join(outboxDir, name), &m); err != nil {
		return nil, err
	}
	switch {
	case m.Format > messageFormat:
		return nil, fmt.Errorf("format %d was written by a newer tapedeck", m.Format)
	case m.Format < 1 || m.Chat == "" || len(m.Parts) == 0 || hash != messageHash(m.Chat, m.Key):
		return nil, errors.New("not a message")
	}
	for _, p := range m.Parts {
		if p.File != "" && !isFileName(p.File) {
			return nil, fmt.Errorf("it names the file %q, which the outbox did not write", p.File)
		}
	}
	return &m, nil
}

// isFileName reports whether a name can be one of fileName.
func isFileName(name string) bool {
	sum, ok := strings.CutSuffix(name, fileSuffix)
	bytes, err := hex.DecodeString(sum)
	return ok && err == nil && len(bytes) == sha256.Size && sum == strings.ToLower(sum)
}

// openFile opens a file that a message carries. The error for a file whose content is not the one that
// the outbox wrote is errAltered.
func (o *Outbox) openFile(name string) (*os.File, int64, error) {
	file, err := durable.OpenOwn(o.path(name))
	if err != nil {
		return nil, 0, err
	}
	hash := sha256.New()
	size, err := io.Copy(hash, file)
	if err == nil && hex.EncodeToString(hash.Sum(nil))+fileSuffix != name {
		err = errAltered
	}
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, size, nil
}

var errAltered = errors.New("the file is not the one that was enqueued")

// setAside renames a file that cannot be read, so that a person can look at it.
func (o *Outbox) setAside(name string, cause error) {
	if errors.Is(cause, syscall.EMFILE) || errors.Is(cause, syscall.ENFILE) || errors.Is(cause, syscall.ENOMEM) {
		o.log.Warn("outbox file not read, will retry", "file", name, "error", cause)
		return
	}
	err := durable.OS{}.Rename(o.path(name), o.path(name+damagedSuffix))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		o.log.Error("damaged outbox file not set aside", "file", name, "error", err)
		return
	}
	o.log.Error("damaged outbox file set aside", "file", name+damagedSuffix, "error", cause)
}

func (o *Outbox) path(name string) string { return o.store.Path(filepath.Join(outboxDir, name)) }

// write replaces a message's file.
func (o *Outbox) write(name string, m *message) error {
	return o.store.Write(filepath.Join(outboxDir, name), m)
}
