package table

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The styles of a line, as SGR parameters (ECMA-48 section 8.3.117).
const (
	plain = ""
	bold  = "1"
	red   = "31"
)

// printer lays lines out within a width.
type printer struct {
	b     []byte
	width int
	color bool
}

// gap writes an empty line, unless nothing came before.
func (p *printer) gap() {
	if len(p.b) > 0 {
		p.b = append(p.b, '\n')
	}
}

func (p *printer) heading(s string) {
	p.gap()
	p.styled(bold, s)
}

func (p *printer) styled(style, s string) {
	if style == plain || !p.color {
		p.b = append(append(p.b, s...), '\n')
		return
	}
	p.b = append(p.b, "\x1b["+style+"m"+s+"\x1b[0m\n"...)
}

func (p *printer) line(indent int, s string) {
	p.b = append(p.b, strings.Repeat(" ", indent)...)
	p.b = append(append(p.b, s...), '\n')
}

// wrap writes s broken at spaces, the first line indented by first, others by
// next. A word longer than a line stays whole, so that it can be copied.
func (p *printer) wrap(first, next int, s string) {
	s = printable(s)
	indent := first
	for {
		room := max(p.width-indent, 20)
		cut, used := len(s), 0
		space := -1
		for i, r := range s {
			if r == ' ' && i > 0 && (used <= room || space < 0) {
				space = i
			}
			if used++; used > room && space >= 0 {
				cut = space
				break
			}
		}
		p.line(indent, strings.TrimRight(s[:cut], " "))
		s = strings.TrimLeft(s[cut:], " ")
		if s == "" {
			return
		}
		indent = next
	}
}

// rest says how many lines of a list are not shown.
func (p *printer) rest(n int, what string) {
	p.line(6, "and "+count(uint64(n), "more "+what))
}

// more says how many flows found no place in a section's aggregates.
func (p *printer) more(flows uint64) {
	if flows > 0 {
		p.line(6, "and "+count(flows, "more flow"))
	}
}

// align pads the cells of each column to its widest; how holds l or r a
// column. The last column is not padded.
func align(rows [][]string, how string) []string {
	width := make([]int, len(how))
	for _, row := range rows {
		for i, c := range row {
			width[i] = max(width[i], utf8.RuneCountInString(printable(c)))
		}
	}
	lines := make([]string, len(rows))
	for j, row := range rows {
		var b strings.Builder
		for i, c := range row {
			c = printable(c)
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			switch {
			case i > 0:
				b.WriteString("  ")
			}
			if how[i] == 'r' {
				b.WriteString(pad)
			}
			b.WriteString(c)
			if how[i] == 'l' && i < len(row)-1 {
				b.WriteString(pad)
			}
		}
		lines[j] = b.String()
	}
	return lines
}

// printable replaces what could move the cursor or hide text: text off the
// wire must not steer a terminal.
func printable(s string) string {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return strings.Map(func(r rune) rune {
				if !unicode.IsPrint(r) || r == utf8.RuneError {
					return '?'
				}
				return r
			}, s)
		}
	}
	return s
}

// count is n and what, in the plural unless n is 1.
func count(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return thousands(n) + " " + what + "s"
}

func thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size is a number of bytes in decimal units.
func size(n uint64) string {
	if n < 1000 {
		return strconv.FormatUint(n, 10) + " B"
	}
	f := float64(n)
	for _, unit := range []string{"kB", "MB", "GB", "TB"} {
		if f /= 1000; f < 999.95 {
			return strconv.FormatFloat(f, 'f', 1, 64) + " " + unit
		}
	}
	return strconv.FormatFloat(f/1000, 'f', 1, 64) + " PB"
}

func percent(share float64) string { return strconv.FormatFloat(100*share, 'f', 1, 64) + " %" }

// span is a duration in its two largest units.
func span(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < time.Minute:
		return strconv.FormatFloat(d.Truncate(100*time.Millisecond).Seconds(), 'f', 1, 64) + " s"
	case d < time.Hour:
		return two(d, time.Minute, " min ", time.Second, " s")
	case d < 24*time.Hour:
		return two(d, time.Hour, " h ", time.Minute, " min")
	}
	return two(d, 24*time.Hour, " d ", time.Hour, " h")
}

func two(d, large time.Duration, unit string, small time.Duration, rest string) string {
	return strconv.FormatInt(int64(d/large), 10) + unit + strconv.FormatInt(int64(d%large/small), 10) + rest
}
