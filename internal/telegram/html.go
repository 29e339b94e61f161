package telegram

import (
	"html"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Telegram's limits, in UTF-16 code units after the tags are taken out and the entities read (Bot API, sendMessage and sendPhoto).
const (
	TextLimit    = 4096
	CaptionLimit = 1024
)

const (
	// rawLimit keeps a part's source under the 35,000 bytes at which Telegram's server cuts what it is given.
	rawLimit = 30_000
	// tagLimit keeps a part under the 100 pieces of formatting that Telegram shows; more it silently leaves plain.
	tagLimit = 90
	// depthLimit bounds the tags that are open at once, for each part opens and closes them anew; deeper ones are left out.
	depthLimit = 16
)

// Escape makes plain text into HTML that shows it. Bytes that are not UTF-8 and control characters other than newline
// and tab, which Telegram refuses or drops, are left out.
func Escape(text string) string {
	var out strings.Builder
	for _, r := range strings.ToValidUTF8(text, "�") {
		switch {
		case r == '&':
			out.WriteString("&amp;")
		case r == '<':
			out.WriteString("&lt;")
		case r == '>':
			out.WriteString("&gt;")
		case r == '\n' || r == '\t' || !unicode.IsControl(r):
			out.WriteRune(r)
		}
	}
	return out.String()
}

// Plain is the text that the markup shows, without formatting.
func Plain(markup string) string {
	var out strings.Builder
	for _, t := range tokens(markup) {
		if t.kind == word {
			out.WriteString(html.UnescapeString(t.raw))
		}
	}
	return out.String()
}

// Units is the length of what the markup shows as Telegram counts it: in UTF-16 code units.
func Units(markup string) int {
	units := 0
	for _, t := range tokens(markup) {
		units += t.units
	}
	return units
}

// Split cuts markup into parts that show at most limit UTF-16 code units each, at the end of a line where that leaves
// a part at least half full, else at a space, else anywhere but inside of a character. No tag and no entity is cut: what is open at
// the end of a part is closed there and opened again in the next. Each part is markup that Telegram takes: tags that it does
// not know, and such as are open at the end or were never opened, are shown as text, closed, or left out. Parts that would
// show nothing are left out, for Telegram refuses them.
func Split(markup string, limit int) []string {
	all := tokens(markup)
	var parts []string
	var open []string // raw start tags that are open where the part begins
	for start := 0; start < len(all); {
		cut := cutAt(all[start:], open, limit) + start
		part, after := render(all[start:cut], open)
		if strings.TrimSpace(Plain(part)) != "" {
			parts = append(parts, part)
		}
		start, open = cut, after
		if len(parts) > 0 && start < len(all) && all[start].raw == "\n" {
			start++ // the part's end stands for it
		}
	}
	return parts
}

// cutAt says how many of the tokens go into one part. It is at least 1.
func cutAt(all []token, open []string, limit int) int {
	units, bytes, tags := 0, 0, len(open)
	line, lineUnits, space, spaceUnits, hard := 0, 0, 0, 0, 0
	for i, t := range all {
		units += t.units
		bytes += len(t.raw)
		if t.kind == opening {
			tags++
			bytes += 2 * len(t.raw) // its end tag, or to open it again
		}
		if i > 0 && (units > limit || bytes > rawLimit || tags > tagLimit) {
			switch {
			case line > 0 && 2*lineUnits >= limit:
				return line
			case space > 0 && 2*spaceUnits >= limit:
				return space
			case line > 0 && units <= limit: // too many tags or bytes: a line's end is as good as any
				return line
			case hard > 0:
				return hard
			}
			return i
		}
		switch {
		case t.raw == "\n":
			line, lineUnits = i+1, units
		case t.raw == " ":
			space, spaceUnits = i+1, units
		}
		if i+1 < len(all) && !joins(t, all[i+1]) {
			hard = i + 1
		}
	}
	return len(all)
}

// joins says whether the two tokens show as one character: a letter and its accent, the parts of an emoji.
func joins(a, b token) bool {
	const joiner = '‍'
	if a.kind != word || b.kind != word {
		return false
	}
	last, _ := utf8.DecodeLastRuneInString(a.raw)
	next, _ := utf8.DecodeRuneInString(b.raw)
	return last == joiner || next == joiner || unicode.Is(unicode.M, next) || next >= 0x1F3FB && next <= 0x1F3FF || isFlag(last) && isFlag(next)
}

func isFlag(r rune) bool { return r >= 0x1F1E6 && r <= 0x1F1FF }

// render writes the tokens with the tags that are open before them, closes what is open after them, and says what that is.
func render(all []token, open []string) (markup string, after []string) {
	var out strings.Builder
	after = slices.Clone(open)
	for _, tag := range open {
		out.WriteString(tag)
	}
	for _, t := range all {
		switch t.kind {
		case opening:
			after = append(after, t.raw)
		case closing:
			after = after[:len(after)-1]
		}
		out.WriteString(t.raw)
	}
	for _, tag := range slices.Backward(after) {
		out.WriteString("</" + tagName(tag) + ">")
	}
	return out.String(), after
}

type tokenKind int

const (
	word    tokenKind = iota // one character, or one entity
	opening                  // <b>
	closing                  // </b>
)

type token struct {
	kind  tokenKind
	raw   string
	units int
}

var (
	// startTag has the tags that the Bot API knows under "HTML style", with the attributes it gives them.
	startTag = regexp.MustCompile(`^<(?:b|strong|i|em|u|ins|s|strike|del|code|pre|tg-spoiler|blockquote|blockquote expandable|span class="tg-spoiler"|code class="language-[^"<>]*"|a href="[^"<>]*"|tg-emoji emoji-id="[0-9]+")>`)
	endTag   = regexp.MustCompile(`^</(?:b|strong|i|em|u|ins|s|strike|del|code|pre|tg-spoiler|blockquote|span|a|tg-emoji)>`)
	// entity has those that Telegram reads; any other is text.
	entity = regexp.MustCompile(`^&(?:lt|gt|amp|quot|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});`)
)

// tokens takes markup apart. What it gives is balanced: each closing token closes the last one opened.
func tokens(markup string) []token {
	markup = strings.ReplaceAll(strings.ToValidUTF8(markup, "�"), "\r\n", "\n")
	out := make([]token, 0, len(markup))
	var open []string
	for len(markup) > 0 {
		size := 0
		switch markup[0] {
		case '<':
			if tag := startTag.FindString(markup); tag != "" {
				size = len(tag)
				if len(open) == depthLimit {
					break
				}
				out = append(out, token{opening, tag, 0})
				open = append(open, tagName(tag))
			} else if tag := endTag.FindString(markup); tag != "" {
				size = len(tag)
				name := tagName(tag)
				if !slices.Contains(open, name) {
					break // it was never opened
				}
				for last := ""; last != name; {
					last = open[len(open)-1]
					open = open[:len(open)-1]
					out = append(out, token{closing, "</" + last + ">", 0})
				}
			}
		case '&':
			if raw := entity.FindString(markup); raw != "" {
				size = len(raw)
				if shown := html.UnescapeString(raw); !strings.HasPrefix(shown, "&#") && Escape(shown) != "" && shown != "\uFFFD" {
					out = append(out, token{word, raw, units(shown)})
				}
			}
		}
		if size == 0 {
			var r rune
			r, size = utf8.DecodeRuneInString(markup)
			if raw := Escape(markup[:size]); raw != "" {
				out = append(out, token{word, raw, units(string(r))})
			}
		}
		markup = markup[size:]
	}
	for _, name := range slices.Backward(open) {
		out = append(out, token{closing, "</" + name + ">", 0})
	}
	return out
}

func units(text string) int {
	n := 0
	for _, r := range text {
		n++
		if r > 0xFFFF {
			n++
		}
	}
	return n
}

func tagName(tag string) string {
	name := strings.Trim(tag, "</>")
	name, _, _ = strings.Cut(name, " ")
	return name
}
