package botapi

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
)

// parseHTML parses Telegram's HTML and returns the text without tags. Its errors have the wording of
// Telegram's server. It shares no code with internal/telegram, which writes this HTML: tests compare
// the two.
func parseHTML(source string) (string, error) {
	var out strings.Builder
	var open []string
	for i := 0; i < len(source); {
		switch source[i] {
		case '&':
			character, size := entity(source[i:])
			out.WriteString(character)
			i += size
		case '<':
			end := strings.IndexByte(source[i:], '>')
			if end < 0 {
				return "", fmt.Errorf("unclosed start tag at byte offset %d", i)
			}
			tag := source[i+1 : i+end]
			if name, ok := strings.CutPrefix(tag, "/"); ok {
				if len(open) == 0 {
					return "", fmt.Errorf("unexpected end tag at byte offset %d", i)
				}
				if last := open[len(open)-1]; last != name {
					return "", fmt.Errorf("unmatched end tag at byte offset %d, expected \"</%s>\", found \"</%s>\"", i, last, name)
				}
				open = open[:len(open)-1]
			} else {
				name, attributes, _ := strings.Cut(tag, " ")
				if !isTag(name, attributes) {
					return "", fmt.Errorf("unsupported start tag %q at byte offset %d", name, i)
				}
				open = append(open, name)
			}
			i += end + 1
		default:
			out.WriteByte(source[i])
			i++
		}
	}
	if len(open) > 0 {
		return "", fmt.Errorf("can't find end tag corresponding to start tag %q", open[len(open)-1])
	}
	return out.String(), nil
}

func isTag(name, attributes string) bool {
	switch name {
	case "b", "strong", "i", "em", "u", "ins", "s", "strike", "del", "tg-spoiler", "pre":
		return attributes == ""
	case "code":
		return attributes == "" || strings.HasPrefix(attributes, `class="language-`)
	case "a":
		return strings.HasPrefix(attributes, `href="`) && strings.HasSuffix(attributes, `"`)
	case "span":
		return attributes == `class="tg-spoiler"`
	case "blockquote":
		return attributes == "" || attributes == "expandable"
	case "tg-emoji":
		return strings.HasPrefix(attributes, `emoji-id="`)
	}
	return false
}

// entity decodes the entity at the start of a source as tdlib does (decode_html_entity in
// td/telegram/MessageEntity.cpp): four names and numbers below 0x10FFFF, with or without a semicolon. A
// number is the character itself: the table of HTML for 0x80 to 0x9F is not used. Anything else is an
// ampersand.
func entity(source string) (character string, size int) {
	name := namedEntity.FindString(source)
	if i := slices.Index([]string{"&lt", "&gt", "&amp", "&quot"}, name); i >= 0 {
		character = `<>&"`[i : i+1]
	} else if name = numberedEntity.FindString(source); len(name) < 10 {
		var code rune
		for _, form := range []string{"&#x%x", "&#%d"} {
			if _, err := fmt.Sscanf(name, form, &code); err == nil && code > 0 && code < unicode.MaxRune {
				character = string(code)
				break
			}
		}
	}
	if character == "" {
		return "&", 1
	}
	if strings.HasPrefix(source[len(name):], ";") {
		return character, len(name) + 1
	}
	return character, len(name)
}

var (
	namedEntity    = regexp.MustCompile(`^&[A-Za-z]+`)
	numberedEntity = regexp.MustCompile(`^&#(?:x[0-9A-Fa-f]*|[0-9]*)`)
)

// length returns the length of a text in UTF-16 code units, which Telegram counts.
func length(text string) int { return len(utf16.Encode([]rune(text))) }
