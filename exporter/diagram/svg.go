package diagram

import (
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/exspan/exspan/exporter/text"
)

// escaped returns text for XML. What XML cannot hold, and what would hide or turn other
// text, is replaced.
func escaped(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text.Printable(s)))
	return b.String()
}

// num writes a coordinate with one digit behind the point.
func num(v float64) string {
	s := strconv.FormatFloat(v, 'f', 1, 64)
	return strings.TrimSuffix(strings.TrimSuffix(s, ".0"), "-0")
}

// writeSVG writes a picture as SVG, which asks for nothing from outside.
func writeSVG(w io.Writer, p *picture) error {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %s %s" width="%s" height="%s" role="img" font-family="Go, Arial, Helvetica, sans-serif">`+"\n",
		num(p.w), num(p.h), num(p.w), num(p.h))
	fmt.Fprintf(&b, "<title>%s</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"%s\"/>\n", escaped(p.title), paper)
	for i := range p.shapes {
		s := &p.shapes[i]
		style := ""
		if s.stroke != "" {
			style = fmt.Sprintf(` stroke="%s" stroke-width="%s"`, s.stroke, num(s.width))
			if s.dashes {
				style += ` stroke-dasharray="7 5"`
			}
		}
		fill := s.fill
		if fill == "" {
			fill = "none"
		}
		style = fmt.Sprintf(` fill="%s"`, fill) + style
		title := ""
		if s.title != "" {
			title = "<title>" + escaped(s.title) + "</title>"
		}
		if s.link != "" {
			fmt.Fprintf(&b, `<a href="%s">`, escaped(s.link))
		}
		switch s.kind {
		case rectangle:
			fmt.Fprintf(&b, `<rect x="%s" y="%s" width="%s" height="%s" rx="3"%s>%s</rect>`, num(s.pts[0].x), num(s.pts[0].y), num(s.pts[1].x-s.pts[0].x), num(s.pts[1].y-s.pts[0].y), style, title)
		case polygon:
			var pts []string
			for _, q := range s.pts {
				pts = append(pts, num(q.x)+","+num(q.y))
			}
			fmt.Fprintf(&b, `<polygon points="%s"%s>%s</polygon>`, strings.Join(pts, " "), style, title)
		case curve:
			d := "M" + num(s.pts[0].x) + " " + num(s.pts[0].y)
			for i := 1; i+2 < len(s.pts); i += 3 {
				d += fmt.Sprintf(" C%s %s %s %s %s %s", num(s.pts[i].x), num(s.pts[i].y), num(s.pts[i+1].x), num(s.pts[i+1].y), num(s.pts[i+2].x), num(s.pts[i+2].y))
			}
			fmt.Fprintf(&b, `<path d="%s"%s>%s</path>`, d, style, title)
		case letters:
			anchor, weight := "start", "normal"
			if s.centre {
				anchor = "middle"
			}
			if s.bold {
				weight = "bold"
			}
			// The reader's font may be wider than the one that was measured.
			length := textWidth(s.text, s.bold) * s.size / fontSize
			fmt.Fprintf(&b, `<text x="%s" y="%s" font-size="%s" font-weight="%s" text-anchor="%s" textLength="%s" lengthAdjust="spacingAndGlyphs"%s>%s%s</text>`,
				num(s.pts[0].x), num(s.pts[0].y), num(s.size), weight, anchor, num(length), style, title, escaped(s.text))
		}
		if s.link != "" {
			b.WriteString("</a>")
		}
		b.WriteByte('\n')
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}
