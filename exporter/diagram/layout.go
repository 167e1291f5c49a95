package diagram

import (
	"cmp"
	"math"
	"slices"
)

// The layout is that of Sugiyama, Tagawa and Toda (1981), without its first step: how far
// inside a role stands gives the column. Long arrows get a place in each column that
// they cross, columns are ordered to cross few arrows, and places move towards those
// that they are joined with.

// Sizes, in pixels.
const (
	fontSize   = 13.0
	lineHeight = 17.0
	padding    = 10.0
	gapY       = 26.0
	gapX       = 120.0
	margin     = 24.0
	passHeight = 12.0 // of an arrow that passes a column
	loopWidth  = 46.0
	portGap    = 17.0 // between arrows at the side of a box
)

type point struct{ x, y float64 }

// box is a place in a column: a node, or where an arrow passes.
type box struct {
	node       *Node // nil where an arrow passes
	x, y, w, h float64
	column     int
	near       []*box // joined by arrows
	wish       float64
}

func (b *box) middle() float64 { return b.y + b.h/2 }

// route is an arrow with its way: points of cubic curves, of which the first is where
// it begins.
type route struct {
	arrow *Arrow
	way   []point
	label point
	part  float64 // of the way at which label is, 0 to 1
	via   []*box
}

// placed is a graph with its layout.
type placed struct {
	boxes  []*box // of nodes, in their order
	routes []*route
	w, h   float64
}

// layout places the boxes and arrows of a graph.
func layout(g *Graph) *placed {
	p := &placed{}
	columns := p.columns(g)
	of := map[*Node]*box{}
	for _, b := range p.boxes {
		of[b.node] = b
	}
	p.room(g, of)
	for _, a := range g.Arrows {
		p.routes = append(p.routes, passing(a, of, columns))
	}
	order(columns)
	p.place(columns)
	p.ways(of)
	return p
}

// columns makes the boxes, in the columns that have any.
func (p *placed) columns(g *Graph) [][]*box {
	var columns [][]*box
	last := -1
	for _, n := range g.Nodes {
		if n.Column != last {
			last = n.Column
			columns = append(columns, nil)
		}
		b := &box{node: n, column: len(columns) - 1}
		lines := n.Lines()
		for i, l := range lines {
			b.w = max(b.w, textWidth(l, i == 0)+2*padding)
		}
		b.h = float64(len(lines))*lineHeight + 2*padding
		p.boxes = append(p.boxes, b)
		columns[b.column] = append(columns[b.column], b)
	}
	return columns
}

// room makes boxes tall enough for the arrows at their sides.
func (p *placed) room(g *Graph, of map[*Node]*box) {
	ends := map[*box]*[2]int{} // at the left and at the right side
	count := func(b, other *box) {
		if ends[b] == nil {
			ends[b] = &[2]int{}
		}
		side := 0
		if other.column >= b.column {
			side = 1
		}
		ends[b][side]++
	}
	for _, a := range g.Arrows {
		from, to := of[a.From], of[a.To]
		count(from, to)
		count(to, from)
	}
	for b, n := range ends {
		b.h = max(b.h, portGap*float64(max(n[0], n[1])+1))
	}
}

// passing returns the route of an arrow, with a place in each column that it crosses.
func passing(a *Arrow, of map[*Node]*box, columns [][]*box) *route {
	r := &route{arrow: a}
	from, to := of[a.From], of[a.To]
	step := 1
	if to.column < from.column {
		step = -1
	}
	before := from
	if from.column != to.column {
		for c := from.column + step; c != to.column; c += step {
			pass := &box{column: c, h: passHeight}
			columns[c] = append(columns[c], pass)
			r.via = append(r.via, pass)
			before.near, pass.near = append(before.near, pass), append(pass.near, before)
			before = pass
		}
		before.near, to.near = append(before.near, to), append(to.near, before)
	}
	return r
}

