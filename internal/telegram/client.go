// Package telegram sends messages through Telegram's Bot API (https://core.telegram.org/bots/api)
// with github.com/go-telegram/bot.
//
// It guarantees that every error tells whether the message may have been accepted, and that no
// error and no log contains the token. It sends a message once; retrying is up to the caller.
package telegram

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-telegram/bot"
	"github.com/go-telegram/bot/models"

	"tapedeck/internal/outbound"
	"tapedeck/internal/wording"
)

// The largest files that Telegram accepts from a bot (Bot API, "Sending files").
const (
	DocumentLimit = 50 << 20 // bytes
	PhotoLimit    = 10 << 20 // bytes
)

// DefaultTimeout is the timeout of a request that sends a text. A file adds one second per 64 KiB.
const DefaultTimeout = 30 * time.Second

// LongestRetry is the longest Error.RetryAfter. Telegram has been seen to ask for three hours.
const LongestRetry = 24 * time.Hour

const uploadRate = 64 << 10 // bytes per second of the slowest connection that is supported

// maxReply is the most bytes that are read of a reply. Replies to sent messages have a few KB.
const maxReply = 1 << 20

// Options configure a client. The zero value has the defaults.
type Options struct {
	// Timeout replaces DefaultTimeout if it is not 0.
	Timeout time.Duration
	// Transport replaces the default transport, which uses the proxy of the environment.
	Transport http.RoundTripper
	Logger    *slog.Logger
}

// Client is a client of the Bot API. It is safe for concurrent use.
type Client struct {
	bot     *bot.Bot
	token   Token
	timeout time.Duration
}

// Message is a text, or a photo or document with the text as its caption.
type Message struct {
	// Chat is a number, negative for a group, or the @name of a channel.
	Chat string
	// Text has at most TextLimit UTF-16 code units, or CaptionLimit with a File. It is HTML unless
	// Plain is set.
	Text  string
	Plain bool
	// File is sent as a photo if Photo is set, else as a document. It may be nil.
	File  *File
	Photo bool
	// Silent messages arrive without a sound.
	Silent bool
}

// File is a file to send. Size is in bytes.
type File struct {
	Name    string
	Size    int64
	Content io.ReadSeeker
}

// NewClient returns a client for the bot with that token, at a server such as
// https://api.telegram.org. It does not connect to the server.
func NewClient(server string, token Token, opt Options) (*Client, error) {
	if !token.Given() {
		return nil, errors.New("no bot token")
	}
	parsed, err := url.Parse(server)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return nil, errors.New("the address of the Bot API is not a URL that starts with https:// or http://")
	}
	logger := cmp.Or(opt.Logger, slog.New(slog.DiscardHandler))
	if opt.Transport == nil {
		transport := outbound.NewTransport()
		transport.ResponseHeaderTimeout = 0 // the requests have a timeout, which counts the upload
		opt.Transport = transport
	}
	// It follows no redirect, which would send the token, which is in the path, to another server.
	client := outbound.NewClient(opt.Transport)
	api, err := bot.New(token.secret, bot.WithSkipGetMe(), bot.WithServerURL(strings.TrimRight(server, "/")),
		bot.WithHTTPClient(0, tracingClient{client}),
		bot.WithErrorsHandler(func(err error) {
			logger.Debug("telegram client", "error", token.scrub(err.Error()))
		}))
	if err != nil {
		return nil, errors.New(token.scrub(err.Error()))
	}
	return &Client{bot: api, token: token, timeout: cmp.Or(opt.Timeout, DefaultTimeout)}, nil
}

