package botapi

import (
	"bytes"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

const token = "1:test"

// fixture is a stand-in with a manual clock.
type fixture struct {
	t   *testing.T
	s   *Server
	now time.Time
}

func newFixture(t *testing.T, faults Faults) *fixture {
	h := &fixture{t: t, now: time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)}
	h.s = New(Options{Token: token, Now: func() time.Time { return h.now }, Faults: faults, LateAfter: time.Millisecond})
	return h
}

// send posts a form and returns the answer.
func (h *fixture) send(method string, pairs ...string) answer {
	h.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return h.post("/bot"+token+"/"+method, "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
}

func (h *fixture) post(path, kind string, body io.Reader) answer {
	h.t.Helper()
	request := httptest.NewRequest(http.MethodPost, path, body)
	request.Header.Set("Content-Type", kind)
	recorder := httptest.NewRecorder()
	h.s.ServeHTTP(recorder, request)
	var got answer
	if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil {
		h.t.Fatalf("not JSON: %q", recorder.Body)
	}
	if want := max(got.ErrorCode, 200) != recorder.Code; want {
		h.t.Errorf("status %d for error %d", recorder.Code, got.ErrorCode)
	}
	return got
}

func TestRateLimits(t *testing.T) {
	h := newFixture(t, Faults{})
	send := func(chat string) answer { return h.send("sendMessage", "chat_id", chat, "text", "x") }
	if got := send("7"); !got.OK {
		t.Fatalf("%+v", got)
	}
	h.now = h.now.Add(999 * time.Millisecond)
	got := send("7")
	if got.ErrorCode != 429 || got.Parameters == nil || got.Parameters.RetryAfter != 1 {
		t.Errorf("the second within a second: %+v", got)
	}
	h.now = h.now.Add(500 * time.Millisecond)
	if got := send("7"); got.ErrorCode != 429 {
		t.Errorf("before the end of retry_after: %+v", got)
	}
	h.now = h.now.Add(2 * time.Second)
	if got := send("7"); !got.OK {
		t.Errorf("after retry_after: %+v", got)
	}
	for i := range 21 {
		h.now = h.now.Add(time.Second)
		if got := send("-7"); got.OK != (i < 20) {
			t.Errorf("message %d in a minute to a group: %+v", i+1, got)
		}
		if wait := h.s.rates.retryAfter["-7"].Sub(h.now); i == 20 && wait != 40*time.Second {
			t.Errorf("retry_after is %v, want 40 s", wait)
		}
	}
	h.now = h.now.Add(time.Minute)
	for i := range 31 {
		if got := send(string(rune('1' + i))); got.OK != (i < 30) {
			t.Errorf("chat %d within a second: %+v", i+1, got)
		}
	}
	for _, rule := range []string{"more than a message a second to a chat", "before retry_after was over", "more than 20 messages a minute to a group", "more than 30 messages a second"} {
		if h.s.Offences()[rule] != 1 {
			t.Errorf("offences: %v, without %q", h.s.Offences(), rule)
		}
	}
}

func TestMessageText(t *testing.T) {
	for name, c := range map[string]struct {
		source, shown, refused string
	}{
		"markup":            {"<b>a &lt; b</b> &amp; &quot;<i>c</i>&quot; &#39;&#x41;", `a < b & "c" 'A`, ""},
		"other entities":    {"&nbsp;x&copy;", "&nbsp;x&copy;", ""},
		"no semicolon":      {"&lt&amp; &#65 &#x42x &ltx", "<& A Bx &ltx", ""},
		"numbers":           {"&#x80;&#x10FFFE;|&#0;&#x10FFFF;&#00000065;", "\u0080\U0010FFFE|&#0;&#x10FFFF;&#00000065;", ""},
		"surrounding space": {"\n x \n", "x", ""},
		"open":              {"<b>a", "", `can't find end tag corresponding to start tag "b"`},
		"crossed":           {"<b>a<i>b</b></i>", "", `unmatched end tag at byte offset 8, expected "</i>", found "</b>"`},
		"not opened":        {"a</b>", "", "unexpected end tag at byte offset 1"},
		"unknown":           {"a<br>", "", `unsupported start tag "br" at byte offset 1`},
		"cut":               {"abc<b", "", "unclosed start tag at byte offset 3"},
		"attribute":         {`<b class="x">a</b>`, "", "unsupported start tag"},
		"empty":             {"<b> </b>", "", "message text is empty"},
		"longest":           {"<b>" + strings.Repeat("😀", 2048) + "</b>", strings.Repeat("😀", 2048), ""},
		"too long":          {strings.Repeat("😀", 2048) + "x", "", "message is too long"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newFixture(t, Faults{})
			got := h.send("sendMessage", "chat_id", "7", "parse_mode", "HTML", "text", c.source)
			if c.refused != "" {
				if got.ErrorCode != 400 || !strings.Contains(got.Description, c.refused) || len(h.s.Messages()) != 0 || len(h.s.Offences()) != 1 {
					t.Errorf("%+v, offences %v", got, h.s.Offences())
				}
				return
			}
			if !got.OK || h.s.Messages()[0].Text != c.shown {
				t.Errorf("%+v %+v", got, h.s.Messages())
			}
		})
	}
}

