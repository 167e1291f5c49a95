package diagram

import (
	"fmt"
	"image"
	"image/color"
	imagedraw "image/draw"
	"image/png"
	"io"
	"math"
	"strconv"

	"golang.org/x/image/font"
	"golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"
)

const (
	pngScale = 1.5     // pixels for one of the layout
	maxPNG   = 1 << 26 // pixels
)

// canvas is a picture of pixels.
type canvas struct {
	img   *image.RGBA
	scale float64
	faces map[string]font.Face
}

// writePNG writes a picture as PNG.
func writePNG(w io.Writer, p *picture) error {
	scale := pngScale
	if p.w*p.h*scale*scale > maxPNG {
		scale = math.Sqrt(maxPNG / (p.w * p.h))
	}
	c := &canvas{image.NewRGBA(image.Rect(0, 0, int(p.w*scale)+1, int(p.h*scale)+1)), scale, map[string]font.Face{}}
	imagedraw.Draw(c.img, c.img.Bounds(), image.NewUniform(colorOf(paper)), image.Point{}, imagedraw.Src)
	for i := range p.shapes {
		if err := c.shape(&p.shapes[i]); err != nil {
			return err
		}
	}
	return png.Encode(w, c.img)
}

func colorOf(s string) color.RGBA {
	n, err := strconv.ParseUint(s[1:], 16, 32)
	if err != nil {
		return color.RGBA{A: 255}
	}
	return color.RGBA{uint8(n >> 16), uint8(n >> 8), uint8(n), 255}
}

func (c *canvas) shape(s *shape) error {
	switch s.kind {
	case letters:
		return c.letters(s)
	case curve:
		c.line(flattened(s.pts), s)
		return nil
	}
	pts := s.pts
	if s.kind == rectangle {
		a, b := pts[0], pts[1]
		pts = []point{a, {b.x, a.y}, b, {a.x, b.y}}
	}
	if s.fill != "" {
		c.fill(s.fill, pts)
	}
	if s.stroke != "" {
		c.line(append(pts[:len(pts):len(pts)], pts[0]), s)
	}
	return nil
}

// fill fills polygons, all of which run the same way round, as one.
func (c *canvas) fill(colour string, polygons ...[]point) {
	left, top, right, bottom := math.Inf(1), math.Inf(1), 0.0, 0.0
	for _, pts := range polygons {
		for _, p := range pts {
			left, top, right, bottom = min(left, p.x), min(top, p.y), max(right, p.x), max(bottom, p.y)
		}
	}
	box := image.Rect(int(left*c.scale)-1, int(top*c.scale)-1, int(right*c.scale)+2, int(bottom*c.scale)+2).Intersect(c.img.Bounds())
	if box.Empty() {
		return
	}
	r := vector.NewRasterizer(box.Dx(), box.Dy())
	for _, pts := range polygons {
		for i, p := range pts {
			x, y := float32(p.x*c.scale-float64(box.Min.X)), float32(p.y*c.scale-float64(box.Min.Y))
			if i == 0 {
				r.MoveTo(x, y)
			} else {
				r.LineTo(x, y)
			}
		}
		r.ClosePath()
	}
	r.Draw(c.img, box, image.NewUniform(colorOf(colour)), image.Point{})
}

// flattened returns cubic curves as short straight lines.
func flattened(pts []point) []point {
	const steps = 24
	r := route{way: pts}
	n := (len(pts) - 1) / 3 * steps
	out := make([]point, 0, n+1)
	for i := range n {
		out = append(out, r.at(float64(i)/float64(n)))
	}
	return append(out, pts[len(pts)-1])
}

// line draws a line, with dashes if the shape has any.
func (c *canvas) line(pts []point, s *shape) {
	const dash, gap = 7.0, 5.0
	at, on := 0.0, true
	var pieces [][]point
	for i := 1; i < len(pts); i++ {
		a, b := pts[i-1], pts[i]
		length := math.Hypot(b.x-a.x, b.y-a.y)
		if length == 0 {
			continue
		}
		nx, ny := (b.y-a.y)/length*s.width/2, (a.x-b.x)/length*s.width/2
		piece := func(from, to float64) {
			p := point{a.x + (b.x-a.x)*from/length, a.y + (b.y-a.y)*from/length}
			q := point{a.x + (b.x-a.x)*to/length, a.y + (b.y-a.y)*to/length}
			pieces = append(pieces, []point{{p.x + nx, p.y + ny}, {q.x + nx, q.y + ny}, {q.x - nx, q.y - ny}, {p.x - nx, p.y - ny}})
		}
		if !s.dashes {
			piece(0, length)
			continue
		}
		for from := 0.0; from < length; {
			limit := gap
			if on {
				limit = dash
			}
			to := min(length, from+limit-at)
			if on {
				piece(from, to)
			}
			at += to - from
			if at >= limit-1e-9 {
				at, on = 0, !on
			}
			from = to
		}
	}
	c.fill(s.stroke, pieces...)
}

func (c *canvas) letters(s *shape) error {
	key := fmt.Sprint(s.size, s.bold)
	face := c.faces[key]
	if face == nil {
		var err error
		if face, err = newFace(s.size*c.scale, s.bold); err != nil {
			return err
		}
		c.faces[key] = face
	}
	d := font.Drawer{Dst: c.img, Src: image.NewUniform(colorOf(s.fill)), Face: face}
	x := fixed.Int26_6(s.pts[0].x * c.scale * 64)
	if s.centre {
		x -= d.MeasureString(s.text) / 2
	}
	d.Dot = fixed.Point26_6{X: x, Y: fixed.Int26_6(s.pts[0].y * c.scale * 64)}
	d.DrawString(s.text)
	return nil
}
