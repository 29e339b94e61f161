package botapi

import (
	"fmt"
	"slices"
	"strings"
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
			end := strings.IndexByte(source[i:], ';')
			if character, ok := "", false; end > 0 {
				if character, ok = entity(source[i+1 : i+end]); ok {
					out.WriteString(character)
					i += end + 1
					continue
				}
			}
			out.WriteByte('&')
			i++
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

func entity(name string) (string, bool) {
	if i := slices.Index([]string{"lt", "gt", "amp", "quot"}, name); i >= 0 {
		return `<>&"`[i : i+1], true
	}
	var code rune
	for _, form := range []string{"#x%x", "#%d"} {
		if _, err := fmt.Sscanf(name, form, &code); err == nil && code > 0 {
			return string(code), true
		}
	}
	return "", false
}

// length returns the length of a text in UTF-16 code units, which Telegram counts.
func length(text string) int { return len(utf16.Encode([]rune(text))) }
