package botapi

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// accept checks a message and records it if it is accepted. It returns the answer, and the fault to
// serve.
func (s *Server) accept(method string, f fields) (reply answer, message Message, fault string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.opt.Now()
	chat := f.values["chat_id"]
	if chat == "" {
		return refuse(400, "Bad Request: chat_id is empty"), message, ""
	}
	if wait, rule := s.rates.admit(chat, now); wait > 0 {
		s.offences[rule]++
		return s.limit(chat, now, wait), message, ""
	}
	if fault = s.drawFault(); fault != "" {
		s.faults[fault]++
	}
	switch fault {
	case "limit":
		return s.limit(chat, now, time.Duration(1+s.random.IntN(3))*time.Second), message, fault
	case "cut_before":
		return answer{}, message, fault
	case "server", "gateway":
		status := []int{500, 502, 503, 504}[s.random.IntN(4)]
		return refuse(status, "%s", http.StatusText(status)), message, fault
	}
	if to, ok := s.migrated[chat]; ok {
		reply := refuse(400, "Bad Request: group chat was upgraded to a supergroup chat")
		reply.Parameters = &answerParameters{MigrateToChatID: to}
		return reply, message, ""
	}
	if refused, ok := s.refusals[chat]; ok {
		return refuse(refused.status, "%s", refused.text), message, ""
	}
	message, reply = s.parse(method, f)
	if reply.ErrorCode != 0 {
		s.offences[reply.Description]++
		return reply, message, ""
	}
	message.ID, message.Chat, message.At, message.Answer = len(s.messages)+1, chat, now, "sent"
	switch fault {
	case "cut_after":
		message.Answer = "cut"
	case "late":
		message.Answer = "late"
	}
	s.rates.accepted(chat, now)
	s.messages = append(s.messages, message)
	if s.opt.OnMessage != nil {
		s.opt.OnMessage(message)
	}
	id, _ := strconv.ParseInt(chat, 10, 64)
	kind := "private"
	if isGroup(chat) {
		kind = "supergroup"
	}
	return answer{OK: true, Result: map[string]any{
		"message_id": message.ID, "date": now.Unix(), "chat": map[string]any{"id": id, "type": kind}, "text": message.Text,
	}}, message, fault
}

// limit answers 429 and blocks the chat until retry_after ends.
func (s *Server) limit(chat string, now time.Time, wait time.Duration) answer {
	seconds := int(math.Ceil(wait.Seconds()))
	s.rates.retryAfter[chat] = now.Add(time.Duration(seconds) * time.Second)
	reply := refuse(429, "Too Many Requests: retry after %d", seconds)
	reply.Parameters = &answerParameters{RetryAfter: seconds}
	return reply
}

// drawFault draws the fault of a request, "" for none.
func (s *Server) drawFault() string {
	draw := s.random.Float64()
	for _, fault := range []struct {
		name  string
		share float64
	}{
		{"limit", s.opt.Faults.Limit}, {"server", s.opt.Faults.Server / 2}, {"gateway", s.opt.Faults.Server / 2},
		{"cut_before", s.opt.Faults.CutBefore}, {"cut_after", s.opt.Faults.CutAfter}, {"late", s.opt.Faults.Late},
	} {
		if draw < fault.share {
			return fault.name
		}
		draw -= fault.share
	}
	return ""
}

// parse reads a message. reply is an error if it violates the Bot API's rules.
func (s *Server) parse(method string, f fields) (message Message, reply answer) {
	message = Message{Method: method, FileName: f.fileName, File: f.file}
	field, limit, long := "text", textLimit, "Bad Request: message is too long"
	if method != "sendmessage" {
		field, limit, long = "caption", captionLimit, "Bad Request: message caption is too long"
	}
	message.Source = f.values[field]
	text := message.Source
	switch strings.ToUpper(f.values["parse_mode"]) {
	case "":
	case "HTML":
		var err error
		if text, err = parseHTML(message.Source); err != nil {
			return message, refuse(400, "Bad Request: can't parse entities: %v", err)
		}
	default:
		return message, refuse(400, "Bad Request: unsupported parse_mode")
	}
	message.Text = strings.TrimSpace(text)
	switch {
	case length(message.Text) > limit:
		return message, refuse(400, "%s", long)
	case method == "sendmessage" && message.Text == "":
		return message, refuse(400, "Bad Request: message text is empty")
	case method == "sendmessage":
		return message, reply
	case f.fileIn != strings.TrimPrefix(method, "send"):
		return message, refuse(400, "Bad Request: there is no %s in the request", strings.TrimPrefix(method, "send"))
	case len(f.file) == 0:
		return message, refuse(400, "Bad Request: file must be non-empty")
	case len(f.file) > s.documentLimit:
		return message, refuse(413, "Request Entity Too Large")
	case method == "sendphoto" && len(f.file) > s.photoLimit:
		return message, refuse(400, "Bad Request: file of size %d bytes is too big for a photo; the maximum size is %d bytes", len(f.file), s.photoLimit)
	case method == "sendphoto" && !strings.HasPrefix(http.DetectContentType(f.file), "image/"):
		return message, refuse(400, "Bad Request: IMAGE_PROCESS_FAILED")
	}
	return message, reply
}
