package telegram

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	secret     = "123456789:AAverysecretverysecret"
	secretHalf = "AAverysecretverysecret"
)

func variables(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func testToken(t *testing.T) Token {
	t.Helper()
	token, err := ReadToken(variables(TokenVariable, secret))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestReadToken(t *testing.T) {
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct {
		get     func(string) string
		given   bool
		problem string // part of the error
	}{
		"none":               {variables(), false, ""},
		"variable":           {variables(TokenVariable, " "+secret+"\n"), true, ""},
		"file":               {variables(TokenFileVariable, file(secret+"\n")), true, ""},
		"both":               {variables(TokenVariable, secret, TokenFileVariable, file(secret)), false, "both set"},
		"no such file":       {variables(TokenFileVariable, filepath.Join(t.TempDir(), "no")), false, "no such file"},
		"an empty file":      {variables(TokenFileVariable, file("\n")), false, "is empty"},
		"a directory":        {variables(TokenFileVariable, t.TempDir()), false, "is a directory"},
		"another file":       {variables(TokenFileVariable, file(strings.Repeat(secret, 1000))), false, "too large"},
		"no token":           {variables(TokenVariable, secretHalf), false, "holds no bot's token"},
		"two lines":          {variables(TokenVariable, secret+"\n"+secret), false, "holds no bot's token"},
		"what a URL can't":   {variables(TokenVariable, secret+"/../x"), false, "holds no bot's token"},
		"no token in a file": {variables(TokenFileVariable, file("bot"+secret)), false, "holds no bot's token"},
	} {
		t.Run(name, func(t *testing.T) {
			token, err := ReadToken(c.get)
			if token.Given() != c.given || (err != nil) != (c.problem != "") || err != nil && !strings.Contains(err.Error(), c.problem) {
				t.Errorf("given %v, error %v", token.Given(), err)
			}
			if err != nil && strings.Contains(err.Error(), secretHalf) {
				t.Errorf("the error shows it: %v", err)
			}
		})
	}
}

func TestATokenDoesNotPrint(t *testing.T) {
	token := testToken(t)
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+verb+verb, token, &token, struct{ T Token }{token})
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "token", token, "in", struct{ T Token }{token})
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "token", token, "in", struct{ T Token }{token})
	text, err := json.Marshal(map[string]any{"a": token, "b": []Token{token}})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	if strings.Contains(out.String(), secretHalf) || strings.Contains(out.String(), fmt.Sprintf("%x", secretHalf)) {
		t.Errorf("printed: %s", out.String())
	}
	if !strings.Contains(out.String(), "***") {
		t.Errorf("nothing printed: %s", out.String())
	}
}

// answers gives a server that answers every request in one way.
func answers(t *testing.T, handler http.HandlerFunc) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		handler(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func cuts(beginning string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		connection, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(connection, beginning)
		connection.Close()
	}
}

func refusal(status int, description, parameters string) http.HandlerFunc {
	return says(status, fmt.Sprintf(`{"ok":false,"error_code":%d,"description":%q,"parameters":{%s}}`, status, description, parameters))
}

// TestWhatAnAnswerMeans also holds each error against the token: a server that knows it may say it, and the request's URL has it.
func TestWhatAnAnswerMeans(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + closed.Addr().String()
	closed.Close()
	for name, c := range map[string]struct {
		server string
		want   Kind // empty: accepted
		id     int
	}{
		"accepted":                 {answers(t, says(200, `{"ok":true,"result":{"message_id":7,"date":1,"chat":{"id":5,"type":"private"}}}`)), "", 7},
		"accepted, cut after that": {answers(t, cuts("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"ok\": true, \"result\":{\"mess")), "", 0},
		"accepted, another shape":  {answers(t, says(200, `{"ok":true,"result":[]}`)), "", 0},
		"no one there":             {nobody, Unreached, 0},
		"not TLS":                  {strings.Replace(answers(t, says(200, "")), "http://", "https://", 1), Unreached, 0},
		"cut at once":              {answers(t, cuts("")), Lost, 0},
		"cut in the header":        {answers(t, cuts("HTTP/1.1 200 OK\r\nContent-")), Lost, 0},
		"cut in the body":          {answers(t, cuts("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"ok\":")), Lost, 0},
		"no answer in time":        {answers(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), Lost, 0},
		"a portal's page":          {answers(t, says(200, "<html>log in, "+secret+"</html>")), Broken, 0},
		"an empty answer":          {answers(t, says(200, "")), Broken, 0},
		"a gateway":                {answers(t, says(502, "<html>502 "+secret+"</html>")), Broken, 0},
		"500":                      {answers(t, refusal(500, "Internal Server Error "+secret, "")), Broken, 0},
		"sent elsewhere": {answers(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://elsewhere.invalid"+r.URL.Path, http.StatusTemporaryRedirect)
		}), Broken, 0},
		"429":                  {answers(t, refusal(429, "Too Many Requests: retry after 12", `"retry_after":12`)), Limited, 0},
		"moved":                {answers(t, refusal(400, "Bad Request: group chat was upgraded to a supergroup chat", `"migrate_to_chat_id":-1001234567890`)), Migrated, 0},
		"blocked":              {answers(t, refusal(403, "Forbidden: bot was blocked by the user", "")), NoAccess, 0},
		"thrown out":           {answers(t, refusal(403, "Forbidden: bot was kicked from the supergroup chat", "")), NoAccess, 0},
		"no such chat":         {answers(t, refusal(400, "Bad Request: chat not found", "")), NoAccess, 0},
		"not allowed to write": {answers(t, refusal(400, "Bad Request: not enough rights to send text messages to the chat", "")), NoAccess, 0},
		"bad markup":           {answers(t, refusal(400, `Bad Request: can't parse entities: Unsupported start tag "x" at byte offset 3`, "")), BadMarkup, 0},
		"too long":             {answers(t, refusal(400, "Bad Request: message is too long", "")), BadMarkup, 0},
		"no picture":           {answers(t, refusal(400, "Bad Request: PHOTO_INVALID_DIMENSIONS", "")), BadFile, 0},
		"too large":            {answers(t, refusal(413, "Request Entity Too Large", "")), BadFile, 0},
		"too large, a gateway": {answers(t, says(413, "<html>")), BadFile, 0},
		"empty":                {answers(t, refusal(400, "Bad Request: message text is empty", "")), Refused, 0},
		"wrong token":          {answers(t, refusal(401, "Unauthorized: "+secret, "")), BadToken, 0},
		"no token":             {answers(t, refusal(404, "Not Found: "+secretHalf, "")), BadToken, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			client, err := NewClient(c.server+"/", testToken(t), Options{Timeout: 2 * time.Second, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
			if err != nil {
				t.Fatal(err)
			}
			id, err := client.Send(t.Context(), Message{Chat: "5", Text: "x"})
			var failure *Error
			if c.want == "" && (err != nil || id != c.id) || c.want != "" && (!errors.As(err, &failure) || failure.Kind != c.want) {
				t.Fatalf("id %d, error %v", id, err)
			}
			if c.want == Limited && failure.RetryAfter != 12*time.Second || c.want == Migrated && failure.MigrateTo != -1001234567890 {
				t.Errorf("%+v", failure)
			}
			for ; err != nil; err = errors.Unwrap(err) {
				for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
					if strings.Contains(text, secretHalf) {
						t.Errorf("the error has the token in it: %s", text)
					}
				}
			}
			if strings.Contains(log.String(), secretHalf) {
				t.Errorf("the log has the token in it: %s", log.String())
			}
		})
	}
}

