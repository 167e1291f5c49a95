package diagram

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"

	"github.com/exspan/exspan/exporter/model"
	"github.com/exspan/exspan/exporter/text"
)

// kind is what a shape is.
type kind int

const (
	rectangle kind = iota
	polygon        // pts are its corners
	curve          // pts are those of cubic curves
	letters
)

// shape is one thing to draw. Formats draw the same shapes.
type shape struct {
	kind         kind
	pts          []point // of a rectangle: a corner and the opposite one; of letters: where they begin
	fill, stroke string  // "#rrggbb", or "" for none
	width        float64
	dashes       bool
	text         string
	bold, centre bool
	size         float64
	title        string // shown on hover
	link         string // followed on a click
}

// style is how an arrow looks in a state. No two look the same without colours: lines
// differ in width and dashes, marks in form.
type style struct {
	colour string
	width  float64
	dashes bool
	mark   int // corners of the mark that holds the number; 0 is a circle
}

func styleOf(s model.State) style {
	switch s {
	case model.Unexpected:
		return style{"#b00020", 3.2, false, 3}
	case model.Blocked:
		return style{"#7a4a00", 2, true, 4}
	case model.Deviating:
		return style{"#b35900", 3.2, false, 8}
	case model.Undetermined:
		return style{"#707070", 1, true, 0}
	}
	return style{"#1f4e79", 1.4, false, 0}
}

// The fonts, and the faces for measuring text, are made on first use: only diagrams need
// them.
var (
	regularFont = sync.OnceValues(func() (*opentype.Font, error) { return opentype.Parse(goregular.TTF) })
	boldFont    = sync.OnceValues(func() (*opentype.Font, error) { return opentype.Parse(gobold.TTF) })
	regularFace = sync.OnceValues(func() (font.Face, error) { return newFace(fontSize, false) })
	boldFace    = sync.OnceValues(func() (font.Face, error) { return newFace(fontSize, true) })
)

// newFace returns a face of a size in pixels.
func newFace(size float64, bold bool) (font.Face, error) {
	parsed := regularFont
	if bold {
		parsed = boldFont
	}
	f, err := parsed()
	if err != nil {
		return nil, err
	}
	return opentype.NewFace(f, &opentype.FaceOptions{Size: size, DPI: 72})
}

// textWidth returns the width of text in pixels, at fontSize.
func textWidth(s string, bold bool) float64 {
	made := regularFace
	if bold {
		made = boldFace
	}
	face, err := made()
	if err != nil {
		return float64(len(s)) * fontSize * 0.6
	}
	return float64(font.MeasureString(face, s)) / float64(fixed.I(1)) * 1.06 // other fonts are wider
}

const (
	ink     = "#1a1a1a"
	paper   = "#ffffff"
	boxFill = "#eef3f8"
	outside = "#f6f2e8"
	border  = "#4a5a6a"
)

// picture is a diagram as shapes.
type picture struct {
	shapes []shape
	w, h   float64
	title  string
	link   func(*Arrow) string
}

// draw makes the picture of a graph, with its legend.
func draw(g *Graph) *picture {
	p := layout(g)
	pic := &picture{w: p.w, title: g.Title, link: g.Link}
	head := margin + 2*lineHeight
	pic.text(point{margin, margin + lineHeight}, g.Title, true, false)
	shift := func(pts []point) []point {
		out := make([]point, len(pts))
		for i, q := range pts {
			out[i] = point{q.x, q.y + head}
		}
		return out
	}
	for _, r := range p.routes {
		pic.arrow(r.arrow, shift(r.way))
	}
	for _, b := range p.boxes {
		pic.box(b, head)
	}
	for _, r := range p.routes {
		pic.mark(r.arrow, point{r.label.x, r.label.y + head})
	}
	pic.h = p.h + head
	pic.legend(g)
	return pic
}

func (p *picture) text(at point, s string, bold, centre bool) {
	p.shapes = append(p.shapes, shape{kind: letters, pts: []point{at}, fill: ink, text: s, bold: bold, centre: centre, size: fontSize})
}

func (p *picture) box(b *box, head float64) {
	fill := boxFill
	if b.node.Column == 0 {
		fill = outside
	}
	p.shapes = append(p.shapes, shape{kind: rectangle, pts: []point{{b.x, b.y + head}, {b.x + b.w, b.y + b.h + head}}, fill: fill, stroke: border, width: 1.2, title: b.node.Title})
	lines := b.node.Lines()
	top := b.y + head + (b.h-float64(len(lines))*lineHeight)/2
	for i, l := range lines {
		p.text(point{b.x + b.w/2, top + float64(i)*lineHeight + fontSize}, l, i == 0, true)
	}
}

// linked makes the shapes after the first from lead to where an arrow leads.
func (p *picture) linked(a *Arrow, from int) {
	if p.link == nil {
		return
	}
	for i := range p.shapes[from:] {
		p.shapes[from+i].link = p.link(a)
	}
}