// order sorts columns by the middle of what each place is joined with, to and fro.
func order(columns [][]*box) {
	for sweep := range 12 {
		for i := range columns {
			if sweep%2 == 1 {
				i = len(columns) - 1 - i
			}
			at := map[*box]float64{}
			for _, c := range columns {
				for n, b := range c {
					at[b] = (float64(n) + 0.5) / float64(len(c))
				}
			}
			for _, b := range columns[i] {
				b.wish = at[b]
				if len(b.near) > 0 {
					sum := 0.0
					for _, o := range b.near {
						sum += at[o]
					}
					b.wish = sum / float64(len(b.near))
				}
			}
			slices.SortStableFunc(columns[i], func(a, b *box) int { return cmp.Compare(a.wish, b.wish) })
		}
	}
}

// gapBelow is the space between two places of a column.
func gapBelow(a, b *box) float64 {
	if a.node == nil && b.node == nil {
		return 10
	}
	return gapY
}

// place gives all places their coordinates.
func (p *placed) place(columns [][]*box) {
	x := margin + loopWidth
	tallest := 0.0
	for _, c := range columns {
		w, y := 0.0, 0.0
		for i, b := range c {
			if i > 0 {
				y += gapBelow(c[i-1], b)
			}
			b.y = y
			y += b.h
			w = max(w, b.w)
		}
		for _, b := range c {
			b.x, b.w = x, cmp.Or(b.w, w)
			if b.node != nil {
				b.w = w
			}
		}
		x += w + gapX
		tallest = max(tallest, y)
	}
	for _, c := range columns { // begin in the middle
		if len(c) == 0 {
			continue
		}
		shift := (tallest - (c[len(c)-1].y + c[len(c)-1].h)) / 2
		for _, b := range c {
			b.y += shift
		}
	}
	for range 30 {
		for _, c := range columns {
			relax(c)
		}
	}
	top, bottom := math.Inf(1), 0.0
	for _, c := range columns {
		for _, b := range c {
			top = min(top, b.y)
		}
	}
	for _, c := range columns {
		for _, b := range c {
			b.y += margin + loopWidth/2 - top
			bottom = max(bottom, b.y+b.h)
		}
	}
	p.w, p.h = x-gapX+margin+loopWidth, bottom+margin+loopWidth/2
}

// relax moves the places of a column towards those that they are joined with, in their
// order and without touching.
func relax(c []*box) {
	for _, b := range c {
		b.wish = b.middle()
		if len(b.near) > 0 {
			sum := 0.0
			for _, o := range b.near {
				sum += o.middle()
			}
			b.wish = (b.wish + sum/float64(len(b.near))) / 2
		}
	}
	// The places as they would be without touching, from above and from below; the
	// middle of both keeps the order.
	down, up := make([]float64, len(c)), make([]float64, len(c))
	for i, b := range c {
		down[i] = b.wish - b.h/2
		if i > 0 {
			down[i] = max(down[i], down[i-1]+c[i-1].h+gapBelow(c[i-1], b))
		}
	}
	for i := len(c) - 1; i >= 0; i-- {
		up[i] = c[i].wish - c[i].h/2
		if i < len(c)-1 {
			up[i] = min(up[i], up[i+1]-c[i].h-gapBelow(c[i], c[i+1]))
		}
	}
	for i, b := range c {
		b.y = (down[i] + up[i]) / 2
	}
}

// port is an end of a route at a side of a box.
type port struct {
	route *route
	end   int     // 0 is the beginning
	other float64 // where it leads to, for the order of ports
	at    point
}