func TestACancelledRequestSaysSo(t *testing.T) {
	server := answers(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	client, err := NewClient(server, testToken(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.Send(ctx, Message{Chat: "5", Text: "x"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error: %v", err)
	}
}

func TestWhatGoesOut(t *testing.T) {
	type sent struct {
		path  string
		form  map[string]string
		file  string
		bytes int64
	}
	var got sent
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = sent{path: r.URL.Path, form: map[string]string{}}
		if err := r.ParseMultipartForm(1 << 20); err != nil {
			t.Error(err)
		}
		for name, values := range r.MultipartForm.Value {
			got.form[name] = values[0]
		}
		for name, files := range r.MultipartForm.File {
			got.file, got.bytes = name+" "+files[0].Filename, files[0].Size
		}
		_, _ = io.WriteString(w, `{"ok":true,"result":{"message_id":1,"date":1,"chat":{"id":5,"type":"private"}}}`)
	}))
	defer server.Close()
	client, err := NewClient(server.URL, testToken(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	file := func() *File {
		return &File{Name: "ä b\".xlsx", Size: 5, Content: strings.NewReader("12345")}
	}
	for _, c := range []struct {
		m            Message
		method, file string
		form         map[string]string
	}{
		{Message{Chat: "-1001", Text: "<b>x</b>"}, "sendMessage", "", map[string]string{"chat_id": "-1001", "text": "<b>x</b>", "parse_mode": "HTML", "link_preview_options": `{"is_disabled":true}`}},
		{Message{Chat: "@c", Text: "x", Plain: true, Silent: true}, "sendMessage", "", map[string]string{"chat_id": "@c", "text": "x", "disable_notification": "true", "link_preview_options": `{"is_disabled":true}`}},
		{Message{Chat: "5", Text: "cap", File: file()}, "sendDocument", "document ä b\".xlsx", map[string]string{"chat_id": "5", "caption": "cap", "parse_mode": "HTML", "disable_content_type_detection": "true"}},
		{Message{Chat: "5", File: file(), Photo: true}, "sendPhoto", "photo ä b\".xlsx", map[string]string{"chat_id": "5", "parse_mode": "HTML"}},
	} {
		if _, err := client.Send(t.Context(), c.m); err != nil {
			t.Fatal(err)
		}
		if got.path != "/bot"+secret+"/"+c.method || got.file != c.file || c.file != "" && got.bytes != 5 || fmt.Sprint(got.form) != fmt.Sprint(c.form) {
			t.Errorf("sent %+v, not %s %s %v", got, c.method, c.file, c.form)
		}
	}
}

func TestCheck(t *testing.T) {
	client, err := NewClient(answers(t, says(200, `{"ok":true,"result":{"id":1,"is_bot":true,"first_name":"x","username":"tapedeck_bot"}}`)), testToken(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if name, err := client.Check(t.Context()); err != nil || name != "@tapedeck_bot" {
		t.Errorf("%q, %v", name, err)
	}
}

func TestNewClientErrors(t *testing.T) {
	if _, err := NewClient("https://api.telegram.org", Token{}, Options{}); err == nil {
		t.Error("a client without a token")
	}
	for _, server := range []string{"", "api.telegram.org", "ftp://x", "http://user:" + secretHalf + "@ho st", "http://"} {
		if _, err := NewClient(server, testToken(t), Options{}); err == nil || strings.Contains(err.Error(), secretHalf) {
			t.Errorf("%q: %v", server, err)
		}
	}
}