// arrow draws the line and the head of an arrow.
func (p *picture) arrow(a *Arrow, way []point) {
	defer p.linked(a, len(p.shapes))
	s := styleOf(a.State)
	title := fmt.Sprintf("%d. %s to %s: %s", a.Number, a.From.Title, a.To.Title, a.Text())
	p.shapes = append(p.shapes, shape{kind: curve, pts: way, stroke: s.colour, width: s.width, dashes: s.dashes, title: title})
	end, before := way[len(way)-1], way[len(way)-2]
	angle := math.Atan2(end.y-before.y, end.x-before.x)
	size := 9 + s.width
	corner := func(turn float64) point {
		return point{end.x - size*math.Cos(angle+turn), end.y - size*math.Sin(angle+turn)}
	}
	p.shapes = append(p.shapes, shape{kind: polygon, pts: []point{end, corner(0.35), corner(-0.35)}, fill: s.colour, title: title})
}

// mark draws the number of an arrow, in a form that tells its state, with a padlock.
func (p *picture) mark(a *Arrow, at point) {
	defer p.linked(a, len(p.shapes))
	s := styleOf(a.State)
	corners, radius := s.mark, 11.0
	switch corners {
	case 0:
		corners = 24
	case 3:
		radius = 17
	case 4:
		radius = 14
	}
	var pts []point
	for i := range corners {
		angle := -math.Pi/2 + 2*math.Pi*float64(i)/float64(corners)
		pts = append(pts, point{at.x + radius*math.Cos(angle), at.y + radius*math.Sin(angle)})
	}
	title := strings.TrimSpace(a.Word() + " " + a.Text())
	p.shapes = append(p.shapes, shape{kind: polygon, pts: pts, fill: paper, stroke: s.colour, width: max(1.2, s.width/1.6), title: title})
	p.shapes = append(p.shapes, shape{kind: letters, pts: []point{{at.x, at.y + 4.2}}, fill: ink, text: fmt.Sprint(a.Number), bold: a.Word() != "", centre: true, size: 11.5, title: title})
	p.lock(a.Lock, point{at.x + radius + 3, at.y})
}

// lock draws a padlock: closed, open, or half of each.
func (p *picture) lock(l Lock, at point) {
	if l == Unknown {
		return
	}
	colour, lift := "#2e7d32", 0.0
	switch l {
	case Open:
		colour, lift = "#b00020", 4
	case Broken:
		colour, lift = "#b35900", 2
	}
	x, y := at.x, at.y
	p.shapes = append(p.shapes,
		shape{kind: curve, pts: []point{{x + 1.5, y}, {x + 1.5, y - 6 - lift}, {x + 6.5, y - 6 - lift}, {x + 6.5, y - lift}}, stroke: colour, width: 1.3},
		shape{kind: rectangle, pts: []point{{x, y}, {x + 8, y + 6}}, fill: colour, title: string(l)})
	if l == Broken {
		p.shapes = append(p.shapes, shape{kind: rectangle, pts: []point{{x + 4, y + 1}, {x + 7, y + 5}}, fill: paper})
	}
}

// legend writes what the numbers and marks mean, below the picture.
func (p *picture) legend(g *Graph) {
	y := p.h
	line := func(number *Arrow, s string, bold bool) {
		x := margin
		if number != nil {
			p.mark(number, point{x + 16, y - 4})
			x += 52
		}
		p.text(point{x, y}, s, bold, false)
		if number != nil {
			p.linked(number, len(p.shapes)-1)
		}
		p.w = max(p.w, x+textWidth(s, bold)+margin)
		y += lineHeight * 1.75
	}
	for _, a := range g.Arrows {
		s := a.From.Title + " to " + a.To.Title + ": " + a.Text()
		if w := a.Word(); w != "" {
			s = w + "  " + s
		}
		bold := a.State == model.Unexpected || a.State == model.Deviating || a.State == model.Blocked
		for i, part := range text.Wrap(s, 150, 0, 0) {
			if i > 0 {
				y -= lineHeight * 0.75
				p.text(point{margin + 52, y}, part, bold, false)
				y += lineHeight * 1.75
				continue
			}
			line(a, part, bold)
		}
	}
	notes := g.Notes
	if len(g.Arrows) > 0 {
		notes = slices.Insert(slices.Clone(notes), 0,
			"Marks: circle as documented, triangle unexpected, octagon deviating, diamond and dashes blocked. Padlock: closed encrypted, open not encrypted, half partly; none where it was not seen.")
	}
	for _, s := range notes {
		for _, part := range text.Wrap(s, 150, 0, 0) {
			line(nil, part, false)
			y -= lineHeight * 0.5
		}
	}
	p.h = y + margin
}
