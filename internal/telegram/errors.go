package telegram

import (
	"fmt"
	"time"
)

// Kind says what an error means for the message that was to be sent.
type Kind string

// The kinds. In all but Lost and Broken it is certain that the message was not accepted.
const (
	// Unreached: no connection was had; nothing was sent.
	Unreached Kind = "unreached"
	// Lost: the request went out, and no answer came or only the beginning of one. The message may have been accepted.
	Lost Kind = "lost"
	// Broken: an answer with a status of 500 or more, or one that is not the Bot API's. Telegram does not say whether such a message was accepted.
	Broken Kind = "broken"
	// Limited: too many messages; wait for RetryAfter.
	Limited Kind = "limited"
	// Migrated: the group has become a supergroup, whose id is MigrateTo.
	Migrated Kind = "migrated"
	// NoAccess: the bot may not write to this chat: blocked, thrown out, or there is no such chat. The message is not at fault.
	NoAccess Kind = "no access"
	// BadMarkup: the text's HTML was refused.
	BadMarkup Kind = "bad markup"
	// BadFile: the file was refused, as too large or as no picture.
	BadFile Kind = "bad file"
	// Refused: the message was refused for another reason.
	Refused Kind = "refused"
	// BadToken: the bot is not known by this token, at this server.
	BadToken Kind = "bad token"
)

// Error is what came of a request that did not succeed. Its text never has the token in it.
type Error struct {
	Kind Kind
	// Status is that of the answer, 0 where none came.
	Status int
	// Text says what happened, in Telegram's words where it used any.
	Text string
	// RetryAfter belongs to Limited, MigrateTo to Migrated.
	RetryAfter time.Duration
	MigrateTo  int64

	cause error // context.Canceled or context.DeadlineExceeded, or nil: others may hold the token
}

func (e *Error) Error() string {
	if e.Status != 0 {
		return fmt.Sprintf("telegram: %s (status %d): %s", e.Kind, e.Status, e.Text)
	}
	return fmt.Sprintf("telegram: %s: %s", e.Kind, e.Text)
}

func (e *Error) Unwrap() error { return e.cause }
