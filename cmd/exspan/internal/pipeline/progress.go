package pipeline

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// A Progress shows on a terminal how far a long run is, in a line that it rewrites. Its
// methods do nothing on a nil receiver.
type Progress struct {
	w     io.Writer
	start time.Time
	next  time.Time
	shown bool
	// files returns how many files have ended, and how many there are; nil until they
	// are open.
	files func() (ended, all int)
}

// NewProgress returns nil unless w is a terminal.
func NewProgress(w io.Writer) *Progress {
	if w == nil || !IsTerminal(w) {
		return nil
	}
	now := time.Now()
	return &Progress{w: w, start: now, next: now.Add(time.Second)}
}

// Show shows what text returns, unless the last line is younger than 200 ms.
func (p *Progress) Show(text func() string) {
	if p == nil {
		return
	}
	now := time.Now()
	if now.Before(p.next) {
		return
	}
	p.next, p.shown = now.Add(200*time.Millisecond), true
	fmt.Fprintf(p.w, "\r\x1b[K%s", text())
}

// read shows the bytes read so far and their total, 0 if it is not known.
func (p *Progress) read(read, total int64) {
	p.Show(func() string {
		mb := float64(read) / 1e6
		rate := mb / time.Since(p.start).Seconds()
		files := ""
		if p.files != nil {
			if ended, all := p.files(); all > 1 {
				files = fmt.Sprintf(", %d of %d files", ended, all)
			}
		}
		if total > 0 {
			return fmt.Sprintf("%3d %% of %.1f MB%s, %.0f MB/s", min(100, read*100/total), float64(total)/1e6, files, rate)
		}
		return fmt.Sprintf("%.1f MB%s, %.0f MB/s", mb, files, rate)
	})
}

// Clear removes the line.
func (p *Progress) Clear() {
	if p != nil && p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}

// IsTerminal reports whether w is a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// TerminalSize returns the columns and lines of a terminal, or 0 and 0 if w is
// none.
func TerminalSize(w io.Writer) (columns, lines int) {
	f, ok := w.(*os.File)
	if !ok {
		return 0, 0
	}
	columns, lines, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, 0
	}
	return columns, lines
}
