package table

import (
	"strings"
	"unicode/utf8"

	"github.com/exspan/exspan/exporter/text"
)

// The styles of a line, as SGR parameters (ECMA-48 section 8.3.117).
const (
	plain   = ""
	bold    = "1"
	red     = "31"
	boldRed = "1;31"
	yellow  = "33"
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

// bold writes text broken at spaces, in bold.
func (p *printer) bold(s string) {
	from := len(p.b)
	p.wrap(0, 0, s)
	if p.color {
		line := strings.TrimRight(string(p.b[from:]), "\n")
		p.b = append(p.b[:from], "\x1b["+bold+"m"+line+"\x1b[0m\n"...)
	}
}

// rightEdge is where the right part of a line ends: on a wide screen, figures far
// from their line are hard to read.
const rightEdge = 88

// spread writes left and right at the two edges of a line, or two spaces apart
// where they do not fit, the right one on a line of its own if need be.
func (p *printer) spread(style, left, right string) {
	left, right = text.Printable(left), text.Printable(right)
	edge := min(p.width, rightEdge)
	l, r := utf8.RuneCountInString(left), utf8.RuneCountInString(right)
	switch {
	case r == 0:
		p.styled(style, left)
	case l+2+r <= edge:
		p.styled(style, left+strings.Repeat(" ", edge-l-r)+right)
	default:
		indent := len(left) - len(strings.TrimLeft(left, " "))
		from := len(p.b)
		p.wrap(indent, indent+4, strings.TrimLeft(left, " "))
		line := strings.TrimRight(string(p.b[from:]), "\n")
		p.b = p.b[:from]
		p.styled(style, line)
		p.styled(style, strings.Repeat(" ", max(edge-r, 0))+right)
	}
}

func (p *printer) line(indent int, s string) {
	p.b = append(p.b, strings.Repeat(" ", indent)...)
	p.b = append(append(p.b, s...), '\n')
}

// wrap writes s broken at spaces, the first line indented by first, others by
// next. A word longer than a line stays whole, so that it can be copied.
func (p *printer) wrap(first, next int, s string) {
	for _, l := range text.Wrap(text.Printable(s), p.width, first, next) {
		p.line(0, l)
	}
}

// more writes how many flows found no place in a section's aggregates.
func (p *printer) more(flows uint64) {
	if flows > 0 {
		p.line(6, "and "+text.Count(flows, "more flow")+": there were too many kinds to keep apart")
	}
}

// align pads the cells of each column to its widest; how holds l or r a
// column. The last column is not padded. If the lines would be wider than fit,
// the first column gives way: a cell that does not fit in it takes a line of its
// own. fit is 0 for lines of any width.
func align(rows [][]string, how string, fit int) []string {
	width := make([]int, len(how))
	for _, row := range rows {
		for i, c := range row {
			width[i] = max(width[i], utf8.RuneCountInString(text.Printable(c)))
		}
	}
	if fit > 0 {
		rest := 0
		for _, w := range width[1:] {
			rest += w + 2
		}
		width[0] = min(width[0], max(fit-rest, 10))
	}
	lines := make([]string, len(rows))
	for j, row := range rows {
		var b strings.Builder
		for i, c := range row {
			c = text.Printable(c)
			n := width[i] - utf8.RuneCountInString(c)
			if n < 0 {
				b.WriteString(c + "\n" + strings.Repeat(" ", width[i]))
				continue
			}
			pad := strings.Repeat(" ", n)
			if i > 0 {
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
