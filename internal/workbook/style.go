package workbook

import (
	"strings"

	"github.com/xuri/excelize/v2"
)

// The colors: dark slate and blue on white; green, amber and red for tones.
const (
	ink       = "1F2933"
	faint     = "6B7785"
	rule      = "C9D1D9"
	slate     = "2F3E4E"
	white     = "FFFFFF"
	blue      = "2F6FB2"
	paleBlue  = "9DB8D6"
	green     = "1A7F4B"
	paleGreen = "DDF3E4"
	amber     = "8A5A00"
	paleAmber = "FFF0CC"
	red       = "B3261E"
	paleRed   = "FBE0DD"
	fontName  = "Calibri"
)

// style is the key of a cell style.
type style struct {
	format   Format
	decimals int
	millis   bool // DateTime displays milliseconds
	tone     Tone
	header   bool
	link     bool
	inTable  bool
}

// style returns the id of a style and creates it on first use.
func (b *builder) style(s style) (int, error) {
	if id, ok := b.styles[s]; ok {
		return id, nil
	}
	id, err := b.file.NewStyle(s.excel())
	if err != nil {
		return 0, err
	}
	b.styles[s] = id
	return id, nil
}

func (s style) excel() *excelize.Style {
	font := &excelize.Font{Family: fontName, Size: 11, Color: ink}
	out := &excelize.Style{Font: font, Alignment: &excelize.Alignment{Vertical: "top"}}
	if s.header {
		font.Bold, font.Color = true, white
		out.Fill = fill(slate)
		out.Alignment = &excelize.Alignment{Vertical: "center", Horizontal: "left", Indent: 1}
		if s.format.rightAligned() {
			out.Alignment = &excelize.Alignment{Vertical: "center", Horizontal: "right"}
		}
		return out
	}
	switch s.tone {
	case Title:
		font.Size, font.Bold = 18, true
	case Heading:
		font.Size, font.Bold = 13, true
	case Muted:
		font.Color = faint
	case Good:
		font.Color = green
	case Fair:
		font.Color = amber
	case Bad:
		font.Color, font.Bold = red, true
	}
	if s.link {
		font.Color, font.Underline = blue, "single"
	}
	if code := s.numberFormat(); code != "" {
		out.CustomNumFmt = &code
	}
	switch {
	case s.format.rightAligned():
		out.Alignment.Horizontal = "right"
	case s.inTable:
		out.Alignment.Horizontal, out.Alignment.Indent = "left", 1
		out.Alignment.WrapText = s.format == LongText
	}
	return out
}

// numberFormat returns the Excel number format, or "".
func (s style) numberFormat() string {
	switch s.format {
	case Integer:
		return "#,##0"
	case ID:
		return "0"
	case Number:
		return "#,##0" + decimals(s.decimals)
	case Percent:
		return "+0" + decimals(s.decimals) + `"%";-0` + decimals(s.decimals) + `"%";0` + decimals(s.decimals) + `"%"`
	case PlainPercent:
		return "0" + decimals(s.decimals) + `"%"`
	case Share:
		return "0" + decimals(s.decimals) + "%"
	case DateTime:
		if s.millis {
			return "yyyy-mm-dd hh:mm:ss.000"
		}
		return "yyyy-mm-dd hh:mm:ss"
	case Date:
		return "yyyy-mm-dd"
	case Text, LongText:
		return "@" // keeps text as text if a person edits the cell
	}
	return ""
}

func decimals(n int) string {
	if n <= 0 {
		return ""
	}
	return "." + strings.Repeat("0", min(n, 15))
}

// rightAligned reports whether values are aligned to the right.
func (f Format) rightAligned() bool {
	switch f {
	case Integer, ID, Number, Percent, PlainPercent, Share, DateTime, Date:
		return true
	}
	return false
}

func fill(color string) excelize.Fill {
	return excelize.Fill{Type: "pattern", Pattern: 1, Color: []string{color}}
}

// toneFill returns the conditional style of a tone.
func (b *builder) toneFill(tone Tone) (int, error) {
	font, back := "", ""
	switch tone {
	case Good:
		font, back = green, paleGreen
	case Fair:
		font, back = amber, paleAmber
	case Bad:
		font, back = red, paleRed
	default:
		font, back = faint, white
	}
	return b.file.NewConditionalStyle(&excelize.Style{Font: &excelize.Font{Color: font},
		Fill: excelize.Fill{Type: "pattern", Pattern: 1, Color: []string{back}}})
}
