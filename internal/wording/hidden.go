package wording

import (
	"bytes"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON returns a writer that passes JSON on, except that it writes the characters that Visible
// escapes as \u202e. Readers decode the same text, and a terminal shows it safely.
func JSON(w io.Writer) io.Writer {
	const hex = "0123456789abcdef"
	return &hiddenWriter{w: w, show: func(out *bytes.Buffer, raw []byte, r rune) {
		if r < ' ' { // spaces between values; in strings the encoder has escaped them
			out.Write(raw)
			return
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			out.WriteString(`\u`)
			for shift := 12; shift >= 0; shift -= 4 {
				out.WriteByte(hex[unit>>shift&15])
			}
		}
	}}
}

// Lines returns a writer for lines of text on a terminal. It writes hidden characters as Visible
// does, except for line breaks and tabs.
func Lines(w io.Writer) io.Writer {
	return &hiddenWriter{w: w, show: func(out *bytes.Buffer, raw []byte, _ rune) {
		out.WriteString(VisibleLines(string(raw)))
	}}
}

// hiddenWriter replaces hidden characters. A character may be split over two writes; what is still
// incomplete when the last one ends is dropped.
type hiddenWriter struct {
	w    io.Writer
	show func(out *bytes.Buffer, raw []byte, r rune)
	rest []byte // the begin of a character
}

func (h *hiddenWriter) Write(p []byte) (int, error) {
	text := p
	if len(h.rest) > 0 {
		text = append(h.rest, p...)
		h.rest = nil
	}
	var out bytes.Buffer
	out.Grow(len(text))
	for i := 0; i < len(text); {
		if !utf8.FullRune(text[i:]) {
			h.rest = bytes.Clone(text[i:])
			break
		}
		r, size := utf8.DecodeRune(text[i:])
		raw := text[i : i+size]
		if r == utf8.RuneError && size == 1 || isHidden(r) {
			h.show(&out, raw, r)
		} else {
			out.Write(raw)
		}
		i += size
	}
	if _, err := h.w.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}
