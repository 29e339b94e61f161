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
func (b *builder) style(s style) int {
	id, ok := b.styles[s]
	if !ok {
		var err error
		id, err = b.file.NewStyle(s.excel())
		b.keep(err)
		b.styles[s] = id
	}
	return id
}

func (s style) excel() *excelize.Style {
	font := &excelize.Font{Family: fontName, Size: 11, Color: ink}
	out := &excelize.Style{Font: font, Alignment: &excelize.Alignment{Vertical: "top"}}
	if s.header {
		font.Bold, font.Color = true, white
		out.Fill = fill(slate)
		out.Alignment = &excelize.Alignment{Vertical: "center", Horizontal: "left", Indent: 1}
		if s.format.rightAligned() {
			out.Alignment.Horizontal, out.Alignment.Indent = "right", 0
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
	plain := "0"
	if s.decimals > 0 {
		plain += "." + strings.Repeat("0", min(s.decimals, 15))
	}
	switch s.format {
	case Integer:
		return "#,##0"
	case ID:
		return "0"
	case Number:
		return "#,##" + plain
	case Percent:
		return "+" + plain + `"%";-` + plain + `"%";` + plain + `"%"`
	case PlainPercent:
		return plain + `"%"`
	case Share:
		return plain + "%"
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

// rightAligned reports whether values are aligned to the right.
func (f Format) rightAligned() bool { return f != Text && f != LongText }

func fill(color string) excelize.Fill {
	return excelize.Fill{Type: "pattern", Pattern: 1, Color: []string{color}}
}

// toneColors are the font and the fill of texts with a tone in a table.
var toneColors = map[Tone][2]string{Good: {green, paleGreen}, Fair: {amber, paleAmber}, Bad: {red, paleRed}}

// conditional returns the id of a conditional style with these colors; no fill means none.
func (b *builder) conditional(font string, fills ...string) *int {
	style := &excelize.Style{Font: &excelize.Font{Color: font}}
	for _, color := range fills {
		style.Fill = fill(color)
	}
	id, err := b.file.NewConditionalStyle(style)
	b.keep(err)
	return &id
}
