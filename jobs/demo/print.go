package demo

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// heading prints the title of a step and the command that it runs.
func (d *demo) heading(title string, args ...string) {
	d.step++
	fmt.Fprintf(d.opt.Stdout, "\n%s\n", d.bold(fmt.Sprintf("%d. %s", d.step, title)))
	if len(args) > 0 {
		d.print("%s", d.ansi("\x1b[2m", "$ tapedeck "+strings.Join(args, " ")))
	}
}

// print prints a line below a heading.
func (d *demo) print(format string, args ...any) {
	fmt.Fprintf(d.opt.Stdout, "   "+format+"\n", args...)
}

// printOver is print in place of the status line that a running command shows on a terminal. The
// command draws it again.
func (d *demo) printOver(format string, args ...any) {
	if d.opt.Terminal && d.opt.Colour {
		// In one write, because the command may draw at any moment.
		fmt.Fprintf(d.opt.Stdout, "\r\x1b[J   "+format+"\x1b[K\n", args...)
		return
	}
	if d.opt.Terminal {
		fmt.Fprint(d.opt.Stderr, "\r\x1b[J")
	}
	d.print(format, args...)
}

// printWrapped prints a prefix and a text, wrapped to a terminal of 80 columns and indented by the
// prefix.
func (d *demo) printWrapped(prefix, text string) {
	const width = 80 - 3
	line := prefix
	for _, word := range strings.Fields(text) {
		if n := utf8.RuneCountInString(line); n > len(prefix) && n+1+len(word) > width {
			d.print("%s", line)
			line = strings.Repeat(" ", len(prefix))
		}
		if utf8.RuneCountInString(line) > len(prefix) {
			line += " "
		}
		line += word
	}
	d.print("%s", line)
}

func (d *demo) bold(text string) string { return d.ansi("\x1b[1m", text) }

func (d *demo) ansi(style, text string) string {
	if !d.opt.Colour {
		return text
	}
	return style + text + "\x1b[0m"
}

// indented indents each line by three spaces.
type indented struct {
	w      io.Writer
	inLine bool
}

func (i *indented) Write(p []byte) (int, error) {
	var out []byte
	for _, c := range p {
		if !i.inLine && c != '\n' {
			out = append(out, "   "...)
		}
		out = append(out, c)
		i.inLine = c != '\n'
	}
	if _, err := i.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}
