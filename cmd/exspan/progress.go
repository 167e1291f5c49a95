package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// progress tells on a terminal how far the reading of a long input is.
type progress struct {
	w     io.Writer
	start time.Time
	next  time.Time
	shown bool
}

// newProgress returns nil, which is silent, unless w is a terminal.
func newProgress(w io.Writer) *progress {
	if !isTerminal(w) {
		return nil
	}
	now := time.Now()
	return &progress{w: w, start: now, next: now.Add(time.Second)}
}

// update is told the bytes read, and those there are in all or 0.
func (p *progress) update(read, total int64) {
	now := time.Now()
	if now.Before(p.next) {
		return
	}
	p.next, p.shown = now.Add(200*time.Millisecond), true
	mb := float64(read) / 1e6
	rate := mb / now.Sub(p.start).Seconds()
	if total > 0 {
		fmt.Fprintf(p.w, "\r\x1b[K%3d %% of %.1f MB, %.0f MB/s", min(100, read*100/total), float64(total)/1e6, rate)
	} else {
		fmt.Fprintf(p.w, "\r\x1b[K%.1f MB, %.0f MB/s", mb, rate)
	}
}

// clear takes the line away.
func (p *progress) clear() {
	if p != nil && p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// terminalWidth returns the columns of a terminal, or 0.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}
