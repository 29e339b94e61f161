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

// readAs gives what the stand-in, which reads markup with a reader of its own, shows of a text, or its refusal.
func readAs(t *testing.T, markup string) (string, error) {
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

// letters leaves out what Telegram and the cuts may take away: space.
func letters(text string) string {
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
		"&lt;&amp;&quot;&#39;&#x1F600;&nbsp;&copy;&", "&#0;&#xD800;&#55555555;", "<a href=\"https://x.y?a=1&amp;b=2\">link</a>", "<a href='x'>", "<pre><code class=\"language-sql\">SELECT 1 < 2</code></pre>",
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
				t.Errorf("a part shows %d, more than %d: %q", n, limit, part)
			}
			text, err := readAs(t, part)
			if err != nil {
				t.Fatalf("part %q: %v", part, err)
			}
			if letters(text) != letters(telegram.Plain(part)) {
				t.Errorf("part %q shows %q, and plain it is %q", part, text, telegram.Plain(part))
			}
			shown.WriteString(text)
		}
		if got, want := letters(shown.String()), letters(telegram.Plain(markup)); got != want {
			t.Errorf("shown: %q\nwant:  %q", got, want)
		}
		// Escaped, it shows what it says.
		for _, part := range telegram.Split(telegram.Escape(markup), limit) {
			if strings.Contains(part, "<") {
				t.Errorf("a tag in escaped text: %q", part)
			}
		}
	})
}
