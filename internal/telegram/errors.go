package telegram

import (
	"fmt"
	"time"
)

// Kind classifies an error by what it means for the message.
type Kind string

// For all kinds except Lost and Broken, it is certain that the message was not accepted.
const (
	// Unreached: there was no connection, so nothing was sent.
	Unreached Kind = "unreached"
	// Lost: the request was sent, and the reply is missing or incomplete. The message may have been
	// accepted.
	Lost Kind = "lost"
	// Broken: the status is 500 or above, or the reply is not from the Bot API. The message may
	// have been accepted.
	Broken Kind = "broken"
	// Limited: too many messages. Wait for RetryAfter.
	Limited Kind = "limited"
	// Migrated: the group has become a supergroup with the id MigrateTo.
	Migrated Kind = "migrated"
	// NoAccess: the bot may not write to the chat, was blocked or removed, or the chat does not
	// exist.
	NoAccess Kind = "no access"
	// BadMarkup: the text's HTML was refused.
	BadMarkup Kind = "bad markup"
	// BadFile: the file was refused, because it is too large or not a picture.
	BadFile Kind = "bad file"
	// Refused: the message was refused for another reason.
	Refused Kind = "refused"
	// BadToken: the server knows no bot with this token.
	BadToken Kind = "bad token"
)

// Error is the error of a request. It never contains the token.
type Error struct {
	Kind Kind
	// Status is the HTTP status of the reply, or 0 if there was none.
	Status int
	// Text is Telegram's description or that of the underlying error.
	Text string
	// RetryAfter is set for Limited and at most LongestRetry, MigrateTo for Migrated.
	RetryAfter time.Duration
	MigrateTo  int64

	cause error // context.Canceled, context.DeadlineExceeded or nil; other errors may contain the token
}

func (e *Error) Error() string {
	kind := string(e.Kind)
	if e.Status != 0 {
		kind += fmt.Sprintf(" (status %d)", e.Status)
	}
	return "telegram: " + kind + ": " + e.Text
}

func (e *Error) Unwrap() error { return e.cause }
