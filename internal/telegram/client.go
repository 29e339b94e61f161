// Package telegram sends messages through Telegram's Bot API (https://core.telegram.org/bots/api) with github.com/go-telegram/bot.
//
// Its one guarantee: whatever goes wrong, the error says whether the message may have been accepted, and the token is in no
// error and no log. It sends once and does not try again; when to do that is the caller's to decide.
package telegram

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-telegram/bot"
	"github.com/go-telegram/bot/models"
)

// What Telegram takes from a bot (Bot API, "Sending files").
const (
	DocumentLimit = 50 << 20 // bytes
	PhotoLimit    = 10 << 20 // bytes
)

// DefaultTimeout is how long an answer to a text is waited for. A file adds a second for every 64 KiB.
const DefaultTimeout = 30 * time.Second

const uploadRate = 64 << 10 // bytes a second, of the slowest line that still works

// answerLimit bounds what is read of an answer; those to sent messages have a few KB.
const answerLimit = 1 << 20

// Options of a client; the zero value is Telegram itself.
type Options struct {
	// Timeout replaces DefaultTimeout.
	Timeout time.Duration
	// Transport replaces the default one, which takes a proxy from the environment.
	Transport http.RoundTripper
	Logger    *slog.Logger
}

// Client speaks to the Bot API. Its methods may be called from many goroutines.
type Client struct {
	bot     *bot.Bot
	token   Token
	timeout time.Duration
}

// Message is one message: a text, or with a File a photo or a document with the text below it.
type Message struct {
	// Chat is a number, negative for a group, or @name of a channel.
	Chat string
	// Text is at most TextLimit long, or CaptionLimit with a File. With Plain it is shown as it stands, else read as HTML.
	Text  string
	Plain bool
	// File goes with it, nil for none; as a photo with Photo, else as a document.
	File  *File
	Photo bool
	// Silent arrives without a sound.
	Silent bool
}

// File is what goes along with a message.
type File struct {
	Name    string
	Size    int64
	Content io.ReadSeeker
}

// NewClient makes a client of the bot with that token, at a server such as https://api.telegram.org. It asks the server nothing.
func NewClient(server string, token Token, opt Options) (*Client, error) {
	if !token.Given() {
		return nil, errors.New("no bot's token")
	}
	parsed, err := url.Parse(server)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return nil, errors.New("the Bot API's server is not a URL that starts with https:// or http://")
	}
	if opt.Timeout == 0 {
		opt.Timeout = DefaultTimeout
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Transport == nil {
		opt.Transport = http.DefaultTransport.(*http.Transport).Clone()
	}
	// A redirect would carry the token in its path to wherever it points.
	client := &http.Client{Transport: opt.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	made, err := bot.New(token.secret, bot.WithSkipGetMe(), bot.WithServerURL(strings.TrimRight(server, "/")), bot.WithHTTPClient(0, requester{client}),
		bot.WithErrorsHandler(func(err error) {
			opt.Logger.Debug("telegram client", "error", token.scrub(err.Error()))
		}))
	if err != nil {
		return nil, errors.New(token.scrub(err.Error()))
	}
	return &Client{bot: made, token: token, timeout: opt.Timeout}, nil
}

// Check asks the server who the bot is, and gives its @name.
func (c *Client) Check(ctx context.Context) (name string, err error) {
	err = c.do(ctx, c.timeout, func(ctx context.Context) error {
		me, err := c.bot.GetMe(ctx)
		if err == nil {
			name = "@" + me.Username
		}
		return err
	})
	return name, err
}

// Send sends a message once and gives its id in the chat, 0 where it was accepted and the rest of the answer was lost. Its
// errors are *Error.
func (c *Client) Send(ctx context.Context, m Message) (id int, err error) {
	timeout := c.timeout
	if m.File != nil {
		timeout += time.Duration(m.File.Size/uploadRate) * time.Second
		if _, err := m.File.Content.Seek(0, io.SeekStart); err != nil {
			return 0, &Error{Kind: BadFile, Text: fmt.Sprintf("%q cannot be read: %v", m.File.Name, err)}
		}
	}
	err = c.do(ctx, timeout, func(ctx context.Context) error {
		sent, err := c.send(ctx, m)
		if sent != nil {
			id = sent.ID
		}
		return err
	})
	return id, err
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
		return c.bot.SendPhoto(ctx, &bot.SendPhotoParams{ChatID: chat, Photo: file, Caption: m.Text, ParseMode: mode, DisableNotification: m.Silent})
	}
	return c.bot.SendDocument(ctx, &bot.SendDocumentParams{
		ChatID: chat, Document: file, Caption: m.Text, ParseMode: mode, DisableNotification: m.Silent, DisableContentTypeDetection: true,
	})
}

