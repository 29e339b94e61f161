// Package botapi is a stand-in for Telegram's Bot API. It delivers nothing and records all messages.
//
// The guarantee: a request that it accepts, Telegram accepts too. It enforces Telegram's rates on the
// clock that it is given, HTML that Telegram can parse, the length of texts and the size of files, and
// retry_after. Violations are counted in Offences. It injects the faults that a client must handle.
//
// The protocol is specified in https://core.telegram.org/bots/api and the limits in
// https://core.telegram.org/bots/faq.
package botapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// The Bot API's limits in UTF-16 code units and bytes.
const (
	textLimit     = 4096
	captionLimit  = 1024
	documentLimit = 50 << 20
	photoLimit    = 10 << 20
)

// Faults are shares, from 0 to 1, of the requests that send a message. A request has at most one.
type Faults struct {
	Limit     float64 // 429 with retry_after of 1 to 3 s; not accepted
	Server    float64 // 500, 502, 503 or 504, some of them not JSON; not accepted
	CutBefore float64 // the connection is reset before the message is accepted
	CutAfter  float64 // accepted, then the connection is closed before or within the answer
	Late      float64 // accepted, and answered after the client has disconnected
}

// Options of a stand-in.
type Options struct {
	// Token is the bot's token; requests with another one are answered 401.
	Token string
	// Now is the clock of limits and retry_after. It is required.
	Now func() time.Time
	// Faults are drawn with Seed.
	Faults Faults
	Seed   uint64
	// LateAfter bounds the delay of a late answer, in real time; 0 means a minute.
	LateAfter time.Duration
	// OnMessage, if not nil, is called for each accepted message, one at a time.
	OnMessage func(Message)
}

// Message is an accepted message.
type Message struct {
	ID     int
	Chat   string
	Method string
	// Text is the visible text, Source the text as it was sent, with markup.
	Text, Source string
	FileName     string
	File         []byte
	At           time.Time
	// Answer is sent, cut or late. The client may have missed an answer that was sent.
	Answer string
}

// Server is the stand-in: an http.Handler that is safe for concurrent use.
type Server struct {
	opt Options

	mu       sync.Mutex
	random   *rand.Rand
	rates    rates
	messages []Message
	offences map[string]int
	faults   map[string]int
	refusals map[string]refusal
	migrated map[string]int64
	requests int

	documentLimit, photoLimit int // bytes
}

type refusal struct {
	status int
	text   string
}

// New creates a stand-in that accepts messages to every chat.
func New(opt Options) *Server {
	opt.LateAfter = cmp.Or(opt.LateAfter, time.Minute)
	return &Server{
		opt: opt, random: rand.New(rand.NewPCG(opt.Seed, 0)),
		rates:    rates{chats: map[string][]time.Time{}, retryAfter: map[string]time.Time{}},
		offences: map[string]int{}, faults: map[string]int{}, refusals: map[string]refusal{}, migrated: map[string]int64{},
		documentLimit: documentLimit, photoLimit: photoLimit,
	}
}

// Run serves the stand-in on a listener, which it closes, until ctx ends. Then it returns nil.
func (s *Server) Run(ctx context.Context, ln net.Listener) error {
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Refuse answers messages to a chat with a status and a text, as Telegram does for a blocked bot (403,
// "Forbidden: bot was blocked by the user") or an unknown chat (400, "Bad Request: chat not found").
// Status 0 accepts them again.
func (s *Server) Refuse(chat string, status int, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.refusals, chat)
	if status != 0 {
		s.refusals[chat] = refusal{status, text}
	}
}

// Migrate turns a group into a supergroup: messages to the old id are refused with the new id in the
// answer.
func (s *Server) Migrate(chat string, to int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.migrated[chat] = to
}

// SetFaults replaces the faults.
func (s *Server) SetFaults(faults Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opt.Faults = faults
}

// Messages returns the accepted messages in order.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Offences counts the violations of Telegram's rules, by rule.
func (s *Server) Offences() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.offences)
}

// Injected counts the faults served, by name.
func (s *Server) Injected() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.faults)
}

