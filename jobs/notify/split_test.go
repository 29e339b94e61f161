package notify

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"

	"tapedeck/internal/standin/botapi"
	"tapedeck/internal/telegram"
)

// displayed returns how the stand-in, which has its own parser, displays a markup, or its refusal.
func displayed(t *testing.T, markup string) (string, error) {
	t.Helper()
	standIn := botapi.New(botapi.Options{Token: testToken, Now: time.Now})
	form := url.Values{"chat_id": {"7"}, "text": {markup}, "parse_mode": {"HTML"}}
	request := httptest.NewRequest(http.MethodPost, "/bot"+testToken+"/sendMessage", strings.NewReader(form.Encode()))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer := httptest.NewRecorder()
	standIn.ServeHTTP(answer, request)
	if answer.Code != http.StatusOK {
		return "", fmt.Errorf("%d %s", answer.Code, answer.Body)
	}
	return standIn.Messages()[0].Text, nil
}

// withoutSpace removes spaces, which Telegram and Split may drop.
func withoutSpace(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, text)
}

func FuzzSplit(f *testing.F) {
	for _, seed := range []string{
		"", "plain", "a < b && c > d", "<b>bold <i>both</i></b>", "<b>never closed", "closed</b> never", "<b><i>crossed</b></i>", "<script>alert(1)</script>",
		"&lt;&amp;&quot;&#39;&#x1F600;&nbsp;&copy;&", "&#0;&#xD800;&#55555555;", "&#x80;0", "&#159;&#x10FFFF;&#x10FFFE;", "&lt&#65", "<a href=\"https://x.y?a=1&amp;b=2\">link</a>", "<a href='x'>", "<pre><code class=\"language-sql\">SELECT 1 < 2</code></pre>",
		"👨‍👩‍👧‍👦 🇩🇪 é \xff\xfe \x00\x01", "<", "&", "</", "<b", "\r\n\r\n", strings.Repeat("<b>x</b>\n", 200), strings.Repeat("😀", 50), "<blockquote expandable>q</blockquote>", "<span class=\"tg-spoiler\">s</span>",
		"<b> </b>", "<B>upper</B>", "<b >space</b >",
	} {
		f.Add(seed, 20)
		f.Add(seed, 4096)
	}
	f.Fuzz(func(t *testing.T, markup string, limit int) {
		if limit < 8 || limit > telegram.TextLimit {
			limit = telegram.TextLimit
		}
		var shown strings.Builder
		for _, part := range telegram.Split(markup, limit) {
			if n := telegram.Units(part); n > limit {
				t.Errorf("a part displays %d, want at most %d: %q", n, limit, part)
			}
			text, err := displayed(t, part)
			if err != nil {
				t.Fatalf("part %q: %v", part, err)
			}
			if withoutSpace(text) != withoutSpace(telegram.Plain(part)) {
				t.Errorf("part %q is displayed as %q, want %q", part, text, telegram.Plain(part))
			}
			shown.WriteString(text)
		}
		if got, want := withoutSpace(shown.String()), withoutSpace(telegram.Plain(markup)); got != want {
			t.Errorf("displayed: %q\nwant:      %q", got, want)
		}
		// Escaped text contains no tags.
		for _, part := range telegram.Split(telegram.Escape(markup), limit) {
			if strings.Contains(part, "<") {
				t.Errorf("tag in escaped text: %q", part)
			}
		}
	})
}