// Send sends a message once and returns its id in the chat, or 0 if it was accepted and the rest of
// the reply was lost. Its errors are *Error.
func (c *Client) Send(ctx context.Context, m Message) (id int, err error) {
	timeout := c.timeout
	if m.File != nil {
		timeout += time.Duration(m.File.Size/uploadRate) * time.Second
		if _, err := m.File.Content.Seek(0, io.SeekStart); err != nil {
			return 0, &Error{Kind: BadFile, Text: fmt.Sprintf("read %q: %v", m.File.Name, err)}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var trace trace
	sent, err := c.send(context.WithValue(ctx, traceKey{}, &trace), m)
	if sent != nil {
		id = sent.ID
	}
	if err == nil || trace.accepted {
		return id, nil
	}
	return id, c.classify(&trace, err)
}

func (c *Client) send(ctx context.Context, m Message) (*models.Message, error) {
	mode := models.ParseModeHTML
	if m.Plain {
		mode = ""
	}
	var chat any = m.Chat
	if number, err := strconv.ParseInt(m.Chat, 10, 64); err == nil {
		chat = number
	}
	if m.File == nil {
		return c.bot.SendMessage(ctx, &bot.SendMessageParams{
			ChatID: chat, Text: m.Text, ParseMode: mode, DisableNotification: m.Silent,
			LinkPreviewOptions: &models.LinkPreviewOptions{IsDisabled: bot.True()},
		})
	}
	file := &models.InputFileUpload{Filename: m.File.Name, Data: m.File.Content}
	if m.Photo {
		return c.bot.SendPhoto(ctx, &bot.SendPhotoParams{ChatID: chat, Photo: file, Caption: m.Text,
			ParseMode: mode, DisableNotification: m.Silent})
	}
	return c.bot.SendDocument(ctx, &bot.SendDocumentParams{
		ChatID: chat, Document: file, Caption: m.Text, ParseMode: mode, DisableNotification: m.Silent,
		DisableContentTypeDetection: true,
	})
}

// classify returns the error of a request that was not accepted.
func (c *Client) classify(trace *trace, err error) *Error {
	out := &Error{Kind: Refused, Status: trace.status, Text: c.token.scrub(err.Error())}
	if runes := []rune(out.Text); len(runes) > 300 {
		out.Text = string(runes[:300]) + "…"
	}
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, cause) {
			out.cause = cause
		}
	}
	var limited *bot.TooManyRequestsError
	var migrated *bot.MigrateError
	switch {
	case !trace.connected.Load():
		out.Kind, out.Status = Unreached, 0
	case trace.status == http.StatusRequestEntityTooLarge:
		out.Kind = BadFile
	case trace.status == 0, trace.truncated:
		out.Kind = Lost
	case trace.status >= 500, !trace.isAPI:
		out.Kind = Broken
	case errors.As(err, &limited):
		out.Kind = Limited
		out.RetryAfter = time.Duration(min(max(limited.RetryAfter, 1), int(LongestRetry/time.Second))) * time.Second
	case errors.As(err, &migrated):
		out.Kind, out.MigrateTo = Migrated, int64(migrated.MigrateToChatID)
	case errors.Is(err, bot.ErrorUnauthorized), errors.Is(err, bot.ErrorNotFound):
		out.Kind = BadToken
	case errors.Is(err, bot.ErrorForbidden), accessText.MatchString(err.Error()):
		out.Kind = NoAccess
	case markupText.MatchString(err.Error()):
		out.Kind = BadMarkup
	case fileText.MatchString(err.Error()):
		out.Kind = BadFile
	}
	return out
}

// The descriptions by which Telegram's errors with the status 400 are told apart.
var (
	accessText = regexp.MustCompile(`(?i)chat not found|peer_id_invalid|not enough rights|have no rights|` +
		`need administrator rights|chat_write_forbidden|chat_restricted|group chat was deactivated|` +
		`topic_closed|user is deactivated`)
	markupText = regexp.MustCompile(`(?i)can't parse entities|can't parse message text|entity_|message is too long|` +
		`caption is too long`)
	fileText = regexp.MustCompile(`(?i)photo|image|file|document|media`)
)

// trace records what the transport sees of one request. The library drops it: it loses the status
// of a reply that is not JSON, such as a gateway's, and reports a truncated reply like any other
// error.
type trace struct {
	connected atomic.Bool // there was a connection, so bytes may have been sent; set by the transport from any goroutine
	status    int         // of the reply; 0 if there was none
	isAPI     bool        // the reply is a JSON object that starts with "ok"
	accepted  bool        // the reply says that the message was accepted, even if the rest is missing
	truncated bool        // the reply ended early
}

type traceKey struct{}

// tracingClient is the HTTP client of the library. It records the request's trace.
type tracingClient struct{ client *http.Client }

func (r tracingClient) Do(request *http.Request) (*http.Response, error) {
	trace := request.Context().Value(traceKey{}).(*trace)
	request = request.WithContext(httptrace.WithClientTrace(request.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { trace.connected.Store(true) },
	}))
	response, err := r.client.Do(request)
	if err != nil {
		if redirect := new(*outbound.RedirectError); errors.As(err, redirect) {
			trace.status = (*redirect).Status
		}
		return nil, outbound.WithoutURL(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxReply))
	trace.status, trace.truncated = response.StatusCode, err != nil
	start := bytes.Join(bytes.Fields(body[:min(len(body), 64)]), nil)
	trace.isAPI = bytes.HasPrefix(start, []byte(`{"ok":`))
	trace.accepted = trace.status == http.StatusOK && bytes.HasPrefix(start, []byte(`{"ok":true`))
	switch {
	case err != nil:
		return nil, err
	case !trace.isAPI:
		return nil, fmt.Errorf("the reply of %s is not from the Bot API", wording.Count(len(body), "byte"))
	case !json.Valid(body): // the library would quote it
		return nil, fmt.Errorf("the reply of %s is damaged", wording.Count(len(body), "byte"))
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, nil
}
