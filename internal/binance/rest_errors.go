package binance

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"tapedeck/internal/wording"
)

// ErrUnknownSymbol means that the exchange does not list the symbol (code -1121).
var ErrUnknownSymbol = errors.New("the exchange does not list the symbol")

// RateLimitedError is a 429: too many requests. Further requests before Until lead to a ban.
type RateLimitedError struct {
	Until time.Time
}

func (e *RateLimitedError) Error() string {
	return fmt.Sprintf("the exchange limits this address (429) until %s", e.Until.UTC().Format(time.RFC3339))
}

// BannedError is a 418: the exchange refuses all requests from this address before Until.
type BannedError struct {
	Until time.Time
}

func (e *BannedError) Error() string {
	return fmt.Sprintf("the exchange has banned this address (418) until %s", e.Until.UTC().Format(time.RFC3339))
}

// The texts of errors have the status and the length of a response, but not its content, because the
// server may be another one than the exchange: a portal's, or one inside of this network. The
// exception is an error in the exchange's own form, a JSON object with code and msg, whose message is
// quoted and cut.

// FirewallError is a 403 of the firewall in front of the exchange: too many requests, or one that
// it considers suspicious.
type FirewallError struct {
	Bytes int // of the response
}

func (e *FirewallError) Error() string {
	return fmt.Sprintf("the exchange's firewall refused the request (403) with %s", wording.Count(e.Bytes, "byte"))
}

// StatusError is a response with another status than 200.
type StatusError struct {
	Status int
	Code   int64  // the exchange's error code; 0 if the response does not have the form of its errors
	Text   string // the beginning of its message, if there is a code
	Bytes  int64  // of the response; below 0 if that is not known
}

func (e *StatusError) Error() string {
	if e.Code != 0 {
		return fmt.Sprintf("the exchange answered %d %s: code %d, %q", e.Status, http.StatusText(e.Status), e.Code, e.Text)
	}
	text := fmt.Sprintf("the exchange answered %d %s", e.Status, http.StatusText(e.Status))
	if e.Bytes >= 0 {
		text += " with " + wording.Count(e.Bytes, "byte")
	}
	return text
}

// Unwrap makes errors.Is(err, ErrUnknownSymbol) true for code -1121.
func (e *StatusError) Unwrap() error {
	if e.Code == codeBadSymbol {
		return ErrUnknownSymbol
	}
	return nil
}

// DamagedError is a response with status 200 and an unexpected body.
type DamagedError struct {
	Reason string
	Bytes  int // of the response, as far as it was read
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the exchange's response of %s is damaged: %s", wording.Count(e.Bytes, "byte"), e.Reason)
}

// Codes of https://github.com/binance/binance-spot-api-docs/blob/master/errors.md
const (
	codeUnknown      = -1000
	codeDisconnected = -1001
	codeTooMany      = -1003
	codeUnexpected   = -1006
	codeTimeout      = -1007
	codeBusy         = -1008
	codeShutdown     = -1016
	codeManyConns    = -1034
	codeBadSymbol    = -1121
)

// Temporary reports whether a later attempt may succeed: the error is about the network, a limit, a
// ban, the server or a damaged response, and not about the request itself or the caller's context.
func Temporary(err error) bool {
	var limited *RateLimitedError
	var banned *BannedError
	var firewall *FirewallError
	var damaged *DamagedError
	var network *networkError
	var status *StatusError
	switch {
	case errors.As(err, &limited), errors.As(err, &banned), errors.As(err, &firewall),
		errors.As(err, &damaged), errors.As(err, &network):
		return true
	case errors.As(err, &status):
		if status.Status >= 500 || status.Status == http.StatusRequestTimeout {
			return true
		}
		switch status.Code {
		case codeUnknown, codeDisconnected, codeTooMany, codeUnexpected, codeTimeout, codeBusy, codeShutdown, codeManyConns:
			return true
		}
	}
	return false
}

// UnreachableError means that the exchange has not sent any response since the client was created.
// It is temporary: the network may come back.
type UnreachableError struct {
	URL string
	err error // the last attempt's
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("the exchange at %s cannot be reached: %v", e.URL, e.err)
}
func (e *UnreachableError) Unwrap() error { return e.err }

// networkError is a request without a complete response.
type networkError struct{ err error }

func (e *networkError) Error() string { return e.err.Error() }
func (e *networkError) Unwrap() error { return e.err }
