package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
)

// look holds the flags on the appearance of text output.
type look struct {
	width int
	color string
}

var colorWords = []string{"auto", "always", "never"}

func (l *look) flags(f *pflag.FlagSet) {
	f.IntVar(&l.width, "width", 0, "columns of text; 0 means the width of the terminal, else $COLUMNS, else 100")
	f.StringVar(&l.color, "color", "auto", "`WHEN` to use colours: "+orList(colorWords)+"; auto respects $NO_COLOR")
}

func (l *look) check() error {
	if l.width != 0 && (l.width < 50 || l.width > 1000) {
		return fmt.Errorf("--width: %d is not between 50 and 1000", l.width)
	}
	return checkWords("color", []string{l.color}, colorWords)
}

// columns returns the width of text that is written to w, or to a file if w is
// nil.
func (l *look) columns(w io.Writer) int {
	if l.width > 0 {
		return l.width
	}
	if columns := terminalColumns(w); columns > 0 {
		return max(columns, 50)
	}
	return 100
}

// terminalColumns returns the columns of the terminal on which text that is written
// to w is read, else $COLUMNS, or 0. What goes into a pipe, as to less, is
// read on the terminal of standard error.
func terminalColumns(w io.Writer) int {
	if w != nil {
		if columns, _ := pipeline.TerminalSize(w); columns > 0 {
			return columns
		}
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n >= 50 && n <= 1000 {
		return n
	}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
			columns, _ := pipeline.TerminalSize(os.Stderr)
			return columns
		}
	}
	return 0
}

// colored reports whether text that is written to w has colours. See
// https://no-color.org for NO_COLOR.
func (l *look) colored(w io.Writer) bool {
	switch l.color {
	case "always":
		return true
	case "never":
		return false
	}
	return w != nil && pipeline.IsTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// stringsOf returns words that have a type of their own as strings.
func stringsOf[T ~string](list []T) []string {
	words := make([]string, len(list))
	for i, w := range list {
		words[i] = string(w)
	}
	return words
}

// orList joins words as "a, b or c".
func orList(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
	return strings.Join(words, "")
}