// Requests counts all requests.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// answer is an answer of the Bot API.
type answer struct {
	OK          bool              `json:"ok"`
	Result      any               `json:"result,omitempty"`
	ErrorCode   int               `json:"error_code,omitempty"`
	Description string            `json:"description,omitempty"`
	Parameters  *answerParameters `json:"parameters,omitempty"`
}

type answerParameters struct {
	RetryAfter      int   `json:"retry_after,omitempty"`
	MigrateToChatID int64 `json:"migrate_to_chat_id,omitempty"`
}

func refuse(status int, format string, args ...any) answer {
	return answer{ErrorCode: status, Description: fmt.Sprintf(format, args...)}
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests++
	s.mu.Unlock()
	path, ok := strings.CutPrefix(r.URL.Path, "/bot")
	token, method, both := strings.Cut(path, "/")
	switch {
	case !ok || !both:
		write(w, refuse(http.StatusNotFound, "Not Found"))
		return
	case token != s.opt.Token:
		write(w, refuse(http.StatusUnauthorized, "Unauthorized"))
		return
	}
	fields, err := readFields(r)
	if err != nil {
		write(w, refuse(http.StatusBadRequest, "Bad Request: %v", err))
		return
	}
	switch strings.ToLower(method) {
	case "getme":
		write(w, answer{OK: true, Result: map[string]any{"id": 1, "is_bot": true, "first_name": "stand-in", "username": "stand_in_bot"}})
	case "sendmessage", "sendphoto", "senddocument":
		s.send(w, r, strings.ToLower(method), fields)
	default:
		write(w, refuse(http.StatusNotFound, "Not Found: method not found"))
	}
}

// fields are a request's parameters.
type fields struct {
	values   map[string]string
	fileName string
	file     []byte
	fileIn   string // the parameter of the file
}

// readFields reads the parameters from the query, a form, a multipart form or a JSON object, as the
// Bot API does.
func readFields(r *http.Request) (fields, error) {
	f := fields{values: map[string]string{}}
	for name, values := range r.URL.Query() {
		f.values[name] = values[0]
	}
	const most = documentLimit + 2<<20
	r.Body = io.NopCloser(io.LimitReader(r.Body, most))
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "application/json" {
		var object map[string]any
		decoder := json.NewDecoder(r.Body)
		decoder.UseNumber()
		if err := decoder.Decode(&object); err != nil {
			return f, errors.New("can't parse JSON object")
		}
		for name, value := range object {
			f.values[name] = fmt.Sprint(value)
		}
	} else if err := r.ParseMultipartForm(most); err != nil && !errors.Is(err, http.ErrNotMultipart) {
		return f, err
	}
	for name, values := range r.PostForm {
		f.values[name] = values[0]
	}
	if r.MultipartForm != nil {
		for name, files := range r.MultipartForm.File {
			file, err := files[0].Open()
			if err != nil {
				return f, err
			}
			if f.file, err = io.ReadAll(file); err != nil {
				return f, err
			}
			f.fileIn, f.fileName = name, files[0].Filename
		}
	}
	// net/http notices that a client has disconnected only after the body was read.
	_, err := io.Copy(io.Discard, r.Body)
	return f, err
}

// send handles a message and answers, both subject to a fault.
func (s *Server) send(w http.ResponseWriter, r *http.Request, method string, f fields) {
	reply, message, fault := s.accept(method, f)
	switch fault {
	case "cut_before":
		closeConnection(w, nil)
	case "cut_after":
		half, _ := json.Marshal(reply)
		if message.ID%2 == 0 {
			half = nil
		}
		closeConnection(w, half[:min(len(half), 6)]) // {"ok": without its value
	case "late":
		select {
		case <-r.Context().Done():
		case <-time.After(s.opt.LateAfter):
		}
		write(w, reply)
	case "gateway":
		w.WriteHeader(reply.ErrorCode)
		fmt.Fprintf(w, "<html><head><title>%d</title></head></html>", reply.ErrorCode)
	default:
		write(w, reply)
	}
}
