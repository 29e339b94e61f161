package binance

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// ErrUnknownSymbol says that the exchange has no such symbol (code -1121).
var ErrUnknownSymbol = errors.New("the exchange does not know the symbol")

// RateLimitedError is a 429: too much was asked, and asking on before Until leads to a ban.
type RateLimitedError struct {
	Until time.Time
}

func (e *RateLimitedError) Error() string {
	return fmt.Sprintf("the exchange limits this address (429) until %s", e.Until.UTC().Format(time.RFC3339))
}

// BannedError is a 418: the exchange answers nothing to this address before Until.
type BannedError struct {
	Until time.Time
}

func (e *BannedError) Error() string {
	return fmt.Sprintf("the exchange has banned this address (418) until %s", e.Until.UTC().Format(time.RFC3339))
}

// FirewallError is a 403 of the web application firewall before the exchange: too many requests, or one it dislikes.
type FirewallError struct {
	Body string // the answer's beginning
}

func (e *FirewallError) Error() string {
	return fmt.Sprintf("the exchange's firewall refused the request (403): %q", e.Body)
}

// StatusError is an answer with any other status than 200.
type StatusError struct {
	Status int
	Code   int64  // the exchange's own error code, 0 where it gave none
	Text   string // its message, or the answer's beginning
}

func (e *StatusError) Error() string {
	if e.Code != 0 {
		return fmt.Sprintf("the exchange answered %d %s: code %d, %q", e.Status, http.StatusText(e.Status), e.Code, e.Text)
	}
	return fmt.Sprintf("the exchange answered %d %s: %q", e.Status, http.StatusText(e.Status), e.Text)
}

// Unwrap makes errors.Is(err, ErrUnknownSymbol) true of code -1121.
func (e *StatusError) Unwrap() error {
	if e.Code == codeBadSymbol {
		return ErrUnknownSymbol
	}
	return nil
}

// DamagedError is an answer with status 200 that is not what was asked for.
type DamagedError struct {
	Reason string
	Body   string // its beginning
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the exchange's answer is damaged: %s: %q", e.Reason, e.Body)
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

// Temporary says whether asking again later may succeed: the network, a limit, a ban, a server's fault or a damaged
// answer. What is not temporary is the request's own fault or the caller's context.
func Temporary(err error) bool {
	var limited *RateLimitedError
	var banned *BannedError
	var firewall *FirewallError
	var damaged *DamagedError
	var network *networkError
	var status *StatusError
	switch {
	case errors.As(err, &limited), errors.As(err, &banned), errors.As(err, &firewall), errors.As(err, &damaged), errors.As(err, &network):
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

// networkError is a request that got no whole answer.
type networkError struct{ err error }

func (e *networkError) Error() string { return e.err.Error() }
func (e *networkError) Unwrap() error { return e.err }
