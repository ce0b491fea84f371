package main

import (
	"fmt"
	"io"
	"os"
)

// screen prints scenes: each call above what it returns.
type screen struct {
	out    io.Writer
	colour bool
	err    error // of the first line that could not be printed
}

// hasColour reports whether f is a terminal that takes colours; see https://no-color.org.
func hasColour(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

const (
	bold  = "1"
	faint = "2"
	cyan  = "36"
)

func (s *screen) paint(style, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func (s *screen) line(format string, args ...any) {
	if _, err := fmt.Fprintf(s.out, format+"\n", args...); s.err == nil {
		s.err = err
	}
}

// scene begins a scene.
func (s *screen) scene(number int, title string) {
	s.line("\n%s", s.paint(bold, fmt.Sprintf("%d. %s", number, title)))
}

// call prints a call as it is written in Go.
func (s *screen) call(text string) { s.line("\n    %s", s.paint(cyan, text)) }

// result prints what a call has returned.
func (s *screen) result(format string, args ...any) { s.line("      "+format, args...) }

// note prints what happens outside of the program.
func (s *screen) note(text string) { s.line("\n    %s", s.paint(faint, "// "+text)) }