// ways draws the arrows: each has a port of its own at its boxes.
func (p *placed) ways(of map[*Node]*box) {
	type side struct {
		b     *box
		right bool
	}
	ports := map[side][]*port{}
	var sides []side
	ends := map[*route]*[2]*port{}
	for _, r := range p.routes {
		from, to := of[r.arrow.From], of[r.arrow.To]
		ends[r] = &[2]*port{}
		for end, b := range []*box{from, to} {
			other := []*box{to, from}[end]
			next := other
			if len(r.via) > 0 {
				next = r.via[0]
				if end == 1 {
					next = r.via[len(r.via)-1]
				}
			}
			s := side{b, next.column >= b.column}
			if ports[s] == nil {
				sides = append(sides, s)
			}
			q := &port{route: r, end: end, other: next.middle()}
			if other == b {
				q.other = b.middle() + float64(end)
			}
			ports[s] = append(ports[s], q)
			ends[r][end] = q
		}
	}
	for _, s := range sides {
		list := ports[s]
		slices.SortStableFunc(list, func(a, b *port) int { return cmp.Compare(a.other, b.other) })
		for i, q := range list {
			q.at = point{s.b.x, s.b.y + s.b.h*float64(i+1)/float64(len(list)+1)}
			if s.right {
				q.at.x += s.b.w
			}
		}
	}
	for _, r := range p.routes {
		r.draw(of, ends[r][0].at, ends[r][1].at)
	}
	p.labels()
}

// draw makes the curves of a route from one port to the other.
func (r *route) draw(of map[*Node]*box, from, to point) {
	r.way = []point{from}
	if of[r.arrow.From].column == of[r.arrow.To].column { // around the right side
		bulge := loopWidth + math.Abs(to.y-from.y)/6
		r.way = append(r.way, point{from.x + bulge, from.y}, point{to.x + bulge, to.y}, to)
		return
	}
	at := from
	curve := func(end point) {
		half := (end.x - at.x) / 2
		r.way = append(r.way, point{at.x + half, at.y}, point{end.x - half, end.y}, end)
		at = end
	}
	for _, v := range r.via {
		y := v.middle()
		near, far := v.x, v.x+v.w
		if to.x < from.x {
			near, far = far, near
		}
		curve(point{near, y})
		curve(point{far, y})
	}
	curve(to)
}

// at returns the point of a route at a part of its length in curves, 0 to 1.
func (r *route) at(t float64) point {
	n := (len(r.way) - 1) / 3
	i := min(int(t*float64(n)), n-1)
	t = t*float64(n) - float64(i)
	a, b, c, d := r.way[3*i], r.way[3*i+1], r.way[3*i+2], r.way[3*i+3]
	u := 1 - t
	f := func(a, b, c, d float64) float64 { return u*u*u*a + 3*u*u*t*b + 3*u*t*t*c + t*t*t*d }
	return point{f(a.x, b.x, c.x, d.x), f(a.y, b.y, c.y, d.y)}
}

// labels places the numbers on the arrows, away from boxes and from each other. Each finds
// its place among those before it, and then again among all.
func (p *placed) labels() {
	for i, r := range p.routes {
		r.label, r.part = p.labelPlace(r, p.routes[:i])
	}
	for range 3 {
		for _, r := range p.routes {
			r.label, r.part = p.labelPlace(r, p.routes)
		}
	}
}

// roomy is the room of a label, in pixels, that is not worth more: a mark with its padlock is
// 45 wide and 34 high.
const roomy = 40

// labelPlace returns the best place of the label of r beside those of others: the one nearest to
// the middle that has room enough, else the one with most.
func (p *placed) labelPlace(r *route, others []*route) (best point, part float64) {
	most := -1.0
	for i := range 36 {
		t := 0.5 + 0.025*float64((i+1)/2)*float64(1-2*(i%2))
		at := r.at(t)
		room := float64(roomy)
		for _, o := range others {
			if o != r {
				room = min(room, math.Hypot((at.x-o.label.x)*0.85, at.y-o.label.y))
			}
		}
		for _, b := range p.boxes {
			dx := max(b.x-at.x-14, at.x-b.x-b.w, 0) // the padlock is on the right
			dy := max(b.y-at.y, at.y-b.y-b.h, 0)
			room = min(room, 1.5*math.Hypot(dx, dy))
		}
		if room > most+0.5 {
			best, part, most = at, t, room
		}
		if room >= roomy {
			break
		}
	}
	return best, part
}