func TestFileLimits(t *testing.T) {
	for name, c := range map[string]struct {
		method, field, caption string
		content                []byte
		status                 int
	}{
		"a picture":           {"sendPhoto", "photo", "x", []byte("\x89PNG\r\n\x1a\n"), 0},
		"no picture":          {"sendPhoto", "photo", "x", []byte("text"), 400},
		"a large picture":     {"sendPhoto", "photo", "x", append([]byte("\x89PNG\r\n\x1a\n"), make([]byte, 1<<10)...), 400},
		"a document":          {"sendDocument", "document", "x", []byte("text"), 0},
		"an empty document":   {"sendDocument", "document", "x", nil, 400},
		"a large document":    {"sendDocument", "document", "x", make([]byte, 5<<10+1), 413},
		"the wrong field":     {"sendDocument", "photo", "x", []byte("text"), 400},
		"the longest caption": {"sendDocument", "document", strings.Repeat("x", 1024), []byte("text"), 0},
		"a longer caption":    {"sendDocument", "document", strings.Repeat("x", 1025), []byte("text"), 400},
	} {
		t.Run(name, func(t *testing.T) {
			h := newFixture(t, Faults{})
			h.s.photoLimit, h.s.documentLimit = 1<<10, 5<<10 // the real ones are megabytes
			var body bytes.Buffer
			form := multipart.NewWriter(&body)
			_ = form.WriteField("chat_id", "7")
			_ = form.WriteField("caption", c.caption)
			part, err := form.CreateFormFile(c.field, "name.x")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = part.Write(c.content)
			form.Close()
			got := h.post("/bot"+token+"/"+c.method, form.FormDataContentType(), &body)
			if got.ErrorCode != c.status {
				t.Errorf("%+v", got)
			}
			if c.status == 0 && (h.s.Messages()[0].FileName != "name.x" || !bytes.Equal(h.s.Messages()[0].File, c.content)) {
				t.Errorf("%+v", h.s.Messages())
			}
		})
	}
}

func TestTokensAndMethods(t *testing.T) {
	h := newFixture(t, Faults{})
	for path, want := range map[string]int{
		"/bot" + token + "/getMe": 0, "/bot2:other/getMe": 401, "/bot" + token + "/noSuch": 404, "/": 404, "/bot" + token + "/sendMessage": 400,
	} {
		if got := h.post(path, "application/json", strings.NewReader(`{"text": "x"}`)); got.ErrorCode != want {
			t.Errorf("%s: %+v", path, got)
		}
	}
	if got := h.post("/bot"+token+"/sendMessage", "application/json", strings.NewReader(`{"chat_id": -1001234567890, "text": "x"}`)); !got.OK || h.s.Messages()[0].Chat != "-1001234567890" {
		t.Errorf("%+v %+v", got, h.s.Messages())
	}
}

func TestRefusedAndMigratedChats(t *testing.T) {
	h := newFixture(t, Faults{})
	h.s.Refuse("7", 403, "Forbidden: bot was blocked by the user")
	h.s.Migrate("-8", -1008)
	if got := h.send("sendMessage", "chat_id", "7", "text", "x"); got.ErrorCode != 403 {
		t.Errorf("%+v", got)
	}
	if got := h.send("sendMessage", "chat_id", "-8", "text", "x"); got.ErrorCode != 400 || got.Parameters.MigrateToChatID != -1008 {
		t.Errorf("%+v", got)
	}
	h.s.Refuse("7", 0, "")
	if got := h.send("sendMessage", "chat_id", "7", "text", "x"); !got.OK {
		t.Errorf("%+v", got)
	}
}

func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		faults   Faults
		accepted bool
		status   int // 0: the connection is closed
	}{
		"limit":      {Faults{Limit: 1}, false, 429},
		"server":     {Faults{Server: 1}, false, 500},
		"cut before": {Faults{CutBefore: 1}, false, 0},
		"cut after":  {Faults{CutAfter: 1}, true, 0},
		"late":       {Faults{Late: 1}, true, 200},
	} {
		t.Run(name, func(t *testing.T) {
			h := newFixture(t, c.faults)
			server := httptest.NewServer(h.s)
			defer server.Close()
			status := 0
			response, err := http.PostForm(server.URL+"/bot"+token+"/sendMessage", url.Values{"chat_id": {"7"}, "text": {"x"}})
			if err == nil {
				if _, err = io.ReadAll(response.Body); err == nil {
					status = response.StatusCode
				}
				response.Body.Close()
			}
			if (len(h.s.Messages()) == 1) != c.accepted || status/100 != c.status/100 {
				t.Errorf("accepted %d, status %d, error %v", len(h.s.Messages()), status, err)
			}
			injected := 0
			for _, n := range h.s.Injected() {
				injected += n
			}
			if injected != 1 {
				t.Errorf("injected: %v", h.s.Injected())
			}
		})
	}
}

func TestLateAnswerEndsWhenTheClientDisconnects(t *testing.T) {
	h := newFixture(t, Faults{Late: 1})
	h.s.opt.LateAfter = time.Hour
	server := httptest.NewServer(h.s)
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	_ = form.WriteField("chat_id", "7")
	_ = form.WriteField("text", "x")
	form.Close()
	client := &http.Client{Timeout: 50 * time.Millisecond}
	// tapedeck's client library sends forms in chunks too.
	chunked := struct{ io.Reader }{&body}
	if _, err := client.Post(server.URL+"/bot"+token+"/sendMessage", form.FormDataContentType(), chunked); err == nil {
		t.Error("the client received an answer")
	}
	server.Close() // waits for the handler
	if len(h.s.Messages()) != 1 {
		t.Errorf("accepted: %d", len(h.s.Messages()))
	}
}
