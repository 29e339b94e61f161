package telegram

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"
)

// endless answers with a reply that starts like one of the Bot API and does not end.
type endless struct{ read int }

func (e *endless) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	return &http.Response{StatusCode: 200, Header: http.Header{}, Request: r,
		Body: io.NopCloser(io.MultiReader(strings.NewReader(`{"ok":false,"description":"`), e))}, nil
}

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestEndlessReplyIsNotRead(t *testing.T) {
	server := &endless{}
	client, err := NewClient("http://bot.invalid", testToken(t), Options{Transport: server})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Send(t.Context(), Message{Chat: "5", Text: "x"}); err == nil || server.read > 2*maxReply {
		t.Errorf("%v after %d bytes", err, server.read)
	}
}

// TestRepliesOfStrangersAreNotQuoted: what is not an error in the form of the Bot API gets neither into an
// error nor into the log.
func TestRepliesOfStrangersAreNotQuoted(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"page":         replies(200, "<html>topsecret</html>"),
		"text":         replies(403, "topsecret"),
		"other JSON":   replies(400, `{"password":"topsecret"}`),
		"damaged JSON": replies(400, `{"ok":false,"topsecret`),
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/topsecret", http.StatusFound)
		},
	} {
		var log bytes.Buffer
		client, err := NewClient(serve(t, handler), testToken(t), Options{
			Timeout: 5 * time.Second, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Send(t.Context(), Message{Chat: "5", Text: "x"})
		if err == nil || strings.Contains(err.Error()+log.String(), "topsecret") {
			t.Errorf("%s: %v\n%s", name, err, log.String())
		}
	}
}