// do makes one request and turns what went wrong into an *Error.
func (c *Client) do(ctx context.Context, timeout time.Duration, request func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var seen exchange
	err := request(context.WithValue(ctx, exchangeKey{}, &seen))
	switch {
	case err == nil || seen.accepted:
		return nil
	case !seen.connected.Load():
		return c.failure(Unreached, 0, err)
	case seen.status == 0:
		return c.failure(Lost, 0, err)
	case seen.status == http.StatusRequestEntityTooLarge:
		return c.failure(BadFile, seen.status, err)
	case seen.cut:
		return c.failure(Lost, seen.status, err)
	case seen.status >= 500 || !seen.isAPI:
		return c.failure(Broken, seen.status, err)
	}
	var limited *bot.TooManyRequestsError
	var migrated *bot.MigrateError
	text := strings.ToLower(err.Error())
	switch {
	case errors.As(err, &limited):
		out := c.failure(Limited, seen.status, err)
		out.RetryAfter = max(time.Duration(limited.RetryAfter)*time.Second, time.Second)
		return out
	case errors.As(err, &migrated):
		out := c.failure(Migrated, seen.status, err)
		out.MigrateTo = int64(migrated.MigrateToChatID)
		return out
	case errors.Is(err, bot.ErrorUnauthorized), errors.Is(err, bot.ErrorNotFound):
		return c.failure(BadToken, seen.status, err)
	case errors.Is(err, bot.ErrorForbidden), containsAny(text, "chat not found", "peer_id_invalid", "not enough rights", "have no rights",
		"need administrator rights", "chat_write_forbidden", "chat_restricted", "group chat was deactivated", "topic_closed", "user is deactivated"):
		return c.failure(NoAccess, seen.status, err)
	case containsAny(text, "can't parse entities", "can't parse message text", "entity_", "message is too long", "caption is too long"):
		return c.failure(BadMarkup, seen.status, err)
	case containsAny(text, "photo", "image", "file", "document", "media"):
		return c.failure(BadFile, seen.status, err)
	}
	return c.failure(Refused, seen.status, err)
}

func (c *Client) failure(kind Kind, status int, err error) *Error {
	out := &Error{Kind: kind, Status: status, Text: c.token.scrub(err.Error())}
	if runes := []rune(out.Text); len(runes) > 300 {
		out.Text = string(runes[:300]) + "…"
	}
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, cause) {
			out.cause = cause
		}
	}
	return out
}

func containsAny(text string, words ...string) bool {
	for _, word := range words {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// exchange is what the transport saw of one request. The library keeps none of it: an answer that is not JSON, as a gateway
// gives, loses its status there, and a cut answer looks like any other error.
type exchange struct {
	connected atomic.Bool // a connection was had, so bytes may have gone out; the transport may say so from another goroutine
	status    int         // of the answer, 0 while none came
	isAPI     bool        // the answer is a JSON object that says ok
	accepted  bool        // it says that the message was accepted, whether or not the rest of it came
	cut       bool        // it ended early
}

type exchangeKey struct{}

// requester is the HTTP client that the library is given: it notes what happens in the request's exchange.
type requester struct{ client *http.Client }

func (r requester) Do(request *http.Request) (*http.Response, error) {
	seen, _ := request.Context().Value(exchangeKey{}).(*exchange)
	if seen == nil {
		return nil, errors.New("a request of no one's")
	}
	request = request.WithContext(httptrace.WithClientTrace(request.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { seen.connected.Store(true) },
	}))
	response, err := r.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, answerLimit))
	seen.status = response.StatusCode
	compact := bytes.Join(bytes.Fields(body[:min(len(body), 64)]), nil)
	seen.isAPI = bytes.HasPrefix(compact, []byte(`{"ok":`))
	seen.accepted = response.StatusCode == http.StatusOK && bytes.HasPrefix(compact, []byte(`{"ok":true`))
	seen.cut = err != nil
	switch {
	case err != nil:
		return nil, err
	case !seen.isAPI:
		return nil, fmt.Errorf("the answer is not the Bot API's: %s", bytes.ToValidUTF8(body[:min(len(body), 100)], []byte("?")))
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, nil
}
