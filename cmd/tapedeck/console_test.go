package main

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// screen is a terminal of some width: what it shows after a text with line breaks, returns, the
// sequence that clears to the end of the screen, and colors. It breaks lines at its width, also
// after a resize, as most terminals do.
type screen struct {
	width   int
	lines   []string // whole lines, which are broken when shown
	current int      // the line with the cursor
	column  int
}

func (s *screen) Write(p []byte) (int, error) {
	text := []rune(escapeSequence.ReplaceAllString(string(p), ""))
	if s.lines == nil {
		s.lines = []string{""}
	}
	for i := 0; i < len(text); i++ {
		switch r := text[i]; {
		case r == '\n':
			s.current++
			s.column = 0
			if s.current == len(s.lines) {
				s.lines = append(s.lines, "")
			}
		case r == '\r': // a terminal returns to the start of the row, not of the line
			s.column = s.column / s.width * s.width
		case strings.HasPrefix(string(text[i:]), "\x1b[J"):
			s.lines = s.lines[:s.current+1]
			s.lines[s.current] = string([]rune(s.lines[s.current])[:s.column])
			i += 2
		case r < ' ':
			return 0, fmt.Errorf("unknown control character %q", r)
		default:
			line := []rune(s.lines[s.current])
			s.lines[s.current] = string(append(line[:s.column:s.column], append([]rune{r}, line[min(s.column+1, len(line)):]...)...))
			s.column++
		}
	}
	return len(p), nil
}

func (s *screen) text() string { return strings.Join(s.lines, "\n") }

// newTestConsole returns a console on a screen.
func newTestConsole(width int) (*console, *screen) {
	s := &screen{width: width}
	return &console{out: s, size: func() int { return s.width }, foreground: func() bool { return true }}, s
}

func TestStatusLineStaysBelowLines(t *testing.T) {
	c, s := newTestConsole(20)
	status := "one"
	c.setStatus(func(int) string { return status })
	fmt.Fprintln(c, "a line")
	status = "a status that is longer than the screen is wide"
	c.redraw()
	if want := "a line\na status that is l…"; s.text() != want {
		t.Errorf("%q, want %q", s.text(), want)
	}
	status = "short"
	fmt.Fprint(c, "two\nlines\n")
	if want := "a line\ntwo\nlines\nshort"; s.text() != want {
		t.Errorf("%q, want %q", s.text(), want)
	}
	fmt.Fprint(c, "begun ")
	c.redraw()
	fmt.Fprint(c, "and ended\n")
	status = ""
	c.redraw()
	fmt.Fprintln(c, "x")
	status = "back"
	c.redraw()
	c.setStatus(nil)
	c.redraw()
	if want := "a line\ntwo\nlines\nbegun and ended\nx\n"; s.text() != want {
		t.Errorf("%q, want %q", s.text(), want)
	}
}

func TestStatusLineSurvivesResize(t *testing.T) {
	c, s := newTestConsole(80)
	status := strings.Repeat("0123456789", 7)
	c.setStatus(func(int) string { return status })
	s.width = 20 // the terminal breaks the status line into four
	fmt.Fprintln(c, "a line")
	if want := "a line\n012345678901234567…"; s.text() != want {
		t.Errorf("%q, want %q", s.text(), want)
	}
	s.width = 0 // unknown
	s.width, status = 80, "wider"
	c.redraw()
	if want := "a line\nwider"; s.text() != want {
		t.Errorf("%q, want %q", s.text(), want)
	}
}

// TestConcurrentLinesStayWhole writes lines and redraws the status from several goroutines.
func TestConcurrentLinesStayWhole(t *testing.T) {
	c, s := newTestConsole(80)
	c.setStatus(func(int) string { return "status" })
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range 50 {
				fmt.Fprintf(c, "line %d of writer %d\n", i, w)
				c.redraw()
			}
		})
	}
	writers.Wait()
	if !strings.HasSuffix(s.text(), "\nstatus") {
		t.Errorf("the screen ends in %q", s.lines[len(s.lines)-1])
	}
	c.setStatus(nil)
	next := make([]int, 4)
	for _, line := range s.lines[:len(s.lines)-1] {
		var i, w int
		if n, err := fmt.Sscanf(line, "line %d of writer %d", &i, &w); n != 2 || err != nil || i != next[w] {
			t.Fatalf("torn line %q", line)
		}
		next[w]++
	}
	if fmt.Sprint(next) != "[50 50 50 50]" {
		t.Errorf("lines by writer: %v", next)
	}
}

func TestNoStatusInTheBackground(t *testing.T) {
	var out bytes.Buffer
	foreground := true
	c := &console{out: &out, size: func() int { return 80 }, foreground: func() bool { return foreground }}
	c.setStatus(func(int) string { return "status" })
	foreground = false
	c.redraw()
	before := out.Len()
	for range 3 {
		c.redraw()
	}
	if out.Len() != before {
		t.Errorf("drawn in the background: %q", out.String()[before:])
	}
	n, err := c.Write([]byte("line\n"))
	if n != 5 || err != nil || !strings.HasSuffix(out.String(), "line\n") {
		t.Errorf("%d, %v, %q", n, err, out.String())
	}
}
