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
		"another file":       {variables(TokenFileVariable, file(strings.Repeat(secret, 1000))), false, "larger than 4096 bytes"},
		"no token":           {variables(TokenVariable, secretHalf), false, "is not a bot token"},
		"two lines":          {variables(TokenVariable, secret+"\n"+secret), false, "is not a bot token"},
		"path in the token":  {variables(TokenVariable, secret+"/../x"), false, "is not a bot token"},
		"no token in a file": {variables(TokenFileVariable, file("bot"+secret)), false, "is not a bot token"},
	} {
		t.Run(name, func(t *testing.T) {
			token, err := ReadToken(c.get)
			if token.Given() != c.given || (err != nil) != (c.problem != "") || err != nil && !strings.Contains(err.Error(), c.problem) {
				t.Errorf("given %v, error %v", token.Given(), err)
			}
			if err != nil && strings.Contains(err.Error(), secretHalf) {
				t.Errorf("the error contains the token: %v", err)
			}
		})
	}
}

func TestTokenPrintsAsStars(t *testing.T) {
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

// serve starts a server that handles every request in the same way, and returns its URL.
func serve(t *testing.T, handler http.HandlerFunc) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		handler(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// replies returns a handler that replies with a status and a body.
func replies(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// truncates returns a handler that closes the connection after the start of a reply.
func truncates(start string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		connection, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(connection, start)
		connection.Close()
	}
}

// refuses returns a handler that replies like the Bot API refuses a message.
func refuses(status int, description, parameters string) http.HandlerFunc {
	return replies(status, fmt.Sprintf(`{"ok":false,"error_code":%d,"description":%q,"parameters":{%s}}`, status, description, parameters))
}

// TestErrorKinds also checks that no error contains the token, which is in the request's URL and
// may be in a reply.
func TestErrorKinds(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	unused := "http://" + closed.Addr().String()
	closed.Close()
	for name, c := range map[string]struct {
		server string
		want   Kind // empty: accepted
		id     int
	}{
		"accepted":                   {serve(t, replies(200, `{"ok":true,"result":{"message_id":7,"date":1,"chat":{"id":5,"type":"private"}}}`)), "", 7},
		"accepted, truncated reply":  {serve(t, truncates("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"ok\": true, \"result\":{\"mess")), "", 0},
		"accepted, unexpected reply": {serve(t, replies(200, `{"ok":true,"result":[]}`)), "", 0},
		"connection refused":         {unused, Unreached, 0},
		"not TLS":                    {strings.Replace(serve(t, replies(200, "")), "http://", "https://", 1), Unreached, 0},
		"no reply":                   {serve(t, truncates("")), Lost, 0},
		"truncated header":           {serve(t, truncates("HTTP/1.1 200 OK\r\nContent-")), Lost, 0},
		"truncated body":             {serve(t, truncates("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"ok\":")), Lost, 0},
		"timeout":                    {serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), Lost, 0},
		"a portal's page":            {serve(t, replies(200, "<html>log in, "+secret+"</html>")), Broken, 0},
		"empty reply":                {serve(t, replies(200, "")), Broken, 0},
		"a gateway":                  {serve(t, replies(502, "<html>502 "+secret+"</html>")), Broken, 0},
		"500":                        {serve(t, refuses(500, "Internal Server Error "+secret, "")), Broken, 0},
		"redirect": {serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://elsewhere.invalid"+r.URL.Path, http.StatusTemporaryRedirect)
		}), Broken, 0},
		"429":                  {serve(t, refuses(429, "Too Many Requests: retry after 12", `"retry_after":12`)), Limited, 0},
		"429 for 31 years":     {serve(t, refuses(429, "Too Many Requests: retry after 999999999", `"retry_after":999999999`)), Limited, 0},
		"migrated":             {serve(t, refuses(400, "Bad Request: group chat was upgraded to a supergroup chat", `"migrate_to_chat_id":-1001234567890`)), Migrated, 0},
		"blocked":              {serve(t, refuses(403, "Forbidden: bot was blocked by the user", "")), NoAccess, 0},
		"removed":              {serve(t, refuses(403, "Forbidden: bot was kicked from the supergroup chat", "")), NoAccess, 0},
		"no such chat":         {serve(t, refuses(400, "Bad Request: chat not found", "")), NoAccess, 0},
		"not allowed to write": {serve(t, refuses(400, "Bad Request: not enough rights to send text messages to the chat", "")), NoAccess, 0},
		"bad markup":           {serve(t, refuses(400, `Bad Request: can't parse entities: Unsupported start tag "x" at byte offset 3`, "")), BadMarkup, 0},
		"too long":             {serve(t, refuses(400, "Bad Request: message is too long", "")), BadMarkup, 0},
		"no picture":           {serve(t, refuses(400, "Bad Request: PHOTO_INVALID_DIMENSIONS", "")), BadFile, 0},
		"too large":            {serve(t, refuses(413, "Request Entity Too Large", "")), BadFile, 0},
		"too large, a gateway": {serve(t, replies(413, "<html>")), BadFile, 0},
		"empty":                {serve(t, refuses(400, "Bad Request: message text is empty", "")), Refused, 0},
		"wrong token":          {serve(t, refuses(401, "Unauthorized: "+secret, "")), BadToken, 0},
		"no token":             {serve(t, refuses(404, "Not Found: "+secretHalf, "")), BadToken, 0},
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
			wantRetry := 12 * time.Second
			if strings.HasSuffix(name, "years") {
				wantRetry = LongestRetry
			}
			if c.want == Limited && failure.RetryAfter != wantRetry || c.want == Migrated && failure.MigrateTo != -1001234567890 {
				t.Errorf("%+v", failure)
			}
			for ; err != nil; err = errors.Unwrap(err) {
				for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
					if strings.Contains(text, secretHalf) {
						t.Errorf("the error contains the token: %s", text)
					}
				}
			}
			if strings.Contains(log.String(), secretHalf) {
				t.Errorf("the log contains the token: %s", log.String())
			}
		})
	}
}

func TestErrorUnwrapsDeadline(t *testing.T) {
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
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

func TestRequestParameters(t *testing.T) {
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
			t.Errorf("sent %+v, want %s %s %v", got, c.method, c.file, c.form)
		}
	}
}

func TestNewClientErrors(t *testing.T) {
	if _, err := NewClient("https://api.telegram.org", Token{}, Options{}); err == nil {
		t.Error("no error without a token")
	}
	for _, server := range []string{"", "api.telegram.org", "ftp://x", "http://user:" + secretHalf + "@ho st", "http://"} {
		if _, err := NewClient(server, testToken(t), Options{}); err == nil || strings.Contains(err.Error(), secretHalf) {
			t.Errorf("%q: %v", server, err)
		}
	}
}
