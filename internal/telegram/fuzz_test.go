package telegram

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
)

// fuzzedReply replies to each request in the same way. The reply may end early.
type fuzzedReply struct {
	status int
	body   string
	cut    bool
}

func (f fuzzedReply) RoundTrip(r *http.Request) (*http.Response, error) {
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.GotConn != nil {
		trace.GotConn(httptrace.GotConnInfo{})
	}
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	var body io.Reader = strings.NewReader(f.body)
	if f.cut {
		body = io.MultiReader(body, cutReader{})
	}
	return &http.Response{StatusCode: f.status, Header: http.Header{}, Body: io.NopCloser(body), ContentLength: -1, Request: r}, nil
}

type cutReader struct{}

func (cutReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// FuzzReply sends a message and gets any reply: a message was accepted only if the reply says so, the error
// says whether it can have been, does not contain the token, and its wait is at most LongestRetry.
func FuzzReply(f *testing.F) {
	f.Add(200, `{"ok":true,"result":{"message_id":7,"date":1,"chat":{"id":7,"type":"private"}}}`, false)
	f.Add(200, `{"ok":true,"result":{"message_id":`, true)
	f.Add(429, `{"ok":false,"error_code":429,"description":"Too Many Requests","parameters":{"retry_after":99999999999}}`, false)
	f.Add(400, `{"ok":false,"error_code":400,"description":"`+secret+`\u001b[2J\n","parameters":{"migrate_to_chat_id":-5}}`, false)
	f.Add(302, "", false)
	f.Add(207, `{"ok":true,"result":{"message_id":7}}`, false)
	f.Add(502, "<html>", false)
	f.Add(200, `{"ok":false,"error_code":-1}`, false)
	f.Fuzz(func(t *testing.T, status int, body string, cut bool) {
		if status < 200 || status > 599 {
			return
		}
		client, err := NewClient("http://stand.in", testToken(t), Options{Transport: fuzzedReply{status, body, cut}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Send(t.Context(), Message{Chat: "7", Text: "x"})
		start := strings.Join(strings.Fields(body[:min(len(body), 64)]), "")
		begins := status == http.StatusOK && strings.HasPrefix(start, `{"ok":true`) // the rest may be lost
		var says struct {
			OK bool `json:"ok"`
		}
		_ = json.Unmarshal([]byte(body), &says)
		if begins && err != nil || err == nil && !begins && !says.OK {
			t.Fatalf("%d %q: %v", status, body, err)
		}
		if err == nil {
			return
		}
		var failed *Error
		if !errors.As(err, &failed) || failed.Kind == "" || failed.Kind == Unreached {
			t.Fatalf("%d %q: %v", status, body, err)
		}
		if failed.RetryAfter < 0 || failed.RetryAfter > LongestRetry || (failed.Kind == Limited) != (failed.RetryAfter > 0) {
			t.Fatalf("%d %q: wait %v", status, body, failed.RetryAfter)
		}
		if text := err.Error(); strings.Contains(text, secretHalf) || len(text) > 2000 {
			t.Fatalf("%d %q: %q", status, body, text)
		}
	})
}
