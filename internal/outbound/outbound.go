// Package outbound makes the HTTP clients with which tapedeck talks to other machines: the exchange, its
// archive, Telegram, and services that expect pings.
//
// Its one guarantee: a client follows no redirect, because the other side would choose which machine
// receives the request and whose answer is read; and no error of a client contains what the other side
// sent, except for a status, a length or the host of a redirect.
package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"syscall"
	"time"
)

const (
	dialTimeout   = 10 * time.Second
	headerTimeout = 15 * time.Second // the exchange's own timeout is 10 s (-1007)
	// maxHeader bounds the header of a response in bytes. Those of the exchange have about 1 KB.
	maxHeader = 64 << 10
	maxHost   = 100 // characters of a host in an error
)

// RedirectError is a response that names another address. It is not followed.
type RedirectError struct {
	Status int
	Host   string // that the request was to go to, at most 100 characters; empty if it is not known
}

func (e *RedirectError) Error() string {
	if e.Host == "" {
		return fmt.Sprintf("the server answered with a redirect (%d), which is not followed", e.Status)
	}
	return fmt.Sprintf("the server answered with a redirect (%d) to the host %q, which is not followed", e.Status, e.Host)
}

// NewTransport returns a transport with timeouts that uses the environment's proxy and keeps enough idle
// connections for a backfill. It belongs into Guard or NewClient.
func NewTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: maxHeader,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        90 * time.Second,
		ForceAttemptHTTP2:      true,
	}
}

// NewClient returns a client that sends its requests with a transport; nil means NewTransport. A redirect
// is a *RedirectError. As with any http.Client the errors are *url.Error, whose texts have the URL;
// WithoutURL unwraps them.
func NewClient(transport http.RoundTripper) *http.Client {
	if transport == nil {
		transport = NewTransport()
	}
	return ClientOver(Guard(transport))
}

// ClientOver is NewClient with a transport that itself uses one of Guard and has errors of its own.
func ClientOver(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Guard returns a transport that keeps the guarantee of this package for another one.
func Guard(transport http.RoundTripper) http.RoundTripper { return guard{transport} }

type guard struct{ base http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (g guard) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := g.base.RoundTrip(request)
	if err != nil {
		return nil, withoutAnswer(err)
	}
	if response.StatusCode < 300 || response.StatusCode > 399 {
		return response, nil
	}
	response.Body.Close()
	refused := &RedirectError{Status: response.StatusCode}
	if target, err := request.URL.Parse(response.Header.Get("Location")); err == nil && response.Header.Get("Location") != "" {
		refused.Host = target.Hostname()
		refused.Host = refused.Host[:min(len(refused.Host), maxHost)]
	}
	return nil, refused
}

// CloseIdleConnections implements what http.Client.CloseIdleConnections looks for.
func (g guard) CloseIdleConnections() {
	(&http.Client{Transport: g.base}).CloseIdleConnections()
}

// WithoutURL unwraps the error of an http.Client, whose text repeats the whole URL.
func WithoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// withoutAnswer returns an error whose text does not quote the answer, as those of net/http do about an
// answer that is not HTTP.
func withoutAnswer(err error) error {
	var network net.Error
	var certificate *tls.CertificateVerificationError
	var system syscall.Errno
	switch {
	case errors.As(err, &network), errors.As(err, &certificate), errors.As(err, &system),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.Canceled):
		return err
	}
	text := err.Error()
	var protocol textproto.ProtocolError
	if errors.As(err, &protocol) || strings.Contains(text, "malformed") {
		return &quietError{"the answer is not HTTP", err}
	}
	if before, _, quotes := strings.Cut(text, `"`); quotes {
		return &quietError{strings.TrimRight(before, " :"), err}
	}
	return err
}

// quietError is an error with another text.
type quietError struct {
	text string
	err  error
}

func (e *quietError) Error() string { return e.text }
func (e *quietError) Unwrap() error { return e.err }
