package telegram

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Telegram's limits in UTF-16 code units, counted without tags and with decoded entities (Bot API,
// sendMessage and sendPhoto).
const (
	TextLimit    = 4096
	CaptionLimit = 1024
)

const (
	// maxRaw keeps the source of a part below the 35,000 bytes at which Telegram's server truncates
	// it.
	maxRaw = 30_000
	// maxTags keeps a part below the 100 formatted pieces that Telegram shows. It ignores further
	// tags silently.
	maxTags = 90
	// maxDepth limits the nesting of tags, because each part reopens them. Deeper tags are left
	// out.
	maxDepth = 16
)

// Escape converts plain text to HTML. It removes control characters other than newline and tab,
// which Telegram refuses or drops, and replaces invalid UTF-8.
func Escape(text string) string {
	return entities.Replace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "�")))
}

var entities = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// Plain returns the text of the markup without formatting.
func Plain(markup string) string {
	var out strings.Builder
	for _, t := range tokens(markup) {
		if t.kind == char {
			out.WriteString(shown(t.raw))
		}
	}
	return out.String()
}

// Units returns the length of the markup's text in UTF-16 code units, as Telegram counts it.
func Units(markup string) int {
	units := 0
	for _, t := range tokens(markup) {
		units += t.units
	}
	return units
}

// Split splits markup into parts whose texts have at most limit UTF-16 code units each. It splits
// at the end of a line if the part is at least half full, else at a space, else between two
// characters. Tags that are open at the end of a part are closed there and reopened in the next
// one. Each part is valid markup for Telegram: unknown tags become text, unclosed tags are closed,
// and unmatched end tags are left out. Parts without text, which Telegram refuses, are left out.
func Split(markup string, limit int) []string {
	all := tokens(markup)
	var parts []string
	var open []string // start tags that are open at the start of the part
	for start := 0; start < len(all); {
		end := start + splitPoint(all[start:], open, limit)
		part, after := render(all[start:end], open)
		if strings.TrimSpace(Plain(part)) != "" {
			parts = append(parts, part)
		}
		start, open = end, after
		if len(parts) > 0 && start < len(all) && all[start].raw == "\n" {
			start++ // the end of the part replaces the newline
		}
	}
	return parts
}

// splitPoint returns how many of the tokens go into one part, at least 1.
func splitPoint(all []token, open []string, limit int) int {
	units, bytes, tags := 0, 0, len(open)
	line, lineUnits, space, spaceUnits, hard := 0, 0, 0, 0, 0
	for i, t := range all {
		units += t.units
		bytes += len(t.raw)
		if t.kind == opening {
			tags++
			bytes += 2 * len(t.raw) // for its end tag or for reopening it
		}
		if i > 0 && (units > limit || bytes > maxRaw || tags > maxTags) {
			switch {
			case line > 0 && 2*lineUnits >= limit:
				return line
			case space > 0 && 2*spaceUnits >= limit:
				return space
			case line > 0 && units <= limit: // too many tags or bytes
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

// joins reports whether two tokens form one character, such as a letter and its accent, or the
// parts of an emoji.
func joins(a, b token) bool {
	const joiner = '‍'
	if a.kind != char || b.kind != char {
		return false
	}
	last, _ := utf8.DecodeLastRuneInString(a.raw)
	next, _ := utf8.DecodeRuneInString(b.raw)
	isSkinTone := next >= 0x1F3FB && next <= 0x1F3FF
	return last == joiner || next == joiner || unicode.Is(unicode.M, next) || isSkinTone || isFlag(last) && isFlag(next)
}

func isFlag(r rune) bool { return r >= 0x1F1E6 && r <= 0x1F1FF }

// render returns the tokens as markup, with the open tags before them and end tags for what is open
// after them. after are the start tags that are open after the tokens.
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
	char    tokenKind = iota // one character or entity
	opening                  // <b>
	closing                  // </b>
)

type token struct {
	kind  tokenKind
	raw   string
	units int
}

var (
	// startTag matches the tags and attributes that the Bot API lists under "HTML style".
	startTag = regexp.MustCompile(`^<(?:b|strong|i|em|u|ins|s|strike|del|code|pre|tg-spoiler|blockquote|blockquote expandable|span class="tg-spoiler"|code class="language-[^"<>]*"|a href="[^"<>]*"|tg-emoji emoji-id="[0-9]+")>`)
	endTag   = regexp.MustCompile(`^</(?:b|strong|i|em|u|ins|s|strike|del|code|pre|tg-spoiler|blockquote|span|a|tg-emoji)>`)
	// entity matches the entities that Telegram decodes. Others are text.
	entity = regexp.MustCompile(`^&(?:lt|gt|amp|quot|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});`)
)

// tokens splits markup into tokens. They are balanced: each closing token closes the last opening
// one.
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
				if len(open) == maxDepth {
					break
				}
				out = append(out, token{opening, tag, 0})
				open = append(open, tagName(tag))
			} else if tag := endTag.FindString(markup); tag != "" {
				size = len(tag)
				name := tagName(tag)
				if !slices.Contains(open, name) {
					break // unmatched
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
				if text := shown(raw); Escape(text) != "" {
					out = append(out, token{char, raw, units(text)})
				}
			}
		}
		if size == 0 {
			var r rune
			r, size = utf8.DecodeRuneInString(markup)
			if raw := Escape(markup[:size]); raw != "" {
				out = append(out, token{char, raw, units(string(r))})
			}
		}
		markup = markup[size:]
	}
	for _, name := range slices.Backward(open) {
		out = append(out, token{closing, "</" + name + ">", 0})
	}
	return out
}

// shown returns the text of a token of the kind char. A numeric entity is the character of that number:
// Telegram's server has no table of Windows-1252 for 0x80 to 0x9F, as HTML has (tdlib, decode_html_entity
// in td/telegram/MessageEntity.cpp). The text of a number that Telegram does not decode or that is not a
// character is "".
func shown(raw string) string {
	number, ok := strings.CutPrefix(raw, "&#")
	if !ok {
		return names.Replace(raw)
	}
	base := 10
	if hex, ok := strings.CutPrefix(number, "x"); ok {
		number, base = hex, 16
	}
	code, err := strconv.ParseInt(strings.TrimSuffix(number, ";"), base, 32)
	if err != nil || code == 0 || code >= unicode.MaxRune || !utf8.ValidRune(rune(code)) {
		return ""
	}
	return string(rune(code))
}

var names = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&", "&quot;", `"`)

// units returns the length in UTF-16 code units.
func units(text string) int {
	n := 0
	for _, r := range text {
		n += utf16.RuneLen(r)
	}
	return n
}

// tagName returns the name of a start or end tag.
func tagName(tag string) string {
	name, _, _ := strings.Cut(strings.Trim(tag, "</>"), " ")
	return name
}
